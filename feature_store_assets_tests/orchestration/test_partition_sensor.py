"""The sensor that asks for partitions: what is missing, late or unpublished, and never twice."""

from dataclasses import replace
from datetime import timedelta

import dagster as dg
import polars as pl
import pytest

from feature_store_assets import Feature, FeatureGroup, Window, feature_group
from feature_store_assets.orchestration.partition_sensor import partition_sensor
from feature_store_assets_tests.orchestration.shop import (
    DAYS,
    RANGE,
    START,
    Shop,
    customer,
    day,
    spending,
)

Asked = list[tuple[str, str, str]]

# No retention, which would forget the days of 2024.
GROUP = replace(spending, retention=None)


@pytest.fixture
def catching_up(shop: Shop) -> "CatchingUp":
    return CatchingUp(Shop(shop.config.root, shop.instance, [GROUP]), [GROUP])


class CatchingUp:
    """The sensor of a shop, ticked by hand; it remembers its cursor as the daemon would."""

    def __init__(self, shop: Shop, groups: list[FeatureGroup]) -> None:
        self.shop, self.groups = shop, groups
        self.cursor: str | None = None

    def tick(self, days: float, *, run: bool = False) -> Asked:
        """What is asked for at so many days after the start: assets, first and last partition."""
        sensor = partition_sensor(self.groups, now=lambda: START + timedelta(days=days))
        with dg.build_sensor_context(
            self.shop.instance, cursor=self.cursor, definitions=self.shop.definitions
        ) as context:
            result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        asked = []
        for request in result.run_requests or ():
            names = [key.to_user_string() for key in request.asset_selection or ()]
            first, last = (request.tags.get(tag, request.partition_key or "") for tag in RANGE)
            asked.append((" ".join(names), first, last))
            if run and first == last:
                self.shop.run(*names, partition=first or None)
            elif run:
                self.shop.run(*names, keys=(first, last))
        return asked


BOTH = "spending online/spending"


def test_it_is_off_until_somebody_wants_it() -> None:
    assert partition_sensor([spending]).default_status is dg.DefaultSensorStatus.STOPPED


def test_missing_partitions_are_asked_for_once_what_they_read_is_there(
    catching_up: CatchingUp,
) -> None:
    assert catching_up.tick(5) == []
    catching_up.shop.deliver(0, 1)
    catching_up.shop.deliver(3, 4)
    assert catching_up.tick(5, run=True) == [(BOTH, day(0), day(1)), (BOTH, day(3), day(4))]
    assert catching_up.shop.committed("online/spending") == {day(n) for n in (0, 1, 3, 4)}
    assert catching_up.tick(5) == []
    catching_up.shop.deliver(2, 2)
    assert catching_up.tick(5, run=True) == [(BOTH, day(2), day(2))]
    assert catching_up.tick(5) == []


def test_a_partition_is_asked_for_when_its_window_has_ended(catching_up: CatchingUp) -> None:
    catching_up.shop.deliver(0, 4)
    assert catching_up.tick(2.9) == [(BOTH, day(0), day(1))]
    assert catching_up.tick(3) == [(BOTH, day(2), day(2))]


@pytest.mark.slow
def test_late_and_corrected_data_is_taken_in(catching_up: CatchingUp) -> None:
    catching_up.shop.deliver(0, 4)
    catching_up.tick(5, run=True)
    catching_up.shop.deliver(1, 1, factor=5.0)
    assert catching_up.tick(5, run=True) == [(BOTH, day(1), day(1))]
    assert catching_up.shop.stored()[day(1)] == [5.0]
    assert catching_up.tick(5) == []


def test_what_runs_already_is_not_asked_for_again(catching_up: CatchingUp) -> None:
    catching_up.shop.deliver(0, 4)
    assert len(catching_up.tick(5)) == 1
    assert catching_up.tick(5) == []


@pytest.mark.slow
def test_a_rejected_partition_waits_for_other_data(catching_up: CatchingUp) -> None:
    catching_up.shop.deliver(0, 4, bad=[day(2)])
    assert catching_up.tick(5, run=True) == [(BOTH, day(0), day(4))]
    # The good days of the failed run are stored, and only they are published now.
    online = "online/spending"
    assert catching_up.tick(5, run=True) == [(online, day(0), day(1)), (online, day(3), day(4))]
    assert catching_up.shop.committed(online) == {day(n) for n in (0, 1, 3, 4)}
    assert catching_up.tick(5) == []
    catching_up.shop.deliver(2, 2)
    assert catching_up.tick(5, run=True) == [(BOTH, day(2), day(2))]
    assert catching_up.tick(5) == []


@pytest.mark.slow
def test_a_rejected_partition_is_tried_again_with_other_code(catching_up: CatchingUp) -> None:
    catching_up.shop.deliver(0, 0, bad=[day(0)])
    assert len(catching_up.tick(1, run=True)) == 1
    assert catching_up.tick(1) == []
    changed = replace(GROUP, description="Takes refunds.")
    shop = Shop(catching_up.shop.config.root, catching_up.shop.instance, [changed])
    catching_up.shop, catching_up.groups = shop, [changed]
    assert catching_up.tick(1) == [(BOTH, day(0), day(0))]


def test_partitions_beyond_retention_are_let_go(shop: Shop) -> None:
    catching_up = CatchingUp(shop, [spending])
    shop.deliver(0, 39)
    assert catching_up.tick(40) == [(BOTH, day(9), day(39))]


@pytest.mark.slow
def test_it_never_floods(shop: Shop) -> None:
    alone = replace(GROUP, upstream=())
    catching_up = CatchingUp(Shop(shop.config.root, shop.instance, [GROUP]), [GROUP])
    assert alone.upstream == ()
    for number in range(0, 20, 2):
        catching_up.shop.deliver(number, number)
    first = catching_up.tick(20, run=True)
    assert first == [(BOTH, day(number), day(number)) for number in range(0, 10, 2)]
    second = catching_up.tick(20, run=True)
    assert second == [(BOTH, day(number), day(number)) for number in range(10, 20, 2)]
    assert catching_up.tick(20) == []


@feature_group(
    entity=customer,
    features=[Feature("total", "float64")],
    partitions=DAYS,
    ins={
        "running": dg.AssetIn(
            partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)
        )
    },
    closed="right",
    per_partition=True,
    online=True,
)
def running(orders: pl.DataFrame, running: pl.DataFrame, window: Window) -> pl.DataFrame:
    """All that a customer spent so far."""
    today = orders.group_by("customer_id").agg(pl.col("amount").sum().alias("total"))
    past = running.select("customer_id", "total")
    both = pl.concat([past, today]).group_by("customer_id").agg(pl.col("total").sum())
    return both.with_columns(event_timestamp=pl.lit(window.end))


@pytest.mark.slow
def test_a_group_that_reads_its_own_past_goes_day_by_day(shop: Shop) -> None:
    own = Shop(shop.config.root, shop.instance, [running])
    own.deliver(0, 2)
    catching_up = CatchingUp(own, [running])
    asked = "running online/running"
    for number in range(3):
        assert catching_up.tick(3, run=True) == [(asked, day(number), day(number))]
    assert catching_up.tick(3) == []
    assert own.committed("running") == {day(0), day(1), day(2)}


@feature_group(entity=customer, features=[Feature("spent", "float64")], online=True)
def all_time(orders: pl.DataFrame) -> pl.DataFrame:
    """All that a customer ever spent."""
    return orders.group_by("customer_id").agg(
        spent=pl.col("amount").sum(), event_timestamp=pl.col("ordered_at").max()
    )


@pytest.mark.slow
def test_a_group_without_partitions_follows_what_it_reads(shop: Shop) -> None:
    own = Shop(shop.config.root, shop.instance, [all_time])
    catching_up = CatchingUp(own, [all_time])
    assert catching_up.tick(3) == []
    own.deliver(0, 2)
    assert catching_up.tick(3, run=True) == [("all_time online/all_time", "", "")]
    assert catching_up.tick(3) == []
    own.deliver(1, 1, factor=2.0)
    assert catching_up.tick(3) == [("all_time online/all_time", "", "")]
