"""Freshness: how old a group may grow, and what it is told to be on the way."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from feature_store_assets import Feature, FeatureGroup, expect, feature_group
from feature_store_assets.dagster_io.freshness import Freshness, ended, freshness
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.orchestration.freshness import freshness_policy, materialized_freshness
from feature_store_assets.registry.removed_partitions import Removal
from feature_store_assets_tests.meters import DAYS, fill, meters
from feature_store_assets_tests.orchestration.shop import Shop, customer, day, spending
from feature_store_assets_tests.stores import new_store, pushed, row

NOON = datetime(2024, 1, 6, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def state(instance: dg.DagsterInstance, group: FeatureGroup, now: datetime) -> str:
    found = materialized_freshness(instance, group, now)
    assert found is not None
    return found.state


@pytest.mark.slow
def test_a_group_is_stale_until_no_recent_partition_is_missing(shop: Shop) -> None:
    began = datetime(2024, 1, 1, tzinfo=UTC)
    missing = Freshness("stale", "its first partition is missing", began + 26 * HOUR)
    assert materialized_freshness(shop.instance, spending, NOON) == missing
    shop.deliver(0, 4)
    shop.run("spending", keys=(day(0), day(2)))
    complete = datetime(2024, 1, 4, tzinfo=UTC)
    reason = f"no partition after {complete.isoformat()} is complete"
    stale = Freshness("stale", reason, complete + 26 * HOUR)
    assert materialized_freshness(shop.instance, spending, NOON) == stale
    # Dagster's own policy would be content with the newest day alone.
    shop.run("spending", partition=day(4))
    assert materialized_freshness(shop.instance, spending, NOON) == stale
    shop.run("spending", partition=day(3))
    assert state(shop.instance, spending, NOON) == "fresh"
    # An old day again makes nothing fresher.
    shop.run("spending", partition=day(0))
    assert state(shop.instance, spending, NOON + 24 * HOUR) == "stale"


def test_the_table_gives_the_answer_that_dagster_gives(shop: Shop) -> None:
    shop.deliver(0, 4)
    with shop.store() as store:
        table = store.table(spending)
        for days in [(), (0, 1), (4,), (2, 3)]:
            for number in days:
                shop.run("spending", partition=day(number))
            by_table = freshness(spending, NOON, table.partitions, table.last_write)
            assert by_table == materialized_freshness(shop.instance, spending, NOON)


def test_a_store_asks_for_what_was_written_without_rows_or_removed_since(
    tmp_path: Path,
) -> None:
    since = datetime(2024, 1, 3, 12, tzinfo=UTC)  # of four days the third must be there
    group = meters(
        partitions=dg.DailyPartitionsDefinition("2024-01-01"),
        freshness=datetime.now(UTC) - since,
        expectations=[expect.table_row_count_to_be_between(min_value=0)],
    )
    with new_store(tmp_path) as store:
        store.apply(group)
        assert store.freshness(replace(group, freshness=None)) == "unknown"
        assert store.freshness(replace(group, partitions=Partitions.of(DAYS))) == "unknown"
        fill(store, group, {0: [1.0], 2: [1.0]})
        assert store.freshness(group) == "stale"
        fill(store, group, {1: []})
        assert store.freshness(group) == "fresh"
        store.table(group).remove([day(0)])
        store.review.statistics.forget(
            "meters", 1, [day(1), day(2)], datetime.now(UTC), dry_run=False
        )
        assert store.freshness(group) == "stale"
        store.parts.removals.intend(
            [Removal("meters", 1, day(0), None, None, 1, 1, datetime.now(UTC))]
        )
        assert store.freshness(group) == "fresh"


def test_a_pushed_group_ages_from_its_last_push_whatever_its_rows_are_dated(
    tmp_path: Path,
) -> None:
    group = pushed("clicks", Feature("x", "int64"), freshness=HOUR)
    with new_store(tmp_path) as store:
        store.apply(group)
        group = store.applied.group("clicks")
        assert store.freshness(group) == "stale"
        store.write_features([row("u", 0, x=1)], "clicks")
        store.write_features([row("v", 0, x=1)], "clicks")
        assert store.freshness(group) == "fresh"
        written = store.table(group).last_write()
        store.table(group).compact(["2024-01"])
        assert store.table(group).last_write() == written


def test_it_goes_from_fresh_by_warning_to_stale_after_its_very_deadlines(shop: Shop) -> None:
    warned = replace(spending, freshness_warning=25 * HOUR)
    shop.deliver(0, 0)
    shop.run("spending", partition=day(0))
    complete, moment = datetime(2024, 1, 2, tzinfo=UTC), timedelta(microseconds=1)
    for age, expected in [
        (timedelta(0), "fresh"),
        (25 * HOUR, "fresh"),
        (25 * HOUR + moment, "warning"),
        (26 * HOUR, "warning"),
        (26 * HOUR + moment, "stale"),
    ]:
        assert state(shop.instance, warned, complete + age) == expected
    # Without a warning there is none.
    assert state(shop.instance, spending, complete + 26 * HOUR) == "fresh"


def test_before_its_first_partition_is_due_a_group_is_fresh(shop: Shop) -> None:
    began = datetime(2024, 1, 1, tzinfo=UTC)
    assert state(shop.instance, spending, began + 26 * HOUR) == "fresh"
    assert state(shop.instance, spending, began + 27 * HOUR) == "stale"


@feature_group(
    entity=customer, features=[Feature("spent", "float64")], freshness=2 * HOUR
)  # no partitions
def scores() -> list[dict[str, object]]:
    """One row."""
    return [{"customer_id": "ann", "event_timestamp": NOON, "spent": 1.0}]


def test_a_group_without_partitions_ages_from_its_last_write(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    never = Freshness("stale", "it was never materialized", None)
    assert materialized_freshness(instance, scores, NOON) == never
    shop = Shop(shop.config.root, instance, groups=[scores])
    assert shop.run("scores").success
    now = datetime.now(UTC)
    assert state(instance, scores, now) == "fresh"
    late = materialized_freshness(instance, scores, now + 3 * HOUR)
    assert late is not None
    assert (late.state, late.reason[:23]) == ("stale", "it was last written 202")
    assert late.deadline is not None
    assert abs(late.deadline - now - 2 * HOUR) < timedelta(minutes=1)


def test_ended_groups_are_never_late(shop: Shop) -> None:
    over = datetime(2025, 1, 1, tzinfo=UTC)
    assert ended(spending, over)
    assert materialized_freshness(shop.instance, spending, over) is None
    assert freshness_policy(spending, over) is None
    assert materialized_freshness(shop.instance, replace(spending, freshness=None), NOON) is None


@pytest.mark.parametrize("warning", [None, 25 * HOUR])
def test_dagster_knows_the_same_deadlines(warning: timedelta | None) -> None:
    policy = freshness_policy(replace(spending, freshness_warning=warning), NOON)
    assert policy == dg.FreshnessPolicy.time_window(fail_window=26 * HOUR, warn_window=warning)
