"""`GET /v1/groups`, `/v1/groups/{name}` and `/v1/search`: what there is to read."""

from typing import Any

import pytest
from starlette.types import ASGIApp

from feature_store_assets_tests.server.apps import ask


def get(app: ASGIApp, path: str, **query: Any) -> Any:
    answer = ask(app, "GET", path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_all_groups_are_listed_by_name(app: ASGIApp) -> None:
    assert [card["name"] for card in get(app, "/v1/groups")] == ["places", "routes", "users"]


def test_a_group_is_described(app: ASGIApp) -> None:
    card = get(app, "/v1/groups/users")
    features = {feature["name"]: feature for feature in card.pop("features")}
    assert card == {
        "name": "users",
        "version": 1,
        "stage": "active",
        "description": "",
        "entity": "user",
        "join_keys": {"user": "string"},
        "timestamp": "event_timestamp",
        "partitions": "calendar",
        "reads": [],
        "written_by": "pushes",
        "online": True,
        "ttl_seconds": 36_000.0,
        "freshness_seconds": None,
        "retention_seconds": None,
        "owners": ["team:growth"],
        "tags": {"domain": "sales"},
    }
    assert list(features) == ["score", "orders", "born"]
    assert features["orders"] == {
        "name": "orders",
        "type": "int64",
        "stage": "active",
        "description": "Orders of late.",
        "pii": False,
        "derived_from": [],
        "owners": ["team:growth"],
        "tags": {},
    }
    assert features["born"]["pii"]


def test_an_unknown_group_is_answered_with_the_nearest(app: ASGIApp) -> None:
    answer = ask(app, "GET", "/v1/groups/user")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "No feature group is named 'user'. Did you mean 'users'?"}


def test_groups_views_and_features_are_found_by_words(app: ASGIApp) -> None:
    hits = get(app, "/v1/search", q="score")
    assert [(hit["kind"], hit["name"]) for hit in hits] == [
        ("feature", "places.score"),
        ("feature", "users.score"),
    ]
    assert get(app, "/v1/search", q="score", limit=1) == hits[:1]
    assert [hit["name"] for hit in get(app, "/v1/search", q="domain:sales")] == ["users"]
    assert get(app, "/v1/search", q="model")[0]["kind"] == "view"
    assert get(app, "/v1/search", q="nothing has this") == []


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"kind": "feature"}, {"users.orders"}),
        ({"kind": "feature", "dtype": "float64"}, set()),
        ({"dtype": "int64"}, {"users.orders"}),
        ({"entity": "route"}, set()),
        ({"entity": "user", "owner": "team:growth"}, {"users.orders"}),
        ({"tag": "domain"}, set()),
        ({"stage": "active"}, {"users.orders"}),
        ({"stage": "draft"}, set()),
        ({"freshness": "stale"}, set()),
        ({"kind": "", "owner": "", "freshness": ""}, {"users.orders"}),
    ],
)
def test_a_search_is_narrowed_down(app: ASGIApp, filters: dict[str, str], names: set[str]) -> None:
    hits = get(app, "/v1/search", q="orders", **filters)
    assert {hit["name"] for hit in hits} == names
    assert all(hit["freshness"] in {"fresh", "unknown"} for hit in hits)


def test_freshness_is_one_of_three(app: ASGIApp) -> None:
    answer = ask(app, "GET", "/v1/search", params={"q": "x", "freshness": "rotten"})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("query.freshness")


@pytest.mark.parametrize("query", [{}, {"q": ""}, {"q": "x", "limit": 0}, {"q": "x", "limit": "x"}])
def test_a_search_for_nothing_is_a_mistake(app: ASGIApp, query: dict[str, Any]) -> None:
    answer = ask(app, "GET", "/v1/search", params=query)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("query.")
