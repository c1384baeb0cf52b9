"""Exports and imports as jobs: what was computed here is there in a fresh instance."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from feature_store_assets_tests.orchestration.shop import Shop, day, run_job, stocked


@pytest.fixture(scope="module")
def once_filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with stocked(tmp_path_factory.mktemp("filled"), 2) as shop:
        yield shop


def test_partitions_are_materialized_in_an_instance_that_never_computed_them(
    filled: Shop, tmp_path: Path
) -> None:
    place = str(tmp_path / "archive")
    assert run_job(filled, "export_job", "export", target=place).success
    (observed,) = filled.instance.fetch_observations(dg.AssetKey(["spending"]), limit=1).records
    assert observed.asset_observation is not None
    told = {key: value.value for key, value in observed.asset_observation.metadata.items()}
    assert (told["rows"], told["partitions"]) == (6, 3)
    with dg.DagsterInstance.ephemeral() as fresh:
        other = Shop(tmp_path / "other", fresh)
        assert run_job(other, "import_job", "import_", source=place).success
        days = {day(number) for number in range(3)}
        assert other.committed("spending") == other.committed("online/spending") == days
        assert other.stored() == filled.stored()
        event = fresh.get_latest_materialization_event(dg.AssetKey(["spending"]))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = {key: it.value for key, it in event.asset_materialization.metadata.items()}
        assert (metadata["archive"], metadata["rows"]) == (told["archive"], 2)
        # Computing goes on from there.
        other.deliver(3, 3)
        assert other.run("spending", keys=(day(3), day(3))).success
        assert set(other.stored()) == {*days, day(3)}


@pytest.mark.slow
def test_a_pushed_group_is_materialized_as_a_whole(filled: Shop, tmp_path: Path) -> None:
    place = str(tmp_path / "archive")
    with filled.store() as store:
        rows = [{"entity_id": "a", "event_timestamp": "2024-01-01T00:00:00+00:00", "x": 1.0}]
        store.register_feature("x", feature_group="clicks", data_type="float64")
        import polars as pl

        store.write_features(pl.DataFrame(rows).with_columns(
            pl.col("event_timestamp").str.to_datetime(time_zone="UTC", time_unit="us")
        ), "clicks")  # fmt: skip
    run_job(filled, "export_job", "export", target=place, features=["clicks"])
    with dg.DagsterInstance.ephemeral() as fresh:
        other = Shop(tmp_path / "other", fresh)
        run_job(other, "import_job", "import_", source=place)
        event = fresh.get_latest_materialization_event(dg.AssetKey(["clicks"]))
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.partition is None
        assert event.asset_materialization.metadata["partitions"].value == ["2024-01"]


@pytest.mark.slow
def test_a_snapshot_is_a_partition_of_its_asset_again(filled: Shop, tmp_path: Path) -> None:
    place = str(tmp_path / "archive")
    run_job(filled, "snapshot_job", "snapshot", features=["spending"], name="june")
    run_job(filled, "export_job", "export", target=place, snapshot="june")
    with dg.DagsterInstance.ephemeral() as fresh:
        other = Shop(tmp_path / "other", fresh)
        run_job(other, "import_job", "import_", source=place)
        assert other.committed("snapshots/spending") == {"june"}


@pytest.mark.slow
def test_a_conflict_fails_the_run_and_the_launchpad_decides_it(
    filled: Shop, tmp_path: Path
) -> None:
    place = str(tmp_path / "archive")
    run_job(filled, "export_job", "export", target=place, start=day(1), end=day(3))
    filled.deliver(0, 2, factor=5.0)
    assert filled.run("spending", keys=(day(0), day(2))).success
    with pytest.raises(Exception, match="Partitions of the archive hold rows here already"):
        run_job(filled, "import_job", "import_", source=place)
    assert set(map(tuple, filled.stored().values())) == {(5.0,)}
    run_job(filled, "import_job", "import_", source=place, on_conflict="replace")
    # A day's rows are known at its end.
    assert filled.stored() == {day(0): [1.0], day(1): [1.0], day(2): [5.0]}


def test_a_time_that_is_none_is_refused(filled: Shop, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="'soon' is no ISO date or time"):
        run_job(filled, "export_job", "export", target=str(tmp_path / "archive"), start="soon")
