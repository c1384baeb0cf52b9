"""A real `dagster dev`: its daemon fills partitions, takes corrections in, tells what is stale."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from feature_store_assets import FeatureStore, FeatureStoreConfig
from feature_store_assets_tests.browser.dagster_ui import dagster_dev
from feature_store_assets_tests.inboxes import Inbox, webhook
from feature_store_assets_tests.orchestration import today
from feature_store_assets_tests.orchestration.shop import RANGE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LOCATION = ("-f", today.__file__)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with webhook() as inbox:
        yield inbox


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inbox: Inbox) -> Path:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("FEATURE_STORE_STORAGE_PATH", str(tmp_path / "store"))
    monkeypatch.setenv("FEATURE_STORE_NOTIFY", inbox.url)
    return tmp_path


def deliver(keys: list[str], amount: float) -> None:
    """The source delivers days, as another system would."""
    job = today.defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        done = job.execute_in_process(
            run_config={**QUIET, "ops": {"payments": {"config": {"amount": amount}}}},
            instance=instance,
            asset_selection=[dg.AssetKey("payments")],
            tags=dict(zip(RANGE, (keys[0], keys[-1]), strict=True)),
        )
    assert done.success


def spent() -> dict[str, float]:
    """What is stored of Ann, by day."""
    with FeatureStore(FeatureStoreConfig()) as store:
        table = store.table(today.spending)
        keys = table.partitions() if table.exists else []
        return {key: table.read(["spent"], partitions=[key])["spent"][0].as_py() for key in keys}


def eventually(check: Callable[[], bool], seconds: float) -> None:
    """Wait for what the daemon does in its own time."""
    for attempt in Retrying(
        stop=stop_after_delay(seconds),
        wait=wait_fixed(0.5),
        retry=retry_if_exception_type(AssertionError),
        reraise=True,
    ):
        with attempt:
            assert check()


def test_the_daemon_fills_corrects_publishes_and_tells(home: Path, inbox: Inbox) -> None:
    keys = list(today.DAYS.get_partition_keys())
    deliver(keys, 1.0)
    with FeatureStore(FeatureStoreConfig()) as store:
        store.apply(*today.GROUPS)
    with dagster_dev(home, *LOCATION):
        # A stale group is told within a minute, once.
        eventually(lambda: len(inbox.received) == 1, 60)
        assert inbox.titles == ["Feature store: 2 critical (freshness)"]
        assert "spending is stale" in inbox.received[0].body
        assert "given_back is stale" in inbox.received[0].body

        start = ["-m", "dagster", "sensor", "start", "partitions", *LOCATION]
        subprocess.run(
            [sys.executable, "-W", "ignore", *start],
            check=True,
            capture_output=True,
            env=os.environ.copy(),
        )
        eventually(lambda: spent() == dict.fromkeys(keys, 1.0), 180)
        eventually(lambda: len(inbox.received) == 2, 90)
        assert "spending is fresh again" in inbox.received[1].body

        # Yesterday's figures are corrected: the day follows, offline and online.
        deliver(keys[-1:], 5.0)
        eventually(lambda: spent()[keys[-1]] == 5.0, 180)
        with FeatureStore(FeatureStoreConfig()) as store:
            eventually(
                lambda: store.get_online_features("spending", ["ann"])["ann"] == {"spent": 5.0}, 90
            )
    assert len(inbox.received) == 2
    with dg.DagsterInstance.get() as instance:
        asked = instance.get_runs(dg.RunsFilter(tags={"feature_store/requested_by": "partitions"}))
        assert len(asked) == 2
