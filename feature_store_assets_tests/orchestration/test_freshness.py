"""Freshness: what is late, and that each change is told once."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from feature_store_assets import FeatureStore, FeatureStoreConfig
from feature_store_assets.orchestration.freshness import (
    ended,
    freshness_alerts,
    freshness_policy,
    late,
)
from feature_store_assets_tests.orchestration.shop import Shop, day, spending

NOON = datetime(2024, 1, 6, 12, tzinfo=UTC)


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[str]]]:
    """A real receiver of notifications on loopback: its URL for the settings, and what came."""
    received: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body)["message"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Be quiet."""

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"json://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_group_is_late_until_no_recent_partition_is_missing(shop: Shop) -> None:
    assert late(shop.instance, spending, NOON) == "its first partition is missing"
    shop.deliver(0, 4)
    shop.run("spending", keys=(day(0), day(2)))
    told = late(shop.instance, spending, NOON)
    assert told == "no partition after 2024-01-04T00:00:00+00:00 is complete"
    # Dagster's own policy would be content with the newest day alone.
    shop.run("spending", partition=day(4))
    assert late(shop.instance, spending, NOON) == told
    shop.run("spending", partition=day(3))
    assert late(shop.instance, spending, NOON) is None
    # An old day again makes nothing fresher.
    later = NOON + timedelta(days=1)
    shop.run("spending", partition=day(0))
    assert late(shop.instance, spending, later) is not None


def test_ended_groups_are_never_late(shop: Shop) -> None:
    over = datetime(2025, 1, 1, tzinfo=UTC)
    assert ended(spending, over)
    assert late(shop.instance, spending, over) is None
    assert freshness_policy(spending, over) is None
    assert freshness_policy(spending, NOON) is not None


def test_each_change_is_told_once(tmp_path: Path, shop: Shop, inbox: tuple[str, list[str]]) -> None:
    url, received = inbox
    config = FeatureStoreConfig(storage_path=tmp_path, notify=(SecretStr(url),))
    sensor = freshness_alerts([spending], lambda: FeatureStore(config), now=lambda: NOON)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    cursor = None
    for _ in range(2):
        with dg.build_sensor_context(shop.instance, cursor=cursor) as context:
            sensor(context)
            cursor = context.cursor
    assert received == ["spending is late: its first partition is missing."]
    shop.deliver(0, 4)
    shop.run("spending", keys=(day(0), day(4)))
    with dg.build_sensor_context(shop.instance, cursor=cursor) as context:
        sensor(context)
    assert received[1:] == ["spending is fresh again."]
