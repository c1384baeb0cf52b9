"""What `/metrics` tells, that the page documents each metric, and that the dashboard finds it."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from feature_store_assets import metric
from feature_store_assets.declaration.feature import Feature
from feature_store_assets.errors import DeclarationError, OnlineStoreUnavailable
from feature_store_assets.server.app import create_app
from feature_store_assets.server.metrics import Sizes, exposition, resident
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.server.apps import FEAST, ONLINE, PUSH, listening, serving
from feature_store_assets_tests.servers import tcp_server
from feature_store_assets_tests.stores import HOUR, T0, at, new_store, pushed, row

DOCS = Path(__file__).parents[2] / "docs"
GROUP = pushed("seen", Feature("x", "int64"), ttl=2 * HOUR)
ASKED = {"group": "seen", "entities": ["old", "new", "nobody"], "at": at(3).isoformat()}
Samples = dict[str, list[tuple[dict[str, str], float]]]


def samples(url: str) -> Samples:
    """The samples at `/metrics`, labels and value of each by name."""
    return sampled(httpx.get(f"{url}/metrics"))


def sampled(answer: httpx.Response) -> Samples:
    found: Samples = {}
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for family in families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    """The sum of the samples with these labels; 0 where there is none."""
    return sum(value for have, value in found.get(name, []) if labels.items() <= have.items())


def stock(store: FeatureStore) -> None:
    store.apply(GROUP)
    store.write_features([row("old", 0, x=1), row("new", 2, x=2)], "seen")


# What is counted


def test_requests_rows_ages_and_errors_are_counted(store: FeatureStore) -> None:
    stock(store)
    with listening(create_app(store)) as url:
        before = samples(url)
        for _ in range(3):
            assert httpx.post(url + ONLINE, json=ASKED).status_code == 200
        httpx.post(url + ONLINE, content=b"{")
        httpx.post(url + FEAST, json={"features": ["no:x"], "entities": {"entity_id": ["u"]}})
        httpx.post(url + PUSH, json={"group": "seen", "rows": [{"x": 1}]})
        written = {"entity_id": "u", "event_timestamp": T0.isoformat(), "x": 1}
        httpx.post(url + PUSH, json={"group": "seen", "rows": [written]})
        httpx.get(f"{url}/v1/groups/seen")
        httpx.get(f"{url}/nowhere/ann")
        after = samples(url)

    def more(name: str, **labels: str) -> float:
        return value(after, f"feature_store_{name}", **labels) - value(
            before, f"feature_store_{name}", **labels
        )

    assert more("requests_total", route=ONLINE, status="200") == 3
    assert more("requests_total", route=ONLINE, status="400") == 1
    assert more("requests_total", route=FEAST, status="404") == 1
    assert more("requests_total", route=PUSH, status="422") == 1
    assert more("requests_total", route="/v1/groups/{name}", status="200") == 1
    assert more("requests_total", route="other", status="404") == 1  # a path may be personal
    assert more("request_seconds_count", route=ONLINE) == 4
    assert more("errors_total", route=ONLINE, error="HTTP 400") == 1
    assert more("errors_total", route=FEAST, error="ViewNotFound") == 1
    assert more("errors_total", route=PUSH) == 1
    assert more("online_read_seconds_count", owner="seen") == 1  # of one request in eight
    for status in ("present", "expired", "missing"):
        assert more("online_rows_total", group="seen", status=status) == 3
    assert more("feature_age_seconds_count", group="seen") == 1
    assert more("feature_age_seconds_sum", group="seen") == 3 * 3_600
    assert more("pushed_rows_total", group="seen") == 1
    assert value(after, "feature_store_offline_bytes", group="seen") > 0
    assert value(after, "feature_store_online_bytes") > 0
    assert value(after, "feature_store_worker_resident_bytes") > 1e7


def test_hits_and_misses_are_counted(tmp_path: Path) -> None:
    cached: dict[str, Any] = {"enable_caching": True, "cache_ttl_seconds": 600}
    with tcp_server(tmp_path) as port:
        uri = f"redis://127.0.0.1:{port}"
        store = new_store(tmp_path, online_store_uri=uri, **cached)
        stock(store)
        with listening(create_app(store)) as url:
            before = samples(url)
            for _ in range(3):
                httpx.post(url + ONLINE, json=ASKED)
            after = samples(url)
    names = ("feature_store_cache_hits_total", "feature_store_cache_misses_total")
    assert [value(after, name) - value(before, name) for name in names] == [6, 3]


def test_a_store_that_does_not_answer_takes_only_its_own_sizes_away() -> None:
    def lost() -> int:
        raise OnlineStoreUnavailable("redis://there", "refused")

    told = exposition(Sizes(lambda: {"seen": 5}, lost)).decode()
    assert 'feature_store_offline_bytes{group="seen"} 5.0' in told
    assert "\nfeature_store_online_bytes " not in told
    assert "feature_store_cache_hits_total" in told


def test_memory_is_that_of_the_process() -> None:
    assert 1e7 < resident() < 1e11


# Metrics of one's own


def test_a_metric_of_ones_own_is_seen_beside_the_servers(store: FeatureStore) -> None:
    offers = metric("offers_taken", description="Offers taken.", labels=["model"])
    offers.labels(model="v3").inc(2)
    metric("basket", "gauge").set(7)
    metric("wait", "histogram", buckets=[1, 2]).observe(1.5)
    assert metric("offers_taken", labels=["model"]) is offers
    with listening(create_app(store)) as url:
        found = samples(url)
    assert value(found, "business_offers_taken_total", model="v3") == 2
    assert value(found, "business_basket") == 7
    assert value(found, "business_wait_bucket", le="2.0") == 1


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("once", "gauge", "Metric 'once' is a counter already, not a gauge"),
        ("other", "summary", "A metric is a counter, gauge, histogram, not a 'summary'"),
        ("not a name", "counter", "Metric 'not a name' cannot be"),
        ("", "counter", "Metric '' cannot be"),
    ],
)
def test_a_metric_that_cannot_be_is_refused(name: str, kind: Any, message: str) -> None:
    metric("once")
    with pytest.raises(DeclarationError, match=re.escape(message)):
        metric(name, kind)


# The page and the dashboard, against what real servers tell


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("1", id="one process"),
        pytest.param("2", id="two workers", marks=pytest.mark.slow),
    ],
)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`/metrics` after hits, misses, errors, a push, and stale answers as Redis is gone."""
    folder = tmp_path_factory.mktemp("told")
    with tcp_server(folder) as port:
        uri = f"redis://127.0.0.1:{port}"
        with new_store(folder, online_store_uri=uri) as store:
            stock(store)
        running = ExitStack()
        _, url = running.enter_context(
            serving(
                store.config.root,
                "--workers",
                request.param,
                log=folder / "log",
                FEATURE_STORE_ONLINE_STORE_URI=uri,
                FEATURE_STORE_ENABLE_CACHING="true",
                FEATURE_STORE_CACHE_TTL_SECONDS="0.001",
                FEATURE_STORE_SERVE_STALE_SECONDS="600",
            )
        )
        client = running.enter_context(httpx.Client(base_url=url))  # one connection: one worker
        assert client.post(ONLINE, json=ASKED).status_code == 200
        assert client.post(ONLINE, json={"group": "no", "entities": []}).status_code == 404
        written = {"entity_id": "u", "event_timestamp": T0.isoformat(), "x": 1}
        assert client.post(PUSH, json={"group": "seen", "rows": [written]}).status_code == 200
        assert client.post(ONLINE, json=ASKED).status_code == 200
        client.get("/metrics")  # looks sizes up
    with running:
        assert client.post(ONLINE, json=ASKED).json()["stale"]
        yield sampled(client.get("/metrics"))


def families_of(found: Samples) -> set[str]:
    """Our metrics by the names that people call them by: a histogram is one."""
    ours = {name for name in found if name.startswith("feature_store_")}
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in ours}


def test_every_metric_is_documented_and_every_documented_one_exists(told: Samples) -> None:
    page = (DOCS / "serving.md").read_text()
    rows = re.findall(r"^\| `(feature_store_\w+)` \|([^|]*)\|", page, re.MULTILINE)
    assert {name for name, _ in rows} == families_of(told)
    for name, labels in rows:
        have = told.get(f"{name}_count") or told[name]
        for shown, _ in have:
            assert set(re.findall(r"`(\w+)`", labels)) - {"pid"} == shown.keys() - {"pid"}, name


class Query(NamedTuple):
    panel: str
    expression: str


def queries() -> Iterator[Query]:
    board = json.loads((DOCS / "grafana" / "feature_store.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield Query(panel["title"], target["expr"])


@pytest.mark.parametrize("query", list(queries()), ids=lambda query: query.panel)
def test_the_dashboard_asks_for_metrics_and_labels_that_exist(told: Samples, query: Query) -> None:
    grouped = {
        label.strip()
        for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", query.expression)
        for label in labels.split(",")
    }
    asked = re.findall(r"\b(feature_store_\w+)(?:{([^}]*)})?", query.expression)
    assert asked
    for name, matchers in asked:
        assert name in told, name
        known = set[str]().union(*(labels for labels, _ in told[name]))
        assert {matcher.split("=")[0] for matcher in matchers.split(",") if matcher} <= known
        assert grouped <= known
        for label, values in re.findall(r'(\w+)=~"([^"]*)"', matchers):
            seen = {labels[label] for labels, _ in told[name]}
            assert set(values.split("|")) & seen, values


def test_every_metric_is_on_the_dashboard(told: Samples) -> None:
    shown = {
        re.sub(r"_bucket$", "", name)
        for query in queries()
        for name in re.findall(r"\bfeature_store_\w+", query.expression)
    }
    assert shown == families_of(told)
