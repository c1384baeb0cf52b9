"""Declared bounds, counted row by row without Great Expectations: the gate of pushed rows.

The definitions are those of `quality.expectations`, which judges partitions before they are
committed: NaN is a missing value, missing values break nothing but `nullable=False`, and values
repeat within one partition.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl
    import pyarrow as pa

    from feature_store_assets.declaration.feature import Feature
    from feature_store_assets.declaration.group import FeatureGroup

_PARTITION = "partition"


def broken_bounds(rows: pa.Table, group: FeatureGroup) -> dict[str, int]:
    """Return how many rows break each declared bound of the group's features.

    Parameters
    ----------
    rows
        The group's rows, as Arrow, typed as declared, with their `partition`.
    group
        The group; its `expect.*` checks run in the validate job, not here.

    Returns
    -------
    `{"amount ge=0": 3}`: bounds that no row breaks are left out.
    """
    import polars as pl

    frame = pl.DataFrame(rows)
    found = {}
    for feature in group.features:
        for bound, broken in _faults(feature, frame):
            if broken:
                found[f"{feature.name} {bound}"] = broken
    return found


def _faults(feature: Feature, frame: pl.DataFrame) -> Iterator[tuple[str, int]]:
    """Give each bound of a feature with the number of rows that break it."""
    import polars as pl

    column = frame[feature.name]
    if feature.dtype == "float64":
        column = column.fill_nan(None)
    if not feature.nullable:
        yield "nullable=False", column.null_count()
    values = column.drop_nulls()
    if feature.ge is not None:
        yield f"ge={feature.ge}", int((values < feature.ge).sum())
    if feature.le is not None:
        yield f"le={feature.le}", int((values > feature.le).sum())
    if feature.unique:
        keyed = frame.select(_PARTITION, column).drop_nulls(feature.name)
        yield "unique=True", int(keyed.select(pl.struct(pl.all()).is_duplicated().sum()).item())
    if feature.one_of is not None:
        allowed = set(feature.one_of)
        yield f"one_of={list(feature.one_of)}", _count(values, lambda value: value not in allowed)
    if feature.regex is not None:
        pattern = re.compile(feature.regex)
        yield f"regex={feature.regex}", _count(values, lambda value: not pattern.search(value))


def _count(values: pl.Series, at_fault: Callable[[Any], bool]) -> int:
    """Return how many values are at fault, judging each distinct one once."""
    return sum(times for value, times in values.value_counts().iter_rows() if at_fault(value))
