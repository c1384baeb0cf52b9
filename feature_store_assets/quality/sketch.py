"""A distribution by its 101 percentiles: taken from sorted numbers, read, pooled."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SHARES: Final[Floats] = np.arange(101) / 100
_DECILES: Final = slice(10, 100, 10)
# What each percentile stands for when distributions are pooled: the outer two for half a step.
_WEIGHTS: Final[Floats] = np.array([0.5, *[1.0] * 99, 0.5]) / 100


def percentiles(values: Floats) -> Floats:
    """Return percentiles 0 to 100 of sorted finite numbers, by linear interpolation.

    The same numbers as `numpy.percentile(values, range(101))`, without sorting again.

    Examples
    --------
    >>> percentiles(np.array([0.0, 1.0, 4.0]))[[0, 50, 75, 100]]
    array([0. , 1. , 2.5, 4. ])
    """
    place = (len(values) - 1) * SHARES
    below = place.astype(np.int64)
    low, high = values[below], values[np.minimum(below + 1, len(values) - 1)]
    part = place - below
    with np.errstate(over="ignore", invalid="ignore"):
        step = high - low
        near = np.where(part < 0.5, low + step * part, high - step * (1 - part))  # noqa: PLR2004
    # Two numbers can be further apart than the largest float.
    return np.where(np.isfinite(step), near, low * (1 - part) + high * part)


def deciles(quantiles: Floats) -> tuple[float, ...]:
    """Return the inner deciles, each once."""
    return tuple(dict.fromkeys(quantiles[_DECILES].tolist()))


def counts(values: Floats, edges: Sequence[float] | Floats) -> tuple[int, ...]:
    """Count sorted values per bin; bin i holds `edges[i - 1] < value <= edges[i]`.

    Examples
    --------
    >>> counts(np.array([1.0, 2.0, 2.0, 3.0]), [1.0, 2.0])
    (1, 2, 1)
    """
    ends = np.searchsorted(values, edges, side="right")
    return tuple(np.diff(ends, prepend=0, append=len(values)).tolist())


def share_up_to(quantiles: Floats, points: Floats) -> Floats:
    """Return the share of values that are at most each point, as the percentiles tell it."""
    ends = np.searchsorted(quantiles, points, side="right")
    below = np.clip(ends - 1, 0, 99)
    low, high = quantiles[below], quantiles[below + 1]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        part = np.nan_to_num((points - low) / (high - low), posinf=0.0)
    share = (below + np.clip(part, 0, 1)) / 100
    return np.where(ends == 0, 0.0, np.where(ends == len(quantiles), 1.0, share))


def pooled(quantiles: Sequence[Floats], rows: Floats) -> Floats:
    """Approximate the percentiles of all values from those of each part, weighted by its rows.

    The lowest and the highest value are exact. Each part may be off by half a percent of its
    rows, and by what interpolation does to parts of a few rows.
    """
    points = np.concatenate(quantiles)
    weights = np.concatenate([_WEIGHTS * each for each in rows / rows.sum()])
    order = np.argsort(points, kind="stable")
    points, weights = points[order], weights[order]
    # A point lies in the middle of what it stands for, the outer ones at the ends.
    middle = np.cumsum(weights) - weights / 2
    middle[0], middle[-1] = 0.0, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.interp(SHARES, np.clip(middle, 0, 1), points)
    nearest = points[np.searchsorted(middle, SHARES).clip(max=len(points) - 1)]
    found = np.where(np.isfinite(found), found, nearest)
    # Interpolation may round past its neighbour; percentiles never fall.
    return np.clip(np.maximum.accumulate(found), points[0], points[-1])
