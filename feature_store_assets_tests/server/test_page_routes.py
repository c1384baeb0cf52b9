"""The catalogue's pages: what they tell, what they never tell, and who may see them."""

import base64
import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from feature_store_assets.declaration.expect import expect
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.lineage.queries import Lineage
from feature_store_assets.quality.statistics import Profile
from feature_store_assets.registry.database import usage
from feature_store_assets.registry.tokens import hashed
from feature_store_assets.server.app import create_app
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests import functions, market
from feature_store_assets_tests.meters import NAME, fill, meters
from feature_store_assets_tests.server.apps import PUSH, ask
from feature_store_assets_tests.stores import HOUR, new_store, pushed

SCRIPT = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(1)>"
METERS = meters(
    description="What is read of a meter, from `0` h to 24 h.",
    ttl=36 * HOUR,
    partitions=dg.DailyPartitionsDefinition("2024-01-01"),
    freshness=26 * HOUR,
    owners=["team:grid"],
    tags={"domain": "energy"},
    upstream=["readings"],
    expectations=[expect.column_mean_to_be_between("usage", max_value=90.0)],
)
HOUSES = pushed(
    "houses",
    Feature("rooms", "int64", f"Rooms {SCRIPT}", tags={"stage": "draft"}),
    Feature("colour", "string", one_of=["red", SCRIPT], derived_from=["paint.<b>colour</b>"]),
    entity=Entity("house", {"house": "string"}),
    description=SCRIPT + IMAGE,
    owners=["<svg/onload=alert(1)>@example.org"],
)
BILLING = FeatureView(
    "billing",
    [METERS["usage", "tariff"].rename({"usage": "kwh"})],
    "What a bill is made from.",
    request={"text": "string"},
    computed=[RequestFeature("size", "int64", functions.letters)],
    defaults={"tariff": "day"},
    owners=["team:bills"],
)
PAGES = [
    "/",
    "/?q=usage",
    "/?kind=feature",
    "/groups/meters",
    "/groups/houses",
    "/features/meters.usage",
    "/features/meters.payer",
    "/features/houses.colour",
    "/views/billing",
    "/groups/metres",
    f"/groups/{IMAGE}",
    f"/?q={SCRIPT}&tag={SCRIPT}&entity={SCRIPT}",
    f"/?freshness={SCRIPT}",
]


@contextmanager
def built(root: Path) -> Iterator[FeatureStore]:
    """Meters of which two days are computed, and houses declared by somebody hostile."""
    with new_store(root, enable_lineage=False) as store:
        store.apply(METERS, HOUSES, BILLING)
        fill(store, METERS, {0: [1.0, 2.0, 3.0], 1: [2.0, None, 40.0, 80.0]})
        colours = Profile(3, 0, 0.0, distinct=1, top=((SCRIPT, 3),), categories=((SCRIPT, 3),))
        store.review.statistics.put("houses", 1, {"2024": {"colour": colours}}, table_version=0)
        store.acting_as(SCRIPT).set_stage("houses", "deprecated", successor="meters")
        store.acting_as("ann").set_stage("meters.tariff", "deprecated", successor="meters.usage")
        yield store


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with built(tmp_path_factory.mktemp("town")) as store:
        yield store


@pytest.fixture
def village(tmp_path: Path) -> Iterator[FeatureStore]:
    """The same, to be changed by one test."""
    with built(tmp_path) as store:
        yield store


@pytest.fixture(scope="module")
def app(town: FeatureStore) -> ASGIApp:
    return create_app(town)


class Read(HTMLParser):
    """A page as its reader has it: elements with their attributes, and text without spaces."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self._words: list[str] = []
        self._hidden = 0
        self.feed(page)
        self.text = " ".join(" ".join(self._words).split())
        self.links = [each["href"] for tag, each in self.elements if tag == "a"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._hidden += tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._words.append(data)

    def labelled(self, start: str) -> list[str]:
        """What is told to who cannot see, of that start."""
        told = (each.get("aria-label", "") for _, each in self.elements)
        return [label for label in told if label.startswith(start)]


def page(app: ASGIApp, path: str, status: int = 200, **given: Any) -> Read:
    answer = ask(app, "GET", path, **given)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Read(answer.text)


# The list


def test_the_first_page_lists_groups_and_views(app: ASGIApp) -> None:
    first = page(app, "/")
    assert "Feature groups 2 with 5 features" in first.text
    assert "What is read of a meter, from 0 h to 24 h. entity meter · 3 features" in first.text
    assert "What a bill is made from. 3 features · of 1 group" in first.text
    assert {"/groups/meters", "/groups/houses", "/views/billing"} <= {*first.links}
    assert {"/?owner=team%3Agrid", "/?tag=domain%3Aenergy"} <= {*first.links}
    assert "houses deprecated" in first.text


def test_words_find_what_has_them(app: ASGIApp) -> None:
    found = page(app, "/?q=usage")
    assert "1 hit for “usage”" in found.text
    assert "meters.usage feature" in found.text
    assert "/features/meters.usage" in found.links
    assert "Nothing has all of these words." in page(app, "/?q=elephants").text


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("kind=view", ["/views/billing"]),
        ("tag=domain:energy", ["/groups/meters"]),
        ("tag=domain", ["/groups/meters"]),
        ("owner=team:bills", ["/views/billing"]),
        ("dtype=int64", ["/features/houses.rooms"]),
        ("entity=house&kind=group", ["/groups/houses"]),
        ("stage=deprecated&entity=meter", ["/features/meters.tariff"]),
        ("freshness=stale&kind=group", ["/groups/meters"]),
        ("freshness=fresh", []),
        ("q=meter&kind=group&owner=team:grid&stage=&dtype=", ["/groups/meters"]),
    ],
)
def test_filters_narrow_down(app: ASGIApp, query: str, names: list[str]) -> None:
    found = [each for each in page(app, f"/?{query}").links if re.match("/(gro|fea|vie)", each)]
    assert found == names
    hits = ask(app, "GET", f"/v1/search?q=e&{query.replace('q=meter&', '')}").json()
    assert {hit["name"] for hit in hits} <= {each.rpartition("/")[2] for each in names}


def test_what_was_asked_stays_in_the_form(app: ASGIApp) -> None:
    asked = page(app, "/?q=usage&kind=feature&owner=team:gone")
    assert ("input", "usage") in [(tag, each.get("value")) for tag, each in asked.elements]
    selected = [each for tag, each in asked.elements if tag == "option" and "selected" in each]
    assert len(selected) == 2
    assert "team:gone" in asked.text


# Groups, features, views


def test_a_group_tells_what_there_is_to_know(app: ASGIApp) -> None:
    group = page(app, "/groups/meters")
    for told in (
        "meters version 1 active",
        "Entity meter (meter_id: int64)",
        "Computed from readings",
        "Newest partition 2024-01-02",
        "Time to live 1 day 12 hours",
        "Fresh within 1 day 2 hours",
        "usage float64",
        "25.0% 3 40.67 2 80",
        "tariff deprecated string",
        "expect.column_mean_to_be_between(column='usage', max_value=90.0",
        "view billing",
        "added 1",
    ):
        assert told in group.text
    assert group.labelled("Distributions: usage")
    assert group.labelled("Rows, partitions: 2")


def test_a_feature_tells_its_statistics_over_partitions(app: ASGIApp) -> None:
    feature = page(app, "/features/meters.usage")
    for told in (
        "meters. usage active",
        "Type float64",
        "4 rows 25.0% missing 3 distinct 40.67 mean",
        "History 2 partitions",
        "2024-01-02 4 25.0% 3 40.67 2 80 2024-01-01 3 0% 3 2 1 3",
        "expect.column_values_to_be_between(column='usage', min_value=0",
        "view billing",
    ):
        assert told in feature.text
    assert "expect.column_mean_to_be_between" in feature.text
    assert feature.labelled("Distributions: 2024-01-01, 2024-01-02")
    assert feature.labelled("Missing, %")
    assert feature.labelled("Mean")
    other = page(app, "/features/meters.payer")
    assert "view billing" not in other.text  # which takes other features of the group


def test_a_view_tells_where_its_features_come_from(app: ASGIApp) -> None:
    view = page(app, "/views/billing")
    for told in (
        "kwh meters.usage float64",
        "tariff meters.tariff string day",
        "size computed at request int64",
        "With the request text: string",
    ):
        assert told in view.text
    assert "/features/meters.usage" in view.links


def test_what_is_deprecated_names_its_successor(app: ASGIApp) -> None:
    feature = page(app, "/features/meters.tariff")
    assert "Feature 'meters.tariff' is deprecated. Use meters.usage instead." in feature.text
    assert "by ann" in feature.text
    # A feature stands where its group does.
    assert "Group 'houses' is deprecated. Use meters" in page(app, "/features/houses.rooms").text


def test_a_feature_tells_when_it_was_changed(village: FeatureStore) -> None:
    group = pushed("boilers", Feature("heat", "float64"))
    village.apply(group)
    more = replace(group, features=(*group.features, Feature("age", "int64")))
    village.apply(more)
    told = create_app(village)
    assert page(told, "/features/boilers.age").text.count("added 1") == 1
    assert "changed" not in page(told, "/features/boilers.heat").text
    changed = replace(more, features=(Feature("heat", "float64", "Warm."), more.features[1]))
    village.apply(changed)
    assert "changed 1" in page(told, "/features/boilers.heat").text


def test_reads_of_thirty_days_are_summed_by_consumer_and_path(village: FeatureStore) -> None:
    today = datetime.now(UTC)

    def read(feature: str, path: str, days: int, reads: int) -> dict[str, Any]:
        return {
            "feature_group": "meters",
            "feature": feature,
            "consumer": "biller",
            "path": path,
            "day": f"{today - timedelta(days=days):%Y-%m-%d}",
            "reads": reads,
            "rows": 10 * reads,
        }

    rows = [
        read("usage", "http", 0, 1_000),
        read("usage", "http", 29, 234),
        read("usage", "http", 31, 9_000),
        read("tariff", "http", 0, 6),
        read("tariff", "training", 1, 2),
    ]
    with village.usage._database.write() as connection:
        connection.execute(sa.insert(usage), rows)
    told = create_app(village)
    group = page(told, "/groups/meters").text
    assert "biller http 1,240 12,400 biller training 2 20" in group
    assert "biller http 1,234 12,340 " in page(told, "/features/meters.usage").text


def test_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        empty = page(create_app(store), "/")
    assert "feature-store apply" in empty.text


# Lineage


def test_lineage_is_drawn_with_links_and_listed(app: ASGIApp) -> None:
    feature = page(app, "/features/meters.usage")
    (drawn,) = feature.labelled("Lineage of meters.usage")
    assert drawn == "Lineage of meters.usage: 1 upstream, 2 downstream"
    assert "Upstream (1) asset readings Downstream (2)" in feature.text
    assert feature.links.count("/groups/meters") == 3  # the trail, the drawing, the list
    assert feature.links.count("/views/billing") >= 2
    group = page(app, "/groups/meters")
    assert group.labelled("Lineage of meters: 1 upstream, 1 downstream")
    assert page(app, "/views/billing").labelled("Lineage of billing: 2 upstream, 0 downstream")


def test_lineage_is_dagsters_where_definitions_are_at_hand(tmp_path: Path) -> None:
    with new_store(tmp_path, definitions=market.__file__) as store:
        store.apply(*market.GROUPS, *market.VIEWS)
        store.lineage.graph()  # loads what else would be loaded beside the first pages
        spent = page(create_app(store), "/features/spending.spent")
    for told in ("column orders.amount", "column till.cents", "asset orders"):
        assert told in spent.text
    assert "As Dagster's asset graph has it" in spent.text


def test_lineage_that_fails_leaves_the_page(
    town: FeatureStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def broken(_: Lineage) -> Any:
        asked.append("once")
        raise ZeroDivisionError

    monkeypatch.setattr(Lineage, "graph", broken)
    app = create_app(town)
    for _ in range(2):
        assert "Lineage is not at hand" in page(app, "/groups/meters").text
    assert asked == ["once"]  # it may take seconds: not with every page
    assert "Lineage could not be read" in caplog.text


def test_lineage_that_takes_long_is_not_waited_for(
    town: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, known = threading.Event(), town.lineage.graph()

    def slow(_: Lineage) -> Any:
        may_end.wait()
        return known

    monkeypatch.setattr(Lineage, "graph", slow)
    app = create_app(town)
    assert "Lineage is not at hand" in page(app, "/groups/meters").text
    may_end.set()
    assert page(app, "/groups/meters").labelled("Lineage of meters")


# What is never told


def test_personal_values_are_on_no_page(village: FeatureStore) -> None:
    # As if the feature had been declared personal only later.
    kept = Profile(
        4, 0, 0.0, distinct=1, mean=71.5, minimum=70.25, maximum=72.75, top=((NAME, 4),),
        quantiles=tuple(map(float, range(101))),
    )  # fmt: skip
    village.review.statistics.put(
        "meters", 1, {"2024-01-03": {"payer": kept, "usage": Profile(4, 0, 0.0)}}, table_version=0
    )
    app = create_app(village)
    texts = [ask(app, "GET", path).text for path in PAGES]
    assert "4 rows" in Read(texts[6]).text
    for personal in (NAME, "71.5", "70.25", "72.75"):
        assert not any(personal in text for text in texts)


@pytest.mark.parametrize("path", PAGES)
def test_no_text_is_taken_for_markup(app: ASGIApp, path: str) -> None:
    read = Read(ask(app, "GET", path).text)
    assert not {"script", "img", "b", "iframe", "object"} & {tag for tag, _ in read.elements}
    for _, attributes in read.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_hostile_text_is_shown_as_it_is(app: ASGIApp) -> None:
    assert SCRIPT + IMAGE in page(app, "/groups/houses").text
    assert SCRIPT in page(app, "/features/houses.colour").text
    assert f"Nothing is named “{IMAGE}”" in page(app, f"/groups/{IMAGE}", 404).text


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_fetched_from_elsewhere(app: ASGIApp, path: str) -> None:
    read = Read(ask(app, "GET", path).text)
    addresses = [
        each[name]
        for _, each in read.elements
        for name in ("href", "src", "action", "xlink:href", "srcset", "data")
        if name in each
    ]
    assert addresses
    for address in addresses:
        assert re.match(r"(/(?!/)|#|data:,$)", address), address


@pytest.mark.parametrize("path", PAGES)
def test_browsers_are_told_to_run_and_load_nothing(app: ASGIApp, path: str) -> None:
    answer = ask(app, "GET", path)
    style = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    (digest,) = (
        base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in style
    )
    assert answer.headers["content-security-policy"].split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "img-src data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"


# What cannot be shown


@pytest.mark.parametrize(
    ("path", "told", "near"),
    [
        ("/groups/metres", "No feature group is named 'metres'.", "/groups/meters"),
        ("/groups/billing", "No feature group is named 'billing'.", "/views/billing"),
        ("/views/biling", "'biling'", "/views/billing"),
        ("/features/meters.usages", "'usages'", "/features/meters.usage"),
        ("/features/usage", "'usage'", "/features/meters.usage"),
        ("/features/metres.usage", "'metres'", "/features/meters.usage"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(
    app: ASGIApp, path: str, told: str, near: str
) -> None:
    missing = page(app, path, 404)
    assert f"Nothing is named “{path.rpartition('/')[2]}”" in missing.text
    assert told in missing.text
    assert near in missing.links
    assert "/" in missing.links


def test_a_query_that_is_too_long_is_refused_on_a_page(app: ASGIApp) -> None:
    assert "query.q" in page(app, f"/?q={'x' * 201}", 422).text


def test_what_fails_in_the_server_is_told_to_its_log_alone(
    town: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("hunter2")

    app = create_app(town)
    monkeypatch.setattr(town, "groups", broken)
    failed = page(app, "/", 500)
    assert "its log tells why" in failed.text
    assert "hunter2" not in failed.text


# Who may see them


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGIApp]:
    """An app that asks for the token `sesame`."""
    root = tmp_path_factory.mktemp("closed")
    with new_store(root, api_tokens=(f"app={hashed('sesame')}",)) as store:
        store.apply(METERS, HOUSES, BILLING)
        yield create_app(store)


@pytest.mark.parametrize("path", ["/", "/groups/meters", "/features/meters.usage", "/views/nope"])
@pytest.mark.parametrize("headers", [{}, basic("ann", "wrong"), basic("sesame", "")])
def test_a_browser_without_a_token_is_asked_for_one(
    closed: ASGIApp, path: str, headers: dict[str, str]
) -> None:
    answer = ask(closed, "GET", path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="Feature store", charset="UTF-8"'
    assert "Give a token as the password" in answer.text
    assert "meters" not in answer.text.replace(path, "")


@pytest.mark.parametrize(
    "headers",
    [basic("", "sesame"), {"Authorization": "Bearer sesame"}, {"X-API-Key": "sesame"}],
)
def test_a_token_opens_the_pages(closed: ASGIApp, headers: dict[str, str]) -> None:
    assert "meters" in page(closed, "/", headers=headers).text


@pytest.mark.parametrize(("method", "path"), [("POST", PUSH), ("GET", "/v1/groups")])
def test_what_a_browser_sends_by_itself_opens_no_other_route(
    closed: ASGIApp, method: str, path: str
) -> None:
    answer = ask(closed, method, path, headers=basic("ann", "sesame"), json={})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


# Beside the API


def test_the_document_of_the_api_leaves_pages_out(app: ASGIApp) -> None:
    paths = ask(app, "GET", "/openapi.json").json()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith(("/gro", "/fea", "/vie"))]


def test_requests_are_counted_by_route_and_not_by_name(app: ASGIApp) -> None:
    for name in ("meters", "houses", "nothing", IMAGE):
        ask(app, "GET", f"/groups/{name}")
        ask(app, "GET", f"/?q={name}")
    counted = re.findall(
        r'feature_store_requests_total\{route="([^"]*)"', ask(app, "GET", "/metrics").text
    )
    pages = {"/", "/groups/{name}", "/features/{name}", "/views/{name}"}
    known = (
        "/v1/",
        "/get-online",
        "/health",
        "/ready",
        "/metrics",
        "/openapi.json",
        "/docs",
        "other",
    )
    assert {each for each in counted if not each.startswith(known)} <= pages
    assert {"/", "/groups/{name}"} <= {*counted}


def test_links_lead_to_where_the_app_is_mounted(app: ASGIApp) -> None:
    mounted = Starlette(routes=[Mount("/store", app)])
    links = page(mounted, "/store/groups/meters").links
    assert {"/store/", "/store/features/meters.usage", "/store/views/billing"} <= {*links}
    assert all(link.startswith(("/store/", "#")) for link in links)
