"""How a row stands in the online store: the bytes of its key and of its value.

A key is ``fs:<group>:<version>:<generation>:{<entity>}``. The entity part holds the typed,
length-prefixed values of the join keys, so that int 1 is not ``"1"``; it never contains ``}``, so
Redis Cluster hashes all of it and keeps every group of one entity in one slot. A value is

====== ================================================================
bytes  meaning
====== ================================================================
0-8    event time, microseconds
8-16   created time, microseconds
16-24  commit number: the table version the row was read at
24-26  schema number: how many fields the array has
26-    msgpack array of the features, in the table's column order
====== ================================================================

The first 24 bytes, the triple, are big-endian with the sign bit flipped, so that bytes compare as
numbers do. A tombstone ends after 26 bytes: the least times, a commit number, no fields.
"""

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import blake2b
from itertools import chain, pairwise, repeat
from numbers import Integral
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import msgspec

from feature_store_assets.declaration.instants import (
    day,
    days,
    instant as instant,  # noqa: PLC0414  # its times
    micros as micros,  # noqa: PLC0414
    utc,
)
from feature_store_assets.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from feature_store_assets.declaration.group import FeatureGroup


HEAD = 26
SIGN = 1 << 63
# LMDB takes keys of 511 bytes: longer parts are hashed. The same bound in every group, or the
# groups of one entity would not share their slot.
_LONGEST = 128

_pack = struct.Struct(">QQQH").pack
_unpack = msgspec.msgpack.Decoder(list).decode


def _hashed(part: bytes) -> bytes:
    return b"#" + blake2b(part, digest_size=32).hexdigest().encode()


def _escaped(text: str) -> str:
    if "}" in text or "%" in text:
        return text.replace("%", "%25").replace("}", "%7D")
    return text


def _typed(value: Any) -> str:
    """One join key's value, as kind, length and text."""
    kind = type(value)
    if kind is str:
        text, mark = _escaped(value), "s"
    elif kind is int:
        text, mark = str(value), "i"
    elif isinstance(value, bool):
        text, mark = str(int(value)), "b"
    elif isinstance(value, datetime):
        if value.tzinfo is None:
            raise DataError("An entity key is a timestamp without a time zone. Make it UTC.")
        text, mark = str(micros(utc(value, "An entity key"))), "t"
    elif isinstance(value, date):
        text, mark = str(days(value)), "d"
    elif isinstance(value, (str, UUID)):
        text, mark = _escaped(str(value)), "s"
    elif isinstance(value, Integral):
        text, mark = str(int(value)), "i"
    elif hasattr(value, "item"):  # NumPy's own scalars
        return _typed(value.item())
    else:
        raise DataError(
            f"An entity key is a whole number, string, bool, date, UTC timestamp or UUID, "
            f"not {kind.__name__}."
        )
    return f"{mark}{len(text)}:{text}"


def _of_version(group: str, version: int) -> bytes:
    # Nothing that a key's own marks (: { }) or Redis' patterns read stays in the name.
    name = re.sub(r"[^\w.-]", lambda hit: f"%{ord(hit[0]):x};", group, flags=re.ASCII)
    safe = name.encode() if len(name) <= _LONGEST else _hashed(name.encode())
    return b"fs:%b:%d:" % (safe, version)


def version_prefix(group: "FeatureGroup") -> bytes:
    """What the keys of a group's version begin with, whatever their generation."""
    return _of_version(group.name, group.version)


@dataclass(frozen=True, slots=True)
class KeySpace:
    """The keys of one generation of one version of a group.

    Examples
    --------
    >>> KeySpace("spending", 1, 0).key("user_1")
    b'fs:spending:1:0:{s6:user_1}'
    >>> KeySpace("spending", 1, 0).key(7, "DE")
    b'fs:spending:1:0:{i1:7s2:DE}'
    """

    group: str
    version: int
    generation: int
    prefix: bytes = field(init=False)

    def __post_init__(self) -> None:
        prefix = b"%b%d:" % (_of_version(self.group, self.version), self.generation)
        object.__setattr__(self, "prefix", prefix)

    @classmethod
    def of(cls, group: "FeatureGroup", generation: int) -> Self:
        """Return the keys of a generation of a group's version."""
        return cls(group.name, group.version, generation)

    def key(self, *entity: Any) -> bytes:
        """The key of one entity, from the values of its join keys in declared order."""
        part = _typed(entity[0]) if len(entity) == 1 else "".join(map(_typed, entity))
        return self.from_parts([part])[0]

    def keys(self, entity_ids: Sequence[Any]) -> list[bytes]:
        """The keys of many entities that have one join key each."""
        return self.from_parts(
            [
                f"s{len(value)}:{value}"
                if type(value) is str and "}" not in value and "%" not in value
                else _typed(value)
                for value in entity_ids
            ]
        )

    def from_parts(self, parts: Sequence[str]) -> list[bytes]:
        """The keys of many entities, from their typed and length-prefixed parts."""
        start = self.prefix + b"{"
        raw = [part.encode("utf-8", "surrogatepass") for part in parts]
        return [start + (part if len(part) <= _LONGEST else _hashed(part)) + b"}" for part in raw]


def sortable(number: int) -> bytes:
    """Eight bytes that compare as the numbers do.

    Examples
    --------
    >>> sortable(-1) < sortable(0) < sortable(1)
    True
    """
    return (number + SIGN).to_bytes(8, "big")


def tombstone(commit: int) -> bytes:
    """The value of a key that had no rows at table version `commit`."""
    return _pack(0, 0, commit + SIGN, 0)


def commit_number(value: bytes) -> int:
    """The table version at which a stored value was read."""
    return int.from_bytes(value[16:24], "big") - SIGN


def event_micros(value: bytes) -> int:
    """The event time of a stored row (not of a tombstone), in microseconds since 1970."""
    return int.from_bytes(value[:8], "big") - SIGN


Decoder = Callable[[bytes], list[Any]]


def _temporal(type_name: str) -> Callable[[Any], Any] | None:
    """What turns a stored number back into its date or timestamp; None where nothing has to.

    One that Python does not have becomes the nearest that it has.
    """
    if type_name.startswith("list<"):
        inner = _temporal(type_name[5:-1])
        if inner is None:
            return None
        return lambda items: [None if item is None else inner(item) for item in items]
    if type_name == "date32":
        return day
    if type_name.startswith("timestamp"):
        return instant
    return None


class RowCodec:
    """Reads the values of one group's rows.

    Parameters
    ----------
    fields
        Names and type names of the features in the table's column order. Rows written when there
        were fewer fields are padded with None.
    """

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self.fields = tuple(fields)
        self._positions = {name: at for at, (name, _) in enumerate(self.fields)}

    def decoder(self, wanted: Sequence[str]) -> Decoder:
        """A function that gives the wanted values of one row (not of a tombstone), in order."""
        unpack, pick = _unpack, self.picker(wanted)
        return lambda value: pick(unpack(value[26:]))

    def picker(self, wanted: Sequence[str]) -> Callable[[list[Any]], list[Any]]:
        """A function that gives the wanted values of a row's array, in order; it may be changed."""
        plain = self._plain(wanted)
        kinds = dict(self.fields)
        dated = [(at, turn) for at, name in enumerate(wanted) if (turn := _temporal(kinds[name]))]
        if not dated:
            return plain

        def pick(row: list[Any]) -> list[Any]:
            row = plain(row)
            for at, turn in dated:
                if (stored := row[at]) is not None:
                    row[at] = turn(stored)
            return row

        return pick

    def _plain(self, wanted: Sequence[str]) -> Callable[[list[Any]], list[Any]]:
        positions = [self._positions[name] for name in wanted]
        needed = max(positions, default=-1) + 1

        def whole(row: list[Any]) -> list[Any]:
            if len(row) < needed:
                row.extend(repeat(None, needed - len(row)))
            elif len(row) > needed:
                del row[needed:]
            return row

        if positions == list(range(needed)):
            return whole
        if len(positions) == 1:
            [only] = positions
            return lambda row: [row[only] if only < len(row) else None]
        pick = itemgetter(*positions)

        def some(row: list[Any]) -> list[Any]:
            if len(row) < needed:
                row.extend(repeat(None, needed - len(row)))
            return list(pick(row))

        return some


def _items(array: Any) -> list[Any]:
    """The values of one Arrow array as msgpack stores them: temporal ones as whole numbers."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_timestamp(kind):
        array = array.cast(pa.timestamp("us", kind.tz)).view(pa.int64())
    elif pa.types.is_date(kind):
        array = array.cast(pa.date32()).view(pa.int32())
    elif pa.types.is_dictionary(kind):
        return _items(array.dictionary_decode())
    elif pa.types.is_fixed_size_list(kind):
        return _items(array.cast(pa.list_(kind.value_type)))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        ends = array.offsets.to_pylist()
        inner = _items(array.values[ends[0] : ends[-1]]) if len(array) else []
        return [
            inner[start - ends[0] : end - ends[0]] if there else None
            for there, (start, end) in zip(
                array.is_valid().to_pylist(), pairwise(ends), strict=True
            )
        ]
    # NumPy's way to them is no faster, and loads pandas.
    items: list[Any] = array.to_pylist()
    return items


def _column(table: "pa.Table", name: str) -> list[Any]:
    chunks = table.column(name).chunks
    if len(chunks) == 1:
        return _items(chunks[0])
    return list(chain.from_iterable(map(_items, chunks)))


def _key_texts(table: "pa.Table", name: str) -> list[str]:
    import pyarrow as pa

    kind = table.schema.field(name).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    items = _column(table, name)
    if pa.types.is_integer(kind):
        texts, mark = map(str, items), "i"
    elif pa.types.is_boolean(kind):
        texts, mark = map(str, map(int, items)), "b"
    elif pa.types.is_timestamp(kind):
        texts, mark = map(str, items), "t"
    elif pa.types.is_date(kind):
        texts, mark = map(str, items), "d"
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or "string_view" in str(kind):
        texts, mark = map(_escaped, items), "s"
    else:
        raise DataError(
            f"Key column '{name}' is {kind}. Entity keys are whole numbers, strings, bools, dates "
            f"or UTC timestamps."
        )
    return [f"{mark}{len(text)}:{text}" for text in texts]


def encode_keys(space: KeySpace, table: "pa.Table", keys: Sequence[str]) -> list[bytes]:
    """The online keys of a table's rows, equal to those that `KeySpace.key` gives."""
    parts = _key_texts(table, keys[0])
    for name in keys[1:]:
        parts = [left + right for left, right in zip(parts, _key_texts(table, name), strict=True)]
    return space.from_parts(parts)


def _heads(table: "pa.Table", timestamp: str, created: str, commit: int, count: int) -> list[bytes]:
    import numpy as np
    import pyarrow as pa

    def flipped(name: str) -> Any:
        column = table.column(name)
        column = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)))
        numbers = column.cast(pa.int64()).combine_chunks()
        return np.from_dlpack(numbers).view("u8") ^ np.uint64(SIGN)

    heads = np.empty(
        table.num_rows, [("event", ">u8"), ("created", ">u8"), ("commit", ">u8"), ("count", ">u2")]
    )
    heads["event"], heads["created"] = flipped(timestamp), flipped(created)
    heads["commit"], heads["count"] = commit + SIGN, count
    whole = heads.tobytes()
    return [whole[at : at + HEAD] for at in range(0, len(whole), HEAD)]


def encode_table(
    space: KeySpace,
    table: "pa.Table",
    *,
    keys: Sequence[str],
    timestamp: str,
    created: str,
    features: Sequence[str],
    commit: int,
) -> list[tuple[bytes, bytes]]:
    """The online rows of a table that holds one row per entity.

    Parameters
    ----------
    table
        Key columns, `timestamp`, `created` (both without nulls) and `features`; more columns are
        left alone.
    features
        The feature in each slot, as a `RowCodec` reads them; no name where the slot is empty.
    commit
        The table version that the rows were read at.
    """
    names = encode_keys(space, table, keys)
    heads = _heads(table, timestamp, created, commit, len(features))
    pack = msgspec.msgpack.Encoder().encode
    empty = [None] * table.num_rows
    columns = [_column(table, name) if name else empty for name in features]
    rows = zip(*columns, strict=True) if columns else repeat((), table.num_rows)
    return [(name, head + pack(row)) for name, head, row in zip(names, heads, rows, strict=True)]
