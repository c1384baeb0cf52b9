"""`feature-store list`, `show` and `search`."""

import json

import pytest

from feature_store_assets import Feature, FeatureStore, FeatureView
from feature_store_assets_tests.cli.commands import cells, refused, run
from feature_store_assets_tests.stores import pushed


@pytest.fixture(autouse=True)
def filled(stocked: FeatureStore) -> FeatureStore:
    """The project with rows, and one tagged and owned group beside them."""
    mood = Feature("mood", "string", "How they are.", tags={"stage": "draft"})
    people = pushed(
        "people",
        Feature("age", "int64", "Years since birth.", owner="team:growth"),
        mood,
        owners=["team:sales"],
        tags={"domain": "sales"},
        description="Who buys.",
    )
    stocked.apply(people, FeatureView("buyers", [people], description="For the churn model."))
    return stocked


def test_groups_views_features_and_snapshots_are_listed() -> None:
    assert [line[:3] for line in cells(run("list"))] == [
        ["group", "version", "entity"],
        ["people", "1", "user"],
        ["route", "1", "route"],
        ["spend", "1", "user"],
        ["visit", "1", "visit"],
    ]
    assert [line[0] for line in cells(run("list", "views"))[1:]] == ["buyers", "trip"]
    features = {line[0]: line[1:3] for line in cells(run("list", "features"))}
    assert features["people.age"] == ["int64", "active"]
    assert features["people.mood"] == ["string", "draft"]
    assert cells(run("list", "snapshots"))[1][:2] == ["before", "spend"]
    assert cells(run("list", "training-sets"))[1:] == []


def test_a_list_as_json_has_the_same_names() -> None:
    [view, _] = json.loads(run("list", "views", "--json").stdout)
    assert view == {
        "view": "buyers", "features": 2, "stage": "active", "description": "For the churn model.",
    }  # fmt: skip


def test_a_group_is_shown_with_its_features_and_users() -> None:
    shown = run("show", "people").stdout
    for words in ("Who buys.", "Years since birth.", "team:sales", "view buyers", "domain: sales"):
        assert words in shown
    card = json.loads(run("show", "people", "--json").stdout)
    assert (card["kind"], card["used_by"], card["written_by"]) == (
        "group",
        ["view buyers"],
        "pushes",
    )
    assert [feature["stage"] for feature in card["features"]] == ["active", "draft"]
    assert card["changes"][0]["change"] == "added"


def test_a_feature_and_a_view_have_cards_too() -> None:
    card = json.loads(run("show", "people.age", "--json").stdout)
    assert (card["kind"], card["type"], card["owners"]) == ("feature", "int64", ["team:growth"])
    assert "For the churn model." in run("show", "buyers").stdout


def test_what_does_not_exist_is_told_with_what_does() -> None:
    assert "Did you mean 'people'" in refused("show", "peopel")
    assert "Did you mean 'age'" in refused("show", "people.agee")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["birth"], ["people.age"]),
        (["--owner", "team:growth"], ["people.age"]),
        (["--tag", "domain:sales"], ["people"]),
        (["--tag", "domain"], ["people"]),
        (["--tag", "domain:costs"], []),
        (["--type", "list<string>"], ["spend.tags"]),
        (["--entity", "route", "--kind", "group"], ["route"]),
        (["--stage", "draft"], ["people.mood"]),
        (["people", "--kind", "group"], ["people"]),
        (["nothing", "like", "it"], []),
    ],
)
def test_words_and_filters_find(asked: list[str], found: list[str]) -> None:
    assert [line[1] for line in cells(run("search", *asked))[1:]] == found


def test_a_search_for_nothing_says_what_to_give() -> None:
    result = run("search")
    assert result.exit_code == 2
    assert "words to search for" in result.stderr
