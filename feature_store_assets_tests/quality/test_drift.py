"""Drift agrees with independent formulas, and is judged only where there is enough to judge by."""

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from feature_store_assets.declaration.drift import METRICS, Drift, Metric
from feature_store_assets.quality.drift import Shift, compare, measure
from feature_store_assets.quality.statistics import Profile, merge, profile
from feature_store_assets_tests.counts import examples

FLOATS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)
REPEATED = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=60)
NUMBERS = FLOATS | REPEATED
LABELS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60)


def known(values: Any) -> Profile:
    """The profile of a reference."""
    column = pl.Series("x", values)
    frame = pl.DataFrame([pl.Series("partition", ["a"] * len(column)), column])
    return profile(frame, partitions=["a"], features=["x"])["a"]["x"]


def told(metric: Metric, reference: Any, values: Any) -> float:
    """One metric of two samples."""
    return measure(known(reference), pl.Series(values), [metric])[metric]


def normal(seed: int, rows: int = 5000) -> Any:
    return np.random.default_rng(seed).normal(size=rows)


def shares_by_decile(
    reference: list[float], values: list[float]
) -> tuple[list[float], list[float]]:
    """Shares of both samples per decile bin of the reference, by plain loops."""
    edges = sorted(set(np.percentile(reference, range(10, 100, 10)).tolist()))
    if edges[0] == min(reference):
        edges = [math.nextafter(edges[0], -math.inf), *edges]
    bins = list(pairwise([-math.inf, *edges, math.inf]))
    was, now = (
        [sum(low < value <= high for value in sample) / len(sample) for low, high in bins]
        for sample in (reference, values)
    )
    return was, now


def shares_by_label(reference: list[str], values: list[str]) -> tuple[list[float], list[float]]:
    """Shares of both samples per label of the reference, and of all other labels."""
    was, now = Counter(reference), Counter(values)
    labels = sorted(was)
    new = sum(count for label, count in now.items() if label not in was)
    return (
        [*(was[label] / len(reference) for label in labels), 0.0],
        [*(now[label] / len(values) for label in labels), new / len(values)],
    )


def plain_psi(was: list[float], now: list[float]) -> float:
    total = 0.0
    for before, after in zip(was, now, strict=True):
        p, q = max(before, 1e-4), max(after, 1e-4)
        total += (q - p) * math.log(q / p)
    return total


@settings(max_examples=examples(200))
@given(NUMBERS, NUMBERS)
def test_numbers_are_compared_in_the_decile_bins_of_the_reference(
    reference: list[float], values: list[float]
) -> None:
    was, now = shares_by_decile(reference, values)
    assert told("psi", reference, values) == pytest.approx(plain_psi(was, now), abs=1e-9)
    distance = jensenshannon(was, now, base=2)
    assert told("jensen_shannon", reference, values) == pytest.approx(distance, abs=1e-6)


@settings(max_examples=examples(200))
@given(LABELS, LABELS)
def test_strings_are_compared_by_category_and_new_ones_together(
    reference: list[str], values: list[str]
) -> None:
    was, now = shares_by_label(reference, values)
    assert told("psi", reference, values) == pytest.approx(plain_psi(was, now), abs=1e-9)
    distance = jensenshannon(was, now, base=2)
    assert told("jensen_shannon", reference, values) == pytest.approx(distance, abs=1e-6)
    assert told("new_categories", reference, values) == pytest.approx(now[-1])


@settings(max_examples=examples(200))
@given(LABELS, LABELS)
def test_chi_square_is_cramers_v_of_all_categories(reference: list[str], values: list[str]) -> None:
    labels = sorted({*reference, *values})
    table = [[sample.count(label) for label in labels] for sample in (reference, values)]
    statistic = chi2_contingency(table, correction=False).statistic if len(labels) > 1 else 0.0
    expected = math.sqrt(statistic / (len(reference) + len(values)))
    assert told("chi_square", reference, values) == pytest.approx(expected, abs=1e-9)


def test_chi_square_does_not_grow_with_the_rows() -> None:
    reference, values = ["a"] * 60 + ["b"] * 40, ["a"] * 40 + ["b"] * 60
    few = told("chi_square", reference, values)
    assert few == pytest.approx(0.2)
    assert told("chi_square", reference * 100, values * 100) == pytest.approx(few)


@pytest.mark.filterwarnings("ignore:ks_2samp:RuntimeWarning")  # about its p-value
@settings(max_examples=examples(200))
@given(NUMBERS, NUMBERS)
def test_ks_is_a_hundredth_off_at_most(reference: list[float], values: list[float]) -> None:
    expected = ks_2samp(reference, values, method="exact").statistic
    resolution = 0.01 + 1 / len(reference) + 1e-9
    assert told("ks", reference, values) == pytest.approx(expected, rel=0, abs=resolution)


@pytest.mark.parametrize("heavy", [False, True])
def test_ks_of_many_rows_equals_that_of_scipy(heavy: bool) -> None:
    random = np.random.default_rng(5)
    draw = random.standard_t(2, (2, 20_000)) if heavy else random.normal(size=(2, 20_000))
    reference, values = draw[0], draw[1] + 0.2
    expected = ks_2samp(reference, values, method="asymp").statistic
    assert told("ks", reference, values) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("moved", [0.0, 0.25, -3.0])
def test_wasserstein_of_a_move_is_the_way_in_standard_deviations(moved: float) -> None:
    reference = normal(1)
    way = abs(moved) / reference.std(ddof=1)
    assert told("wasserstein", reference, reference + moved) == pytest.approx(way, abs=1e-12)


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(2).uniform(0, 10, 8000),
        np.random.default_rng(2).uniform(4, 6, 8000),  # crosses the reference
        np.random.default_rng(2).beta(2, 5, 8000) * 10,
        np.random.default_rng(2).integers(0, 11, 8000).astype(float),
        np.array([5.0]),
    ],
)
def test_wasserstein_agrees_with_scipy_where_tails_are_short(values: Any) -> None:
    reference = np.random.default_rng(1).uniform(0, 10, 8000)
    expected = wasserstein_distance(reference, values) / reference.std(ddof=1)
    assert told("wasserstein", reference, values) == pytest.approx(expected, abs=0.01)


def test_one_far_value_is_no_drift() -> None:
    reference = normal(1)
    values = np.append(reference[:-1], 1e9)
    for metric in ("psi", "jensen_shannon", "ks", "wasserstein"):
        assert told(metric, reference, values) < 0.01


def test_a_shift_of_heavy_tails_is_seen() -> None:
    random = np.random.default_rng(3)
    reference, values = random.standard_t(2, 20_000), random.standard_t(2, 20_000) + 0.2
    assert told("psi", reference, values) > 0.015  # bins of equal width say 0.00003
    assert told("ks", reference, values) > 0.05


@settings(max_examples=examples(100))
@given(NUMBERS | LABELS)
def test_what_did_not_change_has_not_drifted(values: list[Any]) -> None:
    found = measure(known(values), pl.Series(values), METRICS)
    ks = found.pop("ks", 0.0)
    assert ks <= 0.01 + 1 / len(values) + 1e-9
    assert all(value == pytest.approx(0, abs=1e-9) for value in found.values())


@settings(max_examples=examples(100))
@given(NUMBERS, NUMBERS)
def test_metrics_of_numbers_keep_their_range(reference: list[float], values: list[float]) -> None:
    found = measure(known(reference), pl.Series(values), METRICS)
    assert all(math.isfinite(value) and value >= 0 for value in found.values())
    assert max(found["ks"], found["jensen_shannon"], found["missing"]) <= 1


@pytest.mark.parametrize("constant", [0.0, 7.0, -1e300])
def test_a_constant_that_changes_has_drifted_whichever_way(constant: float) -> None:
    reference = [constant] * 50
    for other in (-math.inf, math.inf):
        values = [math.nextafter(constant, other)] * 50
        assert told("psi", reference, values) > 9
        assert told("jensen_shannon", reference, values) == pytest.approx(1)
        assert told("ks", reference, values) == pytest.approx(1)
        assert "wasserstein" not in measure(known(reference), pl.Series(values), METRICS)
    assert told("wasserstein", reference, reference) == 0.0
    assert told("psi", reference, reference) == 0.0


def test_numbers_below_a_minimum_that_is_common_are_seen() -> None:
    reference = [0.0] * 80 + [float(value) for value in range(1, 21)]
    values = [-1.0] * 80 + reference[80:]
    assert told("psi", reference, values) > 5
    assert told("ks", reference, values) == pytest.approx(0.8, abs=0.01)


def test_missing_is_the_change_of_the_share_null_and_nan_alike() -> None:
    values = [1.0, None, math.nan, 4.0]
    assert told("missing", [1.0, 2.0, None, 4.0], values) == 0.25
    assert told("missing", values, [1.0, 2.0, None, 4.0]) == 0.25
    assert told("missing", [["a"], None], [["a"], ["b"]]) == 0.5


def test_infinities_and_missing_values_are_in_no_bin() -> None:
    reference = normal(1)
    values = [*reference.tolist(), None, math.nan, math.inf, -math.inf]
    for metric in ("psi", "jensen_shannon", "wasserstein"):
        assert told(metric, reference, values) == pytest.approx(0, abs=1e-12)


def test_whole_numbers_and_bools_are_measured_too() -> None:
    whole = [1, 2, 3, 4, None] * 20
    assert told("psi", whole, [1.0, 2.0, 3.0, 4.0]) == pytest.approx(0, abs=1e-12)
    assert told("psi", [True, False], [True, True]) == pytest.approx(
        plain_psi([0.5, 0.5], [1.0, 0.0])
    )


@pytest.mark.parametrize(
    ("reference", "values"),
    [
        ([], [1.0]),
        ([1.0], []),
        ([math.nan], [1.0]),
        ([1.0], [None]),
        ([math.inf], [1.0]),
        ([], ["a"]),
        (["a"], []),
        ([None], [True]),
        ([1.7e308, -1.7e308], [-1.7e308, 1.7e308]),
    ],
)
def test_what_is_undefined_is_left_out(reference: list[Any], values: list[Any]) -> None:
    kind: Any = next((type(each) for each in (*reference, *values) if each is not None), None)
    frame = pl.DataFrame({"partition": pl.Series(["a"] * len(reference), dtype=pl.String)})
    frame = frame.with_columns(pl.Series("x", reference, dtype=kind))
    profiled = profile(frame, partitions=["a"], features=["x"])["a"]["x"]
    found = measure(profiled, pl.Series(values, dtype=kind), METRICS)
    assert all(math.isfinite(value) for value in found.values())
    if len(reference) < 2:
        assert found.keys() <= {"missing"}


def test_drift_against_merged_partitions_is_that_against_all_their_rows() -> None:
    days = [normal(seed) + seed / 10 for seed in range(7)]
    values = pl.Series(normal(9) + 0.5)
    trailing = measure(merge([known(day) for day in days]), values, METRICS)
    every = measure(known(np.concatenate(days)), values, METRICS)
    assert trailing == pytest.approx(every, abs=0.01)


ROWS = pl.DataFrame(
    {
        "temp": normal(2, 2000) + 1,
        "plan": ["free", "gold"] * 1000,
        "tags": [["a"]] * 2000,
        "mail": [f"{number}@example.org" for number in range(2000)],
    }
)
TYPES = {"temp": "float64", "plan": "string", "tags": "list<string>", "mail": "string"}


def profiles(rows: pl.DataFrame) -> dict[str, Profile]:
    frame = rows.with_columns(partition=pl.lit("a"))
    return profile(frame, partitions=["a"], features=rows.columns, pii=["mail"])["a"]


USUAL = ROWS.with_columns(temp=pl.col("temp") - 1, plan=pl.lit("free"))
BEFORE = {"previous": profiles(USUAL)}


def judged(*rules: Drift, rows: pl.DataFrame = ROWS, before: Any = BEFORE) -> list[Shift]:
    return compare(rules, TYPES, before, rows, "tue", pii=["mail"])


def test_a_general_rule_judges_what_its_metric_fits() -> None:
    for metric, names in {
        "psi": ["temp", "plan"],
        "ks": ["temp"],
        "chi_square": ["plan"],
        "missing": ["temp", "plan", "tags", "mail"],
    }.items():
        found = judged(Drift(metric, 0.2))  # type: ignore[arg-type]  # a key of the mapping
        assert [shift.feature for shift in found] == names
        assert {shift.partition for shift in found} == {"tue"}


def test_the_reason_is_a_sentence() -> None:
    drifted, stable = judged(Drift("ks", 0.2), Drift("missing", 0.1, features=["plan"]))
    assert drifted.reason.startswith("'temp' drifted: ks 0.3")
    assert drifted.reason.endswith(" against the previous partition, at most 0.2 is expected")
    assert drifted.outcome == "failed"
    assert drifted.value == pytest.approx(0.38, abs=0.03)
    assert stable.reason == (
        "'plan' is stable: missing 0 against the previous partition, at most 0.1 is expected"
    )
    assert (stable.outcome, stable.value) == ("passed", 0.0)


def test_a_value_just_above_its_bound_is_written_so() -> None:
    rows = pl.DataFrame({"temp": [None] * 20_001 + [0.0] * 79_999})
    before = {"previous": {"temp": Profile(1000, 0, 0.0)}}
    (shift,) = judged(Drift("missing", 0.2, features=["temp"]), rows=rows, before=before)
    assert "missing 0.20001 against" in shift.reason
    assert shift.outcome == "failed"
    on_the_bound = pl.DataFrame({"temp": [None] * 200 + [0.0] * 800})
    (shift,) = judged(Drift("missing", 0.2, features=["temp"]), rows=on_the_bound, before=before)
    assert shift.outcome == "passed"


@pytest.mark.parametrize(
    ("severity", "blocks"), [("critical", True), ("warning", False), ("info", False)]
)
def test_only_a_critical_failure_blocks(severity: Any, blocks: bool) -> None:
    (failed,) = judged(Drift("ks", 0.2, severity=severity))
    (passed,) = judged(Drift("ks", 0.9, severity=severity))
    (unknown,) = judged(Drift("ks", 0.2, severity=severity, against="snapshot:v1"))
    assert (failed.blocking, passed.blocking, unknown.blocking) == (blocks, False, False)


def test_a_later_rule_about_a_feature_takes_the_place_of_a_general_one() -> None:
    general, named = Drift("psi", 0.1), Drift("psi", 0.9, features=["temp"])
    found = [(shift.feature, shift.rule) for shift in judged(general, named)]
    assert found == [("temp", named), ("plan", general)]
    both = [(shift.feature, shift.rule) for shift in judged(named, general)]
    assert both == [("temp", named), ("temp", general), ("plan", general)]


@pytest.mark.parametrize(
    "other",
    [
        Drift("ks", 0.9, features=["temp"]),
        Drift("psi", 0.9, features=["temp"], against="trailing:7"),
        Drift("psi", 0.9, severity="critical"),
    ],
)
def test_rules_of_other_metrics_references_or_severities_stand_side_by_side(other: Drift) -> None:
    first = Drift("psi", 0.1)
    assert [shift.rule for shift in judged(first, other) if shift.feature == "temp"] == [
        first,
        other,
    ]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (
            Drift("psi", 0.2, features=["temp"], min_rows=2001),
            "'temp': psi not evaluated: only 2000 rows, 2001 are needed",
        ),
        (
            Drift("psi", 0.2, features=["temp"], against="snapshot:v1"),
            "'temp': psi not evaluated: nothing is known of snapshot 'v1' yet",
        ),
        (
            Drift("psi", 0.2, features=["tags"]),
            "'tags': psi not evaluated: it does not fit list<string>",
        ),
        (
            Drift("psi", 0.2, features=["mail"]),
            "'mail': psi not evaluated: of personal data only 'missing' is measured",
        ),
        (
            Drift("psi", 0.2, features=["gone"]),
            "'gone': psi not evaluated: the group has no such column",
        ),
    ],
)
def test_what_cannot_be_judged_says_why(rule: Drift, why: str) -> None:
    (shift,) = judged(rule)
    assert (shift.outcome, shift.value, shift.blocking) == ("not evaluated", None, False)
    assert shift.reason == why


def test_too_few_rows_on_either_side_are_not_judged() -> None:
    few = ROWS.head(120)
    rule = Drift("psi", 0.2, features=["temp"], severity="critical")
    (shift,) = judged(rule, rows=few)
    assert shift.reason == "'temp': psi not evaluated: only 120 rows, 1000 are needed"
    (shift,) = judged(rule, before={"previous": profiles(few)})
    assert shift.reason == (
        "'temp': psi not evaluated: only 120 rows in the previous partition, 1000 are needed"
    )
    (shift,) = judged(rule, rows=ROWS.clear())
    assert shift.reason == "'temp': psi not evaluated: only 0 rows, 1000 are needed"


@pytest.mark.parametrize("name", ["temp", "plan"])
def test_rows_without_a_value_do_not_count_but_for_missing(name: str) -> None:
    sparse = ROWS.with_columns(pl.when(pl.int_range(pl.len()) < 1).then(pl.col(name)).alias(name))
    rules = [Drift("psi", 0.2, features=[name]), Drift("missing", 0.2, features=[name])]
    values, missing = judged(*rules, rows=sparse)
    assert values.reason.endswith("only 1 row with a value, 1000 are needed")
    assert missing.outcome == "failed"
    assert missing.value == pytest.approx(0.9995)


def test_too_many_categories_are_not_judged() -> None:
    rows = pl.DataFrame({"plan": [str(number) for number in range(2000)]})
    (shift,) = judged(
        Drift("chi_square", 0.2), rows=ROWS.select("plan"), before={"previous": profiles(rows)}
    )
    assert shift.reason == (
        "'plan': chi_square not evaluated: more than 1000 categories in the previous partition"
    )


def test_a_constant_reference_gives_no_deviation_to_measure_in() -> None:
    before = {"previous": profiles(USUAL.with_columns(temp=pl.lit(3.0)))}
    (shift,) = judged(Drift("wasserstein", 0.2), before=before)
    assert shift.reason == (
        "'temp': wasserstein not evaluated: all values of the previous partition are equal, there "
        "is no deviation"
    )


def test_numbers_too_far_apart_are_not_judged() -> None:
    rows = pl.DataFrame({"temp": [-1.7e308, 1.7e308] * 500})
    (shift,) = judged(Drift("wasserstein", 0.2), rows=rows, before={"previous": profiles(USUAL)})
    assert shift.outcome == "not evaluated"
    assert shift.reason.endswith("no finite number tells the distance from the previous partition")


def test_no_reason_shows_a_value_of_the_data() -> None:
    rules = [Drift(metric, 0.0) for metric in METRICS]
    reasons = " ".join(shift.reason for shift in judged(*rules))
    assert "drifted" in reasons
    assert not any(label in reasons for label in ("free", "gold", "example.org"))
