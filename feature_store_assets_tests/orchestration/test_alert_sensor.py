"""The alert sensor: each change of state told once and in time, failures told, nothing lost."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from feature_store_assets import (
    Feature,
    FeatureGroup,
    FeatureStore,
    FeatureStoreConfig,
    feature_group as declared,
)
from feature_store_assets.errors import RegistryUnusable
from feature_store_assets.orchestration.alert_sensor import alert_sensor
from feature_store_assets_tests.inboxes import Inbox, webhook
from feature_store_assets_tests.orchestration.shop import Shop, customer, day, orders, spending

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


# The shop's spending, with a warning two hours before it is stale.
SPENDING = replace(spending, freshness_warning=24 * HOUR)


@pytest.fixture
def shop(tmp_path: Path, instance: dg.DagsterInstance) -> Shop:
    return Shop(tmp_path / "store", instance, groups=[SPENDING])


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with webhook() as opened:
        yield opened


class Daemon:
    """Ticks the sensor as Dagster's daemon would, a new context each time, the cursor kept."""

    def __init__(self, shop: Shop, *urls: str, groups: tuple[FeatureGroup, ...] = ()) -> None:
        self.shop = shop
        self.cursor: str | None = None
        self.now = START
        self.config = FeatureStoreConfig(storage_path=shop.config.storage_path, notify=urls)
        self.groups = groups or (SPENDING,)

    def tick(self, now: datetime | None = None) -> str:
        self.now = now or self.now
        sensor = alert_sensor(self.groups, lambda: FeatureStore(self.config), now=lambda: self.now)
        with dg.build_sensor_context(self.shop.instance, cursor=self.cursor) as context:
            told = sensor(context)
            self.cursor = context.cursor
        assert isinstance(told, dg.SkipReason)
        return told.skip_message or ""


@pytest.fixture
def daemon(shop: Shop, inbox: Inbox) -> Daemon:
    return Daemon(shop, inbox.url)


def test_it_runs_by_default_twice_a_minute() -> None:
    sensor = alert_sensor([], FeatureStore.from_env)
    assert (sensor.name, sensor.minimum_interval_seconds) == ("alerts", 30)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


@pytest.mark.slow
def test_each_change_of_state_is_told_once_and_within_a_minute_of_its_deadline(
    shop: Shop, daemon: Daemon, inbox: Inbox
) -> None:
    shop.deliver(0, 2)
    shop.run("spending", keys=(day(0), day(0)))  # complete until the end of that day
    begin = START + 24 * HOUR
    told: dict[str, timedelta] = {}
    # Every 30 s, a little off; the hours in which nothing happens are left out.
    for hour in (0, 23, 24, 25, 26):
        for tick in range(120):
            now = begin + hour * HOUR + timedelta(seconds=30 * tick + 7)
            daemon.tick(now)
            for title in inbox.titles:
                told.setdefault(title, now - begin)
    warning, stale = (
        "Feature store: spending will be stale soon",
        "Feature store: spending is stale",
    )
    assert inbox.titles == [warning, stale]
    assert timedelta(0) < told[warning] - 24 * HOUR <= timedelta(seconds=60)
    assert timedelta(0) < told[stale] - 26 * HOUR <= timedelta(seconds=60)
    assert "no partition after 2024-01-02T00:00:00+00:00 is complete" in inbox.received[0].body
    assert "It turns stale at 2024-01-03T02:00:00+00:00" in inbox.received[0].body
    head, title, why = inbox.received[1].body.splitlines()
    assert (head, title) == ("CRITICAL spending", "- spending is stale")
    assert why == (
        "  It was due by 2024-01-03T02:00:00+00:00: "
        "no partition after 2024-01-02T00:00:00+00:00 is complete."
    )

    shop.run("spending", keys=(day(1), day(1)))
    daemon.tick()
    assert daemon.tick() == "Nothing new."
    assert inbox.titles[2:] == ["Feature store: spending is fresh again"]
    # The next round is told anew.
    daemon.tick(begin + 51 * HOUR)
    assert inbox.titles[3:] == [stale]


def test_a_daemon_that_was_down_tells_what_is_now(shop: Shop, daemon: Daemon, inbox: Inbox) -> None:
    shop.deliver(0, 0)
    shop.run("spending", keys=(day(0), day(0)))
    daemon.tick(START + 25 * HOUR)
    daemon.tick(START + 80 * HOUR)
    daemon.tick(START + 90 * HOUR)
    assert inbox.titles == ["Feature store: spending is stale"]


def test_a_group_that_never_was_computed_is_stale_once_its_first_partition_is_late(
    daemon: Daemon, inbox: Inbox
) -> None:
    daemon.tick(START + HOUR)
    assert inbox.titles == []
    daemon.tick(START + 60 * HOUR)
    assert inbox.titles == ["Feature store: spending is stale"]
    assert "its first partition is missing" in inbox.received[0].body


def test_groups_that_ended_are_left_alone(daemon: Daemon, inbox: Inbox) -> None:
    assert daemon.tick(datetime(2025, 1, 2, tzinfo=UTC)) == "Nothing new."
    assert inbox.titles == []


# Failures


@pytest.mark.slow
def test_what_failed_before_the_first_tick_is_not_told(
    shop: Shop, daemon: Daemon, inbox: Inbox
) -> None:
    shop.deliver(0, 2, bad=[day(1)])
    assert not shop.run("spending", keys=(day(0), day(2))).success
    assert daemon.tick() == "Nothing new."
    assert inbox.titles == []


def test_partitions_that_the_gate_rejects_are_told_with_their_reasons(
    shop: Shop, daemon: Daemon, inbox: Inbox
) -> None:
    shop.deliver(0, 2, bad=[day(1)])
    daemon.tick()
    done = shop.run("spending", keys=(day(0), day(2)))
    assert not done.success
    daemon.tick()
    daemon.tick()
    (told,) = inbox.received
    assert told.title == "Feature store: spending failed its checks"
    assert f"Run {done.run_id[:8]}, partition 2024-01-01...2024-01-03: 1 partition(s)" in told.body
    assert "2024-01-02: " in told.body
    assert "example.org" not in told.body


@dg.asset
def broken() -> None:
    """Fails, with a personal value in its message."""
    raise ValueError("ann@example.org")


@declared(entity=customer, features=[Feature("spent", "float64")], owners=["team:growth"])
def scores() -> list[object]:
    """Returns no rows that could be stored."""
    return [{"customer_id": "ann@example.org"}]


def test_runs_that_failed_are_told_without_what_may_be_personal(
    tmp_path: Path, instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    shop = Shop(tmp_path / "store", instance, groups=[scores], assets=[orders, broken])
    daemon = Daemon(shop, inbox.url, groups=(scores,))
    daemon.tick()
    for name in ("broken", "scores"):
        assert not shop.run(name).success
    daemon.tick()
    (told,) = inbox.received
    assert told.title == "Feature store: 2 critical (run)"
    assert "- Run of broken failed" in told.body
    assert "ValueError; Dagster's log tells more." in told.body
    assert "CRITICAL scores" in told.body
    assert "event_timestamp" in told.body  # our own message
    assert "ann@" not in told.body


@pytest.mark.slow
def test_a_backfill_that_fails_run_by_run_is_one_line(
    shop: Shop, daemon: Daemon, inbox: Inbox
) -> None:
    days = [day(number) for number in range(4)]
    shop.deliver(0, 3, bad=days)
    daemon.tick()
    for key in days:
        assert not shop.run("spending", partition=key).success
    said = daemon.tick()
    assert said.startswith("New: 4; spending failed its checks; ")
    assert inbox.titles == ["Feature store: 4 critical (quality)"]
    entries = [line for line in inbox.received[0].body.splitlines() if line.startswith("- ")]
    assert entries == ["- spending failed its checks (4 times)"]


def test_a_run_that_will_be_tried_again_is_not_told(
    shop: Shop, daemon: Daemon, inbox: Inbox
) -> None:
    daemon.tick()
    for tags in ({"dagster/will_retry": "true"}, {}):
        run = shop.instance.create_run_for_job(snapshot, tags=tags)
        shop.instance.report_run_failed(run)
    daemon.tick()
    assert inbox.titles == ["Feature store: Run of snapshot failed"]


def test_runs_of_other_code_locations_are_theirs_to_tell(
    shop: Shop, daemon: Daemon, inbox: Inbox
) -> None:
    daemon.tick()
    origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("theirs"), "__repository__")
    run = shop.instance.create_run_for_job(
        snapshot, remote_job_origin=RemoteJobOrigin(origin, "snapshot")
    )
    shop.instance.report_run_failed(run)
    assert daemon.tick() == "Nothing new."
    assert inbox.titles == []


@dg.job
def snapshot() -> None:
    """A job without steps of its own."""


# Delivery


def test_what_could_not_be_sent_is_sent_later_though_the_cursor_went_on(
    daemon: Daemon, inbox: Inbox
) -> None:
    inbox.shut = True
    said = daemon.tick(START + 60 * HOUR)
    assert "failed route 1 (json://***)" in said
    daemon.tick()
    assert (inbox.titles, inbox.refused) == ([], 2)
    inbox.shut = False
    daemon.tick()
    daemon.tick()
    assert inbox.titles == ["Feature store: spending is stale"]


def test_a_dry_run_is_seen_in_the_log_of_the_tick(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon(shop, "dry-run://")
    daemon.tick(START + 60 * HOUR)
    told = capsys.readouterr()
    assert "CRITICAL spending\n- spending is stale\n" in told.out + told.err


def test_a_tick_that_cannot_write_its_alerts_leaves_the_cursor_where_it_was(
    shop: Shop, daemon: Daemon, inbox: Inbox, tmp_path: Path
) -> None:
    good = daemon.config
    daemon.tick(START + HOUR)
    (tmp_path / "file").write_text("")
    daemon.config = FeatureStoreConfig(
        storage_path=tmp_path / "store", registry_url=f"sqlite:///{tmp_path / 'file' / 'r.db'}"
    )
    before = daemon.cursor
    with pytest.raises(RegistryUnusable):
        daemon.tick(START + 60 * HOUR)
    assert daemon.cursor == before
    daemon.config = good
    daemon.tick()
    assert inbox.titles == ["Feature store: spending is stale"]
