"""Rows that were gathered in the order of the files, handed out in the order of a spine."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from feature_store_assets.declaration.types import arrow_type, polars_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from feature_store_assets.offline.asof_match import Int64s

# Longer strings than one Arrow array can address need several.
_CHUNK = 1 << 22
# Guessed bytes of a value whose width is not fixed.
_WIDE = 48


def width(kind: str) -> int:
    """Return about how many bytes a value of a declared type takes in memory."""
    return arrow_type(kind).byte_width if kind in {"int64", "float64"} else _WIDE


class Source(Protocol):
    """Gathered rows; a position behind them stands for a row of nulls."""

    def take(self, index: Int64s, shown: Mapping[str, str]) -> pa.Table:
        """Return the rows at positions, columns named as in the answer."""
        ...


class Held:
    """Gathered rows in memory.

    Parameters
    ----------
    parts
        Frames of the columns, in order.
    types
        The columns' declared types.
    """

    def __init__(self, parts: Iterable[pl.DataFrame], types: Mapping[str, str]) -> None:
        import polars as pl

        frames = list(parts)
        self._types = types
        self._columns: dict[str, pl.Series] = {}
        for name, kind in types.items():
            # Column by column, so that not all are in memory twice.
            pieces = [frame.drop_in_place(name) for frame in frames]
            nulls = pl.Series(name, [None], dtype=polars_type(kind))
            self._columns[name] = pl.concat([*pieces, nulls], rechunk=True)

    def take(self, index: Int64s, shown: Mapping[str, str], *, last: bool = False) -> pa.Table:
        """Return the rows at positions; `last` lets go of each column as soon as it is taken."""
        columns: dict[str, Any] = {}
        for name, kind in self._types.items():
            column = self._columns.pop(name) if last else self._columns[name]
            chunks: list[Any] = [
                column.gather(index[at : at + _CHUNK]).to_arrow().cast(arrow_type(kind))
                for at in range(0, len(index), _CHUNK)
            ]
            wanted: Any = arrow_type(kind)
            columns[shown[name]] = pa.chunked_array(chunks, wanted)
        return pa.table(columns)


class Spilled:
    """Gathered rows on disk, sorted out by the pieces of the spine that want them.

    Parameters
    ----------
    parts, types
        As of `Held`.
    cuts
        The positions that each piece of the spine wants, in the order in which they are taken.
    rows
        How many rows there are.
    folder
        Where to put them.
    """

    def __init__(
        self,
        parts: Iterable[pl.DataFrame],
        types: Mapping[str, str],
        cuts: Sequence[Int64s],
        rows: int,
        folder: Path,
    ) -> None:
        self._types = types
        self._wanted = [unique[unique < rows] for unique in map(np.unique, cuts)]
        self._paths = [folder / f"{number}.arrow" for number in range(len(cuts))]
        self._taken = 0
        folder.mkdir()
        schema = pa.schema([(name, arrow_type(kind)) for name, kind in types.items()])
        with ExitStack() as stack:
            files = [
                stack.enter_context(pa.ipc.new_file(str(path), schema)) for path in self._paths
            ]
            base = 0
            for part in parts:
                for file, wanted in zip(files, self._wanted, strict=True):
                    first, end = np.searchsorted(wanted, [base, base + part.height])
                    if end > first:
                        file.write(part[wanted[first:end] - base].to_arrow().cast(schema))
                base += part.height

    def take(self, index: Int64s, shown: Mapping[str, str]) -> pa.Table:
        """Return the rows of the next piece; `index` is the cut that was announced for it."""
        import polars as pl

        path, wanted = self._paths[self._taken], self._wanted[self._taken]
        self._taken += 1
        with pa.memory_map(str(path)) as file:
            frame = pl.DataFrame(pa.ipc.open_file(file).read_all())
            held = Held([frame], self._types)
        path.unlink()
        return held.take(np.searchsorted(wanted, index), shown, last=True)
