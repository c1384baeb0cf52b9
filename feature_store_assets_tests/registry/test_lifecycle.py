"""Stages: who may go where, and what that does to those who read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_store_assets import Feature, FeatureStore, FeatureView
from feature_store_assets.errors import (
    DataError,
    FeatureDeprecated,
    FeatureNotFound,
    NotServed,
    StageRefused,
    ViewNotFound,
)
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.lifecycle import Stage, Stages, Standing
from feature_store_assets_tests.stores import new_store, pushed, row

ACTIVE = Standing("group", "g", 1, "active")


@pytest.mark.parametrize(
    ("way", "refused"),
    [
        (["deprecated", "retired"], "active"),
        (["deprecated", "active", "deprecated"], "draft"),
        (["deprecated"], "deprecated"),
        ([], "retired"),
        ([], "draft"),
    ],
)
def test_only_some_ways_lead_on(database: Database, way: list[Stage], refused: Stage) -> None:
    stages = Stages(database)
    for stage in way:
        assert stages.move(ACTIVE, stage).stage == stage
    with pytest.raises(StageRefused, match=f"cannot become {refused}"):
        stages.move(ACTIVE, refused)
    assert stages.of(ACTIVE).stage == (way[-1] if way else "active")


def test_who_moved_it_when_and_what_to_use_instead_is_kept(database: Database) -> None:
    moved = Stages(database).move(ACTIVE, "deprecated", successor="h")
    assert Stages(database).of(ACTIVE) == moved
    assert moved.notice == "Group 'g' is deprecated. Use 'h' instead."
    assert moved.changed_at is not None
    # Another version of the group stands for itself.
    assert Stages(database).of(Standing("group", "g", 2, "active")).stage == "active"


def test_a_misspelt_stage_is_told(database: Database) -> None:
    with pytest.raises(DataError, match="Did you mean 'deprecated'"):
        Stages(database).move(ACTIVE, "depricated")  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    group = pushed("people", Feature("age", "int64"), Feature("size", "int64"))
    with new_store(tmp_path) as store:
        store.apply(group, FeatureView("grown", [group["age"]]))
        store.write_features([row("ann", 0, age=41, size=170)], "people")
        yield store


def test_what_is_deprecated_is_served_with_a_warning(store: FeatureStore) -> None:
    store.set_stage("people.age", "deprecated", successor="people.years")
    notice = r"Feature 'people.age' is deprecated. Use 'people.years' instead."
    with pytest.warns(FeatureDeprecated, match=notice):
        assert store.get_online_features("people", ["ann"])["ann"] == {"age": 41, "size": 170}
    with pytest.warns(FeatureDeprecated):
        store.get_online_features("grown", ["ann"])
    assert store.get_online_features("people", ["ann"], ["size"])["ann"] == {"size": 170}


def test_what_is_retired_is_not_served_but_still_read(store: FeatureStore) -> None:
    store.set_stage("people", "deprecated")
    store.set_stage("people", "retired", successor="persons")
    for asked in ("people", "grown", ["people.age"]):
        with pytest.raises(NotServed, match=r"'people' is retired .* Use 'persons' instead"):
            store.get_online_features(asked, ["ann"])
    assert store.read_features("people").to_polars()["age"].to_list() == [41]


@pytest.mark.filterwarnings("ignore:'people' did not declare")
def test_a_draft_is_served_only_where_it_is_named(store: FeatureStore) -> None:
    rows = [row("bob", 0, age=20, size=180, mood="well")]
    store.write_features(rows, "people", new_features="draft")
    assert store.standing("people.mood").stage == "draft"
    assert store.get_online_features("people", ["bob"])["bob"] == {"age": 20, "size": 180}
    assert store.get_online_features("people", ["bob"], ["mood"])["bob"] == {"mood": "well"}
    store.set_stage("people.mood", "active")
    assert store.get_online_features("people", ["bob"])["bob"]["mood"] == "well"


def test_a_retired_view_leaves_its_groups_alone(store: FeatureStore) -> None:
    store.set_stage("grown", "deprecated")
    store.set_stage("grown", "retired")
    with pytest.raises(NotServed, match="'grown' is retired"):
        store.get_online_features("grown", ["ann"])
    assert store.get_online_features("people", ["ann"], ["age"])["ann"] == {"age": 41}


def test_only_what_exists_has_a_stage(store: FeatureStore) -> None:
    with pytest.raises(ViewNotFound, match="Did you mean 'people'"):
        store.set_stage("peple", "deprecated")
    with pytest.raises(FeatureNotFound, match="Did you mean 'age'"):
        store.set_stage("people.aeg", "deprecated")
