from datetime import UTC, datetime, timedelta

import pytest

from feature_store_assets.online.decode import Reader
from feature_store_assets.online.row import RowCodec, micros, sortable, tombstone

NOW = datetime(2024, 6, 1, tzinfo=UTC)
MOMENT = micros(NOW)
TTL = timedelta(days=30)
CODEC = RowCodec([("spend", "float64"), ("orders", "int64")])
NOTHING = {"spend": None, "orders": None}


def row(age: timedelta) -> bytes:
    event = sortable(micros(NOW - age))
    return event + event + sortable(1) + b"\0\2\x92\xcb" + b"\x3f\xf0" + bytes(6) + b"\x02"


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (TTL - timedelta(microseconds=1), "present"),
        (TTL, "present"),
        (TTL + timedelta(microseconds=1), "expired"),
    ],
)
def test_a_row_expires_one_microsecond_after_its_ttl(age: timedelta, status: str) -> None:
    reader = Reader(CODEC, ["spend", "orders"], TTL)
    values = {"spend": 1.0, "orders": 2} if status == "present" else NOTHING
    assert reader.told([row(age)], MOMENT) == ([[*values.values()]], [status], [micros(NOW - age)])
    assert reader.rows([row(age)], MOMENT) == [values]


@pytest.mark.parametrize("ttl", [None, TTL, timedelta.max])
@pytest.mark.parametrize("value", [None, tombstone(5)])
def test_no_row_and_a_tombstone_are_missing(ttl: timedelta | None, value: bytes | None) -> None:
    reader = Reader(CODEC, ["spend", "orders"], ttl)
    assert reader.told([value], MOMENT) == ([[None, None]], ["missing"], [None])
    assert reader.rows([value], MOMENT) == [NOTHING]


@pytest.mark.parametrize("ttl", [None, timedelta.max])
def test_without_a_ttl_rows_never_expire(ttl: timedelta | None) -> None:
    old = row(timedelta(days=700_000))
    assert Reader(CODEC, ["orders"], ttl).told([old], MOMENT).statuses == ["present"]


def test_rows_given_out_do_not_share_their_dict() -> None:
    first, second = Reader(CODEC, ["spend"], None).rows([None, None], MOMENT)
    first["spend"] = 1
    assert second == {"spend": None}
