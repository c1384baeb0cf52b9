"""Entities and features: what is checked where they are written, and how they are kept."""

import json
from datetime import UTC, date, datetime
from typing import Any, assert_type

import pytest
from hypothesis import given, strategies as st

from feature_store_assets.declaration.canonical import canonical, content_hash
from feature_store_assets.declaration.expect import expect
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.errors import DeclarationError
from feature_store_assets_tests.declaration import strategies


def refused(message: str, *args: Any, **given: Any) -> None:
    with pytest.raises(DeclarationError, match=message):
        Feature(*args, **given)


def test_join_keys_are_a_list_or_a_mapping_to_types() -> None:
    assert Entity("user", ["id"]).key_types == (None,)
    route = Entity("route", {"origin": "str", "dest": None, "day": date})
    assert route.join_keys == ("origin", "dest", "day")
    assert route.key_types == ("string", None, "date32")


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("user", "id", r"join_keys of 'user' is a list: join_keys=\['id'\]"),
        ("user", [], "'user' needs at least one join key"),
        ("user", ["id", "id"], "'user' names a join key twice: id, id"),
        ("user", {"id": "float"}, "'id' cannot be float64: equality is undefined"),
        ("user", {"id": "list<int>"}, "'id' cannot be list<int64>"),
        ("user", {"id": "strnig"}, "'strnig' is no feature type. Did you mean 'string'"),
        ("user", ["user id"], "'user id' cannot name a join key: use letters, digits and '_'"),
        ("1user", ["id"], "'1user' cannot name a entity"),
    ],
)
def test_an_entity_that_cannot_be_is_refused(name: str, keys: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        Entity(name, keys)


def test_lists_and_mappings_are_stored_as_tuples() -> None:
    feature = Feature(
        "country", str, one_of=["US", "UK"], tags={"b": "2", "a": "1"}, derived_from=["orders.geo"]
    )
    assert_type(feature.tags, tuple[tuple[str, str], ...])
    assert_type(feature.derived_from, tuple[str, ...])
    assert feature.one_of == ("US", "UK")
    assert feature.tags == (("a", "1"), ("b", "2"))
    assert feature.derived_from == ("orders.geo",)
    assert hash(feature) == hash(Feature.from_json(feature.to_json()))


def test_a_set_of_values_is_one_declaration_whatever_its_order() -> None:
    several = Feature("x", str, one_of={"b", "a", "c"})
    assert several == Feature("x", str, one_of=frozenset(["c", "b", "a"]))
    assert several.one_of == ("a", "b", "c")


def test_names_fit_tables_folders_and_keys() -> None:
    for name in ("", "7d", "spend 7d", "spend-7d", "_x", "é", "x" * 129):
        refused(f"'{name}' cannot name a feature: use letters", name, "int64")
    for name in ("partition", "created_timestamp"):
        refused(f"'{name}' is a column of every table: rename the feature", name, "int64")
    assert Feature("x" * 128, "int64").name == "x" * 128


def test_bounds_that_cannot_hold_are_refused() -> None:
    refused("'x' has ge=2 above le=1", "x", "int64", ge=2, le=1)
    refused("'x' is string: ge and le bound numbers only", "x", "string", ge=1)
    refused("'x' is date32: ge and le bound numbers only", "x", "date32", le=1)
    refused("'x' is int64: a regex needs a string", "x", "int64", regex="a")
    refused("The regex of 'x' is wrong: .*unterminated", "x", "string", regex="(")
    refused("'x' is list<int64>: only single values are unique", "x", "list<int64>", unique=True)
    refused("nan", "x", "float64", ge=float("nan"))
    refused("inf", "x", "float64", le=float("inf"))
    refused("True cannot bound", "x", "float64", ge=True)


def test_values_are_listed_and_of_the_features_type() -> None:
    refused(r"one_of of 'x' is a list: one_of=\['US'\]", "x", "string", one_of="US")
    refused("value_set .*is empty", "x", "string", one_of=[])
    refused("one_of of 'x' holds 1, which is no string", "x", "string", one_of=["a", 1])
    refused("one_of of 'x' holds '1', which is no int64", "x", "int64", one_of=["1"])
    refused("one_of of 'x' holds True, which is no int64", "x", "int64", one_of=[True])
    refused("holds 1.0, which is no list<float64>", "x", "list<float64>", one_of=[1.0])
    refused("holds None, which is no string", "x", "string", one_of=[None])
    assert Feature("x", "float64", one_of=[1, 2.5, 1]).one_of == (1, 2.5)


def test_owners_tags_masks_and_sources_are_checked() -> None:
    refused(
        "'growth' cannot own 'x': give an e-mail address or 'team:name'", "x", int, owner="growth"
    )
    refused("'a tag' cannot be a tag of 'x'", "x", int, tags={"a tag": "v"})
    refused("'hsah' is no mask of 'x'. Did you mean 'hash'", "x", str, pii=True, mask="hsah")
    refused("'x' has a mask but is not declared pii=True", "x", str, mask="hash")
    refused(
        "derived_from of 'x' names 'asset.column', not 'orders'", "x", int, derived_from=["orders"]
    )
    refused("names 'asset.column', not 'orders.'", "x", int, derived_from=["orders."])
    refused(r"derived_from of 'x' is a list: .*\['orders.x'\]", "x", int, derived_from="orders.x")
    refused("'flaot' is no feature type. Did you mean 'float64'", "x", "flaot")


def test_personal_data_is_redacted_unless_said_otherwise() -> None:
    assert Feature("mail", str, pii=True).mask == "redact"
    assert Feature("mail", str, pii=True, mask="hash").mask == "hash"
    assert Feature("age", int).mask is None


def test_bounds_become_expectations_by_themselves() -> None:
    assert Feature("x", int, ge=0, le=9, nullable=False).expectations == (
        expect.column_values_to_not_be_null("x"),
        expect.column_values_to_be_between("x", min_value=0, max_value=9),
    )
    assert Feature("x", str, unique=True, one_of=["a"], regex="a").expectations == (
        expect.column_values_to_be_unique("x"),
        expect.column_values_to_be_in_set("x", value_set=["a"]),
        expect.column_values_to_match_regex("x", regex="a"),
    )
    assert Feature("x", int).expectations == ()


def test_defaults_are_left_out_so_that_new_settings_change_no_hash() -> None:
    assert Feature("x", int).to_json() == {"name": "x", "dtype": "int64", "description": ""}


def test_dates_and_times_among_the_values_come_back() -> None:
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    for dtype, value in (("date32", date(2024, 1, 1)), ("timestamp", noon)):
        feature = Feature("x", dtype, one_of=[value])
        back = Feature.from_json(json.loads(canonical(feature.to_json())))
        assert back == feature
        assert back.one_of == (value,)


@given(strategies.features("x"))
def test_a_feature_comes_back_from_its_canonical_json(feature: Feature) -> None:
    back = Feature.from_json(json.loads(canonical(feature.to_json())))
    assert back == feature
    assert content_hash(back.to_json()) == content_hash(feature.to_json())


@given(strategies.entities())
def test_an_entity_comes_back_from_its_canonical_json(entity: Entity) -> None:
    assert Entity.from_json(json.loads(canonical(entity.to_json()))) == entity


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3)))
def test_equal_content_has_one_text_and_one_hash(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert canonical(turned) == canonical(value)
    assert content_hash(turned) == content_hash(value)
    assert len(content_hash(value)) == 32
