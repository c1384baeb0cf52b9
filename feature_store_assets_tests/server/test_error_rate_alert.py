"""Too many errors among a server's answers are told, once, and when they are few again."""

import asyncio
import logging
from pathlib import Path

import httpx
import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.errors import RegistryUnusable
from feature_store_assets.registry.alerts import Alert
from feature_store_assets.server import app as module, metrics
from feature_store_assets.server.app import create_app
from feature_store_assets.server.error_rate_alert import ErrorAlarm
from feature_store_assets_tests.server.apps import ONLINE, ask, listening
from feature_store_assets_tests.server.load import until
from feature_store_assets_tests.servers import free_port
from feature_store_assets_tests.stores import new_store, pushed

GROUP = pushed("seen", Feature("x", "int64"))
ASKED = {"group": "seen", "entities": ["u"]}


class Server:
    """Counts of answers, and what was told of them."""

    def __init__(self) -> None:
        self.counts = [0, 0]
        self.told: list[Alert] = []
        self.alarm = ErrorAlarm(0.05, lambda: (self.counts[0], self.counts[1]), self.tell)

    def tell(self, alert: Alert) -> None:
        self.told.append(alert)

    def minute(self, errors: int, answers: int) -> list[str]:
        """Let a minute pass; return what was told so far."""
        self.counts[0] += errors
        self.counts[1] += answers
        self.alarm.look()
        return [alert.title for alert in self.told]


def test_it_is_told_once_when_errors_are_many_and_once_when_they_are_few() -> None:
    server = Server()
    bad, well = "Serving fails too often", "Serving is well again"
    assert server.minute(1, 20) == []  # 5 percent are allowed
    assert server.minute(30, 500) == [bad]
    assert server.minute(500, 500) == [bad]
    assert server.minute(19, 19) == [bad]
    assert server.minute(0, 19) == [bad]  # too few to tell
    assert server.minute(0, 20) == [bad, well]
    assert server.minute(20, 20) == [bad, well, bad]
    first = server.told[0]
    assert (first.kind, first.severity, first.group) == ("serving", "critical", None)
    assert "30 of 500 answers" in first.body
    assert len({alert.key for alert in server.told}) == 3


def test_few_requests_are_no_reason_to_wake_anyone() -> None:
    server = Server()
    assert [server.minute(19, 19) for _ in range(3)] == [[], [], []]


def test_what_could_not_be_told_is_told_a_minute_later(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()

    def lost(_: Alert) -> None:
        raise RegistryUnusable("here", "it is gone")

    monkeypatch.setattr(server.alarm, "_tell", lost)
    with pytest.raises(RegistryUnusable):
        server.minute(20, 20)
    monkeypatch.undo()
    assert server.minute(20, 20) == ["Serving fails too often"]


def test_answers_of_the_app_are_counted_but_for_probes(tmp_path: Path) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}"
    with new_store(tmp_path, online_store_uri=nowhere, online_retries=0) as store:
        store.apply(GROUP)
        app = create_app(store)
        before = metrics.answers()
        assert ask(app, "POST", ONLINE, json=ASKED).status_code == 503
        assert ask(app, "GET", "/v1/groups").status_code == 200
        assert ask(app, "POST", ONLINE, content=b"{").status_code == 400
        assert ask(app, "GET", "/ready").status_code == 503
        assert ask(app, "GET", "/health").status_code == 200
        errors, every = metrics.answers()
    assert (errors - before[0], every - before[1]) == (1, 3)


def test_a_server_that_runs_puts_it_into_the_outbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_WATCH_SECONDS", 0.5)
    nowhere = f"redis://127.0.0.1:{free_port()}"
    with new_store(tmp_path, online_store_uri=nowhere, online_retries=0) as store:
        store.apply(GROUP)
        with listening(create_app(store)) as url, httpx.Client() as client:

            def told() -> bool:
                answers = [client.post(url + ONLINE, json=ASKED).status_code for _ in range(40)]
                assert set(answers) == {503}
                return bool(store.alerts.pending())

            with caplog.at_level(logging.CRITICAL):
                asyncio.run(until(told))
            (waiting,) = store.alerts.pending()
    assert waiting.alert.title == "Serving fails too often"


@pytest.mark.parametrize("given", [{"alert_error_rate": 0}, {"enable_monitoring": False}])
def test_it_can_be_turned_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, float]
) -> None:
    watched: list[object] = []
    monkeypatch.setattr(module, "_watch", watched.append)
    with new_store(tmp_path, **given) as store, listening(create_app(store)) as url:
        assert httpx.get(f"{url}/health").status_code == 200
    assert watched == []
