"""Request-time features end to end: what training computed is what serving computes."""

import itertools
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.declaration.types import polars_type
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    DataError,
    FeatureNotFound,
    FunctionFailed,
    NaiveTimestamps,
    SpineError,
)
from feature_store_assets.retrieval.historical import with_computed
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests import functions
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.stores import T0, at, new_store, once, pushed

DELAYS = pushed(
    "delays", Feature("mean", "float64"), Feature("flights", "int64"),
    entity=Entity("carrier", {"carrier": "string"}),
)  # fmt: skip
TOTAL = RequestFeature("total", "int64", functions.total)
FLIGHT = FeatureView(
    "flight",
    [DELAYS["mean", "flights"].rename({"mean": "delay", "flights": "count"})],
    request={"distance": "float64", "more": "int64", "text": "string"},
    computed=[
        RequestFeature("per_mile", "float64", functions.per_mile),
        TOTAL,
        RequestFeature("size", "int64", functions.letters),
    ],
)


@pytest.fixture
@once
def flights(store: FeatureStore) -> FeatureStore:
    store.apply(DELAYS, FLIGHT)
    row = {"carrier": "AA", "event_timestamp": at(0), "mean": 5.0, "flights": 2}
    store.write_features([row], "delays")
    return store


def flight(carrier: str = "AA", **given: Any) -> dict[str, Any]:
    return {"carrier": carrier, "distance": 500.0, "more": 1, "text": "ab", **given}


def spine(*flights: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**each, "event_timestamp": at(1)} for each in flights]


# Training


def test_a_training_set_ends_with_the_computed_features(flights: FeatureStore) -> None:
    given = spine(flight(), flight("ZZ", distance=None))
    table = flights.get_historical_features("flight", given).to_arrow()
    assert table.column_names == [*given[0], "delay", "count", "per_mile", "total", "size"]
    assert table.select(["per_mile", "total", "size"]).to_pylist() == [
        {"per_mile": 0.01, "total": 3, "size": 2},
        {"per_mile": None, "total": None, "size": 2},
    ]
    assert table.schema.field("size").type == pa.int64()
    none = flights.get_historical_features("flight", table.slice(0, 0).select(list(given[0])))
    assert (len(none), none.columns) == (0, table.column_names)


def test_full_names_are_the_views_own_for_what_it_computes(flights: FeatureStore) -> None:
    given = spine(flight(total="label"))
    with pytest.raises(SpineError, match="'total' of 'flight' is computed, but there is a col"):
        flights.get_historical_features("flight", given)
    table = flights.get_historical_features("flight", given, full_feature_names=True)
    assert table.columns[-5:] == [
        "delays__delay", "delays__count", "flight__per_mile", "flight__total", "flight__size"
    ]  # fmt: skip
    assert table.to_arrow()["flight__total"].to_pylist() == [3]


def test_a_request_value_is_cast_only_where_nothing_is_lost(flights: FeatureStore) -> None:
    frame = pl.DataFrame(spine(flight(), flight())).with_columns(
        pl.col("distance").cast(pl.Float32), pl.col("more").cast(pl.Int8)
    )
    table = flights.get_historical_features("flight", frame).to_polars()
    assert (table["per_mile"].to_list(), table["total"].to_list()) == ([0.01] * 2, [3] * 2)
    assert table.schema["distance"] == pl.Float32


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"more": None, "mroe": 1},
            r"no column 'more', a request value \(int64\) of 'flight'.*mroe",
        ),
        ({"more": "1"}, "'more' is string in the spine; 'flight' declares int64. Cast it there"),
        ({"distance": 500}, "'distance' is int64 in the spine; 'flight' declares float64"),
    ],
)
def test_a_spine_without_what_is_needed_is_refused_before_anything_is_read(
    store: FeatureStore, given: dict[str, Any], message: str
) -> None:
    store.apply(DELAYS, FLIGHT)  # without rows, which would be the next error
    changed = {name: value for name, value in flight(**given).items() if value is not None}
    with pytest.raises(SpineError, match=message):
        store.get_historical_features("flight", spine(changed))


def test_slices_are_computed_like_the_whole_and_inputs_not_asked_are_dropped(
    flights: FeatureStore,
) -> None:
    asked = flights.applied.resolve("flight", ["total"])
    columns = asked.columns(full_names=False)
    assert columns == {"count": "count", "total": "total"}
    table = pa.table({"more": [1, 2, 3], "count": pa.array([1, None, 3], pa.int64())})
    whole = with_computed(table, asked, columns)
    assert whole.to_pylist() == [
        {"more": 1, "total": 2}, {"more": 2, "total": None}, {"more": 3, "total": 6}
    ]  # fmt: skip
    parts = [with_computed(table.slice(row, 1), asked, columns) for row in range(3)]
    assert pa.concat_tables(parts).equals(whole)


# Serving


def test_request_values_come_beside_the_entitys_key(flights: FeatureStore) -> None:
    found = flights.get_online_features("flight", [flight(), flight("ZZ", text=None, distance=2)])
    assert found == [
        {"delay": 5.0, "count": 2, "per_mile": 0.01, "total": 3, "size": 2},
        {"delay": None, "count": None, "per_mile": None, "total": None, "size": None},
    ]
    assert list(found[0]) == FLIGHT.feature_names
    declared = flights.get_online_features(FLIGHT, [flight(distance=10)], ["per_mile"])
    assert declared == [{"per_mile": 0.5}]


def test_what_is_not_needed_need_not_be_given(flights: FeatureStore) -> None:
    assert flights.get_online_features("flight", ["AA"], ["count"]) == {"AA": {"count": 2}}
    total = flights.get_online_features("flight", [{"carrier": "AA", "more": 5}], ["total"])
    assert total == [{"total": 7}]
    size = flights.get_online_features("flight", [{"text": "abc"}], ["size"])
    assert size == [{"size": 3}]


def test_the_status_is_that_of_the_stored_features(flights: FeatureStore) -> None:
    found = flights.get_online_features(
        "flight", [flight(), flight("ZZ")], ["size", "total"], at=T0, include_status=True
    )
    assert [(each["values"], each["status"], each["event_timestamp"]) for each in found] == [
        ({"total": 3, "size": 2}, "present", T0),
        ({"total": None, "size": 2}, "missing", None),
    ]
    [alone] = flights.get_online_features("flight", [flight()], ["size"], include_status=True)
    assert (alone["values"], alone["status"]) == ({"size": 2}, "present")
    assert alone["event_timestamp"] is None


def test_ids_alone_do_where_stored_features_are_all_that_is_taken(store: FeatureStore) -> None:
    mean = DELAYS["mean"].rename({"mean": "x"})
    view = FeatureView("v", [mean], computed=[RequestFeature("log", "float64", functions.log_of)])
    store.apply(DELAYS, view)
    store.write_features(
        [{"carrier": "AA", "event_timestamp": T0, "mean": 0.0, "flights": 1}], "delays"
    )
    assert store.get_online_features("v", ["AA"]) == {"AA": {"x": 0.0, "log": 0.0}}


@pytest.mark.parametrize(
    ("entity", "message"),
    [
        ("AA", "'flight' computes per_mile, total, size from values that come with the request.*"),
        (7, "Give each entity as a dict of carrier, distance, more, text, or ask for other feat"),
        ({"carrier": "AA", "distnce": 1.0, "more": 1, "text": ""},
         r"lacks the request value 'distance' \(float64\). Did you mean 'distnce'"),
        ({"distance": 1.0, "more": 1, "text": ""}, "lacks its join key 'carrier'"),
        (flight(distance="secret"), "'distance' of 'flight' is float64: give a float, .*a str.$"),
        (flight(distance=2**53 + 1), "is float64: give a float, or an int up to .*not a int"),
        (flight(more=1.0), "'more' of 'flight' is int64: give an int .* not a float"),
        (flight(more=True), "'more' of 'flight' is int64: give an int .* not a bool"),
    ],
)  # fmt: skip
def test_an_entity_without_what_is_needed_is_refused(
    flights: FeatureStore, entity: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        flights.get_online_features("flight", [entity])


def test_a_list_and_a_moment_are_told_apart_from_what_they_are_not(store: FeatureStore) -> None:
    view = FeatureView(
        "v",
        [DELAYS],
        request={"tags": "list<string>", "seen": "timestamp", "asked_at": "timestamp"},
        computed=[
            RequestFeature("longest", "int64", functions.longest),
            RequestFeature("age", "float64", functions.age),
        ],
    )
    store.apply(DELAYS, view)
    entity = {"carrier": "AA", "tags": ["a", "abc", None], "seen": T0, "asked_at": at(1)}
    found = store.get_online_features("v", [entity], ["longest", "age"])
    assert found == [{"longest": 3, "age": 3600.0}]
    for wrong, message in {
        "tags": "'tags' of 'v' is list<string>: give a list of such values, not a str",
        "seen": "'seen' of 'v' is timestamp.*: give a datetime with a time zone, not a datetime",
    }.items():
        value = {"tags": "abc", "seen": T0.replace(tzinfo=None)}[wrong]
        with pytest.raises(DataError, match=message):
            store.get_online_features("v", [{**entity, wrong: value}])
    store.write_features(
        [{"carrier": "AA", "event_timestamp": T0, "mean": 0.0, "flights": 1}], "delays"
    )
    row = {**entity, "event_timestamp": at(1), "seen": T0.replace(tzinfo=None)}
    with pytest.raises(NaiveTimestamps, match="'seen' of 'the spine' have no time zone"):
        store.get_historical_features("v", [row])


def test_a_function_that_is_gone_fails_by_name(
    store: FeatureStore,
) -> None:
    stored = FLIGHT.to_json()
    stored["computed"][1]["function"] = "gone_by_now:total"
    store.apply(DELAYS, FeatureView.from_json(stored).as_trusted())
    with pytest.raises(FunctionFailed, match="'total' cannot be computed: 'gone_by_now:total'"):
        store.get_online_features("flight", [flight()])
    assert store.get_online_features("flight", [flight()], ["size"]) == [{"size": 2}]
    with pytest.raises(FeatureNotFound, match="Did you mean 'size'"):
        store.get_online_features("flight", [flight()], ["siz"])


# Training and serving


KINDS: dict[str, tuple[str, str, Any]] = {
    # stored feature -> its type, the request value beside it, and values of both
    "count": ("int64", "more", st.integers(-(2**62), 2**62)),
    "delay": ("float64", "distance", st.floats()),
    "name": ("string", "suffix", st.text(max_size=4)),
    "flag": ("bool", "asked", st.booleans()),
    "day": ("date32", "until", st.dates(date(1900, 1, 1), date(2200, 1, 1))),
    "seen": (
        "timestamp[us, UTC]",
        "asked_at",
        st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # the zone follows
    ),
}
COMPUTED = [
    TOTAL,
    RequestFeature("per_mile", "float64", functions.per_mile),
    RequestFeature("label", "string", functions.label),
    RequestFeature("both", "bool", functions.both),
    RequestFeature("later_day", "date32", functions.later_day),
    RequestFeature("earlier", "timestamp", functions.earlier),
    RequestFeature("age", "float64", functions.age),
]
EVERY = pushed(
    "every",
    *(Feature(name, kind) for name, (kind, _, _) in KINDS.items()),
    entity=Entity("user", {"entity_id": "string"}),
)
ALIKE = FeatureView(
    "alike", [EVERY], request={name: kind for kind, name, _ in KINDS.values()}, computed=COMPUTED
)
rows = st.fixed_dictionaries(
    {
        name: st.none() | values
        for stored, (_, asked, values) in KINDS.items()
        for name in (stored, asked)
    }
)
SCHEMA = {"entity_id": pl.String(), "event_timestamp": pl.Datetime("us", "UTC")} | {
    name: polars_type(kind)
    for stored, (kind, asked, _) in KINDS.items()
    for name in (stored, asked)
}
_NUMBERS = itertools.count()


def test_no_entity_needs_no_request_values(flights: FeatureStore) -> None:
    assert flights.get_online_features("flight", []) == {}
    table = flights.get_online_features("flight", [], output="arrow")
    assert (table.num_rows, "per_mile" in table.column_names) == (0, True)


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with new_store(tmp_path_factory.mktemp("alike")) as store:
        store.apply(EVERY, ALIKE)
        yield store


def _comparable(row: dict[str, Any]) -> dict[str, Any]:
    """NaN equals itself here."""
    return {
        name: "NaN" if isinstance(value, float) and math.isnan(value) else value
        for name, value in row.items()
    }


@settings(max_examples=examples(25), suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(rows, st.booleans()), min_size=1, max_size=8))
def test_training_and_serving_compute_the_same(
    alike: FeatureStore, drawn: list[tuple[dict[str, Any], bool]]
) -> None:
    asked = [{**row, "entity_id": f"e{next(_NUMBERS)}"} for row, _ in drawn]
    known = [row for row, (_, is_known) in zip(asked, drawn, strict=True) if is_known]
    if known:
        frame = pl.DataFrame([{**row, "event_timestamp": T0} for row in known], schema=SCHEMA)
        alike.write_features(frame.select("entity_id", "event_timestamp", *KINDS), "every")
    spine = pl.DataFrame([{**row, "event_timestamp": at(1)} for row in asked], schema=SCHEMA)
    trained = alike.get_historical_features("alike", spine.drop(*KINDS)).to_polars()
    served = alike.get_online_features(
        "alike", [{name: row[name] for name in row if name not in KINDS} for row in asked]
    )
    names = ALIKE.feature_names
    assert [*map(_comparable, served)] == [
        *map(_comparable, trained.select(names).iter_rows(named=True))
    ]
