"""Rows pushed to a group: modes, duplicates, drafts, and that refused rows leave no trace."""

import threading
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.errors import (
    ChangedFacts,
    DataError,
    DuplicateRows,
    FeatureStoreError,
    NaiveTimestamps,
    NullKeys,
    OutOfBounds,
    SchemaMismatch,
    StorageUnusable,
    WrittenByDagster,
)
from feature_store_assets.ingestion.push import Mode
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.stores import T0, at, new_store, once, pushed, row, traces

AGE = Feature("age", "int64", ge=0)
COUNTRY = Feature("country", "string", one_of=["US", "UK", "CA"])


def values(store: FeatureStore, group: str, feature: str) -> list[Any]:
    return store.read_features(group, [feature]).to_arrow()[feature].to_pylist()


@pytest.fixture
@once
def people(store: FeatureStore) -> FeatureStore:
    """A store with the group 'people' and one row of two people."""
    store.register_feature_group(pushed("people", AGE, COUNTRY))
    store.write_features([row("u1", 0, age=25, country="US")], "people")
    store.write_features([row("u2", 1, age=34, country="UK")], "people")
    return store


def test_append_adds_rows_counts_them_and_names_their_partitions(people: FeatureStore) -> None:
    rows = [row("u3", 2, age=1, country=None), row("u3", 24 * 30, age=2, country="US")]
    result = people.write_features(rows, "people")
    assert (result.feature_group, result.rows_written, result.rows_duplicate) == ("people", 2, 0)
    assert result.partitions == ("2024-01", "2024-02")
    assert values(people, "people", "age") == [25, 34, 1, 2]


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_rows_that_are_stored_already_are_duplicates_and_not_written(
    people: FeatureStore, mode: Mode
) -> None:
    before = people.table(people.groups()[0]).version()
    result = people.write_features([row("u1", 0, age=25, country="US")], "people", mode=mode)
    assert (result.rows_written, result.rows_duplicate, result.version) == (0, 1, before)


def test_append_refuses_to_change_a_stored_fact(people: FeatureStore) -> None:
    before = traces(people)
    with pytest.raises(ChangedFacts, match=r"1 row\(s\) for 'people' .* mode='upsert'") as error:
        people.write_features(
            [row("u1", 0, age=26, country="US"), row("u9", 0, age=1, country="US")], "people"
        )
    assert "u1" not in str(error.value)
    assert traces(people) == before


def test_upsert_writes_a_newer_revision_and_leaves_the_older_one_in_the_table(
    people: FeatureStore,
) -> None:
    result = people.write_features(
        [
            row("u1", 0, age=26, country="US"),
            row("u2", 1, age=34, country="UK"),
            row("u3", 1, age=50, country="CA"),
        ],
        "people",
        mode="upsert",
    )
    counts = (result.rows_inserted, result.rows_updated, result.rows_duplicate)
    assert (result.rows_written, counts) == (2, (1, 1, 1))
    assert values(people, "people", "age") == [26, 34, 50]
    table = people.table(people.groups()[0])
    assert sorted(table.read(["age"])["age"].to_numpy()) == [25, 26, 34, 50]


def test_a_correction_back_to_an_older_value_is_a_revision_too(people: FeatureStore) -> None:
    for age in (26, 25):
        people.write_features([row("u1", 0, age=age, country="US")], "people", mode="upsert")
        assert values(people, "people", "age") == [age, 34]
        assert people.get_online_features("people", ["u1"], ["age"]) == {"u1": {"age": age}}


def test_a_correction_wins_over_a_row_that_a_faster_clock_wrote(store: FeatureStore) -> None:
    group = store.register_feature_group(pushed("people", AGE))
    ahead = datetime(2200, 1, 1, tzinfo=UTC)
    table = store.table(group)
    table.ensure(pa.schema([("entity_id", pa.string())]))
    stored = pa.table(
        {
            "entity_id": ["u1"],
            "event_timestamp": pa.array([T0], pa.timestamp("us", "UTC")),
            "created_timestamp": pa.array([ahead], pa.timestamp("us", "UTC")),
            "age": [1],
            "partition": ["2024-01"],
        }
    )
    table.append(lambda _: stored)
    store.write_features([row("u1", 0, age=2)], "people", mode="upsert")
    assert values(store, "people", "age") == [2]


def test_overwrite_replaces_all_rows_and_takes_them_back_online(people: FeatureStore) -> None:
    result = people.write_features([row("u3", 0, age=42, country="CA")], "people", mode="overwrite")
    assert (result.rows_written, result.rows_duplicate) == (1, 0)
    assert values(people, "people", "age") == [42]
    assert people.get_online_features("people", ["u1", "u2", "u3"], ["age"]) == {
        "u1": {"age": None},
        "u2": {"age": None},
        "u3": {"age": 42},
    }


def test_overwrite_empties_partitions_that_the_new_rows_do_not_touch(people: FeatureStore) -> None:
    people.write_features([row("u1", 24 * 60, age=1, country="US")], "people", mode="overwrite")
    assert people.table(people.groups()[0]).partitions() == ["2024-03"]
    assert people.get_online_features("people", ["u2"], ["age"]) == {"u2": {"age": None}}


def test_an_unknown_mode_is_refused(people: FeatureStore) -> None:
    wrong: Any = "replace"
    with pytest.raises(DataError, match="'append', 'overwrite' or 'upsert', not 'replace'"):
        people.write_features([row("u1", 0, age=1, country="US")], "people", mode=wrong)


def test_an_unknown_group_comes_into_being_with_draft_features_and_a_warning(
    store: FeatureStore,
) -> None:
    with pytest.warns(UserWarning, match=r"'score' \(float64\), 'tags' \(list<string>\): added as"):
        store.write_features([row(7, 0, score=0.5, tags=["a"])], "scores")
    group = store.applied.group("scores")
    assert group.feature("score").tags == (("stage", "draft"),)
    assert group.entity.join_keys == ("entity_id",)
    read = store.get_online_features("scores", [7], ["score", "tags"])
    assert read == {7: {"score": 0.5, "tags": ["a"]}}


def test_a_new_column_becomes_a_draft_and_older_rows_read_null(people: FeatureStore) -> None:
    with pytest.warns(UserWarning, match=r"did not declare 'height' \(float64\)"):
        people.write_features(
            [row("u3", 0, age=1, country="US", height=1.8)], "people", new_features="draft"
        )
    assert values(people, "people", "height") == [None, 1.8, None]
    assert people.get_online_features("people", ["u1", "u3"], ["height"]) == {
        "u1": {"height": None},
        "u3": {"height": 1.8},
    }


def test_partitions_follow_the_settings_columns(tmp_path: Path) -> None:
    with new_store(tmp_path, partitioning_columns="year,month,day") as store:
        store.register_feature("age", feature_group="people", data_type="int")
        result = store.write_features([row("u1", 0, age=1)], "people")
    assert result.partitions == ("2024-01-15",)


def test_features_without_a_column_are_null(people: FeatureStore) -> None:
    people.register_feature("height", feature_group="people", data_type="float")
    result = people.write_features([row("u3", 0, country="US")], "people")
    assert result.rows_written == 1
    again = people.write_features([row("u3", 0, country="US", age=None)], "people")
    assert again.rows_duplicate == 1
    assert people.get_online_features("people", ["u3"]) == {
        "u3": {"age": None, "country": "US", "height": None}
    }
    with pytest.raises(ChangedFacts):
        people.write_features([row("u1", 0)], "people")


def test_a_feature_that_may_not_be_null_needs_its_column(people: FeatureStore) -> None:
    people.register_feature("size", feature_group="people", data_type="int", nullable=False)
    with pytest.raises(OutOfBounds, match=r"size nullable=False: 1 row\(s\)"):
        people.write_features([row("u9", 0, age=1, country="US")], "people")


def test_a_producer_is_not_stopped_by_the_columns_of_another(store: FeatureStore) -> None:
    store.register_feature("age", feature_group="registered", data_type="int")
    store.write_features([row("u1", 0, age=1)], "registered")
    with pytest.warns(UserWarning, match="did not declare 'aeg'"):
        store.write_features([row("u2", 0, aeg=2)], "registered")
    store.write_features([row("u3", 0, age=3)], "registered")
    assert values(store, "registered", "age") == [1, None, 3]
    store.drop_feature("registered.aeg")
    assert store.applied.group("registered").feature_names == ["age"]


REFUSED: dict[str, tuple[list[dict[str, Any]], type[FeatureStoreError], str]] = {
    "a wrong type": (
        [row("u9", 0, age="old", country="US")],
        SchemaMismatch,
        "'age' of 'people' is declared int64, the data has string",
    ),
    "a number that does not fit": (
        [row("u9", 0, age=1.5, country="US")],
        SchemaMismatch,
        "'age' of 'people' is declared int64, the data has double",
    ),
    "a key of another type": (
        [row(9, 0, age=1, country="US")],
        SchemaMismatch,
        "'entity_id' of 'people' is declared string, the data has int64",
    ),
    "a null key": ([row(None, 0, age=1, country="US")], NullKeys, "1 .* have no 'entity_id'"),
    "no event time": (
        [{"entity_id": "u9", "event_timestamp": None, "age": 1, "country": "US"}],
        NullKeys,
        "1 .* have no 'event_timestamp'",
    ),
    "a naive timestamp": (
        [{"entity_id": "u9", "event_timestamp": datetime(2024, 1, 1), "age": 1, "country": "US"}],  # noqa: DTZ001  # the case
        NaiveTimestamps,
        "'event_timestamp' of 'people' have no time zone",
    ),
    "duplicates": (
        [row("u9", 0, age=1, country="US"), row("u9", 0, age=2, country="US")],
        DuplicateRows,
        r"1 row\(s\) for 'people' repeat another row's \(entity_id, event_timestamp\)",
    ),
    "a missing key": (
        [{"event_timestamp": T0, "age": 1, "country": "US"}],
        SchemaMismatch,
        "'entity_id' .* of 'people' is missing",
    ),
    "a missing timestamp": (
        [{"entity_id": "u9", "age": 1, "country": "US"}],
        SchemaMismatch,
        "'event_timestamp' .* of 'people' is missing",
    ),
    "unknown columns": (
        [row("u9", 0, age=1, country="US", agee=b"x", height=1.0)],
        SchemaMismatch,
        "'people' declares no column 'agee' .*mean 'age'.*also: height.*new_features='draft'",
    ),
    "broken bounds": (
        [row("u9", 0, age=-1, country="FR")],
        OutOfBounds,
        r"'people' break .*: age ge=0: 1 row\(s\); country one_of=.*: 1 row\(s\)",
    ),
}
WITH_DRAFTS: dict[str, tuple[list[dict[str, Any]], type[FeatureStoreError], str]] = {
    "a column of no feature type": (
        [row("u9", 0, age=1, country="US", blob=b"x")],
        SchemaMismatch,
        "'people' declares no column 'blob' .*cast it, or leave it out",
    ),
    "a changed fact beside a new column": (
        [row("u1", 0, age=77, country="US", height=1.0)],
        ChangedFacts,
        "stored already with other values",
    ),
    "broken bounds beside a new column": (
        [row("u9", 0, age=-1, country="US", height=1.0)],
        OutOfBounds,
        "age ge=0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_rows_leave_no_trace(people: FeatureStore, case: str) -> None:
    rows, kind, message = REFUSED[case]
    before = traces(people)
    with pytest.raises(kind, match=message) as error:
        people.write_features(rows, "people")
    assert "u9" not in str(error.value)
    assert traces(people) == before


@pytest.mark.parametrize("case", WITH_DRAFTS)
def test_refused_rows_leave_no_draft_either(people: FeatureStore, case: str) -> None:
    rows, kind, message = WITH_DRAFTS[case]
    before = traces(people)
    with pytest.raises(kind, match=message) as error:
        people.write_features(rows, "people", new_features="draft")
    assert "u9" not in str(error.value)
    assert traces(people) == before


@pytest.mark.parametrize("case", [case for case in REFUSED if "key of another" not in case])
def test_the_first_rows_of_a_group_leave_no_trace_either(store: FeatureStore, case: str) -> None:
    rows, kind, _ = REFUSED[case]
    if kind is ChangedFacts:
        return
    store.register_feature_group(pushed("people", AGE, COUNTRY))
    before = traces(store)
    with pytest.raises(kind):
        store.write_features(rows, "people")
    assert traces(store) == before


def test_refused_rows_of_an_unknown_group_make_no_group(store: FeatureStore) -> None:
    before = traces(store)
    with pytest.raises(NullKeys):
        store.write_features([row(None, 0, age=1)], "people")
    with pytest.raises(SchemaMismatch, match=r"'entity_id' .*is missing"):
        store.write_features([{"user": 1, "event_timestamp": T0}], "people")
    assert traces(store) == before


def test_two_columns_of_one_name_are_refused(people: FeatureStore) -> None:
    good = pa.Table.from_pylist([row("u9", 0, age=1, country="US")])
    twice = good.append_column("age", good["age"])
    with pytest.raises(DataError, match="two columns named 'age'"):
        people.write_features(twice, "people")


def test_a_materialized_group_is_written_by_dagster_only(store: FeatureStore) -> None:
    group = FeatureGroup("daily", entity=Entity("user", ["entity_id"]), features=[AGE])
    store.apply(group)
    before = traces(store)
    with pytest.raises(WrittenByDagster, match="feature-store materialize daily"):
        store.write_features([row("u1", 0, age=1)], "daily")
    with pytest.raises(WrittenByDagster):
        store.register_feature("height", feature_group="daily", data_type="float")
    assert traces(store) == before


def test_a_data_root_that_is_no_folder_is_refused_before_anything_is_recorded(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    registry = f"sqlite:///{tmp_path / 'registry.db'}"
    online = f"lmdb://{tmp_path / 'online'}"
    with new_store(tmp_path / "file", registry_url=registry, online_store_uri=online) as store:
        with (
            pytest.raises(StorageUnusable, match="FEATURE_STORE_STORAGE_PATH"),
            warnings.catch_warnings(action="ignore"),
        ):
            store.write_features([row("u1", 0, age=1)], "people")
        assert store.groups() == []


def test_rows_that_could_not_be_published_are_not_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with new_store(tmp_path, online_store_uri=f"lmdb://{tmp_path / 'file' / 'online'}") as store:
        store.register_feature_group(pushed("people", AGE))
        with pytest.raises(StorageUnusable, match="cannot hold the store"):
            store.write_features([row("u1", 0, age=1)], "people")
        assert not store.table(store.groups()[0]).exists


def test_pushing_again_publishes_what_a_cut_off_push_left_offline_only(
    people: FeatureStore,
) -> None:
    people.online.delete(b"")  # as if the first push had ended between its commit and here
    assert people.get_online_features("people", ["u1"], ["age"]) == {"u1": {"age": None}}
    result = people.write_features([row("u1", 0, age=25, country="US")], "people")
    assert result.rows_duplicate == 1
    assert people.get_online_features("people", ["u1"], ["age"]) == {"u1": {"age": 25}}


def test_rows_that_bring_their_created_time_keep_it_and_repeat_without_harm(
    store: FeatureStore,
) -> None:
    store.register_feature_group(pushed("people", AGE, created="arrived"))
    first = row("u1", 0, age=1, arrived=at(1))
    second = row("u1", 0, age=2, arrived=at(2))
    store.write_features([first], "people")
    store.write_features([second], "people", mode="upsert")
    for replayed in (first, second):
        result = store.write_features([replayed], "people")
        assert (result.rows_written, result.rows_duplicate) == (0, 1)
    before = traces(store)
    with pytest.raises(DuplicateRows, match=r"\(entity_id, event_timestamp, arrived\)"):
        store.write_features([row("u1", 0, age=3, arrived=at(1))], "people", mode="upsert")
    assert traces(store) == before
    assert values(store, "people", "age") == [2]


@pytest.mark.slow
def test_pushers_that_bring_different_new_columns_at_once_both_land(people: FeatureStore) -> None:
    names = ["height", "weight", "shoe"]
    failures: list[BaseException] = []
    start = threading.Barrier(len(names))

    def work(number: int, name: str) -> None:
        try:
            with FeatureStore(people.config) as own:
                start.wait()
                rows = [row(f"n{number}", 0, age=1, country="US", **{name: 1.0})]
                own.write_features(rows, "people", new_features="draft")
        except BaseException as error:  # noqa: BLE001  # shown by the test
            failures.append(error)

    with warnings.catch_warnings(action="ignore"):
        threads = [threading.Thread(target=work, args=pair) for pair in enumerate(names)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    assert set(names) < set(people.applied.group("people").feature_names)
    rows = people.read_features("people").to_polars()
    assert sorted(rows.select(pl.col(names).sum()).row(0)) == [1.0] * 3
    assert rows.filter(pl.col("entity_id").str.starts_with("n")).height == 3


PUSHES = st.lists(
    st.tuples(
        st.sampled_from(["append", "upsert"]),
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 3), st.none() | st.integers(0, 2)),
            min_size=1,
            max_size=4,
            unique_by=lambda each: each[:2],
        ),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.slow
@settings(max_examples=examples(12))
@given(PUSHES)
def test_online_is_the_newest_offline_row_of_each_entity_after_any_pushes(
    tmp_path_factory: pytest.TempPathFactory,
    pushes: Sequence[tuple[Mode, list[tuple[int, int, int | None]]]],
) -> None:
    expected: dict[tuple[int, int], int | None] = {}
    with new_store(tmp_path_factory.mktemp("pushes")) as store:
        store.register_feature_group(pushed("g", Feature("x", "int64")))
        for mode, rows in pushes:
            facts = {(entity, hours): x for entity, hours, x in rows}
            changed = any(expected.get(fact, x) != x for fact, x in facts.items())
            try:
                store.write_features([row(e, 400 * h, x=x) for e, h, x in rows], "g", mode=mode)
            except ChangedFacts:
                assert mode == "append"
                assert changed
            else:
                assert mode == "upsert" or not changed
                expected |= facts
        entities = sorted({entity for entity, _ in expected})
        newest = {
            entity: {"x": expected[max(fact for fact in expected if fact[0] == entity)]}
            for entity in entities
        }
        assert store.get_online_features("g", entities) == newest
        if expected:
            offline = store.read_features("g").to_polars()
            last = offline.group_by("entity_id").agg(pl.col("x").sort_by("event_timestamp").last())
            assert {e: {"x": x} for e, x in last.select("entity_id", "x").iter_rows()} == newest
