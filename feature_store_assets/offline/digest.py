"""Digests of columns by their values, whatever files or chunks hold them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store_assets.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable


class ColumnDigest:
    """SHA-256 over the values of one column, fed chunk by chunk; how it is cut does not count.

    Parameters
    ----------
    kind
        The column's Arrow type; it is part of the digest, as Parquet gives it back.

    Raises
    ------
    DataError
        Values of that type have no digest.
    """

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = _stored(kind)
        self._valid = hashlib.sha256(_label(self._kind).encode())
        # Kept apart, for how chunks interleave them must not count.
        self._lengths, self._values = hashlib.sha256(), hashlib.sha256()
        self._children = [ColumnDigest(child) for child in _children(self._kind)]

    def update(self, values: Any) -> None:
        """Add the values of an Arrow array."""
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if values.type != self._kind and not self._children:
            values = values.cast(self._kind)
        self._valid.update(np.asarray(values.is_valid()).astype(np.uint8).data)
        if pa.types.is_struct(self._kind):
            for child, held in zip(self._children, values.flatten(), strict=True):
                child.update(held)
        elif self._children:
            self._lengths.update(_lengths(pc.list_value_length(values)))
            self._children[0].update(values.flatten())
        elif _is_text(self._kind):
            self._lengths.update(_lengths(pc.binary_length(values)))
            self._values.update(b"".join(_texts(values)))
        elif not pa.types.is_null(self._kind):
            self._values.update(np.ascontiguousarray(_numbers(values)).data)

    def hexdigest(self) -> str:
        parts = [each.hexdigest() for each in (self._valid, self._lengths, self._values)]
        parts += [child.hexdigest() for child in self._children]
        return hashlib.sha256("".join(parts).encode()).hexdigest()


class TableDigest:
    """Digests of all columns of a table that is fed in pieces."""

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = {field.name: ColumnDigest(field.type) for field in schema}

    def update(self, piece: pa.Table) -> None:
        for name, digest in self._columns.items():
            for chunk in piece[name].chunks:
                digest.update(chunk)

    def columns(self) -> dict[str, str]:
        """Return a digest per column, 64 hex digits each."""
        return {name: digest.hexdigest() for name, digest in self._columns.items()}


def _stored(kind: Any) -> Any:
    """Return the type that comes back from a Parquet file: it knows no seconds, for one."""
    types = pa.types
    if types.is_dictionary(kind):
        return _stored(kind.value_type)
    if types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if kind == pa.time32("s"):
        return pa.time32("ms")
    return pa.date32() if types.is_date64(kind) else kind


def _label(kind: Any) -> str:
    """Name a type without the names of list items, which Parquet gives anew."""
    types = pa.types
    if types.is_struct(kind):
        return f"struct<{', '.join(kind.field(number).name for number in range(kind.num_fields))}>"
    if types.is_fixed_size_list(kind):
        return f"fixed_size_list[{kind.list_size}]"
    if types.is_list(kind) or types.is_large_list(kind):
        return "list" if types.is_list(kind) else "large_list"
    if not (
        _is_text(kind)
        or types.is_null(kind)
        or types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or (types.is_temporal(kind) and not types.is_interval(kind))
    ):
        raise DataError(f"A column of type {kind} has no digest: cast it, or leave it out.")
    return str(kind)


def _children(kind: Any) -> Iterable[pa.DataType]:
    types = pa.types
    if types.is_struct(kind):
        return [kind.field(number).type for number in range(kind.num_fields)]
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [kind.value_type]
    return []


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
    )


def _lengths(lengths: Any) -> Any:
    return lengths.fill_null(0).cast(pa.int64()).to_numpy(zero_copy_only=False)


def _texts(values: Any) -> Iterable[bytes]:
    """The bytes of a text array: those under nulls do not count."""
    kept = values.drop_null()
    wide = pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type)
    offsets = np.frombuffer(kept.buffers()[1], np.int64 if wide else np.int32)
    first, last = offsets[kept.offset], offsets[kept.offset + len(kept)]
    if last > first:
        yield kept.buffers()[2][first:last]


def _numbers(values: Any) -> Any:
    """Return values of fixed width as numbers, zero where they are null."""
    kind, types = values.type, pa.types
    if types.is_boolean(kind):
        values = values.cast(pa.uint8())
    elif types.is_decimal(kind):
        # The narrow ones come out of fill_null in buffers of another width.
        wide = kind if kind.bit_width > 64 else pa.decimal128(kind.precision, kind.scale)  # noqa: PLR2004
        values = values.cast(wide).fill_null(0)
        bytes_held = wide.byte_width
        start = values.offset * bytes_held
        held = values.buffers()[1][start : start + len(values) * bytes_held]
        return np.frombuffer(held, np.uint8)
    elif types.is_temporal(kind):
        values = values.view(pa.int32() if kind.bit_width == 32 else pa.int64())  # noqa: PLR2004
    return values.fill_null(0).to_numpy(zero_copy_only=False)
