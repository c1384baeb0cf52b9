"""Exports: what was asked for, as it was, into a folder of its own; killed ones go on."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.errors import (
    DataError,
    SnapshotNotFound,
    ViewNotFound,
    WriteRefused,
)
from feature_store_assets.store import FeatureStore
from feature_store_assets.transfer.archive import Archive
from feature_store_assets_tests.stores import at, pushed, row
from feature_store_assets_tests.transfer.archives import (
    BOTH,
    DAY,
    A,
    B,
    interrupted,
    pinned,
    stored,
    x_of,
)

# What is exported


def test_a_view_brings_its_groups_and_itself(
    source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    source.apply(pushed("c", Feature("z", "int64")))
    target.import_archive(source.export_archive(tmp_path / "archive", "both").path)
    assert [group.name for group in target.groups()] == ["a", "b"]
    assert target.applied.views() == [BOTH]


def test_a_list_of_groups_brings_these(
    source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    done = source.export_archive(tmp_path / "archive", ["b", A])
    assert [each.feature_group for each in done.groups] == ["b", "a"]
    assert Archive(done.path).manifest.what.features == ["b", "a v1"]
    target.import_archive(done.path)
    assert target.applied.views() == []


@pytest.mark.slow
def test_every_version_of_a_group_is_in_a_whole_export(
    source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    second = pushed("a", Feature("x", "float64"), version=2)
    source.apply(second)
    source.write_features([row("u0", 0, x=0.5)], "a")
    target.import_archive(source.export_archive(tmp_path / "archive").path)
    for version in (1, 2):
        assert stored(target, "a", version) == stored(source, "a", version)
    assert target.get_online_features("a", ["u0"], at=at(1)) == {"u0": {"x": 0.5}}


def test_a_range_holds_the_rows_from_its_start_up_to_its_end(
    source: FeatureStore, tmp_path: Path
) -> None:
    done = source.export_archive(
        tmp_path / "archive", "a", start_time=at(20 * DAY), end_time=at(60 * DAY)
    )
    rows = pl.read_parquet(done.path / "data/a/v1/*.parquet")
    assert rows["entity_id"].to_list() == ["u1", "u1", "u2"]
    assert done.groups[0].rows == 3


def test_an_empty_or_double_question_is_refused(source: FeatureStore, tmp_path: Path) -> None:
    place = tmp_path / "archive"
    with pytest.raises(DataError, match="its end is not after its start"):
        source.export_archive(place, start_time=at(1), end_time=at(1))
    with pytest.raises(DataError, match="features, or a snapshot"):
        source.export_archive(place, "a", snapshot="s")
    with pytest.raises(ViewNotFound):
        source.export_archive(place, "aa")
    with pytest.raises(SnapshotNotFound):
        source.export_archive(place, snapshot="s")
    assert not place.exists()


def test_an_empty_store_is_exported_and_imported(target: FeatureStore, tmp_path: Path) -> None:
    done = target.export_archive(tmp_path / "archive")
    assert target.import_archive(done.path).groups == ()


# Going on


@pytest.mark.slow
def test_an_export_goes_on_with_the_versions_that_it_began_with(
    source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    before = [stored(source, name) for name in "ab"]
    place = interrupted(source, tmp_path)
    (kind,) = {pin.owner_kind for pin in source.snapshots.pins.all()}
    assert kind == "export"
    files = {path: path.stat().st_ino for path in place.glob("data/**/*.parquet")}
    source.write_features([row("u0", 0, y=9.0)], "b", mode="overwrite")
    done = source.export_archive(place)
    assert done.reused == len(files) == 4
    assert {path: path.stat().st_ino for path in files} == files
    assert pinned(source) == set()
    assert sorted(path.name for path in place.iterdir()) == [
        "archive.json", "data", "registry.json",
    ]  # fmt: skip
    target.import_archive(place)
    assert [stored(target, name) for name in "ab"] == before


def test_another_question_does_not_go_on_with_it(source: FeatureStore, tmp_path: Path) -> None:
    place = interrupted(source, tmp_path)
    with pytest.raises(WriteRefused, match="unfinished export of the whole store, not of a from"):
        source.export_archive(place, "a", start_time=at(0))


def test_a_folder_that_holds_something_is_left_alone(
    source: FeatureStore, archive: Path, tmp_path: Path
) -> None:
    with pytest.raises(WriteRefused, match="holds an archive already"):
        source.export_archive(archive)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(WriteRefused, match="is not empty"):
        source.export_archive(tmp_path / "full")
    with pytest.raises(WriteRefused, match="is a file"):
        source.export_archive(tmp_path / "full" / "thesis.txt")


def test_an_abandoned_export_lets_go_at_the_next_one(source: FeatureStore, tmp_path: Path) -> None:
    shutil.rmtree(interrupted(source, tmp_path))
    assert len(pinned(source)) == 1
    source.export_archive(tmp_path / "archive", "b")
    assert pinned(source) == set()


@pytest.mark.slow
def test_an_export_whose_pin_is_gone_begins_anew(
    source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    place = interrupted(source, tmp_path)
    source.snapshots.pins.remove(pinned(source).pop(), "export")
    source.write_features([row("u9", 0, x=9, tags=None)], "a", mode="overwrite")
    assert source.export_archive(place).reused == 0
    target.import_archive(place)
    assert x_of(target) == {"u9": 9}


def test_retention_does_not_take_what_is_exported(source: FeatureStore, tmp_path: Path) -> None:
    place = interrupted(source, tmp_path)
    source.apply(replace(B, retention=timedelta(days=1)))
    (done,) = source.retain(["b"], dry_run=False)
    assert done.partitions == ("2024-01", "2024-02")
    groups = source.export_archive(place).groups
    assert [(each.feature_group, each.rows) for each in groups] == [("a", 7), ("b", 2)]


def test_exporting_what_was_imported_gives_equal_digests_of_values(
    source: FeatureStore, target: FeatureStore, archive: Path, tmp_path: Path
) -> None:
    target.import_archive(archive)
    again = Archive(target.export_archive(tmp_path / "again").path).manifest

    def digests(groups: list[Any]) -> list[Any]:
        return [(file.partition, file.columns) for group in groups for file in group.files]

    assert digests(again.groups) == digests(Archive(archive).manifest.groups)


# Records


def test_exports_and_imports_are_in_the_audit_log(
    source: FeatureStore, target: FeatureStore, archive: Path
) -> None:
    digest = Archive(archive).digest
    (told,) = [each for each in source.audit.entries() if each.action == "export"]
    assert told.detail == {
        "digest": digest,
        "groups": {"a v1": {"partitions": 4, "rows": 7}, "b v1": {"partitions": 2, "rows": 2}},
        "snapshot": "",
    }
    target.import_archive(archive)
    (told,) = [each for each in target.audit.entries() if each.subject == "archive"]
    assert (told.action, told.detail["digest"]) == ("import", digest)
    assert told.detail["groups"]["a v1"] == {"kept": 0, "partitions": 4, "rows": 7}
    assert target.audit.verify() == target.audit.newest(1)[0].sequence


def test_a_commit_names_the_archive_that_it_came_from(target: FeatureStore, archive: Path) -> None:
    target.import_archive(archive)
    table = target.table(A)
    assert table.left_by({"feature_store.archive": Archive(archive).digest}) == set(
        table.partitions()
    )
    assert table.left_by({"feature_store.archive": "other"}) == set()
