"""What the values of each feature look like in each partition: numbers, shapes, common values."""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import polars as pl

BINS: Final = 16
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_TOP: Final = 5
_TAIL: Final = 0.005
_SAMPLED: Final = 100_000
_NARROWEST: Final = 1e-300
_CODE: Final = "partition code"


@dataclass(frozen=True, slots=True)
class Profile:
    """One feature in one partition; every number can be written as JSON.

    Parameters
    ----------
    count
        Rows, those without a value included.
    missing, missing_share
        Rows without a value (null or NaN), and their share of all rows.
    distinct
        Different values, exact; None for lists.
    mean, stddev, minimum, maximum
        Of the finite numbers; None for other types, without values, and for personal features.
    edges, histogram
        The 17 edges of 16 bins, the same for all partitions, and how many values lie in each.
        The outer bins take what lies beyond the 0.5 % and 99.5 % quantiles.
    top
        The most common values of strings and bools, with their counts.
    """

    count: int
    missing: int
    missing_share: float
    distinct: int | None = None
    mean: float | None = None
    stddev: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    edges: tuple[float, ...] = ()
    histogram: tuple[int, ...] = ()
    top: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the profile as a dict of numbers, strings and lists."""
        return asdict(self)


def profile(
    frame: pl.DataFrame,
    *,
    partition: str = "partition",
    partitions: Sequence[str],
    features: Collection[str],
    pii: Collection[str] = (),
) -> dict[str, dict[str, Profile]]:
    """Describe each feature in each partition.

    Parameters
    ----------
    frame
        The rows of all partitions.
    partition
        The column that says which partition a row belongs to.
    partitions
        The partitions to describe, also those without a row.
    features
        The columns to describe; those that the frame lacks are left out.
    pii
        Features with personal values: only counted.

    Returns
    -------
    The profiles: by partition, then by feature.

    Examples
    --------
    >>> rows = pl.DataFrame({"partition": ["mon", "mon"], "spend_7d": [2.0, None]})
    >>> found = profile(rows, partitions=["mon"], features=["spend_7d"])["mon"]["spend_7d"]
    >>> found.count, found.missing_share, found.mean
    (2, 0.5, 2.0)
    """
    keys = list(dict.fromkeys(partitions))
    names = [name for name in features if name in frame.columns]
    if not keys:
        return {}
    code = pl.col(partition).cast(pl.String).cast(pl.Enum(keys), strict=False).to_physical()
    rows = frame.select(
        code.cast(pl.UInt32).alias(_CODE),
        *(
            pl.col(name).fill_nan(None) if frame.schema[name].is_float() else pl.col(name)
            for name in names
        ),
    ).filter(pl.col(_CODE).is_not_null())
    table = _counted(rows, names, pii, len(keys))
    bins = {name: _binned(rows, name, len(keys)) for name in _numeric(rows, names, pii)}
    tops = {name: _most_common(rows, name) for name in _named(rows, names, pii)}
    found: dict[str, dict[str, Profile]] = {key: {} for key in keys}
    for number, key in enumerate(keys):
        for name in names:
            given: dict[str, Any] = {what: table[f"{what} {name}"][number] for what in _COUNTS}
            if name in bins:
                given |= {what: _finite(table[f"{what} {name}"][number]) for what in _NUMBERS}
                edges, counts = bins[name]
                given |= {"edges": edges, "histogram": counts[number]}
            found[key][name] = Profile(**given, top=tops.get(name, {}).get(number, ()))
    return found


def sparkline(counts: Sequence[float]) -> str:
    """Draw counts as block characters; an empty bin is the lowest block.

    Examples
    --------
    >>> sparkline([0, 1, 4, 8, 2])
    '▁▁▄█▂'
    """
    most = max(counts, default=0)
    if most <= 0:
        return _BLOCKS[0] * len(counts)
    return "".join(_BLOCKS[max(0, math.ceil(each / most * len(_BLOCKS)) - 1)] for each in counts)


_COUNTS: Final = ("count", "missing", "missing_share", "distinct")
_NUMBERS: Final = ("mean", "stddev", "minimum", "maximum")


def _numeric(rows: pl.DataFrame, names: Sequence[str], pii: Collection[str]) -> list[str]:
    kinds = rows.schema
    return [n for n in names if n not in pii and (kinds[n].is_integer() or kinds[n].is_float())]


def _named(rows: pl.DataFrame, names: Sequence[str], pii: Collection[str]) -> list[str]:
    return [n for n in names if n not in pii and rows.schema[n] in (pl.String, pl.Boolean)]


def _counted(
    rows: pl.DataFrame, names: Sequence[str], pii: Collection[str], partitions: int
) -> dict[str, list[Any]]:
    """Count and sum up everything that one pass over the rows can give."""
    numbers: list[pl.Expr] = []
    for name in names:
        values = pl.col(name)
        nested = rows.schema[name].is_nested()
        numbers.append(values.null_count().alias(f"missing {name}"))
        distinct = pl.lit(None) if nested else values.drop_nulls().n_unique()
        numbers.append(distinct.alias(f"distinct {name}"))
    for name in _numeric(rows, names, pii):
        finite = pl.col(name)
        if rows.schema[name].is_float():
            finite = finite.filter(finite.is_finite())
        numbers += [
            finite.mean().alias(f"mean {name}"),
            finite.std().alias(f"stddev {name}"),
            finite.min().alias(f"minimum {name}"),
            finite.max().alias(f"maximum {name}"),
        ]
    counted = rows.lazy().group_by(_CODE).agg(pl.len(), *numbers)
    codes = pl.LazyFrame({_CODE: pl.int_range(partitions, dtype=pl.UInt32, eager=True)})
    table = codes.join(counted, on=_CODE, how="left", maintain_order="left").collect()
    columns: dict[str, list[Any]] = table.to_dict(as_series=False)
    totals = [total or 0 for total in columns["len"]]
    for name in names:
        missing = [each or 0 for each in columns[f"missing {name}"]]
        columns[f"count {name}"] = totals
        columns[f"missing {name}"] = missing
        columns[f"missing_share {name}"] = [
            each / total if total else 0.0 for each, total in zip(missing, totals, strict=True)
        ]
        if not rows.schema[name].is_nested():
            columns[f"distinct {name}"] = [each or 0 for each in columns[f"distinct {name}"]]
    return columns


def _binned(
    rows: pl.DataFrame, name: str, partitions: int
) -> tuple[tuple[float, ...], list[tuple[int, ...]]]:
    """Count each partition's values in bins of equal width between the outer quantiles."""
    known = rows.lazy().select(_CODE, pl.col(name).cast(pl.Float64)).drop_nulls()
    finite = known.filter(pl.col(name).is_finite()).collect()
    if finite.is_empty():
        return (), [()] * partitions
    values = finite[name].to_numpy()
    # Quantiles, not extremes: one far value would put all others into one bin.
    sample = values[:: max(1, len(values) // _SAMPLED)]
    low, high = (float(edge) for edge in np.quantile(sample, (_TAIL, 1 - _TAIL)))
    if not _NARROWEST < high - low < math.inf:
        half = max(0.5, abs(low) * 1e-9)
        low, high = low - half, low + half
    width = (high - low) / BINS
    place = ((np.clip(values, low, high) - low) / width).astype(np.int64).clip(max=BINS - 1)
    cells = finite[_CODE].to_numpy().astype(np.int64) * BINS + place
    counts = np.bincount(cells, minlength=partitions * BINS).reshape(partitions, BINS)
    edges = tuple(float(edge) for edge in np.linspace(low, high, BINS + 1))
    return edges, [tuple(each) for each in counts.tolist()]


def _most_common(rows: pl.DataFrame, name: str) -> dict[int, tuple[tuple[str, int], ...]]:
    values = pl.col(name).cast(pl.String)
    counted = (
        rows.lazy()
        .select(_CODE, values)
        .drop_nulls()
        .group_by(_CODE, name)
        .agg(pl.len().alias("len "))
        .sort("len ", name, descending=[True, False])
        .group_by(_CODE)
        .agg(pl.struct(name, "len ").head(_TOP))
        .collect()
    )
    return {
        code: tuple((each[name], each["len "]) for each in listed)
        for code, listed in counted.iter_rows()
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
