"""A run of a group: the author's rows, assigned to their partitions, handed to the gate."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from feature_store_assets.declaration.group import FeatureGroup, Window
from feature_store_assets.errors import DeclarationChanged, GroupNotFound
from feature_store_assets.ingestion.gate import Admitted
from feature_store_assets.ingestion.partition_assignment import Slots
from feature_store_assets.offline.dataframes import arrow_table
from feature_store_assets.offline.schema import TableSchema, conform
from feature_store_assets.registry.compatibility import other_than_added
from feature_store_assets.store import FeatureStore

Compute = Callable[[Window], Any]


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
) -> tuple[Admitted, int]:
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

    Returns
    -------
    What became of the partitions, and how many rows of the look-back were left out.

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
    return store.write_partitions(started, rows, slots.keys, run_id=run_id), before
