"""The app as a whole: who may ask, how much, what is never told, and what is ready when."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings, strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from starlette.types import ASGIApp

from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.registry.tokens import hashed
from feature_store_assets.server.app import create_app, from_env
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.server.apps import FEAST, ONLINE, PUSH, ask, listening
from feature_store_assets_tests.server.conftest import MODEL, PLACES, ROUTES, SERVICE, USERS
from feature_store_assets_tests.servers import tcp_server
from feature_store_assets_tests.stores import T0, new_store, pushed, row

GUARDED = [
    ("POST", ONLINE),
    ("POST", FEAST),
    ("POST", PUSH),
    ("GET", "/v1/groups"),
    ("GET", "/v1/groups/users"),
    ("GET", "/v1/search?q=x"),
]
BODY = {"group": "users", "entities": [], "rows": [{}], "features": ["users:orders"]}


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGIApp]:
    """An app that asks for the token `sesame`."""
    root = tmp_path_factory.mktemp("closed")
    with new_store(root, api_tokens=(f"app={hashed('sesame')}",)) as store:
        store.apply(USERS, PLACES, ROUTES, MODEL, SERVICE)
        yield create_app(store)


# Who may ask


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic c2VzYW1l"},
        {"X-API-Key": ""},
        {"X-API-Key": hashed("sesame")},
        {"X-API-Key": "s\u00e9same".encode("latin-1")},
    ],
)
def test_whoever_has_no_token_is_told_how_to_get_one(
    closed: ASGIApp, method: str, path: str, headers: Any
) -> None:
    answer = ask(closed, method, path, headers=headers, json=BODY)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "feature-store token create" in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("headers", [{"Authorization": "Bearer sesame"}, {"X-API-Key": "sesame"}])
def test_a_token_opens_every_route(
    closed: ASGIApp, method: str, path: str, headers: dict[str, str]
) -> None:
    assert ask(closed, method, path, headers=headers, json=BODY).status_code in {200, 422}


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/docs", "/openapi.json"])
def test_probes_metrics_and_the_document_need_no_token(closed: ASGIApp, path: str) -> None:
    assert ask(closed, "GET", path).status_code == 200


def test_without_any_token_everyone_may_ask(app: ASGIApp) -> None:
    assert ask(app, "GET", "/v1/groups").status_code == 200
    answer = ask(app, "GET", "/v1/groups", headers={"Authorization": "Bearer whatever"})
    assert answer.status_code == 200


# What is refused


@pytest.mark.parametrize("path", ["/v1", f"{ONLINE}/", "/v2/groups", "/../etc/passwd"])
def test_an_unknown_route_is_not_found(app: ASGIApp, path: str) -> None:
    answer = ask(app, "GET", path)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize("path", [ONLINE, FEAST, PUSH])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_another_method_is_not_allowed(app: ASGIApp, method: str, path: str) -> None:
    answer = ask(app, method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["detail"]


@pytest.mark.parametrize("path", [ONLINE, FEAST])
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"group": "\\ud800"}'])
def test_malformed_json_is_the_clients_mistake(app: ASGIApp, path: str, body: bytes) -> None:
    answer = ask(app, "POST", path, content=body)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("The body is no JSON")


@pytest.mark.parametrize("path", [ONLINE, FEAST, PUSH])
def test_json_that_is_too_deep_is_the_clients_mistake(app: ASGIApp, path: str) -> None:
    deep = b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer = ask(app, "POST", path, content=deep, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}


@pytest.mark.parametrize("path", [ONLINE, FEAST, PUSH])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_that_is_too_large_is_refused(tmp_path: Path, path: str, chunked: bool) -> None:
    small = create_app(new_store(tmp_path, max_request_bytes=1_024))
    whole = b'{"group": "users", "rows": [{}], "entities": [], "more": "%s"}' % (b"x" * 4_096)

    headers = {"content-type": "application/json"}
    parts = (whole[at : at + 512] for at in range(0, len(whole), 512))
    with listening(small) as url:
        content = parts if chunked else whole
        answer = httpx.post(url + path, content=content, headers=headers)
    assert answer.status_code == 413
    assert "more than 1,024 bytes" in answer.json()["detail"]


def test_what_fails_in_the_server_is_told_to_its_log_alone(
    shop: FeatureStore, app: ASGIApp, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("hunter2")

    for name in ("query_async", "check"):
        monkeypatch.setattr(shop.serving, name, broken)
    monkeypatch.setattr(shop, "groups", broken)
    for method, path in [("POST", ONLINE), ("GET", "/ready"), ("GET", "/v1/groups")]:
        answer = ask(app, method, path, json={"group": "users", "entities": ["ann"]})
        assert answer.status_code == 500
        assert answer.json() == {"detail": "The server failed; its log tells why."}
    assert "ZeroDivisionError: hunter2" in caplog.text


def test_a_client_that_goes_away_is_no_error(app: ASGIApp, caplog: Any) -> None:
    sent: list[Any] = []

    async def leaving() -> None:
        messages = iter(
            [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
        )

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": ONLINE, "headers": []}
        await app(scope, receive, send)

    asyncio.run(leaving())
    assert (sent, caplog.text) == ([], "")


# Health


def test_health_is_told_while_the_process_lives(app: ASGIApp) -> None:
    answer = ask(app, "GET", "/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_ready_follows_redis_through_its_restart(tmp_path: Path) -> None:
    asked = {"group": "g", "entities": ["u"], "at": T0.isoformat()}
    with tcp_server(tmp_path) as port:
        store = new_store(tmp_path, online_store_uri=f"redis://127.0.0.1:{port}")
        store.apply(pushed("g", Feature("x", "int64")))
        store.write_features([row("u", 0, x=1)], "g")
        served = ExitStack()
        url = served.enter_context(listening(create_app(store)))
        assert httpx.get(f"{url}/ready").json() == {"status": "ready"}
        assert httpx.post(url + ONLINE, json=asked).json()["values"] == [[1]]
    with served:
        for answer in (httpx.get(f"{url}/ready"), httpx.post(url + ONLINE, json=asked)):
            assert answer.status_code == 503
            assert "does not answer" in answer.json()["detail"]
        assert httpx.get(f"{url}/health").status_code == 200
        with tcp_server(tmp_path, port=port):
            assert httpx.get(f"{url}/ready").status_code == 200
            assert httpx.post(url + ONLINE, json=asked).json()["statuses"] == ["missing"]


def test_the_app_of_the_environment_serves_its_store(
    shop: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURE_STORE_STORAGE_PATH", str(shop.config.root))
    answer = ask(from_env(), "GET", "/v1/groups/users")
    assert answer.json()["name"] == "users"


def test_without_monitoring_there_are_no_metrics(tmp_path: Path) -> None:
    with new_store(tmp_path, enable_monitoring=False) as store:
        quiet = create_app(store)
        assert ask(quiet, "GET", "/metrics").status_code == 404
        assert ask(quiet, "POST", ONLINE, json={"group": "g", "entities": []}).status_code == 404


# The document

# Whether values fit what is applied the document cannot say.
CHECKED = [check for check in CHECKS.get_all() if check.__name__ != "positive_data_acceptance"]


@pytest.fixture(scope="module")
def document(closed: ASGIApp) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", closed)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", ONLINE),
        ("POST", FEAST),
        ("POST", PUSH),
        ("GET", "/v1/groups"),
        ("GET", "/v1/groups/{name}"),
        ("GET", "/v1/search"),
        ("GET", "/health"),
        ("GET", "/ready"),
        ("GET", "/metrics"),
    ],
)
def test_every_route_keeps_to_the_document(document: Any, method: str, path: str) -> None:
    operation = document[path][method]

    @settings(max_examples=examples(25), database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of([operation.as_strategy(generation_mode=mode) for mode in GenerationMode]))
    def keeps(case: Any) -> None:
        headers = {"X-API-Key": "sesame"}
        case.validate_response(case.call(headers=headers), checks=CHECKED, headers=headers)

    keeps()


@pytest.mark.filterwarnings("ignore:'clicks' did not declare")
def test_the_requests_on_the_page_are_answered(store: FeatureStore) -> None:
    customer = Entity("customer", {"customer": "string"})
    store.apply(pushed("spending", Feature("spend_7d", "float64"), entity=customer))
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    requests = re.findall(r"curl http://[^/]*(\S+) (.*?)-d '([^']*)'", page, re.DOTALL)
    assert {path for path, _, _ in requests} == {ONLINE, FEAST, PUSH}
    served = create_app(store)
    for path, headers, body in requests:
        assert "-H 'Content-Type: application/json'" in headers
        answer = ask(
            served, "POST", path, content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 200, answer.text
