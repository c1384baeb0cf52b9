"""Splits of a training set: which part each row of a spine belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store_assets.declaration.instants import utc
from feature_store_assets.errors import DataError, suggestion
from feature_store_assets.offline.dataframes import polars_frame
from feature_store_assets.offline.point_in_time import spine_times

if TYPE_CHECKING:
    import numpy.typing as npt

    Parts = npt.NDArray[np.intp]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_ROUNDING = 1e-9
# What a set that is not split has.
WHOLE = "all"

Split = Mapping[str, float] | Mapping[str, datetime | None]


def columns_of(split: Split | None, by: str | Sequence[str] | None, timestamp: str) -> list[str]:
    """Return the spine's columns that splitting looks at."""
    if by is not None:
        return [by] if isinstance(by, str) else list(dict.fromkeys(by))
    return [timestamp] if split and _is_by_time(split) else []


def assign(
    spine: pa.Table,
    rows: int,
    split: Split,
    *,
    by: Sequence[str] | None,
    timestamp: str,
    seed: int,
) -> Parts:
    """Return the number of the part that each row belongs to.

    Parameters
    ----------
    spine
        The columns of `columns_of`.
    rows
        How many rows the spine has.
    split
        Name -> share, the shares adding up to 1, drawn at random; or name -> the instant before
        which its rows lie, in order of time, the last one None for the rest.
    by
        Rows equal in these columns stay together: one customer is never in two parts.
    seed
        Draws the same parts again.

    Raises
    ------
    DataError
        The split makes no sense, or leaves a part without rows.
    """
    for name in split:
        if not _NAME.fullmatch(name) or name == WHOLE:
            raise DataError(
                f"'{name}' cannot name a part of a split: use letters, digits, '_' and '-', and "
                f"not '{WHOLE}'."
            )
    if _is_by_time(split):
        if by is not None:
            raise DataError("A split by time takes no split_by: the instants decide.")
        parts = _by_time(spine, split, timestamp)
    else:
        parts = _by_share(spine, rows, split, by, seed)
    counts = np.bincount(parts, minlength=len(split))
    for name, count in zip(split, counts, strict=True):
        if not count:
            raise DataError(f"No row of the spine falls into '{name}'. Choose another split.")
    return parts


def _is_by_time(split: Split) -> bool:
    return any(value is None or isinstance(value, datetime) for value in split.values())


def _by_share(
    spine: pa.Table, rows: int, split: Mapping[str, Any], by: Sequence[str] | None, seed: int
) -> Parts:
    shares = list(split.values())
    # Compared so that NaN is refused too.
    if not all(isinstance(share, int | float) and share > 0 for share in shares) or not (
        abs(sum(shares) - 1) <= _ROUNDING
    ):
        raise DataError(f"The shares of a split are above 0 and add up to 1, not {dict(split)}.")
    if by is not None and not by:
        raise DataError("split_by names no column: name those whose equal rows stay together.")
    units = np.arange(rows) if by is None else _units(spine, by)
    sizes = np.bincount(units)
    order = np.random.default_rng(seed).permutation(len(sizes))
    ends = np.round(np.cumsum(shares) * rows).astype(np.int64)
    ends[-1] = rows
    # A unit belongs where its middle lies, so that large ones do not always tip over the edge.
    middles = np.cumsum(sizes[order]) - sizes[order] / 2
    of_unit = np.empty(len(sizes), np.intp)
    of_unit[order] = np.searchsorted(ends, middles, side="right")
    return of_unit[units]


def _units(spine: pa.Table, by: Sequence[str]) -> Parts:
    """Number the distinct values of columns in the order in which they appear."""
    # Under names of our own: a column may be called anything.
    names = [f"by_{number}" for number in range(len(by))]
    frame = polars_frame(spine.select(by).rename_columns(names))
    unique = frame.unique(maintain_order=True).with_row_index("unit")
    joined = frame.join(unique, on=names, how="left", nulls_equal=True, maintain_order="left")
    return joined["unit"].to_numpy().astype(np.intp)


def _by_time(spine: pa.Table, split: Mapping[str, Any], timestamp: str) -> Parts:
    *bounds, last = split.values()
    if last is not None or not all(isinstance(bound, datetime) for bound in bounds):
        raise DataError(
            "A split by time gives each part the instant before which its rows lie, and None to "
            "the last one: {'train': datetime(...), 'test': None}."
        )
    if any(bound.tzinfo is None for bound in bounds) or bounds != sorted(bounds):
        raise DataError("The instants of a split have a time zone and follow each other in time.")
    moments: Any = spine_times(spine, timestamp)
    parts = np.zeros(len(moments), np.intp)
    for bound in bounds:
        behind = pc.greater_equal(
            moments, pa.scalar(utc(bound, "A bound of the split"), moments.type)
        )
        parts += behind.fill_null(True).to_numpy().astype(np.intp)
    return parts


def checked_columns(columns: Sequence[str], spine: pa.Schema) -> None:
    """Refuse to split by columns that the spine does not have."""
    for name in columns:
        if name not in spine.names:
            raise DataError(
                f"The spine has no column '{name}' to split by." + suggestion(name, spine.names)
            )
