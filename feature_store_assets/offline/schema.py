"""The columns of a group's table, and the gate that rows pass before they are written.

Delta casts silently (0.1 into float32, '7' into an integer), so types are compared here, against
a whitelist of casts that lose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store_assets.declaration.mask import mask_value
from feature_store_assets.declaration.types import SCALARS, arrow_type
from feature_store_assets.errors import (
    DataError,
    DuplicateRows,
    NaiveTimestamps,
    NullKeys,
    SchemaMismatch,
    SpineError,
    suggestion,
)
from feature_store_assets.offline.calendar_check import refuse_outside
from feature_store_assets.offline.dataframes import polars_frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from feature_store_assets.declaration.group import FeatureGroup

PARTITION = "partition"
CREATED = "created_timestamp"
UTC_MICROSECONDS = pa.timestamp("us", "UTC")

_NAMES = {arrow_type(name): name for name in SCALARS}


def declared_type(kind: Any) -> str | None:
    """Return the declared type that holds values of an Arrow type unchanged, if there is one."""
    if _is_listed(kind):
        item = declared_type(kind.value_type)
        return None if item is None else f"list<{item}>"
    if pa.types.is_timestamp(kind):
        return "timestamp[us, UTC]"
    for target, name in _NAMES.items():
        if _is_lossless(kind, target):
            return name
    return None


@dataclass(frozen=True)
class TableSchema:
    """Columns of one table, in order: keys, event timestamp, created timestamp, features.

    `None` as the type of a key means: as in the first rows written.
    """

    owner: str
    keys: tuple[tuple[str, str | None], ...]
    timestamp: str
    features: tuple[tuple[str, str], ...]
    created: str | None = None
    timezone: str | None = None
    pii: frozenset[str] = frozenset()
    slots: tuple[str, ...] = ()

    @classmethod
    def of(cls, group: FeatureGroup) -> TableSchema:
        """Return the columns that a declared group's table has."""
        entity = group.entity
        return cls(
            group.name,
            tuple(zip(entity.join_keys, entity.key_types, strict=True)),
            group.timestamp,
            tuple((feature.name, feature.dtype) for feature in group.features),
            group.created,
            group.timezone,
            frozenset(feature.name for feature in group.features if feature.pii),
            group.slots,
        )

    @property
    def key_names(self) -> list[str]:
        return [name for name, _ in self.keys]

    @property
    def feature_names(self) -> list[str]:
        return [name for name, _ in self.features]

    @property
    def arrow(self) -> pa.Schema:
        """The table's Arrow schema; every key's type must be known."""
        fields = [(name, arrow_type(kind)) for name, kind in self.keys if kind is not None]
        fields += [(self.timestamp, UTC_MICROSECONDS), (CREATED, UTC_MICROSECONDS)]
        fields += [(name, arrow_type(kind)) for name, kind in self.features]
        return pa.schema([*fields, (PARTITION, pa.string())])

    def with_key_types(self, known: pa.Schema) -> TableSchema:
        """Return the schema with undeclared key types taken from stored or incoming columns."""
        keys = []
        for name, kind in self.keys:
            found = kind
            if found is None and name in known.names:
                found = declared_type(known.field(name).type)
                if found is None or found == "float64" or found.startswith("list"):
                    raise SchemaMismatch(
                        self.owner,
                        name,
                        wanted="a key (int64, string, bool, date32 or timestamp)",
                        got=str(known.field(name).type),
                    )
            keys.append((name, found))
        return replace(self, keys=tuple(keys))


def _is_lossless(got: Any, wanted: Any) -> bool:
    """Tell whether every value of the Arrow type `got` is a value of `wanted`."""
    types = pa.types
    if got == wanted or types.is_null(got):
        return True
    if types.is_dictionary(got) or (types.is_list(wanted) and _is_listed(got)):
        inner = wanted if types.is_dictionary(got) else wanted.value_type
        return _is_lossless(got.value_type, inner)
    small = types.is_integer(got) and got.bit_width <= 32  # noqa: PLR2004  # fits a mantissa
    return bool(
        (types.is_string(wanted) and (types.is_large_string(got) or types.is_string_view(got)))
        or (types.is_int64(wanted) and types.is_integer(got) and not types.is_uint64(got))
        or (types.is_float64(wanted) and (types.is_floating(got) or small))
        or (types.is_timestamp(wanted) and types.is_timestamp(got) and got.tz is not None)
    )


def _is_listed(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def lossless(
    column: pa.ChunkedArray[Any],
    wanted: pa.DataType,
    *,
    owner: str,
    name: str,
    timezone: str | None,
    masked: bool = False,
    beside: Mapping[str, pa.ChunkedArray[Any]] | None = None,
) -> pa.ChunkedArray[Any]:
    """Cast a column to a declared type, or refuse.

    Parameters
    ----------
    masked, beside
        Whether an error must not show values, and the keys that it shows beside them, masked.

    Raises
    ------
    SchemaMismatch
        The type is not on the whitelist, or nanoseconds would be cut.
    NaiveTimestamps
        A timestamp has no zone and the group declares none.
    OutsideCalendar
        A timestamp or date lies outside the years 1 to 9999.
    """
    got = column.type
    inside = partial(refuse_outside, owner=owner, name=name, masked=masked, beside=beside)
    inside(column)
    shown = _NAMES.get(wanted, str(wanted))
    if pa.types.is_timestamp(wanted) and pa.types.is_timestamp(got) and got.tz is None:
        if timezone is None:
            raise NaiveTimestamps(owner, name)
        # In microseconds first: near the last nanoseconds the zone's hours would wrap around.
        column = _cast(column, pa.timestamp("us"), owner=owner, name=name)
        column = pa.chunked_array([pc.assume_timezone(column, timezone)])
        got = column.type
        inside(column)  # the zone may have moved the first and the last hours out
    if got == wanted:
        return column
    if not _is_lossless(got, wanted):
        hint = "Cast it where it is computed." if got != pa.null() else ""
        raise SchemaMismatch(owner, name, wanted=shown, got=str(got), hint=hint)
    return _cast(column, wanted, owner=owner, name=name)


def _cast(
    column: pa.ChunkedArray[Any], wanted: Any, *, owner: str, name: str
) -> pa.ChunkedArray[Any]:
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid:
        hint = "Its values do not fit: round them to microseconds where they are computed."
        shown = _NAMES.get(wanted, str(wanted))
        raise SchemaMismatch(owner, name, wanted=shown, got=str(column.type), hint=hint) from None


def conform(data: pa.Table, schema: TableSchema, *, written: datetime) -> pa.Table:
    """Return the rows as the table stores them, or refuse them all.

    Parameters
    ----------
    data
        Keys, event timestamp, features, and the author's created timestamp if one is declared.
    schema
        The table's columns; every key's type must be known.
    written
        The created timestamp of rows that bring none.

    Returns
    -------
    The rows with the table's columns, without `partition`, in the order given.

    Raises
    ------
    SchemaMismatch, NaiveTimestamps, OutsideCalendar, NullKeys, DuplicateRows
    """
    for name, given_type in schema.keys:
        if given_type is None:
            raise SchemaMismatch(schema.owner, name, wanted="a key", got=None)
    if twice := {name for name in data.column_names if data.column_names.count(name) > 1}:
        raise DataError(f"Rows for '{schema.owner}' have two columns named '{min(twice)}'.")
    wanted = schema.arrow
    source = {CREATED: schema.created or CREATED}
    known = {source.get(name, name) for name in wanted.names}
    for name, kind in zip(data.column_names, data.schema.types, strict=True):
        if name not in known and name != PARTITION:
            near = f"Declared are: {', '.join(sorted(known - {PARTITION}))}."
            raise SchemaMismatch(schema.owner, name, wanted=None, got=str(kind), hint=near)
    columns: list[pa.ChunkedArray[Any]] = []
    masked = {*schema.key_names, *schema.pii}
    beside = {name: data[name] for name in schema.key_names if name in data.column_names}
    names = [name for name in wanted.names if name != PARTITION]
    for name in names:
        kind = wanted.field(name).type
        given = source.get(name, name)
        if given in data.column_names:
            columns.append(
                lossless(
                    data[given],
                    kind,
                    owner=schema.owner,
                    name=given,
                    timezone=schema.timezone,
                    masked=given in masked,
                    beside=beside,
                )
            )
        elif name == CREATED and schema.created is None:
            columns.append(_repeated(written, data.num_rows))
        else:
            raise SchemaMismatch(schema.owner, given, wanted=_NAMES.get(kind, str(kind)), got=None)
    table = pa.Table.from_arrays(columns, names=names)
    _refuse_nulls(table, schema)
    _refuse_duplicates(table, schema)
    return table


def _repeated(moment: datetime, count: int) -> pa.ChunkedArray[Any]:
    """Return a column of one instant, by way of Polars: Arrow's own reading loads pandas."""
    import polars as pl

    times = pl.repeat(moment, count, dtype=pl.Datetime("us", "UTC"), eager=True)
    return pa.chunked_array([times.to_arrow()])


def typed_keys(data: pa.Table, schema: TableSchema, what: str) -> pa.Table:
    """Return the key columns of a spine, or of entities to read, typed as the table has them.

    Raises
    ------
    SpineError
        A key is missing or of a type that does not compare; `what` names the frame.
    OutsideCalendar
        A key is a timestamp or date outside the years 1 to 9999.
    """
    columns: dict[str, Any] = {}
    for name, kind in schema.keys:
        assert kind is not None
        if name not in data.column_names:
            raise SpineError(
                f"The {what} has no column '{name}', a join key of '{schema.owner}'."
                + suggestion(name, data.column_names)
            )
        try:
            columns[name] = lossless(
                data[name],
                arrow_type(kind),
                owner=f"the {what}",
                name=name,
                timezone=None,
                masked=True,
            )
        except SchemaMismatch:
            raise SpineError(
                f"Key '{name}' of the {what} is {data.schema.field(name).type}; '{schema.owner}' "
                f"has {kind}. Cast it there."
            ) from None
    return pa.Table.from_arrays(list(columns.values()), names=list(columns))


def examples(table: pa.Table, rows: Sequence[int], schema: TableSchema) -> list[dict[str, Any]]:
    """Return up to five rows for a message: timestamps as they are, keys masked."""
    masked = set(schema.key_names) | schema.pii
    shown = table.select([*schema.key_names, schema.timestamp]).take(pa.array(rows[:5], pa.int64()))
    return [
        {name: mask_value(value) if name in masked else str(value) for name, value in row.items()}
        for row in shown.to_pylist()
    ]


def _refuse_nulls(table: pa.Table, schema: TableSchema) -> None:
    for name in (*schema.key_names, schema.timestamp, CREATED):
        count = table[name].null_count
        if count:
            rows = np.flatnonzero(table[name].is_null().to_numpy()).tolist()
            shown = schema.created or name if name == CREATED else name
            raise NullKeys(schema.owner, shown, count, examples(table, rows, schema))


def _refuse_duplicates(table: pa.Table, schema: TableSchema) -> None:
    import polars as pl

    unique = [*schema.key_names, schema.timestamp, CREATED]
    frame = polars_frame(table.select(unique))
    if frame.n_unique() == frame.height:
        return
    repeated = frame.with_row_index("row").filter(~pl.struct(unique).is_first_distinct())
    rows = repeated["row"].to_list()
    columns = [*schema.key_names, schema.timestamp, *([schema.created] if schema.created else [])]
    raise DuplicateRows(schema.owner, columns, len(rows), examples(table, rows, schema))
