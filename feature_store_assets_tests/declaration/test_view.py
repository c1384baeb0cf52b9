"""Feature views: features of several groups under the names that a model reads."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store_assets.declaration.canonical import canonical
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import DeclarationError, FeatureNotFound
from feature_store_assets_tests.declaration import strategies

USER = Entity("user", ["id"])
A = FeatureGroup("a", entity=USER, features=[Feature("x", "int64"), Feature("y", "int64")])
B = FeatureGroup("b", entity=USER, features=[Feature("x", "int64")], version=3)


def test_a_view_takes_whole_groups_and_picked_features_in_order() -> None:
    view = FeatureView("v", [B, A["y"].rename({"y": "why"})])
    assert view.feature_names == ["x", "why"]
    assert [(each.group, each.version) for each in view.selections] == [("b", 3), ("a", 1)]


@pytest.mark.parametrize(
    ("name", "groups", "given", "message"),
    [
        ("v", [], {}, "View 'v' names no features"),
        ("v", [A, B], {}, r"two features named 'x', of 'a' and 'b'. Rename one: b\['x'\].rename"),
        ("v", [A["x"], A["y"]], {}, "View 'v' names 'a' twice: list it once"),
        ("a view", [A], {}, "'a view' cannot name a feature view"),
        ("v", [A], {"owners": ["me"]}, "'me' cannot own 'v'"),
        ("v", [A], {"tags": {"a tag": ""}}, "'a tag' cannot be a tag of 'v'"),
    ],
)
def test_a_view_that_cannot_be_is_refused(
    name: str, groups: Any, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeclarationError, match=message):
        FeatureView(name, groups, **given)


def test_a_misspelt_feature_gets_a_suggestion() -> None:
    long = FeatureGroup("c", entity=USER, features=[Feature("spend_7d", "int64")])
    with pytest.raises(FeatureNotFound, match=r"'spend_d7' in 'c'. Did you mean 'spend_7d'"):
        FeatureView("v", [long["spend_d7"]])


@given(strategies.groups(), strategies.OWNERS, strategies.TAGS, st.text(max_size=5))
def test_a_view_comes_back_from_its_canonical_json(
    group: FeatureGroup, owners: list[str], tags: dict[str, str], description: str
) -> None:
    renamed = group[tuple(group.feature_names)].rename({group.feature_names[0]: "first"})
    view = FeatureView("v", [renamed], description, owners=owners, tags=tags)
    back = FeatureView.from_json(json.loads(canonical(view.to_json())))
    assert back == view
    assert back.hash == view.hash


def test_the_order_of_a_views_features_is_part_of_it() -> None:
    assert FeatureView("v", [A["x", "y"]]).hash != FeatureView("v", [A["y", "x"]]).hash


def test_defaults_are_left_out() -> None:
    assert FeatureView("v", [B]).to_json() == {
        "name": "v", "groups": [["b", 3, [["x", "x"]]]], "description": ""
    }  # fmt: skip
