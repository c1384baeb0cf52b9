"""Feature types: one name each, however they are spelt."""

from datetime import UTC, date, datetime

import polars as pl
import pyarrow as pa
import pytest

from feature_store_assets.declaration.types import SCALARS, holds, polars_type, type_name
from feature_store_assets.errors import DeclarationError


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("int64", ["int64", "int", "integer", " int ", int, pa.int64()]),
        ("float64", ["float64", "float", "double", "numeric", float, pa.float64()]),
        ("bool", ["bool", "boolean", bool, pa.bool_()]),
        ("string", ["string", "str", "text", str, pa.string(), pa.large_string()]),
        ("date32", ["date32", "date", date, pa.date32()]),
        (
            "timestamp[us, UTC]",
            ["timestamp[us, UTC]", "timestamp", "datetime", datetime, pa.timestamp("us", "UTC")],
        ),
        ("list<float64>", ["list<float64>", "list[float]", pa.list_(pa.float64())]),
        ("list<string>", ["list<str>", pa.large_list(pa.string())]),
        ("list<timestamp[us, UTC]>", [pa.list_(pa.timestamp("us", "UTC"))]),
    ],
)
def test_usual_spellings_mean_one_type(name: str, spellings: list[object]) -> None:
    assert [type_name(each) for each in spellings] == [name] * len(spellings)


def test_a_name_means_itself() -> None:
    for name in (*SCALARS, *(f"list<{scalar}>" for scalar in SCALARS)):
        assert type_name(name) == name


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("int46", "'int46' is no feature type. Did you mean 'int64'"),
        ("strings", "Did you mean 'string'"),
        ("blob", "There are: 'bool'|Did you mean"),
        (dict, "is no feature type"),
        (pa.int32(), "'int32' is no feature type. Did you mean"),
        (pa.timestamp("ns"), r"'timestamp\[ns\]' is no feature type"),
        ("list<list<int>>", "'list<list<int>>' is no feature type"),
        ("list<blob>", "'blob' is no feature type"),
        ("", "'' is no feature type"),
    ],
)
def test_anything_else_is_refused_with_what_there_is(wrong: object, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        type_name(wrong)


NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
VALUES: dict[str, tuple[list[object], list[object]]] = {
    "int64": ([0, -(2**63), 2**63 - 1], [2**63, True, 1.0, "1"]),
    "float64": ([0.5, float("nan"), 2**53], [2**53 + 1, False, "0.5"]),
    "bool": ([True, False], [1, "true"]),
    "string": (["", "a"], [b"a", 1]),
    "date32": ([NOON.date()], [NOON, "2024-01-01"]),
    "timestamp[us, UTC]": ([NOON], [NOON.replace(tzinfo=None), NOON.date(), 0]),
    "list<int64>": ([[], [1, None], (2,)], [1, ["1"], "1"]),
}


@pytest.mark.parametrize("kind", VALUES)
def test_python_values_are_of_one_type_or_of_none(kind: str) -> None:
    good, bad = VALUES[kind]
    assert all(holds(kind, value) for value in (*good, None))
    assert not any(holds(kind, value) for value in bad)
    assert pl.Series([*good, None], dtype=polars_type(kind)).null_count() == 1
