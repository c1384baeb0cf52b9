"""Request-time features: functions that are found by name, in training and in serving."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feature_store_assets.declaration.canonical import canonical
from feature_store_assets.declaration.request import RequestFeature, compute
from feature_store_assets.errors import DeclarationError, FunctionFailed, FunctionNotTrusted
from feature_store_assets_tests import functions

HERE = "feature_store_assets_tests.functions"


def test_a_function_is_kept_by_its_name_with_its_inputs_and_the_first_line_about_it() -> None:
    feature = RequestFeature("near", float, functions.per_mile)
    assert (feature.name, feature.dtype, feature.function) == (
        "near",
        "float64",
        f"{HERE}:per_mile",
    )
    assert feature.inputs == ("delay", "distance")
    assert feature.description == "Minutes of delay per mile."
    assert feature.load() is functions.per_mile
    assert RequestFeature("near", "float64", f"{HERE}:per_mile") == feature
    assert RequestFeature("near", "float64", functions.per_mile, "Near.").description == "Near."
    assert RequestFeature("size", "int64", functions.letters).description == ""


def test_it_comes_back_from_its_json_without_importing_the_function() -> None:
    feature = RequestFeature("near", "float64", functions.per_mile)
    assert RequestFeature.from_json(json.loads(canonical(feature.to_json()))) == feature
    gone = RequestFeature.from_json({**feature.to_json(), "function": "no_such_module:near"})
    assert gone.inputs == ("delay", "distance")
    assert "no_such_module" not in sys.modules


def test_what_came_as_json_is_not_imported_before_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "canary_near.py").write_text("def near(x):\n    return x\n")
    monkeypatch.syspath_prepend(tmp_path)
    stored = RequestFeature("near", "int64", functions.letters).to_json()
    foreign = RequestFeature.from_json({**stored, "function": "canary_near:near", "inputs": ["x"]})
    with pytest.raises(FunctionNotTrusted, match=r"'canary_near:near' came from .*may not run"):
        compute([foreign], {"x": pl.Series([1])})
    assert "canary_near" not in sys.modules
    assert compute([foreign.as_trusted()], {"x": pl.Series([1])})["near"].to_list() == [1]


UNSOUND: dict[str, dict[str, Any]] = {
    "a path": {"function": "/etc/passwd"},
    "no function": {"function": "subprocess"},
    "a part of an object": {"function": "os:path.join"},
    "an expression": {"function": "os:system('x')"},
    "a script's": {"function": "__main__:near"},
    "a NUL": {"function": "os\0:system"},
    "no text": {"function": 7},
    "no inputs": {"inputs": []},
    "inputs that are a text": {"inputs": "delay"},
    "an input twice": {"inputs": ["delay", "delay"]},
    "an input that is no name": {"inputs": ["de lay"]},
    "an input that is no text": {"inputs": [{}]},
    "another field": {"trusted": True},
    "another type": {"dtype": "complex"},
    "a type by another name": {"dtype": "float"},
    "a name with a slash": {"name": "../near"},
    "no description": {"description": None},
}


@pytest.mark.parametrize("case", UNSOUND)
def test_json_that_no_constructor_writes_is_refused(case: str) -> None:
    stored = RequestFeature("near", "float64", functions.per_mile).to_json()
    with pytest.raises(DeclarationError):
        RequestFeature.from_json({**stored, **UNSOUND[case]})


CHANGED: dict[str, tuple[str, list[str], str]] = {
    "other parameters": (f"{HERE}:per_mile", ["delay", "miles"], "takes .delay, distance., but"),
    "any arguments": ("subprocess:call", ["delay"], "no .args, no .*kwargs"),
    "no function": ("builtins:len", ["delay"], "is a builtin_function_or_method"),
    "a class": ("datetime:datetime", ["delay"], "is a type, not a function"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_function_that_is_not_as_declared_is_not_run(case: str) -> None:
    path, inputs, message = CHANGED[case]
    stored = RequestFeature("near", "float64", functions.per_mile).to_json()
    feature = RequestFeature.from_json({**stored, "function": path, "inputs": inputs}).as_trusted()
    with pytest.raises(FunctionFailed, match=message):
        feature.load()


def nested() -> Callable[[pl.Series], pl.Series]:
    def inside(x: pl.Series) -> pl.Series:
        return x

    return inside


REFUSED: dict[str, tuple[Any, str]] = {
    "a lambda": (functions.anonymous, "is a lambda, which serving cannot find .*with def"),
    "a nested function": (nested(), r"'nested.<locals>.inside', is a method or stands in another"),
    "a method": (functions.Pricing.price, "'Pricing.price', is a method .*top of a module"),
    "a bound method": (functions.Pricing().price, "is a method, which serving cannot find"),
    "a partial": (functions.half_done, "is a partial, which serving cannot find"),
    "a builtin": (len, "is a builtin_function_or_method, which serving"),
    "no function": (7, "is a int, which serving cannot find"),
    "a script's function": ("__main__:near", "defined in a script .*move it to a module"),
    "a hidden function": (functions.wrapped, f"'{HERE}:per_mile' is another function"),
    "no path": ("pricing.near", "is 'module:function', .*not 'pricing.near'"),
    "a path inside": (f"{HERE}:Pricing.price", "a function at the top of a module"),
    "a path to nothing": (f"{HERE}:per_mil", r"no 'per_mil'. Did you mean 'per_mile'\?\)"),
    "a path to nowhere": ("no_such_module:near", "ModuleNotFoundError: No module named 'no_such"),
    "a path to a class": (f"{HERE}:Pricing", "is a type: 'near' needs a function written with def"),
    "no parameters": (functions.nothing, "takes no parameters: name the features and request"),
    "any number": (functions.any_number, r"takes '\*x: .*', but each .*is a column: no \*args"),
    "by keyword": (functions.by_keyword, "takes 'scale: .*no keyword-only ones"),
    "a default": (functions.with_default, "takes 'scale: .*keep constants in the module"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_serving_could_not_find_or_call_is_refused(case: str) -> None:
    function, message = REFUSED[case]
    with pytest.raises(DeclarationError, match=message):
        RequestFeature("near", "float64", function)


def test_a_function_beside_dagster_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for module, line in {"whole": "import dagster as dg", "part": "from dagster import op"}.items():
        code = f"{line}\n\ndef near(x):\n    return x\n"
        (tmp_path / f"beside_{module}.py").write_text(code)
        with pytest.raises(DeclarationError, match=f"'beside_{module}:near' imports dagster"):
            RequestFeature("near", "float64", f"beside_{module}:near")


def test_a_module_that_fails_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "failing_module.py").write_text("1 / 0\n")
    with pytest.raises(DeclarationError, match="ZeroDivisionError: division by zero"):
        RequestFeature("near", "float64", "failing_module:f")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("a b", "float64", functions.per_mile), "'a b' cannot name a feature"),
        (("near", "flaot64", functions.per_mile), "'flaot64' is no feature type.*'float64'"),
    ],
)
def test_names_and_types_are_those_of_features(given: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        RequestFeature(*given)


# Computing


def test_features_are_computed_by_name_whatever_the_columns_order() -> None:
    features = [
        RequestFeature("near", "float64", functions.per_mile),
        RequestFeature("size", "int64", functions.letters),
    ]
    columns = {
        "distance": pl.Series([2.0, 0.0, None]),
        "text": pl.Series(["a", None, ""]),
        "delay": pl.Series([1.0, 1.0, 1.0]),
    }
    found = compute(features, columns)
    assert {name: column.to_list() for name, column in found.items()} == {
        "near": [0.5, float("inf"), None],
        "size": [1, None, 0],
    }


def failure(given: Any, column: pl.Series, dtype: str = "int64", **stored: str) -> str:
    feature = RequestFeature("near", dtype, given)
    feature = RequestFeature.from_json({**feature.to_json(), **stored}).as_trusted()
    with pytest.raises(FunctionFailed) as raised:
        compute([feature], {feature.inputs[0]: column})
    return str(raised.value)


def test_a_failure_names_feature_function_and_line_but_no_value() -> None:
    told = failure(functions.broken, pl.Series(["secret"]))
    assert re.search(
        rf"'near' cannot be computed: '{HERE}:broken' raised KeyError in line \d+", told
    )
    assert "secret" not in told


def test_a_result_that_is_not_as_declared_is_refused() -> None:
    told = failure(functions.broken, pl.Series(["long"]))
    assert told.endswith(r"returned String, but is declared int64: cast it there, .cast(pl.Int64).")
    one = failure(functions.summed, pl.Series([1.0, 2.0]), dtype="float64")
    assert one.endswith("returned 1 row(s) for 2.")
    lazy = failure(functions.expression, pl.Series([1.0]), dtype="float64")
    assert lazy.endswith("returned Expr, not a polars.Series.")


def test_a_function_that_is_gone_says_what_to_do() -> None:
    gone = failure(functions.letters, pl.Series(["a"]), function=f"{HERE}:letter")
    assert "cannot be imported (AttributeError: " in gone
    assert "Did you mean 'letters'?). Install its module here, or apply the view" in gone
