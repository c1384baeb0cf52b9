"""The gate: partitions are judged, the good ones committed, the others put into quarantine.

One way in for all who write whole partitions: runs of materialized groups, and rejected rows
that are tried again. Rows that stand already are judged again without being written.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from feature_store_assets.ingestion.reference_profiles import Past, fences
from feature_store_assets.offline.quarantine import REASONS, Quarantine
from feature_store_assets.offline.schema import PARTITION
from feature_store_assets.quality.drift import Shift, compare
from feature_store_assets.quality.expectations import check
from feature_store_assets.quality.statistics import Profile, profile
from feature_store_assets.quality.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.offline.table import OfflineTable
    from feature_store_assets.registry.statistics import Statistics

    # Returns what a snapshot or training set held of a group, by feature.
    Fixed = Callable[[FeatureGroup, str], dict[str, Profile]]

_ROW = "__row"


@dataclass(frozen=True)
class Judged:
    """What the gate found, all by partition.

    Attributes
    ----------
    rows
        The rows that were judged, with their `partition`.
    references
        The values that each partition was compared with, by feature; empty without drift rules.
    """

    rows: pl.DataFrame
    verdicts: dict[str, list[Verdict]]
    profiles: dict[str, dict[str, Profile]]
    shifts: dict[str, list[Shift]] = field(default_factory=dict)
    references: dict[str, dict[str, Profile]] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        """All partitions that were judged, in their order."""
        return tuple(self.verdicts)

    @property
    def rejected(self) -> dict[str, list[str]]:
        """The partitions that must not be committed, with the reasons."""
        reasons = {key: self.reasons(key) for key in self.verdicts}
        return {key: why for key, why in reasons.items() if why}

    def reasons(self, key: str) -> list[str]:
        """Why a partition must not be committed; none if it may."""
        found = (*self.verdicts[key], *self.shifts.get(key, ()))
        return [each.reason for each in found if each.blocking]

    def without_rows(self) -> Judged:
        """Return what was found alone, for many partitions together."""
        return replace(self, rows=self.rows.clear())

    def __add__(self, later: Judged) -> Judged:
        """Join what was found in two calls."""
        return Judged(
            pl.concat([self.rows, later.rows]),
            {**self.verdicts, **later.verdicts},
            {**self.profiles, **later.profiles},
            {**self.shifts, **later.shifts},
            {**self.references, **later.references},
        )


@dataclass(frozen=True)
class Admitted:
    """What became of partitions.

    Attributes
    ----------
    committed
        The keys of the good ones.
    version
        The table's version that holds them.
    quarantined
        The files of the others, by key.
    """

    judged: Judged
    committed: tuple[str, ...]
    version: int
    quarantined: dict[str, str] = field(default_factory=dict)

    def __add__(self, later: Admitted) -> Admitted:
        """Join what two calls of one run did."""
        return Admitted(
            self.judged + later.judged,
            (*self.committed, *later.committed),
            later.version,
            {**self.quarantined, **later.quarantined},
        )


@dataclass(frozen=True)
class Gate:
    """What a store needs to judge and keep partitions.

    Parameters
    ----------
    statistics
        Where the profiles of what is stored are kept.
    quarantine
        Where rejected partitions go.
    fixed
        Gives the profiles of snapshots and training sets that drift is measured against.
    """

    statistics: Statistics
    quarantine: Quarantine
    fixed: Fixed

    def judge(self, group: FeatureGroup, rows: pl.DataFrame, keys: Sequence[str]) -> Judged:
        """Judge rows by what their group expects, writing nothing.

        Parameters
        ----------
        rows
            The rows of all partitions, typed as declared, with their `partition`.
        keys
            The partitions, in the order of time where they have one.
        """
        types = {feature.name: feature.dtype for feature in group.features}
        verdicts: dict[str, list[Verdict]] = {key: [] for key in keys}
        for verdict in check(
            rows,
            group.all_expectations,
            partitions=keys,
            features=types,
            vacuous=group.vacuous_expectations,
            fences=fences(self.statistics, group, keys),
            pii=group.confidential,
        ):
            verdicts[verdict.partition].append(verdict)
        profiles = profile(rows, partitions=keys, features=list(types), pii=group.personal)
        judged = Judged(rows, verdicts, profiles)
        if group.drift:
            self._compare(group, judged, types)
        return judged

    def _compare(self, group: FeatureGroup, judged: Judged, types: Mapping[str, str]) -> None:
        """Measure how far each partition is from what it is compared with."""
        against = dict.fromkeys(rule.against for rule in group.drift)
        past = Past(self.statistics, group, judged.profiles, list(against))
        split = judged.rows.partition_by(PARTITION, as_dict=True, maintain_order=True)
        fixed = {name: self.fixed(group, name) for name in against if name not in past.names}
        for key in judged.keys:
            references = {**{name: past.of(name, key) for name in past.names}, **fixed}
            rows = split.get((key,), judged.rows.clear())
            judged.shifts[key] = compare(
                group.drift, types, references, rows, key, pii=group.personal
            )
            judged.references[key] = references[next(iter(against))]
            if not judged.reasons(key):
                past.add(key)

    def admit(
        self,
        group: FeatureGroup,
        table: OfflineTable,
        rows: pa.Table,
        keys: Sequence[str],
        *,
        run_id: str,
        guard: Callable[[], None],
    ) -> Admitted:
        """Judge partitions, commit the good ones at once, keep the others in quarantine.

        Parameters
        ----------
        table, rows
            The group's table, and rows as `conform` returns them, with their `partition`.
        run_id
            Kept with the commit and in quarantine.
        guard
            Called before each attempt to commit; what it raises stops the write.
        """
        judged = self.judge(group, pl.DataFrame(rows), keys)
        return self.take(group, table, rows, judged, run_id=run_id, guard=guard)

    def take(
        self,
        group: FeatureGroup,
        table: OfflineTable,
        rows: pa.Table,
        judged: Judged,
        *,
        run_id: str,
        guard: Callable[[], None],
    ) -> Admitted:
        """Do what `admit` does with rows that are judged already."""
        rejected = judged.rejected
        good = tuple(key for key in judged.keys if key not in rejected)
        version = table.version()
        if good:
            table.ensure(rows.schema)
            kept = rows.filter(pc.is_in(rows[PARTITION], pa.array(good, pa.string())))
            told = {"run_id": run_id, "partitions": _summary(good)}
            version = table.replace(kept, good, metadata=told, guard=guard).version
            # A kill in between leaves older statistics: the next run or validation mends them.
            profiles = {key: judged.profiles[key] for key in good}
            self.statistics.put(group.name, group.version, profiles, table_version=version)
            self.quarantine.remove(group.name, good, version=group.version)
        return Admitted(judged, good, version, self._keep(group, judged, rejected, run_id))

    def _keep(
        self,
        group: FeatureGroup,
        judged: Judged,
        rejected: Mapping[str, Sequence[str]],
        run_id: str,
    ) -> dict[str, str]:
        """Put rejected partitions into quarantine, each row with its own reasons."""
        numbered = judged.rows.with_row_index(_ROW).filter(pl.col(PARTITION).is_in(list(rejected)))
        split = numbered.partition_by(PARTITION, as_dict=True, maintain_order=True)
        files = {}
        for key, reasons in rejected.items():
            rows = split.get((key,), numbered.clear())
            found: dict[int, list[str]] = {}
            for verdict in judged.verdicts[key]:
                if verdict.outcome != "passed":
                    for row in verdict.rows:
                        found.setdefault(row, []).append(verdict.reason)
            listed = pl.Series(
                REASONS, [found.get(row, []) for row in rows[_ROW]], dtype=pl.List(pl.String)
            )
            files[key] = self.quarantine.keep(
                rows.drop(_ROW).with_columns(listed),
                feature_group=group.name,
                version=group.version,
                partition=key,
                run_id=run_id,
                rejected_at=datetime.now(UTC),
                reasons=reasons,
            )
        return files


def _summary(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]}...{keys[-1]} ({len(keys)})"
