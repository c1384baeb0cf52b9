"""`POST /get-online-features`: the format of Feast 0.67's feature server, with honest statuses."""

import json
from typing import Any

import pytest
from starlette.types import ASGIApp

from feature_store_assets_tests.server.apps import FEAST, ask, post
from feature_store_assets_tests.server.conftest import AN_HOUR_AGO, LONG_AGO

NEVER = "1970-01-01T00:00:00Z"
PEOPLE = ["ann", "bob", "cy", "nobody"]
RECENT, OLD = (f"{instant:%Y-%m-%dT%H:%M:%SZ}" for instant in (AN_HOUR_AGO, LONG_AGO))


def names(answer: Any) -> Any:
    return answer["metadata"]["feature_names"]


def test_columns_of_entities_come_first_then_features_as_asked(app: ASGIApp) -> None:
    asked = {"features": ["users:orders", "users:score"], "entities": {"user": PEOPLE}}
    statuses = ["OUTSIDE_MAX_AGE", "NOT_FOUND"]
    times = [RECENT, RECENT, OLD, NEVER]
    assert post(app, FEAST, asked) == {
        "results": [
            {"values": PEOPLE, "statuses": ["PRESENT"] * 4, "event_timestamps": [NEVER] * 4},
            {
                "values": [3, 1, None, None],
                "statuses": ["PRESENT", "PRESENT", *statuses],
                "event_timestamps": times,
            },
            {
                "values": [0.5, None, None, None],
                "statuses": ["PRESENT", "NULL_VALUE", *statuses],
                "event_timestamps": times,
            },
        ],
        "metadata": {"feature_names": ["user", "orders", "score"]},
    }


def test_a_key_is_never_present_that_was_never_written(app: ASGIApp) -> None:
    """Feast says PRESENT for it with Redis, and for values long past their ttl with any store."""
    asked = {"features": ["users:orders"], "entities": {"user": ["nobody", "cy"]}}
    assert post(app, FEAST, asked)["results"][1]["statuses"] == ["NOT_FOUND", "OUTSIDE_MAX_AGE"]


def test_floats_that_json_lacks_and_dates_are_text(app: ASGIApp) -> None:
    asked = {
        "features": ["users:score", "users:born", "places:score"],
        "entities": {"user": ["ann", "dee"]},
        "full_feature_names": True,
    }
    answer = post(app, FEAST, asked)
    values = [vector["values"] for vector in answer["results"][1:]]
    assert values == [[0.5, "NaN"], ["2024-02-29", None], ["-Infinity", None]]


def test_features_of_several_views_may_share_a_name_in_full(app: ASGIApp) -> None:
    asked: dict[str, Any] = {
        "features": ["places:score", "users:score", "users:orders"],
        "entities": {"user": ["ann"]},
    }
    refused = ask(app, "POST", FEAST, json=asked)
    assert refused.status_code == 422
    assert "ask for full_feature_names" in refused.text
    # Asking for one of them twice changes nothing of that.
    twice = {**asked, "features": ["places:score", "users:score", "users:score"]}
    assert ask(app, "POST", FEAST, json=twice).status_code == 422
    answer = post(app, FEAST, {**asked, "full_feature_names": True})
    assert names(answer) == ["user", "places__score", "users__score", "users__orders"]
    assert [vector["values"] for vector in answer["results"][1:]] == [["-Infinity"], [0.5], [3]]


def test_a_feature_asked_twice_comes_twice(app: ASGIApp) -> None:
    asked = {"features": ["users:orders"] * 2, "entities": {"user": ["ann"]}}
    answer = post(app, FEAST, asked)
    assert names(answer) == ["user", "orders", "orders"]
    assert [vector["values"] for vector in answer["results"]] == [["ann"], [3], [3]]


@pytest.mark.parametrize(
    ("full", "shown"), [(False, ["orders", "score"]), (True, ["users__orders", "places__score"])]
)
def test_a_feature_service_is_a_view_named_after_its_groups(
    app: ASGIApp, full: bool, shown: list[str]
) -> None:
    asked = {"feature_service": "service", "entities": {"user": ["ann", "bob"]}}
    answer = post(app, FEAST, {**asked, "full_feature_names": full})
    assert names(answer) == ["user", *shown]
    # Each feature has its own group's status, not the worst of all.
    assert [vector["statuses"] for vector in answer["results"][1:]] == [
        ["PRESENT", "PRESENT"],
        ["PRESENT", "NOT_FOUND"],
    ]


def test_a_view_takes_request_values_as_columns(app: ASGIApp) -> None:
    asked = {
        "features": ["model:per_mile", "model:place"],
        "entities": {"user": ["ann", "nobody"], "distance": [4.0, 1.0]},
        "full_feature_names": True,
    }
    answer = post(app, FEAST, asked)
    assert names(answer) == ["user", "distance", "model__per_mile", "model__place"]
    assert [vector["values"] for vector in answer["results"][2:]] == [
        [8.0, None],
        ["-Infinity", None],
    ]


def test_several_keys_are_several_columns(app: ASGIApp) -> None:
    asked = {
        "features": ["routes:delay"],
        "entities": {"day": ["2024-02-29", "2024-03-01"], "origin": ["JFK", "JFK"]},
    }
    answer = post(app, FEAST, asked)
    assert names(answer) == ["day", "origin", "delay"]
    assert answer["results"][2]["values"] == [7, None]


def test_metadata_of_views_come_where_they_are_asked_for(app: ASGIApp) -> None:
    asked = {
        "features": ["users:orders"],
        "entities": {"user": ["ann"]},
        "include_feature_view_version_metadata": True,
    }
    assert post(app, FEAST, asked)["metadata"]["feature_view_metadata"] == [{"name": "users"}]


@pytest.mark.parametrize(
    ("asked", "status", "kind", "message"),
    [
        ({"features": ["user:x"], "entities": {"user": ["a"]}}, 404, "View", "Did you mean"),
        ({"features": ["users:x"], "entities": {"user": ["a"]}}, 404, "View", "named 'x'"),
        ({"feature_service": "x", "entities": {"user": ["a"]}}, 404, "View", "named 'x'"),
        ({"features": ["users"], "entities": {"user": ["a"]}}, 422, "", "view:feature"),
        ({"entities": {"user": ["a"]}}, 422, "", 'or a "feature_service"'),
        ({"features": ["users:orders"], "entities": {"usr": ["a"]}}, 422, "", "a column 'user'"),
        ({"features": ["users:orders"], "entities": {}}, 422, "", "must be there"),
        (
            {"features": ["routes:delay"], "entities": {"origin": ["a"], "day": []}},
            422,
            "",
            "equally long",
        ),
        ({"features": ["users:orders"], "entities": {"user": [7]}}, 422, "", "is string: give"),
        ({"features": ["users:orders"]}, 422, "", "missing required field `entities`"),
        (
            {"features": ["users:orders"], "entities": {"user": ["a"] * 10_001}},
            413,
            "",
            "more than 10,000",
        ),
    ],
)  # fmt: skip
def test_errors_are_the_json_in_a_json_string_that_clients_read(
    app: ASGIApp, asked: Any, status: int, kind: str, message: str
) -> None:
    answer = ask(app, "POST", FEAST, json=asked)
    assert answer.status_code == status
    told = json.loads(answer.json())
    assert told["module"] == "feast.errors"
    assert told["class"] == ("FeatureViewNotFoundException" if kind else "FeastError")
    assert message in told["message"]


def test_a_body_that_is_no_json_is_told_as_everywhere(app: ASGIApp) -> None:
    answer = ask(app, "POST", FEAST, content=b"{")
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("The body is no JSON")
