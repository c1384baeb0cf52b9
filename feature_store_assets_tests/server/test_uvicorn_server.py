"""`feature-store serve` as processes: it ends gracefully, and outlives its workers."""

import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from prometheus_client.parser import text_string_to_metric_families as families
from tenacity import Retrying, retry_if_result, wait_fixed

from feature_store_assets.errors import ConfigError
from feature_store_assets.server.uvicorn_server import is_loopback, serve
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.server.apps import COMMAND, ONLINE, serving

ASKED = {"group": "users", "entities": ["ann"], "features": ["orders"]}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "features.internal", ""])
def test_other_hosts_are_served_only_with_tokens(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="`feature-store token create NAME`"):
        serve(host, 0, workers=1, tokens=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_host_is_known_by_its_addresses(host: str) -> None:
    assert is_loopback(host)


def test_the_command_refuses_other_hosts_before_it_listens(tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "FEATURE_STORE_STORAGE_PATH": str(tmp_path)}
    done = subprocess.run(
        [COMMAND, "serve", "--host", "0.0.0.0"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "No API token is known" in done.stderr


@pytest.mark.slow
def test_requests_under_way_are_answered_before_the_end(shop: FeatureStore, tmp_path: Path) -> None:
    told, half = Event(), Event()
    body = b'{"group": "users", "entities": ["ann"], "features": ["orders"]}'

    def halves() -> Any:
        yield body[:20]
        half.set()
        assert told.wait(30)
        yield body[20:]

    log = tmp_path / "log"
    with serving(shop.config.root, log=log) as (child, url), ThreadPoolExecutor() as threads:
        warm = httpx.post(url + ONLINE, json=ASKED)
        asking = threads.submit(httpx.post, url + ONLINE, content=halves(), timeout=30)
        assert half.wait(30)
        child.send_signal(signal.SIGTERM)
        refused(url)  # it has begun to end
        told.set()
        assert asking.result().json()["values"] == warm.json()["values"] == [[3]]
        assert child.wait(30) == 0
    assert "Traceback" not in log.read_text()


def refused(url: str) -> None:
    """Return when no new connection is taken any more."""

    def taken() -> bool:
        try:
            httpx.get(f"{url}/health", timeout=1)
        except httpx.TransportError:
            return False
        return True

    until(taken, still=True)


def until(condition: Any, *, still: Any = False) -> None:
    """Return when a condition tells something else than `still`."""
    waiting = Retrying(
        wait=wait_fixed(0.05),
        retry=retry_if_result(lambda told: told is still),
    )
    waiting(condition)


def workers(parent: subprocess.Popen[bytes]) -> set[int]:
    """The server processes behind a port, without the one that tracks their resources."""
    return {
        each.pid
        for each in psutil.Process(parent.pid).children()
        if "spawn_main" in " ".join(each.cmdline())
    }


def counted(url: str) -> float:
    """How many reads `/metrics` tells of, of all workers together."""
    text = httpx.get(f"{url}/metrics").text
    return sum(
        sample.value
        for family in families(text)
        for sample in family.samples
        if sample.name == "feature_store_requests_total"
        and sample.labels == {"route": ONLINE, "status": "200"}
    )


def seen(url: str) -> set[int]:
    """The workers whose memory `/metrics` tells of."""
    text = httpx.get(f"{url}/metrics").text
    return {
        int(sample.labels["pid"])
        for family in families(text)
        for sample in family.samples
        if sample.name == "feature_store_worker_resident_bytes"
    }


@pytest.mark.slow
def test_a_killed_worker_is_replaced_while_the_others_answer(
    shop: FeatureStore, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with serving(shop.config.root, "--workers", "2", log=log) as (parent, url):
        until(lambda: len(seen(url)) == 2)
        before = workers(parent)
        assert seen(url) == before
        answered = 0
        for _ in range(40):
            assert httpx.post(url + ONLINE, json=ASKED).json()["values"] == [[3]]
            answered += 1
        assert counted(url) == answered

        killed = min(before)
        psutil.Process(killed).kill()

        def ask_on() -> bool:
            """One request more; whether a new worker is there."""
            nonlocal answered
            try:
                # A connection that the dead worker had taken is lost, no other.
                answer = httpx.post(url + ONLINE, json=ASKED)
            except httpx.TransportError:
                return False
            assert answer.json()["values"] == [[3]]
            answered += 1
            return len(seen(url) - {killed}) == 2

        until(ask_on)
        assert killed not in seen(url)
        assert counted(url) == answered  # those of the killed one too
        parent.terminate()
        assert parent.wait(40) == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_sigint_ends_it_too(shop: FeatureStore, tmp_path: Path) -> None:
    with serving(shop.config.root, log=tmp_path / "log") as (child, url):
        assert httpx.get(f"{url}/ready").status_code == 200
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0
