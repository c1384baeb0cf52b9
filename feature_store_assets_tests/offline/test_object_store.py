"""Tables, quarantine, snapshots and training sets in an object store: as on a disk."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from feature_store_assets.errors import SnapshotDamaged, TrainingSetChanged, VersionExpired
from feature_store_assets.offline.quarantine import Quarantine
from feature_store_assets.offline.table import OfflineTable
from feature_store_assets.storage import Location, location
from feature_store_assets_tests.offline.tables import SCHEMA, write_day
from feature_store_assets_tests.servers import object_store
from feature_store_assets_tests.stores import new_store
from feature_store_assets_tests.training.test_training_sets import (
    CHURN,
    created,
    fill,
    is_whole,
    spine,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Location]:
    with (
        object_store(tmp_path_factory.mktemp("s3")) as server,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("AWS_ENDPOINT_URL", server.url)
        yield location("s3://features/root")


def values(table: OfflineTable, version: int | None = None) -> list[int]:
    return pl.Series(table.read(["x"], version=version)["x"]).sort().to_list()


def test_a_table_is_written_read_and_swept(bucket: Location) -> None:
    place = bucket.at("offline/spending/v1")
    table = OfflineTable(place, SCHEMA)
    assert not table.exists
    table.ensure()
    before = write_day(table, 0, x=1).version
    write_day(table, 0, x=10)
    newest = write_day(table, 1, x=100).version
    other = OfflineTable(place, SCHEMA)
    assert (values(other), values(other, before)) == ([10, 11, 12, 100, 101, 102], [1, 2, 3])
    assert other.changes(before) == (newest, {"2024-01-01": newest - 1, "2024-01-02": newest})
    assert table.sweep(oldest=newest, keep_versions=[before], dry_run=False).files == 0
    swept = table.sweep(oldest=newest, keep_versions=[], dry_run=False)
    assert (swept.files, swept.bytes > 0) == (1, True)
    with pytest.raises(VersionExpired):
        values(table, before)
    gone = table.remove(["2024-01-01"])
    freed = table.free({"2024-01-01": gone}, keep_versions=[])
    assert (freed.files, freed.left) == (1, 0)
    assert values(OfflineTable(place, SCHEMA)) == [100, 101, 102]
    kept = {name for name in place.list() if not name.startswith("_delta_log/")}
    assert kept == {file.path for file in table.files()}


def test_a_rejected_partition_is_kept_and_removed(bucket: Location) -> None:
    quarantine = Quarantine(bucket.at("quarantine"))
    rows = pl.DataFrame({"x": [1, -1], "reasons": [[], ["x is low"]]})
    path = quarantine.keep(
        rows,
        feature_group="g",
        version=1,
        partition="50 %/é",
        run_id="run",
        rejected_at=datetime.now(UTC),
        reasons=["x is low"],
    )
    (entry,) = quarantine.entries("g")
    assert (entry.path, entry.partition, entry.rows) == (path, "50 %/é", 2)
    assert entry.read().equals(rows)
    quarantine.remove("g", ["50 %/é"], version=1)
    assert quarantine.entries() == []


def test_a_training_set_and_a_snapshot_are_kept_and_found_changed(
    bucket: Location, tmp_path: Path
) -> None:
    with new_store(tmp_path) as store:
        store.parts = replace(store.parts, location=bucket.at("store"))
        fill(store)
        store.create_snapshot("churn", "june")
        assert store.verify_snapshot("june") > 0
        held = created(store)
        assert is_whole(held)
        joined = store.get_historical_features(CHURN, spine()).to_polars()
        assert held.to_polars().sort(joined.columns).equals(joined.sort(joined.columns))
        assert held["train"].lazy().collect().equals(held.to_polars("train"))
        assert {*store.location.list("training")} == {
            f"training/set/{name}"
            for name in ("train.parquet", "valid.parquet", "test.parquet", "manifest.json")
        }
        store.location.write("training/set/test.parquet", b"other")
        with pytest.raises(TrainingSetChanged, match=r"test.parquet has other content"):
            held.verify()
        store.location.delete(store.location.list("offline/visits"))
        with pytest.raises(SnapshotDamaged, match=r"visits: .* is gone"):
            store.verify_snapshot("june")
