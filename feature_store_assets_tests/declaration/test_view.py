"""Feature views: features of several groups under the names that a model reads."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from feature_store_assets.declaration.canonical import canonical
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup, Selection
from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import DeclarationError, FeatureNotFound
from feature_store_assets_tests import functions
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


# Request-time features

DELAYS = FeatureGroup(
    "delays", entity=USER, features=[Feature("mean", "float64"), Feature("text", "string")]
)
NEAR = RequestFeature("near", "float64", functions.per_mile)
SIZE = RequestFeature("size", "int64", functions.letters)
DELAY = DELAYS["mean"].rename({"mean": "delay"})


def test_defaults_and_precompute_come_back_from_the_json() -> None:
    view = FeatureView("v", [A["x", "y"]], defaults={"y": 0, "x": -1}, precompute=True)
    assert view.defaults == (("x", -1), ("y", 0))
    stored = json.loads(canonical(view.to_json()))
    assert FeatureView.from_json(stored) == view
    assert FeatureView.from_json(stored).hash == view.hash
    assert view.hash != FeatureView("v", [A["x", "y"]]).hash


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        ({"z": 0}, "No feature is named 'z'"),
        ({"x": "none"}, "'x' of view 'v' is int64; its default 'none' is not"),
        ({"x": 1.5}, "int64"),
        ({"x": True}, "int64"),
        ({"x": None}, "a number, a string or a bool"),
        ({"x": [1]}, "a number, a string or a bool"),
        ({"x": float("nan")}, "a number, a string or a bool"),
    ],
)
def test_defaults_that_cannot_be_are_refused(defaults: dict[str, Any], message: str) -> None:
    with pytest.raises((DeclarationError, FeatureNotFound), match=message):
        FeatureView("v", [A["x"]], defaults=defaults)


def test_computed_features_follow_the_stored_ones() -> None:
    view = FeatureView("v", [DELAY], request={"distance": float}, computed=[NEAR])
    assert view.feature_names == ["delay", "near"]
    assert view.request == (("distance", "float64"),)
    assert view.computed == (NEAR,)


def test_a_view_with_computed_features_comes_back_from_its_json() -> None:
    request = {"text": "str", "distance": "double"}
    view = FeatureView("v", [DELAY], request=request, computed=[NEAR, SIZE])
    back = FeatureView.from_json(json.loads(canonical(view.to_json())))
    assert (back, back.hash, hash(back)) == (view, view.hash, hash(view))
    stored = view.to_json()
    assert stored["request"] == {"distance": "float64", "text": "string"}
    assert [each["name"] for each in stored["computed"]] == ["near", "size"]


@pytest.mark.parametrize(
    ("groups", "request_values", "computed", "message"),
    [
        ([DELAY], {"distanc": "float64"}, [NEAR],
         "'near', takes 'distance', which is neither .* of view 'v'. Did you mean 'distanc'"),
        ([A], {}, [SIZE], "'size', takes 'text', which is neither .*There are: 'x', 'y'"),
        ([DELAY], {"delay": "float64"}, [], "'delay' of view 'v' is a stored feature and a requ"),
        ([DELAY], {"a b": "float64"}, [], "'a b' cannot name a request value"),
        ([DELAY], {"distance": "flaot"}, [], "'flaot' is no feature type"),
        ([DELAYS["mean", "text"].rename({"mean": "size"})], {}, [SIZE],
         "'size' of view 'v' is computed, but a stored feature or a request value has that name"),
        ([DELAYS["text"]], {"size": "int64"}, [SIZE], "'size' of view 'v' is computed, but"),
        ([DELAYS["text"]], {}, [SIZE, SIZE], "View 'v' computes 'size' twice"),
        ([DELAYS["mean"].rename({"mean": "x"})], {"distance": "float64"},
         [RequestFeature("delay", "float64", functions.log_of), NEAR],
         "'near' takes 'delay', which view 'v' computes itself: .*Call the other function in it"),
        ([DELAY], {"distance": "string"}, [NEAR], "per_mile', the function of 'near', raises"),
        ([DELAYS["mean"].rename({"mean": "x"})], {},
         [RequestFeature("mid", "float64", functions.centred)], "mixes rows"),
        ([Selection("delays", 1, (("mean", "delay"),))], {"distance": "float64"}, [NEAR],
         r"whose types are not known here: take them from the group, delays\['...'\]"),
    ],
)  # fmt: skip
def test_computed_features_that_cannot_be_are_refused(
    groups: Any, request_values: Any, computed: Any, message: str
) -> None:
    with pytest.raises(DeclarationError, match=message):
        FeatureView("v", groups, request=request_values, computed=computed)
