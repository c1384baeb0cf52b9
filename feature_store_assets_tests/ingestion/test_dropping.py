"""Features that are dropped for good: the others read as before, and the name is free."""

from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    BreakingChange,
    ChangedFacts,
    DataError,
    FeatureNeeded,
    FeatureNotFound,
    GroupNotFound,
)
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.stores import at, new_store, once, pushed, row

A, B, C = Feature("a", "int64"), Feature("b", "int64"), Feature("c", "string")
CASES = examples(15)


@pytest.fixture
@once
def three(store: FeatureStore) -> FeatureStore:
    store.apply(pushed("g", A, B, C))
    store.write_features([row("u", 0, a=1, b=2, c="x")], "g")
    return store


def retire(store: FeatureStore, name: str) -> None:
    store.set_stage(name, "deprecated")
    store.set_stage(name, "retired")


def online(store: FeatureStore, *entities: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = store.get_online_features("g", entities, at=at(9))
    return found


def test_the_others_keep_their_values(three: FeatureStore) -> None:
    retire(three, "g.a")
    three.drop_feature("g.a")
    assert online(three, "u") == {"u": {"b": 2, "c": "x"}}
    three.write_features([row("v", 0, b=3, c="y")], "g")
    assert online(three, "u", "v") == {"u": {"b": 2, "c": "x"}, "v": {"b": 3, "c": "y"}}
    rows = three.read_features("g").to_polars().sort("entity_id")
    assert rows.select("b", "c").rows() == [(2, "x"), (3, "y")]
    with pytest.raises(FeatureNotFound):
        three.get_online_features("g", ["u"], ["a"])


def test_its_name_is_free_for_another_type_and_nothing_comes_back(three: FeatureStore) -> None:
    three.create_snapshot("g", "before")
    retire(three, "g.a")
    three.drop_feature("g.a")
    three.register_feature("a", feature_group="g", data_type="string")
    assert online(three, "u") == {"u": {"b": 2, "c": "x", "a": None}}
    three.write_features([row("v", 0, b=3, c="y", a="new")], "g")
    rows = three.read_features("g").to_polars().sort("entity_id")
    assert rows["a"].to_list() == [None, "new"]
    assert online(three, "u", "v")["v"] == {"b": 3, "c": "y", "a": "new"}
    spine = pl.DataFrame([{"entity_id": "u", "event_timestamp": at(1)}])
    kept = three.get_historical_features(["g.b", "g.c"], spine, as_of="before").to_polars()
    assert kept.select("b", "c").rows() == [(2, "x")]
    assert three.standing("g.a").stage == "active"
    three.rebuild_online("g")
    assert online(three, "u")["u"] == {"b": 2, "c": "x", "a": None}


def test_a_push_may_bring_the_name_again_as_a_draft(three: FeatureStore) -> None:
    retire(three, "g.a")
    three.drop_feature("g.a")
    again = [row("u", 0, b=2, c="x"), row("v", 0, b=3, c="y")]
    assert three.write_features(again, "g").rows_written == 1
    with pytest.raises(ChangedFacts):
        three.write_features([row("u", 0, a="old", b=2, c="x")], "g", new_features="draft")
    assert "a" not in three.applied.group("g").feature_names
    with pytest.warns(UserWarning, match=r"'a' \(string\)"):
        three.write_features([row("w", 0, a="new", b=4, c="z")], "g", new_features="draft")
    rows = three.read_features("g").to_polars().sort("entity_id")
    assert rows["a"].to_list() == [None, None, "new"]


def test_a_feature_in_use_stays(three: FeatureStore) -> None:
    with pytest.raises(FeatureNeeded, match=r"`feature-store stage g.a retired`"):
        three.drop_feature("g.a")
    three.apply(FeatureView("v", [three.applied.group("g")["a", "b"]]))
    retire(three, "g.a")
    with pytest.raises(FeatureNeeded, match="view 'v' names it"):
        three.drop_feature("g.a")
    three.apply(FeatureView("v", [three.applied.group("g")["b"]]))
    three.drop_feature("g.a")
    for name, kind in {"g.a": FeatureNotFound, "h.a": GroupNotFound, "a": DataError}.items():
        with pytest.raises(kind):
            three.drop_feature(name)


def test_a_retired_feature_may_be_missing_from_the_code(three: FeatureStore) -> None:
    with pytest.raises(BreakingChange, match="feature 'a' is removed"):
        three.apply(pushed("g", B, C))
    retire(three, "g.a")
    [planned] = three.plan(pushed("g", B, C))
    assert (planned.action, planned.details) == (
        "changed", ("feature 'a' is dropped for good",)
    )  # fmt: skip
    three.apply(pushed("g", B, C))
    assert online(three, "u") == {"u": {"b": 2, "c": "x"}}
    assert [each.action for each in three.apply(pushed("g", C, B))] == ["unchanged"]


def test_it_travels_with_registry_and_archive(three: FeatureStore, tmp_path: Any) -> None:
    retire(three, "g.a")
    three.drop_feature("g.a")
    three.export_archive(tmp_path / "archive")
    with new_store(tmp_path / "other") as other:
        other.import_archive(tmp_path / "archive")
        assert online(other, "u") == {"u": {"b": 2, "c": "x"}}
    with new_store(tmp_path / "third") as third:
        third.import_registry(three.export_registry())
        assert third.applied.group("g").slots == ("-a", "b", "c")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "drop", "add"]),
        st.sampled_from("abcd"),
        st.sampled_from(["integer", "string"]),
    ),
    min_size=3,
    max_size=9,
)
VALUES: dict[str, Any] = {"int64": 7, "string": "s"}


def write(store: FeatureStore, hour: int, model: dict[str, dict[str, Any]]) -> None:
    """Write one row of the group as it is, and note what it holds."""
    kinds = {each.name: each.dtype for each in store.applied.group("g").features}
    values = {name: VALUES[kind] for name, kind in kinds.items()}
    store.write_features([row(f"u{hour}", hour, **values)], "g")
    model[f"u{hour}"] = values


@settings(max_examples=CASES, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_whatever_is_added_and_dropped_each_row_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]
) -> None:
    model: dict[str, dict[str, Any]] = {}
    with new_store(tmp_path_factory.mktemp("dropping")) as store:
        store.register_feature("z", feature_group="g", data_type="integer")
        for hour, (what, name, kind) in enumerate(steps):
            known = store.applied.group("g").feature_names
            if what == "add" and name not in known:
                store.register_feature(name, feature_group="g", data_type=kind)
            elif what == "drop" and name in known:
                retire(store, f"g.{name}")
                store.drop_feature(f"g.{name}")
                for values in model.values():
                    values.pop(name, None)
            else:
                write(store, hour, model)
        write(store, 99, model)
        names = store.applied.group("g").feature_names
        wanted = {user: {n: values.get(n) for n in names} for user, values in model.items()}
        assert store.get_online_features("g", list(model), at=at(100)) == wanted
        rows = store.read_features("g").to_polars()
        assert {
            each["entity_id"]: {n: each[n] for n in names} for each in rows.to_dicts()
        } == wanted
