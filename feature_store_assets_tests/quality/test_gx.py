"""What comes back from Great Expectations is read in all its shapes."""

from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from feature_store_assets.quality.gx import _answer, to_pandas

FRAME = to_pandas(pl.DataFrame({"x": [1]}))
FAILURE = {"raised_exception": True, "exception_message": "no number in 'ada' of 'x'\nand more"}


@pytest.mark.parametrize("info", [FAILURE, {"a metric": FAILURE}])
def test_both_shapes_of_an_exception_are_understood(info: dict[str, Any]) -> None:
    answer = _answer(SimpleNamespace(exception_info=info, success=False, result={}), FRAME)
    assert answer.error == "no number in '...' of 'x'"


def test_a_verdict_without_an_exception_has_no_error() -> None:
    info = {"raised_exception": False, "exception_message": None}
    answer = _answer(SimpleNamespace(exception_info=info, success=True, result=None), FRAME)
    assert (answer.error, answer.success, answer.rows) == (None, True, [])


def test_floats_become_numpy_and_integers_stay_arrow() -> None:
    rows = pl.DataFrame({"x": [1.5, None], "n": [2**53 + 1, None], "c": ["a", None]})
    frame = to_pandas(rows, [7, 9])
    assert str(frame["x"].dtype) == "float64"
    assert str(frame["n"].dtype) == "int64[pyarrow]"
    assert frame["n"][7] == 2**53 + 1
    assert frame.isna().loc[9].all()
