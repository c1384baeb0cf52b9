"""A partition leaves quarantine: Dagster is told as if a run had materialized it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from feature_store_assets import Drift, FeatureGroup, FeatureStore, expect
from feature_store_assets.errors import NotQuarantined, StillRejected
from feature_store_assets.orchestration.quarantine_release import release
from feature_store_assets_tests.meters import NAME, day, fill, meters, stored

LOW = meters(expectations=[expect.column_max_to_be_between("usage", max_value=10)])
HIGH = meters(expectations=[expect.column_max_to_be_between("usage", max_value=99)])
KEY = dg.AssetKey(["meters"])


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance that DAGSTER_HOME names."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        yield instance


def rejected(store: FeatureStore, then: FeatureGroup) -> None:
    """Day 1 was rejected for a value of 50; then the group expects something else."""
    fill(store, LOW, {0: [1.0, 2.0], 1: [50.0, 5.0]})
    store.apply(then)


def checks(instance: dg.DagsterInstance, name: str) -> dict[str | None, str]:
    history = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(KEY, name), 100
    )
    return {each.partition: each.status.value for each in history}


def test_a_released_partition_is_materialized_and_its_checks_are_recorded(
    store: FeatureStore, instance: dg.DagsterInstance
) -> None:
    rejected(store, HIGH)
    done = release(store, "meters", day(1))
    assert stored(store)[day(1)] == [50.0, 5.0]
    assert instance.get_materialized_partitions(KEY) == {day(1)}
    assert checks(instance, "quality") == {day(1): "SUCCEEDED"}
    event = instance.get_latest_materialization_event(KEY)
    assert event is not None
    assert event.asset_materialization is not None
    shown = event.asset_materialization.metadata
    assert shown["released"].value is True
    assert shown["dagster/row_count"].value == 2
    assert shown["table_version"].value == done.version
    assert NAME not in repr(shown)


@pytest.mark.slow
def test_its_drift_is_recorded_too(store: FeatureStore, instance: dg.DagsterInstance) -> None:
    rule = Drift("wasserstein", 0.5, features=["usage"], min_rows=2)
    rejected(store, meters(drift=[rule]))
    assert release(store, "meters", day(1)).committed == (day(1),)
    assert checks(instance, "quality") == {day(1): "SUCCEEDED"}
    assert checks(instance, "drift") == {day(1): "FAILED"}


@pytest.mark.slow
def test_a_warning_is_recorded_and_does_not_hold_it_back(
    store: FeatureStore, instance: dg.DagsterInstance
) -> None:
    (rule,) = LOW.expectations
    rejected(store, meters(expectations=[replace(rule, severity="warning")]))
    assert release(store, "meters", day(1)).committed == (day(1),)
    assert checks(instance, "quality") == {day(1): "FAILED"}
    assert instance.get_materialized_partitions(KEY) == {day(1)}


@pytest.mark.slow
def test_a_group_without_partitions_is_recorded_as_a_whole(
    store: FeatureStore, instance: dg.DagsterInstance
) -> None:
    fill(store, replace(LOW, partitions=None), {0: [50.0]})
    store.apply(replace(HIGH, partitions=None))
    release(store, "meters", "all")
    event = instance.get_latest_materialization_event(KEY)
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.partition is None
    assert checks(instance, "quality") == {None: "SUCCEEDED"}


def test_what_is_not_released_is_not_told(
    store: FeatureStore, instance: dg.DagsterInstance
) -> None:
    rejected(store, LOW)
    with pytest.raises(StillRejected):
        release(store, "meters", day(1))
    with pytest.raises(NotQuarantined):
        release(store, "meters", day(2))
    assert instance.get_latest_materialization_event(KEY) is None
    assert checks(instance, "quality") == {}


def test_without_a_dagster_instance_rows_are_released_all_the_same(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    rejected(store, HIGH)
    assert release(store, "meters", day(1)).committed == (day(1),)
    assert not (tmp_path / ".dagster_home").exists()


@pytest.mark.slow
def test_the_instance_beside_the_project_is_told(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    home = tmp_path / ".dagster_home"
    home.mkdir()
    rejected(store, HIGH)
    release(store, "meters", day(1))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_materialized_partitions(KEY) == {day(1)}
