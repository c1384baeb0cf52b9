"""Backups as a job, with the config that the Launchpad shows."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.orchestration.definitions import build_definitions
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.orchestration.shop import Shop, run_job, stocked


@pytest.fixture(scope="module")
def once_filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with stocked(tmp_path_factory.mktemp("filled"), 2) as shop:
        yield shop


def test_a_backup_from_the_launchpad_can_be_restored(filled: Shop, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    for _ in range(3):
        done = run_job(filled, "backup_job", "backup", target=str(target), keep=2)
    name = done.output_for_node("backup")
    assert [each.id for each in FeatureStore.list_backups(target)][-1:] == [name]
    assert len(FeatureStore.list_backups(target)) == 2
    config = FeatureStoreConfig(storage_path=tmp_path / "new")
    FeatureStore.restore(target, config)
    with filled.store() as store, FeatureStore(config) as restored:
        rows = restored.read_features("spending").to_arrow()
        assert rows == store.read_features("spending").to_arrow()


def test_a_backup_tells_the_run_what_it_did(filled: Shop, tmp_path: Path) -> None:
    done = run_job(filled, "backup_job", "backup", target=str(tmp_path / "kept"))
    (output,) = (
        event.event_specific_data
        for event in done.all_node_events
        if event.event_type_value == "STEP_OUTPUT"
    )
    assert isinstance(output, dg._core.events.StepOutputData)
    (listed,) = FeatureStore.list_backups(tmp_path / "kept")
    assert output.metadata["files"].value == output.metadata["copied"].value == listed.files
    assert output.metadata["target"].value == str(tmp_path / "kept")
    logs = [
        entry.user_message
        for entry in filled.instance.all_logs(done.run_id)
        if not entry.is_dagster_event
    ]
    assert "Copied the online store." in logs
    assert any(listed.id in line and f"{listed.files} files" in line for line in logs)


def test_without_a_target_it_goes_to_the_folder_beside_the_data_root(filled: Shop) -> None:
    run_job(filled, "backup_job", "backup")
    root = filled.config.root
    assert len(FeatureStore.list_backups(root.with_name(f"{root.name}-backups"))) == 1


def test_a_setting_names_the_target(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    config = FeatureStoreConfig(storage_path=tmp_path / "root", backup_target=str(tmp_path / "far"))
    with FeatureStore(config) as store:
        store.register_feature("x", feature_group="a", data_type="integer")
    job = build_definitions([], config=config).resolve_job_def("backup_job")
    assert job.execute_in_process(instance=instance).success
    assert len(FeatureStore.list_backups(tmp_path / "far")) == 1


def test_the_nightly_backup_is_off_and_keeps_fourteen(shop: Shop) -> None:
    (schedule,) = (
        each for each in shop.definitions.schedules or () if each.name == "nightly_backup"
    )
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    context = dg.build_schedule_context(instance=shop.instance)
    (request,) = schedule.evaluate_tick(context).run_requests or ()
    assert request.run_config["ops"]["backup"]["config"]["keep"] == 14
