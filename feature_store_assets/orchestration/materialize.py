"""Write, audit, publish: rows are checked before they are committed, partition by partition.

Good partitions of a run are committed in one commit. A partition with a critical failure keeps
what it held before; its rows go to quarantine with the reasons.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pyarrow as pa

from feature_store_assets.declaration.group import FeatureGroup, Window
from feature_store_assets.errors import DeclarationChanged, GroupNotFound
from feature_store_assets.offline.frames import arrow_table
from feature_store_assets.offline.schema import PARTITION, TableSchema, conform
from feature_store_assets.orchestration.partitioning import Slots
from feature_store_assets.quality.expectations import Verdict, check
from feature_store_assets.quality.statistics import Profile, profile
from feature_store_assets.registry.changes import other_than_added
from feature_store_assets.store import FeatureStore

Compute = Callable[[Window], Any]


@dataclass(frozen=True)
class Outcome:
    """What a run of a group did.

    Attributes
    ----------
    committed, rejected
        Partition keys; `rejected` with the reasons.
    rows
        The rows of all partitions that were judged, with their `partition`.
    verdicts, profiles
        By partition.
    version
        The table version that holds the committed partitions.
    before_window
        Rows in the look-back that were left out.
    """

    committed: tuple[str, ...]
    rejected: dict[str, list[str]]
    rows: pl.DataFrame
    verdicts: dict[str, list[Verdict]]
    profiles: dict[str, dict[str, Profile]]
    version: int
    before_window: int
    quarantined: dict[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        """All partitions of the run, in their order."""
        return tuple(self.verdicts)

    def __add__(self, later: "Outcome") -> "Outcome":
        """Join what two calls of one run did."""
        return Outcome(
            (*self.committed, *later.committed),
            {**self.rejected, **later.rejected},
            pl.concat([self.rows, later.rows]),
            {**self.verdicts, **later.verdicts},
            {**self.profiles, **later.profiles},
            later.version,
            self.before_window + later.before_window,
            {**self.quarantined, **later.quarantined},
        )


def ensure_applied(store: FeatureStore, group: FeatureGroup) -> FeatureGroup:
    """Return the applied definition that a run starts from; a group never applied is applied now.

    Raises
    ------
    DeclarationChanged
        The code declares something else than what is applied.
    """
    try:
        current = store.applied.group(group.name, group.version)
    except GroupNotFound:
        store.apply(group)
        return store.applied.group(group.name, group.version)
    if current.hash != group.hash:
        changes = other_than_added(group, current)
        missing = [name for name in group.feature_names if name not in current.feature_names]
        if changes or missing:
            added = [f"feature '{name}' is not applied yet" for name in missing]
            raise DeclarationChanged(group.name, list(dict.fromkeys([*added, *changes])))
    return current


def materialize(
    store: FeatureStore, group: FeatureGroup, slots: Slots, compute: Compute, *, run_id: str
) -> Outcome:
    """Compute, check and commit the partitions of a run.

    Parameters
    ----------
    store, group
        Where to, and what.
    slots
        The partitions asked for.
    compute
        The author's function, given its window.
    run_id
        Kept with the commit.

    Raises
    ------
    SchemaMismatch, NullKeys, DuplicateRows, NaiveTimestamps, OutsideWindow
        The rows are refused as a whole; nothing was written.
    DeclarationChanged
        Another definition was applied meanwhile; nothing was written.
    """
    started = ensure_applied(store, group)
    table = store.table(group)
    data = arrow_table(compute(slots.window))
    schema = TableSchema.of(group)
    typed = table.schema if table.exists else schema.with_key_types(data.schema)
    written = datetime.now(UTC)
    rows, before = slots.assign(conform(data, typed, written=written))
    frame = pl.DataFrame(rows)
    types = {feature.name: feature.dtype for feature in group.features}
    verdicts = _by_partition(
        slots.keys,
        check(
            frame,
            group.all_expectations,
            partitions=slots.keys,
            features=types,
            vacuous=group.vacuous_expectations,
        ),
    )
    personal = [feature.name for feature in group.features if feature.pii]
    profiles = profile(frame, partitions=slots.keys, features=list(types), pii=personal)
    rejected = {
        key: [verdict.reason for verdict in found if verdict.blocking]
        for key, found in verdicts.items()
        if any(verdict.blocking for verdict in found)
    }
    good = tuple(key for key in slots.keys if key not in rejected)
    version = table.version()
    if good:
        table.ensure(data.schema)
        kept = rows.filter(pa.compute.is_in(rows[PARTITION], pa.array(good, pa.string())))
        commit = table.replace(
            kept,
            good,
            metadata={"run_id": run_id, "partitions": _summary(good)},
            guard=lambda: store.applied.check_unchanged(started),
        )
        version = commit.version
    quarantined = {
        key: str(_quarantine(store, group, key, frame=frame, verdicts=verdicts[key], run_id=run_id))
        for key in rejected
    }
    return Outcome(good, rejected, frame, verdicts, profiles, version, before, quarantined)


def _by_partition(keys: Sequence[str], verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {key: [] for key in keys}
    for verdict in verdicts:
        found[verdict.partition].append(verdict)
    return found


def _summary(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]}...{keys[-1]} ({len(keys)})"


def _quarantine(
    store: FeatureStore,
    group: FeatureGroup,
    key: str,
    *,
    frame: pl.DataFrame,
    verdicts: Sequence[Verdict],
    run_id: str,
) -> Path:
    """Keep a rejected partition, each row with its own reasons; return the file."""
    numbered = frame.with_row_index("__row").filter(pl.col(PARTITION) == key)
    found: dict[int, list[str]] = {}
    for verdict in verdicts:
        if verdict.outcome != "passed":
            for row in verdict.rows:
                found.setdefault(row, []).append(verdict.reason)
    reasons = pl.Series(
        "reasons", [found.get(row, []) for row in numbered["__row"]], dtype=pl.List(pl.String)
    )
    folder = store.config.root / "quarantine" / group.name / f"v{group.version}"
    folder = folder / quote(key, safe="")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run_id}.parquet"
    whole = [verdict.reason for verdict in verdicts if verdict.blocking]
    temporary = path.with_suffix(".part")
    numbered.drop("__row").with_columns(reasons).write_parquet(
        temporary,
        metadata={
            "feature_group": group.name,
            "partition": key,
            "run_id": run_id,
            "rejected_at": datetime.now(UTC).isoformat(),
            "reasons": json.dumps(whole),
        },
    )
    temporary.replace(path)
    return path
