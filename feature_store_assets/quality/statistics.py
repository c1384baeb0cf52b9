"""What the values of each feature look like in each partition: numbers, shapes, common values."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store_assets.offline.schema import PARTITION
from feature_store_assets.quality import sketch
from feature_store_assets.quality.sketch import Floats, Ints

BINS: Final = 16
# With more distinct values than these, categories are names rather than kinds.
MOST_CATEGORIES: Final = 1000
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_TOP: Final = 5
_TAIL: Final = 0.005
_SAMPLED: Final = 100_000
_NARROWEST: Final = 1e-300
_MANY: Final = 20_000

Numbers = npt.NDArray[Any]


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
        Different values, exact; None for lists, and for merged profiles that cannot tell.
    mean, stddev, minimum, maximum
        Of the finite numbers; None for other types, without values, and for personal features.
    edges, histogram
        The 17 edges of 16 bins, the same for all partitions, and how many values lie in each.
        The outer bins take what lies beyond the 0.5 % and 99.5 % quantiles.
    top
        The most common values of strings and bools, with their counts.
    nan
        How many of the missing values are NaN.
    quantiles
        Percentiles 0 to 100 of the finite numbers, by linear interpolation; else empty.
    deciles, decile_counts
        Percentiles 10 to 90, each once, and how many numbers lie in the bins between them: bin i
        holds `deciles[i - 1] < value <= deciles[i]`, so there is one bin more than deciles.
    categories
        All values of strings and bools with their counts, the most common first; None if there
        are more than 1,000, and for other types and personal features.
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
    nan: int = 0
    quantiles: tuple[float, ...] = ()
    deciles: tuple[float, ...] = ()
    decile_counts: tuple[int, ...] = ()
    categories: tuple[tuple[str, int], ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the profile as a dict of numbers, strings and lists."""
        return {field.name: _lists(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the profile that `to_json` wrote; what it did not know yet stays empty."""
        return cls(**{name: _tuples(each) for name, each in value.items()})


def profile(
    frame: pl.DataFrame,
    *,
    partitions: Sequence[str],
    features: Collection[str],
    pii: Collection[str] = (),
) -> dict[str, dict[str, Profile]]:
    """Describe each feature in each partition.

    Parameters
    ----------
    frame
        The rows of all partitions; their column `partition` says to which one they belong.
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
    rows, cuts = _by_partition(frame, keys, names)
    found = {name: _described(rows[name], cuts, personal=name in pii) for name in names}
    return {key: {name: found[name][number] for name in names} for number, key in enumerate(keys)}


def merge(profiles: Sequence[Profile]) -> Profile:
    """Return the profile of all rows of one feature, from the profiles of its parts.

    Counts, the lowest and the highest value, mean, standard deviation and categories are those of
    all rows (Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983).
    Quantiles and deciles are approximate, from the percentiles of the parts weighted by their
    rows, and so are the counts between deciles. Nobody can tell `distinct` of numbers from their
    parts: it is None, unless one part alone has values. The histogram is kept where all parts
    have the same edges.

    Examples
    --------
    >>> rows = pl.DataFrame({"partition": ["mon", "mon", "tue"], "spend_7d": [2.0, None, 5.0]})
    >>> found = profile(rows, partitions=["mon", "tue"], features=["spend_7d"])
    >>> both = merge([found["mon"]["spend_7d"], found["tue"]["spend_7d"]])
    >>> both.count, both.missing, both.mean, both.maximum, both.distinct
    (3, 1, 3.5, 5.0, None)
    """
    if not profiles:
        return Profile(0, 0, 0.0)
    count = sum(each.count for each in profiles)
    missing = sum(each.missing for each in profiles)
    parts = [each for each in profiles if each.count > each.missing] or [profiles[0]]
    merged = parts[0] if len(parts) == 1 else _merged(parts)
    return replace(
        merged,
        count=count,
        missing=missing,
        missing_share=missing / count if count else 0.0,
        nan=sum(each.nan for each in profiles),
    )


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


def _lists(value: Any) -> Any:
    return [_lists(each) for each in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _by_partition(
    frame: pl.DataFrame, keys: Sequence[str], names: Sequence[str]
) -> tuple[pl.DataFrame, Ints]:
    """Return the rows in the order of the partitions, and where each of these begins and ends."""
    code = frame[PARTITION].cast(pl.String).cast(pl.Enum(keys), strict=False).to_physical()
    rows = frame.select(names)
    if code.null_count():
        rows, code = rows.filter(code.is_not_null()), code.drop_nulls()
    if not code.is_sorted():
        rows = rows.select(pl.all().gather(code.arg_sort()))
    counts = np.bincount(code.to_numpy(), minlength=len(keys))
    return rows, _cuts(counts)


def _cuts(counts: Ints) -> Ints:
    return np.concatenate(([0], np.cumsum(counts)))


def _per_part(flags: pl.Series, cuts: Ints) -> Ints:
    """Count the flags that are set in each part."""
    if not flags.any():
        return np.zeros(len(cuts) - 1, dtype=np.int64)
    return np.diff(_cuts(flags.to_numpy())[cuts])


def _described(values: pl.Series, cuts: Ints, *, personal: bool) -> list[Profile]:
    kind = values.dtype
    nan = np.zeros(len(cuts) - 1, dtype=np.int64)
    if kind.is_float():
        nan = _per_part(values.is_nan().fill_null(value=False), cuts)
        values = values.fill_nan(None) if nan.any() else values
    counts, missing = np.diff(cuts), _per_part(values.is_null(), cuts)
    present, within = values.drop_nulls(), _cuts(counts - missing)
    if kind.is_nested():
        found: list[dict[str, Any]] = [{} for _ in counts]
    elif not personal and (kind.is_integer() or kind.is_float()):
        found = _numbers(present, within)
    elif not personal and kind in (pl.String, pl.Boolean):
        found = _categories(present, within)
    else:
        found = [{"distinct": present[start:end].n_unique()} for start, end in _pairs(within)]
    return [
        Profile(count, empty, empty / count if count else 0.0, nan=no_number, **each)
        for count, empty, no_number, each in zip(
            counts.tolist(), missing.tolist(), nan.tolist(), found, strict=True
        )
    ]


def _pairs(cuts: Ints) -> Iterable[tuple[int, int]]:
    return pairwise(cuts.tolist())


def _numbers(present: pl.Series, cuts: Ints) -> list[dict[str, Any]]:
    if present.dtype.is_float():
        present = present.cast(pl.Float64)
    values: Numbers = present.to_numpy()
    edges = _edges(values)
    return [
        {"edges": edges, **_of_sorted(_sorted(values[start:end]), edges)}
        for start, end in _pairs(cuts)
    ]


def _sorted(values: Numbers) -> Numbers:
    # Polars sorts with every core, but takes longer to begin.
    return np.sort(values) if len(values) < _MANY else pl.Series(values).sort().to_numpy()


def _edges(values: Numbers) -> tuple[float, ...]:
    """Return the edges of bins of equal width between the outer quantiles."""
    finite = values if values.dtype.kind != "f" else values[np.isfinite(values)]
    if not len(finite):
        return ()
    # Quantiles, not extremes: one far value would put all others into one bin.
    sample = finite[:: max(1, len(finite) // _SAMPLED)].astype(np.float64)
    outer = np.quantile(sample, (_TAIL, 1 - _TAIL), method="nearest")
    low, high = (float(edge) for edge in outer)
    if not _NARROWEST < high - low < math.inf:
        half = max(0.5, abs(low) * 1e-9)
        low, high = low - half, low + half
    return tuple(np.linspace(low, high, BINS + 1).tolist())


def _of_sorted(values: Numbers, edges: tuple[float, ...]) -> dict[str, Any]:
    """Describe sorted numbers, infinities among them."""
    distinct = int(np.count_nonzero(values[1:] != values[:-1])) + 1 if len(values) else 0
    finite = values
    if values.dtype.kind == "f":
        begin = np.searchsorted(values, -np.inf, side="right")
        finite = values[begin : np.searchsorted(values, np.inf, side="left")]
    if not len(finite):
        return {"distinct": distinct, "histogram": (0,) * BINS if edges else ()}
    floats: Floats = finite.astype(np.float64, copy=False)
    quantiles = sketch.percentiles(floats)
    deciles = sketch.deciles(quantiles)
    mean, stddev = _moments(floats)
    ends = np.searchsorted(floats, edges[1:-1], side="left")
    return {
        "distinct": distinct,
        "mean": mean,
        "stddev": stddev,
        "minimum": finite[0].item(),
        "maximum": finite[-1].item(),
        "histogram": tuple(np.diff(ends, prepend=0, append=len(floats)).tolist()),
        "quantiles": tuple(quantiles.tolist()),
        "deciles": deciles,
        "decile_counts": sketch.counts(floats, deciles),
    }


def _moments(values: Floats) -> tuple[float | None, float | None]:
    """Return mean and standard deviation of sorted numbers; None where they are no number."""
    if values[0] == values[-1]:
        # Summing would round: a constant deviates by nothing.
        return float(values[0]), 0.0 if len(values) > 1 else None
    with np.errstate(over="ignore", invalid="ignore"):
        return _finite(values.mean()), _finite(values.std(ddof=1))


def _categories(present: pl.Series, cuts: Ints) -> list[dict[str, Any]]:
    counts = np.diff(cuts)
    counted = (
        pl.LazyFrame({"part": np.repeat(np.arange(len(counts)), counts), "category": present})
        .group_by("part", "category")
        .agg(times=pl.len())
        .with_columns(pl.col("category").cast(pl.String))
        .sort("part", "times", "category", descending=[False, True, False])
        .collect()
    )
    distinct = np.bincount(counted["part"].to_numpy(), minlength=len(counts))
    found = []
    for start, end in _pairs(_cuts(distinct)):
        whole = end - start <= MOST_CATEGORIES
        listed = tuple(counted[start : end if whole else start + _TOP, 1:].iter_rows())
        top = listed[:_TOP]
        found.append({"distinct": end - start, "top": top, "categories": listed if whole else None})
    return found


_OF_NUMBERS: Final = (
    "mean",
    "stddev",
    "minimum",
    "maximum",
    "quantiles",
    "deciles",
    "decile_counts",
)


def _merged(parts: Sequence[Profile]) -> Profile:
    """Merge parts that all have values, but for how many rows there are."""
    found = _merged_categories(parts)
    numbered = [each for each in parts if each.decile_counts]
    if len(numbered) == 1:
        found |= {name: getattr(numbered[0], name) for name in _OF_NUMBERS}
    elif numbered:
        found |= _merged_numbers(numbered)
    if len({each.edges for each in parts}) == 1:
        summed: Ints = np.array([each.histogram for each in parts], dtype=np.int64).sum(axis=0)
        found |= {"edges": parts[0].edges, "histogram": tuple(summed.tolist())}
    return Profile(0, 0, 0.0, **found)


def _merged_categories(parts: Sequence[Profile]) -> dict[str, Any]:
    counted: Counter[str] = Counter()
    for part in parts:
        if part.categories is None:
            return {}
        counted.update(dict(part.categories))
    listed = tuple(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))
    whole = len(listed) <= MOST_CATEGORIES
    top = listed[:_TOP]
    return {"distinct": len(listed), "top": top, "categories": listed if whole else None}


def _merged_numbers(parts: Sequence[Profile]) -> dict[str, Any]:
    rows: Floats = np.array([sum(each.decile_counts) for each in parts], dtype=np.float64)
    percentiles: list[Floats] = [np.array(each.quantiles) for each in parts]
    quantiles = sketch.pooled(percentiles, rows)
    deciles = sketch.deciles(quantiles)
    shares = [sketch.share_up_to(each, np.array(deciles)) for each in percentiles]
    ends = np.rint(rows @ np.array(shares)).astype(np.int64)
    mean, stddev = _merged_moments(parts, rows)
    return {
        "mean": mean,
        "stddev": stddev,
        "minimum": min(each.minimum for each in parts if each.minimum is not None),
        "maximum": max(each.maximum for each in parts if each.maximum is not None),
        "quantiles": tuple(quantiles.tolist()),
        "deciles": deciles,
        "decile_counts": tuple(np.diff(ends, prepend=0, append=int(rows.sum())).tolist()),
    }


def _merged_moments(parts: Sequence[Profile], rows: Floats) -> tuple[float | None, float | None]:
    if len({bound for each in parts for bound in (each.minimum, each.maximum)}) == 1:
        return parts[0].mean, 0.0
    # What is too large for a float is None in a profile, NaN here.
    means: Floats = np.array([each.mean for each in parts], dtype=np.float64)
    deviations: Floats = np.array([each.stddev for each in parts], dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = rows @ means / rows.sum()
        squares = (rows - 1) @ np.where(rows == 1, 0.0, deviations) ** 2 + rows @ (
            means - mean
        ) ** 2
        return _finite(mean), _finite(np.sqrt(squares / (rows.sum() - 1)))


def _finite(value: np.floating[Any]) -> float | None:
    return float(value) if np.isfinite(value) else None
