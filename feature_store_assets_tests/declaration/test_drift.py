"""Drift rules are light values, checked where they are written."""

import json
import math
import pickle
import subprocess
import sys
from typing import Any, get_args

import pytest
from hypothesis import given, strategies as st

from feature_store_assets.declaration.drift import METRICS, Drift, fits
from feature_store_assets.declaration.expect import Severity
from feature_store_assets.errors import DeclarationError

NAMES = st.text("abcxyz_0123456789-", min_size=1, max_size=12)
AGAINST = st.one_of(
    st.just("previous"),
    st.integers(1, 400).map(lambda days: f"trailing:{days}"),
    NAMES.map(lambda name: f"snapshot:{name}"),
    NAMES.map(lambda name: f"training_set:{name}"),
)
RULES = st.builds(
    Drift,
    st.sampled_from(METRICS),
    st.floats(0, 1) | st.integers(0, 1),
    features=st.lists(NAMES, max_size=3),
    against=AGAINST,
    min_rows=st.integers(1, 10**7),
    severity=st.sampled_from(get_args(Severity)),
)


def refused(message: str, *args: Any, **given: Any) -> None:
    with pytest.raises(DeclarationError, match=message):
        Drift(*args, **given)


@given(RULES)
def test_a_rule_comes_back_from_json_and_from_other_processes_as_it_was(rule: Drift) -> None:
    assert Drift.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert hash(Drift.from_json(rule.to_json())) == hash(rule)


def test_defaults_are_left_out_of_the_json() -> None:
    assert Drift("psi", 0.2).to_json() == {"metric": "psi", "at_most": 0.2}
    assert Drift("ks", 0, features=["temp"], severity="critical").to_json() == {
        "metric": "ks",
        "at_most": 0.0,
        "features": ["temp"],
        "severity": "critical",
    }


def test_equal_rules_are_one_however_they_were_written() -> None:
    one = Drift("psi", 1, features=["a", "b", "a"])
    assert one == Drift("psi", 1.0, features=("a", "b"))
    assert one != Drift("psi", 1, features=("a", "b"), against="trailing:2")
    assert len({one, Drift("psi", 1.0, features=("a", "b"))}) == 1


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("pis", "'pis' is no drift metric. Did you mean 'psi'?"),
        ("jensen-shannon", "'jensen-shannon' is no drift metric. Did you mean 'jensen_shannon'?"),
        ("zzz", "'zzz' is no drift metric. There are: 'chi_square'"),
    ],
)
def test_a_metric_that_is_none_is_refused(metric: str, message: str) -> None:
    refused(message, metric, 0.2)


@pytest.mark.parametrize("at_most", [-0.1, math.nan, math.inf, "0.2", True, None])
def test_a_bound_is_a_number_from_zero_on(at_most: Any) -> None:
    refused("at_most of the drift rule 'psi' is a number from 0 on, not", "psi", at_most)


@pytest.mark.parametrize("metric", ["missing", "ks", "jensen_shannon", "chi_square"])
def test_a_percentage_for_a_share_is_refused(metric: str) -> None:
    refused(f"'{metric}' lies between 0 and 1: at_most=5 would never fail", metric, 5)
    assert Drift("psi", 5).at_most == Drift("wasserstein", 5).at_most == 5


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("previus", "'previus' is nothing to measure drift against. Did you mean 'previous'?"),
        ("previous:2", "Did you mean 'previous'?"),
        ("trailing", "Say how many partitions: 'trailing:7'"),
        ("trailing:0", "Say how many partitions"),
        ("trailing:-1", "Say how many partitions"),
        ("snapshot:", "Say which one: 'snapshot:<name>'"),
        ("training_set: ", "Say which one: 'training_set:<name>'"),
        ("trainingset:x", "Did you mean 'training_set'?"),
        ("", "There are: 'previous', 'snapshot', 'trailing', 'training_set'"),
        (None, "'None' is nothing to measure drift against"),
    ],
)
def test_a_reference_that_is_none_is_refused(against: Any, message: str) -> None:
    refused(message, "psi", 0.2, against=against)


def test_other_arguments_are_checked_too() -> None:
    refused(r"features of a drift rule is a list: features=\['temp'\]", "psi", 1, features="temp")
    refused("min_rows is a whole number from 1 on, not 0", "psi", 1, min_rows=0)
    refused("min_rows is a whole number from 1 on, not 2.5", "psi", 1, min_rows=2.5)
    refused("min_rows is a whole number from 1 on, not True", "psi", 1, min_rows=True)
    refused("'warnin' is no severity. Did you mean 'warning'?", "psi", 1, severity="warnin")


@pytest.mark.parametrize(
    ("against", "words"),
    [
        ("previous", "the previous partition"),
        ("trailing:1", "the last partition"),
        ("trailing:30", "the last 30 partitions"),
        ("snapshot:churn-2024", "snapshot 'churn-2024'"),
        ("training_set:v1", "training set 'v1'"),
    ],
)
def test_a_rule_says_in_words_what_it_compares_with(against: str, words: str) -> None:
    assert Drift("psi", 0.2, against=against).reference == words


@pytest.mark.parametrize(
    ("dtype", "metrics"),
    [
        ("int64", {"psi", "jensen_shannon", "ks", "wasserstein", "missing"}),
        ("float64", {"psi", "jensen_shannon", "ks", "wasserstein", "missing"}),
        ("string", {"psi", "jensen_shannon", "chi_square", "new_categories", "missing"}),
        ("bool", {"psi", "jensen_shannon", "chi_square", "new_categories", "missing"}),
        ("date32", {"missing"}),
        ("timestamp[us, UTC]", {"missing"}),
        ("list<float64>", {"missing"}),
    ],
)
def test_a_metric_fits_the_types_it_can_be_measured_of(dtype: str, metrics: set[str]) -> None:
    assert {metric for metric in METRICS if fits(metric, dtype)} == metrics
    assert {metric for metric in METRICS if fits(metric, dtype, pii=True)} == {"missing"}


def test_declaring_a_rule_imports_no_heavy_package() -> None:
    code = (
        "import sys; from feature_store_assets.declaration.drift import Drift; Drift('psi', 0.2); "
        "print({'numpy', 'polars', 'scipy', 'dagster'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
