"""Values that JSON lacks cross HTTP unchanged."""

import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, strategies as st

from feature_store_assets.json_values import reader, text_type, written

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float64": st.floats(),
    "date32": st.dates(),
    "timestamp[us, UTC]": st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(fold=0)),
}


@pytest.mark.parametrize("kind", VALUES)
@given(st.data())
def test_what_is_written_is_read_again(kind: str, data: st.DataObject) -> None:
    one = data.draw(st.none() | VALUES[kind])
    many = data.draw(st.none() | st.lists(st.none() | VALUES[kind]))
    for value, name in ((one, kind), (many, f"list<{kind}>")):
        read = reader(name)
        assert read is not None
        told = json.dumps(written(value), allow_nan=False)
        # As text, so that NaN equals itself.
        assert repr(read(json.loads(told))) == repr(value)
        assert text_type(value) in {None, name}


@pytest.mark.parametrize("kind", ["int64", "string", "bool", "list<int64>", "list<string>"])
def test_other_types_are_not_read_at_all(kind: str) -> None:
    assert reader(kind) is None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("float64", "1.5"),
        ("float64", "nan"),
        ("date32", "today"),
        ("date32", "2024-02-30"),
        ("timestamp[us, UTC]", "0001-01-01T00:00:00+01:00"),
        ("list<timestamp[us, UTC]>", "9999-12-31T23:59:59-01:00"),
    ],
)
def test_a_text_that_is_no_such_value_is_a_value_error(kind: str, text: str) -> None:
    read = reader(kind)
    assert read is not None
    with pytest.raises(ValueError):  # noqa: PT011 - callers say what it was
        read([text] if kind.startswith("list") else text)


def test_instants_are_utc_and_those_without_a_zone_stay_without() -> None:
    read = reader("timestamp[us, UTC]")
    assert read is not None
    assert read("2024-06-03T02:00:00+02:00") == datetime(2024, 6, 3, tzinfo=UTC)
    assert read("2024-06-03T02:00:00").tzinfo is None


def test_scalars_and_arrays_of_numpy_and_uuids_are_plain() -> None:
    person = UUID("6f2c1e0a-7b54-4c8f-9d3e-2a1b0c9d8e7f")
    given = [np.int64(7), np.array([1.5, np.nan]), np.bool_(1), person, (date(2024, 6, 3),)]
    assert written(given) == [7, [1.5, "NaN"], True, str(person), ["2024-06-03"]]
