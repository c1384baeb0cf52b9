"""How the columns of a table follow the declaration of its group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from feature_store_assets.declaration.slots import stale
from feature_store_assets.errors import BreakingChange, SchemaMismatch
from feature_store_assets.offline.commit_history import SAME_ROWS
from feature_store_assets.offline.scan import ROW, partitions_of, scan
from feature_store_assets.offline.schema import PARTITION, TableSchema, declared_type

if TYPE_CHECKING:
    from feature_store_assets.offline.delta_log import DeltaLog


def evolve(
    log: DeltaLog, declared: TableSchema, version: int, incoming: pa.Schema | None = None
) -> None:
    """Create the table, or add the features that it lacks; safe beside other writers.

    A column that a dropped feature left behind stays as it is, until a new feature takes its name:
    then all rows are written again without it.

    Parameters
    ----------
    version
        The group's version, for messages.
    incoming
        Where keys have no declared type, the columns that give it.

    Raises
    ------
    BreakingChange
        A stored column has another type.
    SchemaMismatch
        A key has no type yet.
    """
    if not log.exists:
        schema = declared.with_key_types(incoming or pa.schema([]))
        for name, kind in schema.keys:
            if kind is None:
                raise SchemaMismatch(schema.owner, name, wanted="a key", got=None)
        log.create(schema.arrow)
    stored = log.schema
    if gone := set(stale(declared.slots)).intersection(stored.names):
        stored = pa.schema([field for field in stored if field.name not in gone])
        _write_again(log, stored)
    wanted = declared.with_key_types(stored).arrow
    broken = [
        f"column '{field.name}' is {declared_type(stored.field(field.name).type)} in the table"
        for field in wanted
        if field.name in stored.names and stored.field(field.name).type != field.type
    ]
    if broken:
        raise BreakingChange(declared.owner, version, broken)
    if set(wanted.names) - set(stored.names):
        log.add_columns(wanted)


def _write_again(log: DeltaLog, columns: pa.Schema) -> None:
    """Write all rows again with fewer columns, in one commit."""
    types = {
        field.name: declared_type(field.type) or "string"
        for field in columns
        if field.name != PARTITION
    }

    def rows(version: int) -> pa.Table:
        files = log.files(version=version)
        frame = scan(files, types, numbered=True).collect()
        whole = frame.select(*types, partitions_of(files, frame[ROW]).alias(PARTITION))
        return whole.select(columns.names).to_arrow().cast(columns)

    log.commit(rows, mode="overwrite", columns=columns, metadata={SAME_ROWS: "true"})
