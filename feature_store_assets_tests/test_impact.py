"""What a change touches: exactly what depends on it, with an effect and an owner for each."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import DataError, LineageNotFound
from feature_store_assets.lineage.impact import ChangeType
from feature_store_assets.registry.dependents import User
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests import market
from feature_store_assets_tests.stores import copied_store, new_store, pushed, row

HITS = ("features", "views", "snapshots", "training_sets", "models", "endpoints")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("script")
    with new_store(folder) as opened:
        spending = pushed(
            "spending",
            Feature("spent", "float64", derived_from=["orders.amount", "refunds.amount"]),
            Feature("visits", "int64", derived_from=["orders.day"]),
            owners=["team:growth"],
        )
        loyal = pushed("loyal", Feature("score", "float64", derived_from=["spending.spent"]))
        views = {
            "churn": FeatureView("churn", [spending["spent"]], owners=["team:churn"]),
            "visiting": FeatureView("visiting", [spending["visits"]], owners=["team:web"]),
            "scoring": FeatureView("scoring", [loyal]),
        }
        opened.apply(spending, loyal, *views.values())
        opened.write_features([row("u", 0, spent=1.0, visits=1)], "spending")
        opened.write_features([row("u", 0, score=0.5)], "loyal")
        for name in views:
            ann = opened.acting_as("ann")
            ann.create_training_set(name, [row("u", 1, label=0)], f"{name}-set")
            opened.log_model(
                f"{name}-model",
                training_set=f"{name}-set",
                endpoint=f"/{name}",
                owners=[f"team:{name}-model"],
            )
        opened.create_snapshot("spending", "spending-june", created_by="ann")
        opened.create_snapshot("loyal", "loyal-june")
    return folder


@pytest.fixture
def store(script: Path, folder: Path) -> Iterator[FeatureStore]:
    """Two chains side by side in one group: amount -> spent -> ..., and day -> visits -> ..."""
    with copied_store(script, folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("location")
    with new_store(folder, definitions=str(market.__file__)) as opened:
        opened.apply(*market.GROUPS, *market.VIEWS)
    return folder


@pytest.fixture
def located(location: Path, folder: Path) -> Iterator[FeatureStore]:
    with copied_store(location, folder, definitions=str(market.__file__)) as opened:
        yield opened


def names(found: dict[str, Any]) -> dict[str, list[str]]:
    """The names that are hit, without the kinds of which there are none."""
    return {kind: [hit["id"] for hit in found[kind]] for kind in HITS if found[kind]}


def effects(found: dict[str, Any]) -> dict[str, str]:
    return {hit["id"]: hit["effect"] for kind in HITS for hit in found[kind]}


def test_a_rename_of_a_source_column_lists_exactly_what_depends_on_it(
    store: FeatureStore,
) -> None:
    assert names(store.analyze_impact("orders.amount", "rename")) == {
        "features": ["loyal.score", "spending.spent"],
        "views": ["churn", "scoring"],
        "snapshots": ["loyal-june", "spending-june"],
        "training_sets": ["churn-set", "scoring-set"],
        "models": ["churn-model", "scoring-model"],
        "endpoints": ["/churn", "/scoring"],
    }
    assert names(store.analyze_impact("orders.day", "rename")) == {
        "features": ["spending.visits"],
        "views": ["visiting"],
        "snapshots": ["spending-june"],
        "training_sets": ["visiting-set"],
        "models": ["visiting-model"],
        "endpoints": ["/visiting"],
    }


def test_a_feature_is_not_listed_among_what_depends_on_it(store: FeatureStore) -> None:
    found = store.analyze_impact("spent")
    assert (found["feature_id"], found["kind"]) == ("spending.spent", "feature")
    assert names(found)["features"] == ["loyal.score"]


def test_each_hit_and_the_whole_name_their_owners(store: FeatureStore) -> None:
    found = store.analyze_impact("orders.day")
    assert found["features"] == [
        {"id": "spending.visits", "owners": ["team:growth"], "effect": "breaks"}
    ]
    assert found["owners"] == ["ann", "team:growth", "team:visiting-model", "team:web"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("schema_change", ["breaks", "breaks", "stays", "retrain", "retrain", "breaks"]),
        ("rename", ["breaks", "breaks", "stays", "stays", "breaks", "breaks"]),
        ("type_change", ["breaks", "breaks", "stays", "retrain", "retrain", "breaks"]),
        ("removal", ["breaks", "breaks", "stays", "retrain", "retrain", "breaks"]),
        ("delay", ["late", "late", "stays", "stays", "late", "late"]),
        (
            "values",
            ["changes values", "changes values", "stays", "retrain", "retrain", "changes values"],
        ),
    ],
)
def test_the_effect_depends_on_the_change(
    store: FeatureStore, change: ChangeType, expected: list[str]
) -> None:
    found = store.analyze_impact("orders.day", change)
    assert [found[kind][0]["effect"] for kind in HITS] == expected
    assert found["change_type"] == change


def test_a_whole_asset_or_group_means_all_its_columns(store: FeatureStore) -> None:
    everything = store.analyze_impact("orders", "delay")
    assert names(everything)["features"] == ["loyal.score", "spending.spent", "spending.visits"]
    assert names(everything)["models"] == ["churn-model", "scoring-model", "visiting-model"]
    group = store.analyze_impact("spending", "delay")
    assert names(group) == names(everything)
    assert names(store.analyze_impact("refunds", "delay"))["views"] == ["churn", "scoring"]


def test_who_uses_a_group_or_feature_is_told_alike_by_its_card_its_plan_and_its_impact(
    store: FeatureStore,
) -> None:
    for name in ("spending.visits", "loyal.score", "loyal"):
        users = store.card(name).used_by
        assert {user.kind for user in users} == {"view", "snapshot", "training_set", "model"}
        found = names(store.analyze_impact(name))
        told: dict[str, list[str]] = {f"{user.kind}s": [] for user in users}
        for user in sorted(users):
            told[f"{user.kind}s"].append(user.name)
        assert {kind: found[kind] for kind in told} == told
    changed = replace(store.applied.group("loyal"), description="Who stays.")
    assert store.plan(changed)[0].touches == store.card("loyal").used_by


def test_what_reads_another_version_is_no_user(store: FeatureStore) -> None:
    newer = pushed("loyal", Feature("score", "float64"), version=2)
    store.apply(newer, FeatureView("later", [newer]))
    later = (User("view", "later"),)
    assert store.card("loyal.score").used_by == later
    assert names(store.analyze_impact("loyal.score")) == {"views": ["later"]}


def test_an_unknown_change_and_an_unknown_name_are_told(store: FeatureStore) -> None:
    odd: Any = "renaming"
    with pytest.raises(DataError, match=r"'renaming' is no change type. Did you mean 'rename'\?"):
        store.analyze_impact("spent", odd)
    with pytest.raises(LineageNotFound, match=r"Did you mean 'orders\.amount'"):
        store.analyze_impact("orders.amoun")


def test_every_change_type_has_its_effects(store: FeatureStore) -> None:
    for change in get_args(ChangeType):
        assert store.analyze_impact("spent", change)["change_type"] == change


# With Dagster's graph


def test_columns_are_followed_through_assets_that_are_no_groups(located: FeatureStore) -> None:
    found = located.analyze_impact("till.cents", "removal")
    assert found["source"] == "dagster"
    assert names(found) == {
        "features": ["loyalty.score", "spending.spent"],
        "views": ["churn", "regulars"],
    }
    assert found["features"][0]["owners"] == ["ann@example.org"]


def test_what_reads_an_asset_without_saying_its_columns_is_named_apart(
    located: FeatureStore,
) -> None:
    found = located.analyze_impact("orders.amount", "rename")
    assert found["undeclared"] == ["dashboard", "spending.city"]
    assert located.analyze_impact("loyalty.visits")["undeclared"] == []


def test_a_column_that_nothing_uses_touches_nothing(located: FeatureStore) -> None:
    found = located.analyze_impact("orders.note", "removal")
    assert names(found) == {}
    assert found["owners"] == []


def test_a_join_key_carries_all_features_of_its_group(located: FeatureStore) -> None:
    found = located.analyze_impact("orders.customer_id", "rename")
    assert names(found)["features"] == [
        "loyalty.score",
        "loyalty.visits",
        "spending.city",
        "spending.ordered",
        "spending.spent",
    ]
    assert names(found)["views"] == ["churn", "regulars", "visiting"]


def test_request_features_go_with_the_features_that_they_take(folder: Path) -> None:
    with new_store(folder) as store:
        words = pushed("words", Feature("text", "string", derived_from=["posts.body"]))
        store.apply(words, FeatureView("sizes", [words], computed=[market.SIZE]))
        found = store.analyze_impact("posts.body", "rename")
        assert names(found) == {"features": ["sizes.size", "words.text"], "views": ["sizes"]}
