"""Snapshots and retention as jobs, with the configs that the Launchpad shows."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.events import AssetObservationData

from feature_store_assets.online.row import KeySpace
from feature_store_assets_tests.orchestration.shop import Shop, day, run_job, stocked


@pytest.fixture(scope="module")
def once_filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with stocked(tmp_path_factory.mktemp("filled"), 4) as shop:
        yield shop


@pytest.mark.slow
def test_a_snapshot_reads_the_same_after_later_materializations(filled: Shop) -> None:
    asked = pl.DataFrame({
        "customer_id": ["ann@example.org"], "event_timestamp": [datetime(2024, 1, 9, tzinfo=UTC)],
    })  # fmt: skip
    assert run_job(filled, "snapshot_job", "snapshot", features=["spending"], name="first").success
    with filled.store() as store:
        before = store.get_historical_features("spending", asked, as_of="first").to_arrow()
        stored = store.read_features("spending", as_of="first").to_arrow()
    filled.deliver(0, 4, factor=50.0)
    filled.run("spending", keys=(day(0), day(4)))
    with filled.store() as store:
        assert store.get_historical_features("spending", asked, as_of="first").to_arrow() == before
        assert store.read_features("spending", as_of="first").to_arrow() == stored
        now = store.get_historical_features("spending", asked).to_polars()
    assert now["spent"].to_list() == [50.0]


def test_a_snapshot_of_nothing_names_what_exists(filled: Shop) -> None:
    with pytest.raises(Exception, match="Did you mean 'spending'"):
        run_job(filled, "snapshot_job", "snapshot", features=["spendin"], name="x")


def files(shop: Shop) -> set[str]:
    return {path.name for path in shop.config.root.glob("offline/spending/v1/*/*.parquet")}


def test_retention_is_a_dry_run_by_default(filled: Shop) -> None:
    before = files(filled)
    assert filled.definitions.resolve_job_def("retention_job").execute_in_process(
        instance=filled.instance
    ).success  # fmt: skip
    assert files(filled) == before
    (observed,) = filled.instance.fetch_observations(dg.AssetKey(["spending"]), limit=1).records
    assert observed.asset_observation is not None
    report: Any = observed.asset_observation.metadata["retention"].value
    assert (report["dry_run"], report["rows"], len(report["partitions"])) == (True, 10, 5)


@pytest.mark.slow
def test_retention_removes_files_but_for_those_that_a_snapshot_pins(filled: Shop) -> None:
    run_job(filled, "snapshot_job", "snapshot", features=["spending"], name="kept")
    pinned = files(filled)
    filled.deliver(0, 4, factor=3.0)
    filled.run("spending", "online/spending", keys=(day(0), day(4)))
    assert len(files(filled)) == 10
    run_job(filled, "retention_job", "retain", dry_run=False)
    # Partitions of 2024 are older than the declared 30 days.
    assert files(filled) == pinned
    assert filled.stored() == {}
    assert filled.served(datetime(2024, 1, 6, tzinfo=UTC)) is None
    with filled.store() as store:
        assert len(store.read_features("spending", as_of="kept")) == 10


@pytest.mark.slow
def test_retention_removes_online_rows_older_than_the_ttl_and_says_how_many(filled: Shop) -> None:
    keys = KeySpace("spending", 1, 0).keys(["ann@example.org", "nobody@example.org"])
    with filled.store() as store:
        [value, _] = store.online.get(keys)
    assert value is not None
    run_job(filled, "retention_job", "retain", dry_run=False)
    with filled.store() as store:
        store.online.put([(keys[1], value)])  # in no partition that is left to be taken back
    run_job(filled, "retention_job", "retain", dry_run=True)
    with filled.store() as store:
        assert store.online.get(keys)[1] == value
    ended = run_job(filled, "retention_job", "retain", dry_run=False)
    reported = [
        each.event_specific_data.asset_observation.metadata
        for each in ended.all_node_events
        if isinstance(each.event_specific_data, AssetObservationData)
    ]
    told = [each["online_rows_expired"] for each in reported if "online_rows_expired" in each]
    assert told == [dg.MetadataValue.int(1)]
    with filled.store() as store:
        assert store.online.get(keys)[1] is None


def test_retention_of_an_unknown_group_is_refused(filled: Shop) -> None:
    with pytest.raises(Exception, match="No feature group is named 'sales'"):
        run_job(filled, "retention_job", "retain", groups=["sales"])


@pytest.mark.slow
def test_a_dropped_partition_can_be_materialized_again(filled: Shop) -> None:
    run_job(filled, "retention_job", "retain", dry_run=False)
    assert filled.run("spending", partition=day(2)).success
    assert filled.stored() == {day(2): [1.0]}


def test_a_removed_partition_says_so_in_the_ui(filled: Shop) -> None:
    run_job(filled, "retention_job", "retain", dry_run=False)
    records = filled.instance.fetch_observations(dg.AssetKey(["spending"]), limit=50).records
    said = {record.partition_key: record.asset_observation for record in records}
    observed = said[day(2)]
    assert observed is not None
    assert observed.metadata["retention"] == dg.MetadataValue.text("removed")
    assert "Materialize it again" in (observed.description or "")


def test_a_snapshot_is_a_partition_of_its_groups_snapshots(filled: Shop) -> None:
    assert run_job(filled, "snapshot_job", "snapshot", name="june", tags={"keep": "y"}).success
    assert filled.instance.get_dynamic_partitions("snapshots/spending") == ["june"]
    event = filled.instance.get_latest_materialization_event(dg.AssetKey(["snapshots", "spending"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.partition == "june"
    assert event.asset_materialization.metadata["dagster/row_count"].value == 10
    again = Shop(filled.config.root, filled.instance).definitions.resolve_asset_graph()
    node = again.get(dg.AssetKey(["snapshots", "spending"]))
    assert node.parent_keys == {dg.AssetKey(["spending"])}
    assert node.partitions_def is not None
    assert node.partitions_def.get_partition_keys(dynamic_partitions_store=filled.instance) == [
        "june"
    ]


def test_small_files_are_compacted_from_the_launchpad(filled: Shop) -> None:
    with filled.store() as store:
        store.register_feature("likes", feature_group="clicks", data_type="integer")
        for number in range(3):
            at = datetime(2024, 1, 1, number, tzinfo=UTC)
            store.write_features([{"entity_id": "a", "event_timestamp": at, "likes": 1}], "clicks")
        before = store.read_features("clicks").to_arrow()
    assert run_job(filled, "compact_job", "compact", groups=["clicks"], at_least=3).success
    with filled.store() as store:
        assert len(store.table(store.applied.group("clicks")).files()) == 1
        assert store.read_features("clicks").to_arrow() == before
    (observed,) = filled.instance.fetch_observations(dg.AssetKey(["clicks"]), limit=1).records
    assert observed.asset_observation is not None
    report: Any = observed.asset_observation.metadata["compaction"].value
    assert report["files"] == [3, 1]


def test_only_the_dry_run_of_retention_is_scheduled_by_itself(shop: Shop) -> None:
    on = [
        schedule.name
        for schedule in shop.definitions.schedules or ()
        if schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    ]
    assert on == ["retention_dry_run"]
