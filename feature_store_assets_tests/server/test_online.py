"""`POST /v1/online-features`: rows of values, statuses and ages; 4xx with a message otherwise."""

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings, strategies as st
from starlette.types import ASGIApp

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.server.app import create_app
from feature_store_assets.server.online import OnlineAnswer
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.server.apps import FEAST, ONLINE, ask, post
from feature_store_assets_tests.server.conftest import AN_HOUR_AGO, LONG_AGO
from feature_store_assets_tests.stores import pushed

PEOPLE = ["ann", "bob", "cy", "nobody"]
MOMENT = (AN_HOUR_AGO + timedelta(hours=2)).isoformat()


def told(instant: Any) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def test_a_group_is_answered_in_the_order_asked(app: ASGIApp) -> None:
    asked = {"group": "users", "entities": PEOPLE, "features": ["born", "orders"], "at": MOMENT}
    assert post(app, ONLINE, asked) == {
        "features": ["orders", "born"],
        "types": ["int64", "date32"],
        "values": [[3, "2024-02-29"], [1, None], [None, None], [None, None]],
        "statuses": ["present", "present", "expired", "missing"],
        "event_timestamps": [told(AN_HOUR_AGO), told(AN_HOUR_AGO), told(LONG_AGO), None],
        "ages_seconds": [7_200.0, 7_200.0, 79_200.0, None],
        "stale": False,
    }


def test_ages_count_from_now_by_default(app: ASGIApp) -> None:
    answer = post(app, ONLINE, {"group": "users", "entities": ["ann"]})
    assert 3_600 <= answer["ages_seconds"][0] < 7_200


def test_floats_that_json_lacks_have_names(app: ASGIApp) -> None:
    both = {"features": ["users.orders", "places.score"], "entities": ["ann"]}
    assert post(app, ONLINE, both)["values"] == [[3, "-Infinity"]]
    asked = {"group": "users", "features": ["score"], "entities": ["dee", "bob", "ann"]}
    assert post(app, ONLINE, asked)["values"] == [["NaN"], [None], [0.5]]


def test_a_view_computes_from_values_of_the_request(app: ASGIApp) -> None:
    entities = [{"user": "ann", "distance": 4}, {"user": "bob", "distance": "Infinity"}]
    answer = post(app, ONLINE, {"view": "model", "entities": entities})
    assert answer["features"] == ["score", "orders", "place", "per_mile"]
    assert answer["values"] == [[0.5, 3, "-Infinity", 8.0], [None, 1, None, None]]
    assert answer["statuses"] == ["present", "missing"]  # the worst of the view's groups


@pytest.mark.parametrize(
    "entity", [["JFK", "2024-02-29"], {"origin": "JFK", "day": "2024-02-29", "more": 1}]
)
def test_several_keys_are_lists_or_objects(app: ASGIApp, entity: Any) -> None:
    answer = post(app, ONLINE, {"group": "routes", "entities": [entity]})
    assert (answer["values"], answer["statuses"]) == ([[7]], ["present"])


@pytest.mark.parametrize("subject", [{"group": "users"}, {"features": ["users.orders"]}])
def test_nobody_is_answered_with_nothing(app: ASGIApp, subject: dict[str, Any]) -> None:
    answer = post(app, ONLINE, {**subject, "entities": []})
    assert (answer["values"], answer["statuses"]) == ([], [])


def test_no_features_are_rows_of_nothing(app: ASGIApp) -> None:
    answer = post(app, ONLINE, {"group": "users", "features": [], "entities": ["ann"]})
    assert (answer["features"], answer["values"]) == ([], [[]])


def test_an_answer_is_what_the_document_says(app: ASGIApp) -> None:
    answer = ask(app, "POST", ONLINE, json={"group": "users", "entities": PEOPLE})
    msgspec.json.decode(answer.content, type=OnlineAnswer)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"group": "user", "entities": []}, 404, "Did you mean 'users'?"),
        ({"view": "modell", "entities": []}, 404, "Did you mean 'model'?"),
        ({"group": "users", "features": ["x"], "entities": []}, 404, "No feature is named 'x'"),
        ({"features": ["users.x"], "entities": []}, 404, "No feature is named 'x' in 'users'"),
        ({"group": "users", "view": "model", "entities": []}, 422, "a group or a view, not both"),
        ({"entities": []}, 422, 'Name a "group" or a "view"'),
        ({"features": [], "entities": []}, 422, 'Name a "group" or a "view"'),
        ({"group": "users"}, 422, "missing required field `entities`"),
        ({"group": "users", "entities": {}}, 422, "Expected `array`, got `object`"),
        ({"group": "users", "entities": [], "typo": 1}, 422, "unknown field `typo`"),
        ({"group": "users", "entities": [], "at": "2024-06-01"}, 422, "Invalid RFC3339"),
        ({"group": "users", "entities": [], "at": "2024-06-01T00:00:00"}, 422, "timezone"),
        ({"group": "users", "entities": [7]}, 422, "'user' of 'users' is string: give a str, not"),
        ({"group": "users", "entities": [None]}, 422, "not a NoneType"),
        ({"group": "users", "entities": [["ann"]]}, 422, "values of its one join key"),
        ({"group": "users", "entities": ["ann", {"user": "bob"}]}, 422, "or objects of user"),
        ({"group": "users", "entities": [{"user": "bob"}, "ann"]}, 422, "give all as dicts"),
        ({"group": "users", "entities": [{"usr": "bob"}]}, 422, "lacks its join key 'user'"),
        ({"group": "routes", "entities": ["JFK"]}, 422, "are lists of origin, day"),
        ({"group": "routes", "entities": [["JFK"]]}, 422, "is a tuple (origin, day)"),
        ({"group": "routes", "entities": [["JFK", "today"]]}, 422, "'day' of 'routes' is date32"),
        ({"view": "model", "entities": ["ann"]}, 422, "values that come with the request"),
        ({"view": "model", "entities": [{"user": "ann"}]}, 422, "lacks the request value 'dist"),
        (
            {"view": "model", "entities": [{"user": "ann", "distance": "far"}]},
            422,
            "'distance' of 'model' is float64: give a float",
        ),
        ([], 422, "Expected `object`, got `array`"),
        ({"group": "users", "entities": ["ann"] * 10_001}, 413, "10,001 entities are more than"),
    ],
)
def test_a_mistake_is_told(app: ASGIApp, body: Any, status: int, message: str) -> None:
    answer = ask(app, "POST", ONLINE, json=body)
    assert (answer.status_code, list(answer.json())) == (status, ["detail"])
    assert message in answer.json()["detail"]


def test_a_group_that_is_not_served_says_how_it_would_be(store: FeatureStore) -> None:
    store.apply(pushed("hidden", Feature("x", "int64"), online=False))
    answer = ask(create_app(store), "POST", ONLINE, json={"group": "hidden", "entities": []})
    assert answer.status_code == 422
    assert "declare online=True" in answer.json()["detail"]


# Whatever is sent

BODIES = st.binary(max_size=60) | st.text(max_size=60).map(str.encode)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(["users", "routes", "model", "service", "users.score", "places:score"])
KEYS = st.sampled_from(["user", "origin", "day", "distance"])
ENTITY = st.text(max_size=3) | JSON | st.dictionaries(KEYS, JSON)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "group": NAMES | JSON,
        "view": NAMES | JSON,
        "features": st.lists(NAMES, max_size=3) | JSON,
        "feature_service": NAMES | JSON,
        "entities": st.lists(ENTITY, max_size=4)
        | st.dictionaries(KEYS, st.lists(JSON, max_size=2), max_size=3)
        | JSON,
        "full_feature_names": JSON,
        "at": st.sampled_from([MOMENT, "0001-01-01T00:00:00+23:00", "9999-12-31T23:00:00-23:00"]),
    },
)


def is_answered(app: ASGIApp, path: str, body: bytes) -> None:
    answer = ask(app, "POST", path, content=body)
    assert answer.status_code in {200, 400, 404, 413, 422}, answer.text
    assert answer.headers["content-type"] == "application/json"
    answer.json()


@settings(max_examples=examples(100))
@given(st.sampled_from([ONLINE, FEAST]), BODIES)
def test_any_bytes_are_answered(app: ASGIApp, path: str, body: bytes) -> None:
    is_answered(app, path, body)


@settings(max_examples=examples(300))
@given(st.sampled_from([ONLINE, FEAST]), REQUESTS | JSON)
@example(
    FEAST, {"feature_service": "model", "entities": {"user": [], "origin": [], "distance": []}}
)
def test_any_json_is_answered(app: ASGIApp, path: str, asked: Any) -> None:
    is_answered(app, path, json.dumps(asked).encode())


def test_no_message_shows_an_entity(app: ASGIApp) -> None:
    secret = "hunter2"
    for entities in ([7, secret], [[secret]], [{"user": 7, "x": secret}], [secret, {}]):
        answer = ask(app, "POST", ONLINE, json={"group": "users", "entities": entities})
        assert answer.status_code == 422
        assert secret not in answer.json()["detail"]
