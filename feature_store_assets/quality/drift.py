"""Drift: how far a partition's values are from those of a reference, by its profile alone.

The reference is never read again: its deciles, percentiles and categories tell enough.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import polars as pl

from feature_store_assets.declaration.drift import Drift, Metric, fits
from feature_store_assets.quality import sketch
from feature_store_assets.quality.sketch import SHARES, Floats, Ints
from feature_store_assets.quality.statistics import MOST_CATEGORIES, Profile

Outcome = Literal["passed", "failed", "not evaluated"]

# An empty bin would make psi infinite; Evidently, too, counts it as a ten-thousandth.
FLOOR: Final = 1e-4
_NUMBERS: Final = ("int64", "float64")


@dataclass(frozen=True, slots=True)
class Shift:
    """What one drift rule says about one feature in one partition.

    Parameters
    ----------
    rule, feature, partition
        What was judged.
    value
        The metric; None if it was not evaluated.
    outcome
        "not evaluated" if there is too little to judge by: no reference yet, few rows, too many
        categories.
    reason
        A sentence without values of the data.
    """

    rule: Drift
    feature: str
    partition: str
    value: float | None
    outcome: Outcome
    reason: str

    @property
    def blocking(self) -> bool:
        """Whether the partition must not be committed."""
        return self.outcome == "failed" and self.rule.severity == "critical"


def measure(reference: Profile, values: pl.Series, metrics: Collection[Metric]) -> dict[str, float]:
    """Measure how far values are from those that a profile describes.

    Numbers are compared where they are finite. With a reference of merged profiles, whose
    percentiles are approximate, so are psi, jensen_shannon, ks and wasserstein of numbers.

    Parameters
    ----------
    reference
        The profile of the reference; of a feature that is not personal.
    values
        The values to compare, all rows of the feature.
    metrics
        What to measure:

        - psi: population stability index, `sum((q - p) * ln(q / p))` over the shares p of the
          reference and q of the values, in the reference's decile bins or categories (values
          that it lacks are one further category; numbers below a minimum that is a decile
          itself are one further bin). Shares below 1e-4 count as 1e-4. Siddiqi, "Credit Risk
          Scorecards" (2006); its distribution: Yurdakul, "Statistical Properties of Population
          Stability Index" (2018).
        - jensen_shannon: distance, the square root of the divergence with logarithms to base 2,
          over the same bins; 0 to 1. Endres and Schindelin, "A new metric for probability
          distributions" (2003); `scipy.spatial.distance.jensenshannon(p, q, base=2)`.
        - ks: statistic of Kolmogorov and Smirnov, the greatest distance of the two distribution
          functions, 0 to 1: the values exactly, the reference at its percentiles. At most
          0.01 + 1 / rows of the reference off `scipy.stats.ks_2samp`.
        - wasserstein: mean distance of equal percentiles (earth mover's distance in one
          dimension), in standard deviations of the reference. The hundredth of the rows at
          either end counts as percentiles 1 and 99 do, so that one far value does not speak for
          thousands: `scipy.stats.wasserstein_distance` but for the tails.
        - chi_square: Cramér's V of the table of both samples by category, 0 to 1: the chi-square
          statistic, freed from the number of rows. Lower if one side has many more rows than
          the other. Cramér, "Mathematical Methods of Statistics" (1946).
        - missing: absolute difference of the shares without a value.
        - new_categories: share of the present values that the reference lacks.

    Returns
    -------
    The metrics by name, without those that are undefined: no values on one side, a reference
    without categories where they are needed, a Wasserstein distance from equal values to others.

    Examples
    --------
    >>> from feature_store_assets.quality.statistics import profile
    >>> usual = pl.DataFrame({"partition": "mon", "plan": ["free", "free", "paid", "paid"]})
    >>> known = profile(usual, partitions=["mon"], features=["plan"])["mon"]["plan"]
    >>> measure(known, pl.Series(["free", "free", "gold", None]), ["missing", "new_categories"])
    {'missing': 0.25, 'new_categories': 0.3333333333333333}
    """
    return _measured(reference, _Values(values), metrics)


def compare(
    rules: Sequence[Drift],
    types: Mapping[str, str],
    references: Mapping[str, Mapping[str, Profile]],
    rows: pl.DataFrame,
    partition: str,
    *,
    pii: Collection[str] = (),
) -> list[Shift]:
    """Judge the rows of one partition by drift rules.

    A rule about all features passes over those that its metric does not fit, and over those that
    a later rule of the same metric and reference names.

    Parameters
    ----------
    rules
        The rules, in the order of their declaration.
    types
        The declared types, by feature.
    references
        Profiles by the rules' `against`, then by feature; what is not there yet is left out.
    rows
        The rows of the partition.
    partition
        Its key.
    pii
        Features with personal values: only missing values are judged.

    Returns
    -------
    What each rule says about each of its features, by feature.

    Examples
    --------
    >>> rule = Drift("missing", at_most=0.1, min_rows=2, severity="critical")
    >>> before = {"previous": {"temp": Profile(count=4, missing=0, missing_share=0.0)}}
    >>> rows = pl.DataFrame({"temp": [1.0, None]})
    >>> found = compare([rule], {"temp": "float64"}, before, rows, "tue")[0]
    >>> found.reason
    "'temp' drifted: missing 0.5 against the previous partition, at most 0.1 is expected"
    >>> found.blocking
    True
    """
    named = (name for rule in rules for name in rule.features)
    shifts: list[Shift] = []
    for name in dict.fromkeys((*types, *named)):
        feature = _Feature(name, types.get(name), name in pii)
        applied = [
            rule for at, rule in enumerate(rules) if feature.is_judged_by(rule, rules[at + 1 :])
        ]
        if applied:
            values = _Values(rows[name]) if name in rows.columns else None
            for rule in applied:
                reference = references.get(rule.against, {}).get(name)
                shifts.append(_judged(rule, feature, partition, reference, values))
    return shifts


class _Values:
    """The values of one feature in one partition, sorted and counted when first needed."""

    def __init__(self, values: pl.Series) -> None:
        if values.dtype.is_float():
            values = values.fill_nan(None)
        self.rows = len(values)
        self.missing = values.null_count()
        self._present = values.drop_nulls()

    @cached_property
    def numbers(self) -> Floats:
        """The finite numbers, sorted."""
        numbers = self._present.cast(pl.Float64)
        return numbers.filter(numbers.is_finite()).sort().to_numpy()

    @cached_property
    def percentiles(self) -> Floats:
        return sketch.percentiles(self.numbers)

    def by_category(self, known: Iterable[str]) -> list[int]:
        """Count the values of each known category, and last all others."""
        found = dict(self._counted.filter(pl.col("category").is_in(list(known))).iter_rows())
        counts = [found.get(category, 0) for category in known]
        return [*counts, self.rows - self.missing - sum(counts)]

    @cached_property
    def _counted(self) -> pl.DataFrame:
        counted = self._present.alias("category").value_counts(name="times")
        return counted.cast({"category": pl.String})


@dataclass(frozen=True, slots=True)
class _Feature:
    name: str
    dtype: str | None
    personal: bool

    def is_judged_by(self, rule: Drift, later: Sequence[Drift]) -> bool:
        if rule.features:
            return self.name in rule.features
        same = (
            each for each in later if (each.metric, each.against) == (rule.metric, rule.against)
        )
        return self.fits(rule) and not any(self.name in each.features for each in same)

    def fits(self, rule: Drift) -> bool:
        return self.dtype is not None and fits(rule.metric, self.dtype, self.personal)


def _judged(
    rule: Drift,
    feature: _Feature,
    partition: str,
    reference: Profile | None,
    values: _Values | None,
) -> Shift:
    value: float | None = None
    if values is None or feature.dtype is None:
        why_not = "the group has no such column"
    elif not feature.fits(rule):
        why_not = f"it does not fit {feature.dtype}"
        if feature.personal:
            why_not = "of personal data only 'missing' is measured"
    elif reference is None:
        why_not = f"nothing is known of {rule.reference} yet"
    else:
        why_not = _too_little(rule, feature.dtype, reference, values)
        if not why_not:
            value = _measured(reference, values, [rule.metric]).get(rule.metric)
            why_not = f"no finite number tells the distance from {rule.reference}"
            if reference.stddev == 0:
                why_not = f"all values of {rule.reference} are equal, there is no deviation"
    if value is None:
        reason = f"'{feature.name}': {rule.metric} not evaluated: {why_not}"
        return Shift(rule, feature.name, partition, None, "not evaluated", reason)
    failed = value > rule.at_most
    reason = (
        f"'{feature.name}' {'drifted' if failed else 'is stable'}: {rule.metric} "
        f"{_shown(value, rule.at_most)} against {rule.reference}, at most {rule.at_most:g} is "
        f"expected"
    )
    return Shift(rule, feature.name, partition, value, "failed" if failed else "passed", reason)


def _too_little(rule: Drift, dtype: str, reference: Profile, values: _Values) -> str:
    """Say what is missing for a judgement; nothing if nothing is."""
    if rule.metric == "missing":
        sides = (values.rows, reference.count)
    elif dtype in _NUMBERS:
        sides = (len(values.numbers), sum(reference.decile_counts))
    else:
        sides = (values.rows - values.missing, reference.count - reference.missing)
    places = (("", values.rows), (f" in {rule.reference}", reference.count))
    for usable, (where, every) in zip(sides, places, strict=True):
        if usable < rule.min_rows:
            what = "row" if usable == 1 else "rows"
            what += " with a value" if every > usable else ""
            return f"only {usable} {what}{where}, {rule.min_rows} are needed"
    if rule.metric != "missing" and dtype not in _NUMBERS and reference.categories is None:
        return f"more than {MOST_CATEGORIES} categories in {rule.reference}"
    return ""


def _shown(value: float, at_most: float) -> str:
    """Write a value with so many digits that it is on its own side of the bound."""
    texts = (f"{value:.{digits}g}" for digits in (3, 6, 17))
    return next(text for text in texts if (float(text) > at_most) == (value > at_most))


def _measured(reference: Profile, values: _Values, metrics: Collection[Metric]) -> dict[str, float]:
    found = {metric: _METRICS[metric](reference, values) for metric in metrics}
    return {
        metric: value
        for metric, value in found.items()
        if value is not None and math.isfinite(value)
    }


def _binned(reference: Profile, values: _Values) -> tuple[Ints, Ints] | None:
    """Count reference and values in the reference's bins; None if either has nothing to count."""
    if reference.categories is not None:
        was = [*(times for _, times in reference.categories), 0]
        now = values.by_category([category for category, _ in reference.categories])
    elif reference.decile_counts:
        was = list(reference.decile_counts)
        now = list(sketch.counts(values.numbers, reference.deciles))
        lowest = reference.quantiles[0]
        if reference.deciles[0] == lowest:
            # Its bin ends where the reference begins: what falls below would go unseen.
            below = int(np.searchsorted(values.numbers, lowest, side="left"))
            was, now = [0, *was], [below, now[0] - below, *now[1:]]
    else:
        return None
    return (np.array(was), np.array(now)) if sum(was) and sum(now) else None


def _shares(reference: Profile, values: _Values) -> tuple[Floats, Floats] | None:
    counts = _binned(reference, values)
    return None if counts is None else (counts[0] / counts[0].sum(), counts[1] / counts[1].sum())


def _psi(reference: Profile, values: _Values) -> float | None:
    if (shares := _shares(reference, values)) is None:
        return None
    was, now = (np.maximum(side, FLOOR) for side in shares)
    return float(np.sum((now - was) * np.log(now / was)))


def _jensen_shannon(reference: Profile, values: _Values) -> float | None:
    if (shares := _shares(reference, values)) is None:
        return None
    middle = (shares[0] + shares[1]) / 2
    divergence = 0.0
    for side in shares:
        there = side > 0
        divergence += float(np.sum(side[there] * np.log2(side[there] / middle[there]))) / 2
    return math.sqrt(min(max(divergence, 0.0), 1.0))


def _ks(reference: Profile, values: _Values) -> float | None:
    if not reference.quantiles or not len(values.numbers):
        return None
    points = np.array(reference.quantiles)
    # Where values repeat, the distribution jumps: it is compared on both sides of the jump.
    apart = [
        np.abs(
            (np.searchsorted(points, points, side="right") - 1) / 100
            - np.searchsorted(values.numbers, points, side="right") / len(values.numbers)
        ),
        np.abs(
            np.searchsorted(points, points, side="left") / 100
            - np.searchsorted(values.numbers, points, side="left") / len(values.numbers)
        ),
    ]
    return float(np.max(apart))


def _wasserstein(reference: Profile, values: _Values) -> float | None:
    if not reference.quantiles or not len(values.numbers) or reference.stddev is None:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        apart = (values.percentiles - np.array(reference.quantiles))[1:-1]
        before, after = apart[:-1], apart[1:]
        # The mean of a line's distance from zero; of one that crosses it, of two triangles.
        across = np.abs(before) + np.abs(after)
        crossing = before * after < 0
        squares = np.where(crossing, (before**2 + after**2) / np.where(crossing, across, 1), across)
        distance = float(
            (np.sum(squares) / 2 + abs(apart[0]) + abs(apart[-1])) * (SHARES[1] - SHARES[0])
        )
    if reference.stddev == 0:
        return 0.0 if distance == 0 else None
    return distance / reference.stddev


def _chi_square(reference: Profile, values: _Values) -> float | None:
    if reference.categories is None or (counts := _binned(reference, values)) is None:
        return None
    table = np.array(counts, dtype=np.float64)
    table = table[:, table.sum(axis=0) > 0]
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return math.sqrt(min(float(((table - expected) ** 2 / expected).sum() / table.sum()), 1.0))


def _missing(reference: Profile, values: _Values) -> float | None:
    if not reference.count or not values.rows:
        return None
    return abs(values.missing / values.rows - reference.missing_share)


def _new_categories(reference: Profile, values: _Values) -> float | None:
    present = values.rows - values.missing
    if not reference.categories or not present:
        return None
    return values.by_category([category for category, _ in reference.categories])[-1] / present


_METRICS: Final[Mapping[Metric, Callable[[Profile, _Values], float | None]]] = {
    "psi": _psi,
    "jensen_shannon": _jensen_shannon,
    "ks": _ks,
    "wasserstein": _wasserstein,
    "chi_square": _chi_square,
    "missing": _missing,
    "new_categories": _new_categories,
}
