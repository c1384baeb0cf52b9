"""The trial of request-time functions: what would serve other values than it trained on is out."""

from typing import Any

import pytest

from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.declaration.rowwise import check_function
from feature_store_assets.declaration.types import SCALARS
from feature_store_assets.errors import DeclarationError
from feature_store_assets_tests import functions


@pytest.mark.parametrize(
    ("function", "dtype", "kinds"),
    [
        (functions.per_mile, "float64", ["float64", "float64"]),
        (functions.per_mile, "float64", ["int64", "int64"]),
        (functions.letters, "int64", ["string"]),
        (functions.number, "int64", ["string"]),
        (functions.log_of, "float64", ["float64"]),
        (functions.longest, "int64", ["list<string>"]),
        (functions.total, "int64", ["int64", "int64"]),
        (functions.both, "bool", ["bool", "bool"]),
        (functions.label, "string", ["string", "string"]),
        (functions.later_day, "date32", ["date32", "date32"]),
        (functions.age, "float64", ["timestamp[us, UTC]"] * 2),
        (functions.earlier, "timestamp[us, UTC]", ["timestamp[us, UTC]"] * 2),
    ],
)
def test_functions_of_one_row_pass(function: Any, dtype: str, kinds: list[str]) -> None:
    check_function(RequestFeature("f", dtype, function), kinds)


MIXED = [
    functions.centred, functions.change, functions.running, functions.ranked, functions.filled,
    functions.largest, functions.second, functions.single,
]  # fmt: skip


@pytest.mark.parametrize("function", MIXED, ids=lambda each: each.__name__)
def test_functions_that_look_at_other_rows_are_refused(function: Any) -> None:
    name = function.__name__
    with pytest.raises(DeclarationError, match=rf"functions:{name}', .*'f', mixes rows .*one row"):
        check_function(RequestFeature("f", "float64", function), ["float64"])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (functions.noise, "gives two answers for the same rows .*Make what it depends on a req"),
        (functions.overwritten, "changes its inputs: work on copies"),
        (functions.whole_number, r"returned Int32, but is declared float64: .*cast\(pl.Float64\)"),
        (functions.summed, r"returned 1 row\(s\) for 0"),
        (functions.expression, "returned Expr, not a polars.Series"),
        (functions.first_of, "raises IndexError on columns without rows .*it must take them"),
    ],
)
def test_other_surprises_are_refused(function: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        check_function(RequestFeature("f", "float64", function), ["float64"])


@pytest.mark.parametrize("kind", [*SCALARS, *(f"list<{each}>" for each in SCALARS)])
def test_every_type_is_tried(kind: str) -> None:
    with pytest.raises(DeclarationError, match="mixes rows"):
        check_function(RequestFeature("f", kind, functions.filled), [kind])
