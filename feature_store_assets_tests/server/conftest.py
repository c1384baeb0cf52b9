"""A shop's features, served."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from starlette.types import ASGIApp

from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.server.app import create_app
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests import functions
from feature_store_assets_tests.stores import HOUR, new_store, pushed

USER = Entity("user", {"user": "string"})
USERS = pushed(
    "users",
    Feature("score", "float64"),
    Feature("orders", "int64", "Orders of late."),
    Feature("born", "date32", pii=True),
    entity=USER,
    ttl=10 * HOUR,
    owners=["team:growth"],
    tags={"domain": "sales"},
)
PLACES = pushed("places", Feature("score", "float64"), entity=USER)
ROUTES = pushed(
    "routes",
    Feature("delay", "int64"),
    entity=Entity("route", {"origin": "string", "day": "date32"}),
)
MODEL = FeatureView(
    "model",
    [USERS["score", "orders"], PLACES["score"].rename({"score": "place"})],
    request={"distance": "float64"},
    computed=[RequestFeature("per_mile", "float64", functions.per_score)],
)
SERVICE = FeatureView("service", [USERS["orders"], PLACES["score"]])
# Event times are rounded to whole seconds, as most are.
AN_HOUR_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
LONG_AGO = AN_HOUR_AGO - 20 * HOUR
DAY = date(2024, 2, 29)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """Ann of now, Bob without a score, Cy of long ago; and one route."""
    with new_store(tmp_path_factory.mktemp("shop")) as store:
        store.apply(USERS, PLACES, ROUTES, MODEL, SERVICE)
        ann = {"score": 0.5, "orders": 3, "born": DAY}
        none = dict.fromkeys(ann)
        store.write_features(
            [
                {"user": "ann", "event_timestamp": AN_HOUR_AGO, **ann},
                {"user": "bob", "event_timestamp": AN_HOUR_AGO, **none, "orders": 1},
                {"user": "cy", "event_timestamp": LONG_AGO, **ann},
                {"user": "dee", "event_timestamp": AN_HOUR_AGO, **none, "score": float("nan")},
            ],
            "users",
        )
        place = {"user": "ann", "event_timestamp": LONG_AGO, "score": float("-inf")}
        store.write_features([place], "places")
        route = {"origin": "JFK", "day": DAY, "event_timestamp": LONG_AGO, "delay": 7}
        store.write_features([route], "routes")
        yield store


@pytest.fixture(scope="module")
def app(shop: FeatureStore) -> ASGIApp:
    return create_app(shop)
