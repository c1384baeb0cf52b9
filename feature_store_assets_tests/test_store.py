"""`FeatureStore` as training and serving code use it: the calls of the first description first."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from feature_store_assets import FeatureStore, FeatureStoreConfig, FeatureType
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    BreakingChange,
    DataError,
    DeclarationChanged,
    DeclarationError,
    FeatureNotFound,
    GroupNotFound,
    NaiveTimestamps,
    SpineError,
    ViewNotFound,
)
from feature_store_assets_tests.stores import HOUR, T0, at, new_store, once, pushed, row, traces


@pytest.fixture
@once
def people(store: FeatureStore) -> FeatureStore:
    for name, kind in {"user_age": "integer", "user_country": "string"}.items():
        store.register_feature(name=name, data_type=kind, feature_group="demographics")
    rows = [
        row("user_1", 0, user_age=25, user_country="US"),
        row("user_2", 1, user_age=34, user_country="UK"),
        row("user_3", 2, user_age=42, user_country="CA"),
        row("user_1", 3, user_age=26, user_country="US"),
    ]
    store.write_features(feature_data=pl.DataFrame(rows), feature_group="demographics")
    return store


# The calls of the first description


def test_its_calls_work_as_written_there(tmp_path: Path) -> None:
    config = FeatureStoreConfig(
        storage_backend="parquet",
        storage_path=tmp_path / "data",
        compression="snappy",
        partitioning_columns=["year", "month"],
        max_parallel_operations=10,
        retention_days=365,
    )
    frame = pd.DataFrame(
        {
            "entity_id": ["user_1", "user_2"],
            "event_timestamp": pd.to_datetime(["2024-01-01", "2024-01-02"], utc=True),
            "user_age": [25, 34],
            "user_country": ["US", "UK"],
        }
    )
    with FeatureStore(config=config) as store:
        metadata = store.register_feature(
            name="user_age",
            description="User age in years",
            feature_type=FeatureType.NUMERICAL,
            data_type="integer",
            feature_group="demographics",
            created_by="data_engineer",
        )
        with pytest.warns(UserWarning, match="user_country"):
            result = store.write_features(
                feature_data=frame, feature_group="demographics", mode="append"
            )
        features = store.read_features(
            feature_group="demographics", features=["user_age", "user_country"], limit=1000
        )
        online = store.get_online_features(
            feature_group="demographics",
            entity_ids=["user_1", "user_2", "user_3"],
            features=["user_age", "user_country"],
        )
    assert (metadata.feature_id, metadata.dtype, metadata.feature_type, metadata.created_by) == (
        "demographics.user_age",
        "int64",
        "numerical",
        "data_engineer",
    )
    assert result.rows_written == 2
    assert features.to_pandas()["user_age"].tolist() == [25, 34]
    assert online == {
        "user_1": {"user_age": 25, "user_country": "US"},
        "user_2": {"user_age": 34, "user_country": "UK"},
        "user_3": {"user_age": None, "user_country": None},
    }


def test_from_env_opens_what_the_variables_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURE_STORE_STORAGE_PATH", str(tmp_path / "root"))
    with FeatureStore.from_env() as store:
        assert store.config.root == tmp_path / "root"
        assert repr(store) == f"FeatureStore('{tmp_path / 'root'}')"


# Registering


def test_a_feature_is_registered_again_to_describe_it_otherwise(people: FeatureStore) -> None:
    people.register_feature(
        "user_age", feature_group="demographics", data_type=int, description="Years.", ge=0
    )
    group = people.applied.group("demographics")
    assert group.feature_names == ["user_age", "user_country"]
    assert (group.feature("user_age").description, group.feature("user_age").ge) == ("Years.", 0)


def test_a_registered_feature_keeps_its_type(people: FeatureStore) -> None:
    before = traces(people)
    with pytest.raises(BreakingChange, match=r"'user_age' int64 becomes string.*version=2"):
        people.register_feature("user_age", feature_group="demographics", data_type="string")
    assert traces(people) == before


def test_a_misspelt_feature_type_gets_a_suggestion(store: FeatureStore) -> None:
    with pytest.raises(DeclarationError, match=r"'numeric' is no feature type.*'numerical'"):
        store.register_feature("x", feature_group="g", data_type="int", feature_type="numeric")
    with pytest.raises(DeclarationError, match=r"'integr' is no feature type.*'int"):
        store.register_feature("x", feature_group="g", data_type="integr")
    assert store.groups() == []


def test_a_registered_group_without_partitions_is_cut_by_event_time(store: FeatureStore) -> None:
    group = store.register_feature_group(pushed("g", Feature("x", "int64"), partitions=None))
    assert group.partitions is not None
    assert (group.partitions.kind, group.partitions.keys) == ("calendar", ("year", "month"))
    assert not group.materialized


# Reading


def test_rows_come_by_event_time_and_then_by_key(people: FeatureStore) -> None:
    table = people.read_features("demographics")
    assert table.columns == ["entity_id", "event_timestamp", "user_age", "user_country"]
    assert table.to_arrow()["user_age"].to_pylist() == [25, 34, 42, 26]
    assert table.to_arrow().schema.field("event_timestamp").type == pa.timestamp("us", "UTC")


def test_a_read_is_narrowed_by_time_partition_entity_and_limit(people: FeatureStore) -> None:
    def ages(**given: Any) -> list[Any]:
        return people.read_features("demographics", ["user_age"], **given).to_arrow()[
            "user_age"
        ].to_pylist()  # fmt: skip

    assert ages(start_time=at(1), end_time=at(3)) == [34, 42]
    assert ages(start_time=at(1).astimezone().replace(tzinfo=None)) == [34, 42, 26]
    assert ages(partitions=["2024-01"]) == [25, 34, 42, 26]
    assert ages(partitions=["2024-02"]) == []
    assert ages(entities=[{"entity_id": "user_1"}, {"entity_id": "nobody"}]) == [25, 26]
    assert ages(entities=pd.DataFrame({"entity_id": ["user_2"]}), limit=5) == [34]
    assert ages(limit=2) == [25, 34]
    assert ages(limit=0) == []


def test_entities_of_another_type_or_without_their_key_are_refused(people: FeatureStore) -> None:
    with pytest.raises(SpineError, match=r"'entity_id' of the entities is int64.*has string"):
        people.read_features("demographics", entities=[{"entity_id": 1}])
    with pytest.raises(SpineError, match=r"entities has no column 'entity_id'.*'entity_di'"):
        people.read_features("demographics", entities=[{"entity_di": "user_1"}])


def test_unknown_names_are_answered_with_the_nearest_known(people: FeatureStore) -> None:
    with pytest.raises(GroupNotFound, match=r"named 'demografics'. Did you mean 'demographics'"):
        people.read_features("demografics")
    with pytest.raises(FeatureNotFound, match=r"'user_aeg' in 'demographics'.*'user_age'"):
        people.read_features("demographics", ["user_aeg"])
    with pytest.raises(ViewNotFound, match="Did you mean 'demographics'"):
        people.get_online_features("demografics", ["user_1"])
    with pytest.raises(FeatureNotFound, match="Did you mean 'user_age'"):
        people.get_online_features("demographics", ["user_1"], ["user_ag"])
    with pytest.raises(ViewNotFound, match="Did you mean 'demographics'"):
        people.get_historical_features("demographic", [])
    with pytest.raises(FeatureNotFound, match="Did you mean 'user_age'"):
        people.get_historical_features(["demographics.userage"], [])
    with pytest.raises(FeatureNotFound, match=r"'user_age' in 'group.feature'"):
        people.get_historical_features(["user_age"], [])


def test_an_empty_store_says_what_to_run(store: FeatureStore) -> None:
    with pytest.raises(GroupNotFound, match="run `feature-store apply`"):
        store.read_features("spending")
    with pytest.raises(ViewNotFound, match="run `feature-store apply`"):
        store.get_online_features("spending", ["u1"])
    assert not (store.config.root / "registry.db").exists()


def test_a_group_without_rows_says_how_to_fill_it(store: FeatureStore) -> None:
    store.register_feature_group(pushed("g", Feature("x", "int64")))
    with pytest.raises(DataError, match=r"holds no rows yet.*write_features"):
        store.read_features("g")
    store.apply(FeatureGroup("m", entity=Entity("user", ["id"]), features=[Feature("y", "int64")]))
    with pytest.raises(DataError, match=r"holds no rows yet.*feature-store materialize m"):
        store.get_historical_features("m", [{"id": 1, "event_timestamp": T0}])


# Several groups


@pytest.fixture
@once
def travel(store: FeatureStore) -> FeatureStore:
    """Groups by user (int), and by route (two keys); the view 'trip' over both."""
    users = pushed(
        "users", Feature("age", "int64"), Feature("x_y", "float64"),
        entity=Entity("user", {"user_id": "int64"}), ttl=timedelta(days=2),
    )  # fmt: skip
    routes = pushed(
        "routes", Feature("delay", "float64"),
        entity=Entity("route", {"origin": "string", "dest": "string"}),
    )  # fmt: skip
    store.apply(
        users, routes, FeatureView("trip", [users["age"].rename({"age": "user_age"}), routes])
    )
    users_rows = [
        {"user_id": 1, "event_timestamp": at(0), "age": 30, "x_y": 0.5},
        {"user_id": 2, "event_timestamp": at(1), "age": None, "x_y": 1.5},
    ]
    store.write_features(users_rows, "users")
    route = {"origin": "JFK", "dest": "LAX", "event_timestamp": at(0), "delay": 12.5}
    store.write_features([route], "routes")
    return store


def trip(user: int | None, dest: str, hours: float) -> dict[str, Any]:
    return {"user_id": user, "origin": "JFK", "dest": dest, "event_timestamp": at(hours)}


def test_a_view_joins_groups_of_different_keys_under_its_own_names(travel: FeatureStore) -> None:
    spine = pl.DataFrame([trip(2, "LAX", 5), trip(1, "SFO", 5), trip(None, "LAX", 5)])
    joined = travel.get_historical_features("trip", spine).to_polars()
    assert joined.columns == [*spine.columns, "user_age", "delay"]
    assert joined["user_age"].to_list() == [None, 30, None]
    assert joined["delay"].to_list() == [12.5, None, 12.5]


def test_a_view_is_served_by_its_own_names(travel: FeatureStore) -> None:
    entities = [{"user_id": 1, "origin": "JFK", "dest": "LAX"}]
    assert travel.get_online_features("trip", entities, at=at(5)) == [
        {"user_age": 30, "delay": 12.5}
    ]
    assert travel.get_online_features("routes", [("JFK", "LAX"), ("JFK", "SFO")]) == {
        ("JFK", "LAX"): {"delay": 12.5},
        ("JFK", "SFO"): {"delay": None},
    }
    with pytest.raises(DataError, match=r"different keys.*user_id, origin, dest"):
        travel.get_online_features("trip", [1])
    with pytest.raises(DataError, match="lacks its join key 'dest'"):
        travel.get_online_features("trip", [{"user_id": 1, "origin": "JFK"}])


def test_features_are_asked_for_by_id_and_named_in_full_where_they_clash(
    travel: FeatureStore,
) -> None:
    spine = [{**trip(1, "LAX", 1), "age": "label"}]
    with pytest.raises(SpineError, match="'age' of 'users' is also a column of the spine"):
        travel.get_historical_features(["users.age", "routes.delay"], spine)
    joined = travel.get_historical_features(
        ["users.age", "routes.delay"], spine, full_feature_names=True
    )
    assert joined.columns[-3:] == ["age", "users__age", "routes__delay"]
    assert joined.to_arrow()["users__age"].to_pylist() == [30]


def test_a_spine_that_cannot_be_joined_says_why(travel: FeatureStore) -> None:
    def refused(error: type[Exception], message: str, **columns: Any) -> None:
        good = {"user_id": 1, "event_timestamp": T0}
        spine = [{name: value for name, value in {**good, **columns}.items() if value != ()}]
        with pytest.raises(error, match=message):
            travel.get_historical_features("users", spine)

    refused(SpineError, "no column 'user_id', a join key of 'users'", user_id=())
    refused(
        SpineError, "no column 'event_timestamp'.*'event_time'", event_timestamp=(), event_time=T0
    )
    refused(SpineError, "'user_id' of the spine is string; 'users' has int64", user_id="1")
    refused(SpineError, "'event_timestamp' of the spine is string", event_timestamp="2024-01-01")
    refused(NaiveTimestamps, "'the spine' have no time zone", event_timestamp=datetime(2024, 1, 1))  # noqa: DTZ001  # the case
    with pytest.raises(SpineError, match=r"There is no 'spine\.parquet' to take the spine from"):
        travel.get_historical_features("users", "spine.parquet")


# What peers get wrong, number by number


def test_peers_1_and_3_every_spine_row_comes_back_once_in_its_order(people: FeatureStore) -> None:
    spine = pl.DataFrame(
        [
            {"entity_id": who, "event_timestamp": at(hours), "label": label}
            for label, (who, hours) in enumerate(
                [("user_2", 9), ("nobody", 9), ("user_1", -9), ("user_2", 9), ("user_1", 1)]
            )
        ]
    )
    joined = people.get_historical_features("demographics", spine).to_polars()
    assert joined.select(spine.columns).equals(spine)
    assert joined["user_age"].to_list() == [34, None, None, 34, 25]
    assert joined.schema["user_age"] == pl.Int64


def test_peers_2_the_newest_revision_wins_at_equal_event_times(people: FeatureStore) -> None:
    for age in (35, 36):
        people.write_features(
            [row("user_2", 1, user_age=age, user_country="UK")], "demographics", mode="upsert"
        )
    joined = people.get_historical_features("demographics", [row("user_2", 5)])
    assert joined.to_arrow()["user_age"].to_pylist() == [36]


def test_peers_4_no_suffix_is_reserved(travel: FeatureStore) -> None:
    spine = [{"user_id": 1, "event_timestamp": at(1)}]
    assert travel.get_historical_features("users", spine).to_arrow()["x_y"].to_pylist() == [0.5]


def test_peers_5_the_ttl_is_one_number_offline_and_online(travel: FeatureStore) -> None:
    for beyond, age, status in ((0, 30, "present"), (1, None, "expired")):
        moment = at(48) + timedelta(microseconds=beyond)
        spine = [{"user_id": 1, "event_timestamp": moment}]
        joined = travel.get_historical_features("users", spine).to_arrow()
        assert joined["age"].to_pylist() == [age]
        online = travel.get_online_features("users", [1], ["age"], at=moment, include_status=True)
        assert online[1]["values"] == {"age": age}
        assert online[1]["status"] == status


def test_peers_5_a_ttl_of_nothing_matches_the_same_instant_only(travel: FeatureStore) -> None:
    spine = [{"user_id": 1, "event_timestamp": at(0)}, {"user_id": 1, "event_timestamp": at(1)}]
    joined = travel.get_historical_features("users", spine, ttl=timedelta(0)).to_arrow()
    assert joined["age"].to_pylist() == [30, None]


def test_peers_6_the_status_tells_a_null_from_a_missing_row(travel: FeatureStore) -> None:
    found = travel.get_online_features("users", [2, 9], ["age"], at=at(5), include_status=True)
    known = {"values": {"age": None}, "stale": False}
    hours = 4 * 3600.0
    assert found == {
        2: {**known, "status": "present", "event_timestamp": at(1), "age_seconds": hours},
        9: {**known, "status": "missing", "event_timestamp": None, "age_seconds": None},
    }


def test_peers_7_nanoseconds_are_taken(people: FeatureStore) -> None:
    frame = pd.DataFrame({"entity_id": ["n"], "user_age": [1], "user_country": ["US"]})
    frame["event_timestamp"] = pd.Series([pd.Timestamp(T0)]).astype("datetime64[ns, UTC]")
    assert people.write_features(frame, "demographics").rows_written == 1
    spine = frame[["entity_id", "event_timestamp"]]
    joined = people.get_historical_features("demographics", spine).to_arrow()
    assert joined["user_age"].to_pylist() == [1]
    assert joined.schema.field("event_timestamp").type == pa.timestamp("ns", "UTC")


def test_peers_9_old_rows_written_later_do_not_move_the_online_value_back(
    people: FeatureStore,
) -> None:
    people.write_features([row("user_1", -500, user_age=1, user_country="XX")], "demographics")
    assert people.get_online_features("demographics", ["user_1"], ["user_age"]) == {
        "user_1": {"user_age": 26}
    }


def test_peers_10_a_correction_of_the_same_event_time_is_visible_online(
    people: FeatureStore,
) -> None:
    rows = [row("user_1", 3, user_age=99, user_country="US")]
    people.write_features(rows, "demographics", mode="upsert")
    assert people.get_online_features("demographics", ["user_1"], ["user_age"]) == {
        "user_1": {"user_age": 99}
    }


def test_peers_11_a_row_that_arrives_late_reaches_online_if_it_is_the_newest(
    people: FeatureStore,
) -> None:
    people.write_features([row("user_2", 2, user_age=1, user_country="UK")], "demographics")
    people.write_features([row("user_3", 1, user_age=2, user_country="CA")], "demographics")
    found = people.get_online_features("demographics", ["user_2", "user_3"], ["user_age"])
    assert found == {"user_2": {"user_age": 1}, "user_3": {"user_age": 42}}


@pytest.fixture
@once
def corrected(store: FeatureStore) -> FeatureStore:
    """A group that says when rows arrived: 12.0 at once, its correction 99.0 three hours later."""
    store.register_feature_group(pushed("g", Feature("x", "float64"), created="arrived"))
    store.write_features([row("u", 0, x=12.0, arrived=at(0))], "g")
    store.write_features([row("u", 0, x=99.0, arrived=at(3))], "g", mode="upsert")
    return store


SPINE = [row("u", hours) for hours in (0, 1, 3, 4)]


def test_peers_12_later_corrections_do_not_leak_into_training(corrected: FeatureStore) -> None:
    joined = corrected.get_historical_features("g", SPINE).to_arrow()
    assert joined["x"].to_pylist() == [12.0, 12.0, 99.0, 99.0]


def test_what_was_known_can_be_asked_for_otherwise(corrected: FeatureStore) -> None:
    def known(how: Any) -> list[Any]:
        return corrected.get_historical_features("g", SPINE, known=how).to_arrow()["x"].to_pylist()

    assert known("latest") == [99.0] * 4
    assert known("event") == [12.0, 12.0, 99.0, 99.0]
    assert known(at(2)) == [12.0] * 4
    assert known(at(2).astimezone().replace(tzinfo=None)) == [12.0] * 4
    assert known(at(-1)) == [None] * 4
    with pytest.raises(DataError, match="'event', 'latest' or an instant, not 'events'"):
        known("events")


def test_a_group_that_does_not_say_when_rows_arrived_is_joined_as_it_stands(
    people: FeatureStore,
) -> None:
    joined = people.get_historical_features("demographics", [row("user_1", 1)])
    assert joined.to_arrow()["user_age"].to_pylist() == [25]
    with pytest.raises(DataError, match=r"does not say when its rows were recorded.*created="):
        people.get_historical_features("demographics", [row("user_1", 1)], known="event")


# Serving


def test_a_group_that_is_not_served_says_so(store: FeatureStore) -> None:
    store.register_feature_group(pushed("g", Feature("x", "int64"), online=False))
    store.write_features([row("u", 0, x=1)], "g")
    with pytest.raises(DataError, match="'g' is not served: declare online=True"):
        store.get_online_features("g", ["u"])


def test_rows_dated_in_the_future_are_held_back(people: FeatureStore) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    later = {**row("user_1", 0, user_age=99, user_country="US"), "event_timestamp": tomorrow}
    people.write_features([later], "demographics")
    found = people.get_online_features("demographics", ["user_1"], ["user_age"])
    assert found == {"user_1": {"user_age": 26}}
    group = people.applied.group("demographics")
    people.publish(group, [f"{tomorrow:%Y-%m}"], now=tomorrow + HOUR)
    found = people.get_online_features("demographics", ["user_1"], ["user_age"])
    assert found == {"user_1": {"user_age": 99}}


def test_a_declaration_that_changed_stops_a_writer_and_an_added_feature_does_not(
    store: FeatureStore,
) -> None:
    group = pushed("g", Feature("x", "int64"))
    store.apply(group)
    store.apply(pushed("g", Feature("x", "int64"), Feature("z", "int64")))
    store.applied.check_unchanged(group)
    store.apply(pushed("g", Feature("x", "int64", ge=0), Feature("z", "int64")))
    with pytest.raises(DeclarationChanged, match=r"feature 'x' changed.*feature-store apply"):
        store.applied.check_unchanged(group)


def test_a_closed_store_opens_again_on_use(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    store.register_feature_group(pushed("g", Feature("x", "int64")))
    store.write_features([row("u", 0, x=1)], "g")
    store.close()
    assert store.get_online_features("g", ["u"]) == {"u": {"x": 1}}
    store.close()
