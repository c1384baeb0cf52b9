"""One table on disk: replace, append, read, versions, evolution, removal."""

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from feature_store_assets.errors import (
    BreakingChange,
    DeclarationChanged,
    SchemaMismatch,
    StorageUnusable,
    VersionExpired,
)
from feature_store_assets.offline.schema import TableSchema
from feature_store_assets.offline.table import OfflineTable
from feature_store_assets.offline.vacuum import Freed
from feature_store_assets.storage import Location, location
from feature_store_assets_tests.offline.tables import (
    DAY,
    SCHEMA,
    day_rows,
    frame,
    new_table,
    write_day,
)
from feature_store_assets_tests.stores import folder_of

NEXT_YEAR = DAY.replace(year=2025)


@pytest.fixture
def table(tmp_path: Path) -> OfflineTable:
    return new_table(tmp_path)


def values(table: OfflineTable, version: int | None = None) -> list[object]:
    return sorted(table.read(["x"], version=version)["x"].to_pylist())  # type: ignore[type-var]


def test_replacing_a_partition_leaves_its_neighbours_alone(table: OfflineTable) -> None:
    write_day(table, 0, x=0)
    write_day(table, 1, x=10)
    write_day(table, 0, count=1, x=100)
    assert values(table) == [10, 11, 12, 100]


def test_a_range_is_one_commit(table: OfflineTable) -> None:
    before = table.version()
    rows = frame([row for day in range(30) for row in day_rows(day, x=day)], SCHEMA)
    keys = sorted(set(rows["partition"].to_pylist()), key=str)
    commit = table.replace(rows, keys)  # type: ignore[arg-type]
    assert (commit.version, commit.rows) == (before + 1, 90)
    assert len(table.partitions()) == 30


def test_a_partition_without_rows_becomes_empty(table: OfflineTable) -> None:
    write_day(table, 0)
    table.replace(frame([], SCHEMA), ["2024-01-01"])
    assert values(table) == []


def test_partition_keys_may_hold_any_characters(table: OfflineTable) -> None:
    for key in ("a/b c", "it's", "ü%20|x", "2024-10-27-02:00+0100"):
        table.replace(frame(day_rows(0, 1, x=1), SCHEMA, key), [key])
        table.replace(frame(day_rows(0, 1, x=2), SCHEMA, key), [key])
    assert values(table) == [2, 2, 2, 2]
    assert drop(table, "a/b c", "ü%20|x").files == 4
    assert values(table) == [2, 2]


def test_the_data_root_may_hold_spaces_and_letters_of_any_script(tmp_path: Path) -> None:
    table = new_table(tmp_path / "ü x")
    first = write_day(table, 0, x=1).version
    write_day(table, 0, x=5)
    assert (values(table), values(table, first)) == ([5, 6, 7], [1, 2, 3])


@pytest.mark.parametrize("name", ["a%d3b", "a%20b", "a#b", "a?b"])
def test_a_data_root_that_reads_as_an_address_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageUnusable, match="FEATURE_STORE_STORAGE_PATH"):
        new_table(tmp_path / name)


def test_reading_picks_columns_times_partitions_and_entities(table: OfflineTable) -> None:
    for day in range(4):
        write_day(table, day, x=10 * day)
    noon = DAY + timedelta(hours=12)
    got = table.read(["customer", "x"], start=noon, end=noon + timedelta(days=2))
    assert got.column_names == ["customer", "x"]
    assert sorted(got["x"].to_pylist(), key=str) == [0, 1, 10, 11, 12, 2]
    some = table.read(["x"], partitions=["2024-01-04"], entities=pl.DataFrame({"customer": ["c1"]}))
    assert some["x"].to_pylist() == [31]
    assert table.read(limit=5).num_rows == 5


def test_old_versions_stay_readable_by_number_and_by_time(table: OfflineTable) -> None:
    first = write_day(table, 0, count=1, x=1)
    write_day(table, 0, count=1, x=2)
    assert values(table, first.version) == [1]
    assert table.version_at(first.committed_at) == first.version
    assert table.version_at(first.committed_at - timedelta(microseconds=1)) == 0
    assert table.version_at(datetime.now(UTC)) == table.version()


def test_an_added_feature_reads_null_in_old_rows(tmp_path: Path, table: OfflineTable) -> None:
    write_day(table, 0, count=1)
    wider = replace(SCHEMA, features=(*SCHEMA.features, ("tags", "list<string>")))
    evolved = OfflineTable(table.location, wider)
    evolved.ensure()
    rows = [{**row, "tags": ["new"]} for row in day_rows(1, 1)]
    evolved.replace(frame(rows, wider), ["2024-01-02"])
    assert evolved.read(["tags"])["tags"].to_pylist() == [None, ["new"]]
    # A process that still has the older declaration reads and writes on.
    write_day(table, 2, count=1, x=7)
    assert values(table) == [0, 0, 7]


def test_another_type_of_a_stored_feature_is_refused(table: OfflineTable) -> None:
    other = OfflineTable(table.location, replace(SCHEMA, features=(("x", "string"),)))
    with pytest.raises(BreakingChange, match="Declare version=2"):
        other.ensure()


def test_undeclared_key_types_come_from_the_first_rows(tmp_path: Path) -> None:
    schema = TableSchema("g", (("id", None),), "at", (("x", "int64"),))
    table = OfflineTable(location(tmp_path / "v1"), schema)
    with pytest.raises(SchemaMismatch, match="'id'"):
        table.ensure()
    table.ensure(pa.schema([("id", pa.int16())]))
    assert OfflineTable(location(tmp_path / "v1"), schema).schema.keys == (("id", "int64"),)


def test_a_guard_stops_the_write(table: OfflineTable) -> None:
    write_day(table, 0, count=1, x=1)

    def guard() -> None:
        raise DeclarationChanged("spending", ["ttl changed"])

    with pytest.raises(DeclarationChanged, match="feature-store apply"):
        table.replace(frame(day_rows(0, 1, x=2), SCHEMA), ["2024-01-01"], guard=guard)
    assert values(table) == [1]


def test_newest_is_the_greatest_event_then_created(tmp_path: Path) -> None:
    schema = replace(SCHEMA, created="created")
    table = new_table(tmp_path, schema)
    rows = [
        {"customer": "a", "event_timestamp": DAY, "created_timestamp": DAY, "x": 1},
        {"customer": "a", "event_timestamp": DAY, "created_timestamp": NEXT_YEAR, "x": 2},
        {"customer": "b", "event_timestamp": DAY.replace(day=9), "created_timestamp": DAY, "x": 3},
    ]  # fmt: skip
    data = pa.Table.from_pylist(rows, schema=schema.arrow.remove(4))
    table.replace(data.append_column("partition", pa.array(["p"] * 3, pa.string())), None)
    newest = table.newest(version=table.version(), until=DAY.replace(day=8))
    assert newest.select(["customer", "x"]).to_pylist() == [{"customer": "a", "x": 2}]
    asked = pa.Table.from_pylist([{"customer": "b"}])
    later = table.newest(version=table.version(), until=DAY.replace(day=9), keys=asked)
    assert later["x"].to_pylist() == [3]


def drop(table: OfflineTable, *partitions: str, keep: Sequence[int] = ()) -> Freed:
    until = table.remove(partitions)
    return table.free(dict.fromkeys(partitions, until), keep_versions=keep)


def test_what_is_written_between_removal_and_freeing_stays(table: OfflineTable) -> None:
    write_day(table, 0, x=1)
    until = table.remove(["2024-01-01"])
    assert table.remove(["2024-01-01"]) == until
    write_day(table, 0, x=7)
    assert table.free({"2024-01-01": until}, keep_versions=[]).files == 1
    assert values(table) == [7, 8, 9]


def test_removing_partitions_rewrites_nothing(table: OfflineTable) -> None:
    for number in range(5):
        write_day(table, number, x=number * 10)
    kept = [file.path for file in table.files()][2:]
    drop(table, "2024-01-01", "2024-01-02")
    assert [file.path for file in table.files()] == kept


def test_a_version_is_read_without_what_retention_removed_from_it(tmp_path: Path) -> None:
    removed: set[str] = set()
    table = OfflineTable(location(tmp_path / "v1"), SCHEMA, removed=lambda _: removed)
    table.ensure()
    write_day(table, 0, x=1)
    before = write_day(table, 1, x=10).version
    drop(table, "2024-01-01")
    with pytest.raises(VersionExpired):
        values(table, before)
    removed.add("2024-01-01")
    assert values(table, before) == [10, 11, 12]


class Interrupted(OfflineTable):
    """A table to which another writer comes first, once."""

    def __init__(self, place: Location, meanwhile: Callable[[], object]) -> None:
        super().__init__(place, SCHEMA)
        self.meanwhile: list[Callable[[], object]] = [meanwhile]

    def rows(
        self,
        *,
        version: int,
        partitions: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        found = super().rows(version=version, partitions=partitions, columns=columns)
        while self.meanwhile:
            self.meanwhile.pop()()
        return found


def test_compacting_loses_nothing_of_what_others_write_meanwhile(table: OfflineTable) -> None:
    more = frame(day_rows(0, 2, x=90), SCHEMA, "2024-01-01")
    write_day(table, 0, x=1)
    Interrupted(table.location, lambda: table.append(lambda _: more)).compact(["2024-01-01"])
    assert values(table) == [1, 2, 3, 90, 91]
    Interrupted(table.location, lambda: write_day(table, 0, x=50)).compact(["2024-01-01"])
    assert values(table) == [50, 51, 52]


def test_compacting_leaves_one_file_with_equal_rows(table: OfflineTable) -> None:
    for number in range(4):
        rows = frame(day_rows(0, 2, x=number * 2), SCHEMA, "2024-01-01")
        table.append(lambda _, rows=rows: rows)  # type: ignore[misc]
    before, pinned = table.read().sort_by("x"), table.version()
    appended = (folder_of(table) / "_delta_log" / f"{pinned:020d}.json").read_text()
    done = table.compact(["2024-01-01"])
    assert (done.rows, len(table.files())) == (8, 1)
    assert table.read().sort_by("x") == before
    assert table.read(version=pinned).sort_by("x") == before
    logged = (folder_of(table) / "_delta_log" / f"{done.version:020d}.json").read_text()
    assert statistics(logged) == statistics(appended)


def statistics(log: str) -> set[str]:
    """The columns of which a commit keeps the smallest values."""
    added = [json.loads(line)["add"] for line in log.splitlines() if '"add"' in line]
    return {name for each in added for name in json.loads(each["stats"])["minValues"]}


def test_files_of_killed_writers_go_once_no_run_can_be_that_old(table: OfflineTable) -> None:
    write_day(table, 0, x=1)
    lost = [folder_of(table) / "partition=2024-01-01" / f"part-{name}.parquet" for name in "ab"]
    for path in lost:
        path.write_bytes(b"cut off")
    week_ago = time.time() - timedelta(days=8).total_seconds()
    os.utime(lost[0], (week_ago, week_ago))
    assert table.sweep(oldest=table.version(), keep_versions=[], dry_run=False).bytes == 7
    assert [path.exists() for path in lost] == [False, True]
    assert values(table) == [1, 2, 3]


def test_dropping_proves_files_gone_but_for_pins(table: OfflineTable) -> None:
    pinned = write_day(table, 0, x=1).version
    write_day(table, 0, x=50)
    write_day(table, 1, x=100)
    freed = drop(table, "2024-01-01", keep=[pinned])
    assert (freed.files, freed.left) == (1, 1)
    assert freed.bytes > 0
    assert values(table) == [100, 101, 102]
    assert values(table, pinned) == [1, 2, 3]
    assert len(list(folder_of(table).glob("partition=2024-01-01/*.parquet"))) == 1
    assert drop(table, "2024-01-01").files == 1
    assert not list(folder_of(table).glob("partition=2024-01-01/*.parquet"))
    with pytest.raises(VersionExpired, match="only snapshots keep tables"):
        table.read(version=pinned)


def test_a_version_that_the_table_has_not_reached_cannot_be_read(table: OfflineTable) -> None:
    newest = write_day(table, 0, x=1).version
    with pytest.raises(VersionExpired, match=f"version {newest + 2}"):
        table.rows(version=newest + 2)


def test_sweeping_keeps_live_recent_and_pinned_files(table: OfflineTable) -> None:
    pinned = write_day(table, 0, x=1).version
    recent = write_day(table, 0, x=2).version
    newest = write_day(table, 0, x=3).version
    assert table.sweep(oldest=recent, keep_versions=[pinned], dry_run=False).files == 0
    assert values(table, recent) == [2, 3, 4]
    assert table.sweep(oldest=newest, keep_versions=[pinned], dry_run=True).files == 1
    assert table.sweep(oldest=newest, keep_versions=[pinned], dry_run=False).files == 1
    assert (values(table), values(table, pinned)) == ([3, 4, 5], [1, 2, 3])


def test_files_that_were_superseded_long_ago_go_as_well(table: OfflineTable) -> None:
    write_day(table, 0, x=1)
    write_day(table, 0, x=2)
    opened = table._log.open()
    assert opened is not None
    # Checkpoints leave out what was removed before their time: as if a week had passed.
    opened.alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 0 days"})
    opened.create_checkpoint()
    again = DeltaTable(str(folder_of(table)))
    assert again.vacuum(0, dry_run=True, enforce_retention_duration=False) == []
    assert table.sweep(oldest=table.version(), keep_versions=[], dry_run=False).files == 1
    assert len(list(folder_of(table).glob("partition=2024-01-01/*.parquet"))) == 1
    assert values(table) == [2, 3, 4]


def test_ids_never_enter_the_log(table: OfflineTable) -> None:
    write_day(table, 0)
    logged = "".join(path.read_text() for path in (folder_of(table) / "_delta_log").glob("*.json"))
    assert "event_timestamp" in logged
    assert not re.search(r"\bc[012]\b", logged)


def test_a_root_that_is_no_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    table = OfflineTable(location(tmp_path / "file" / "v1"), SCHEMA)
    with pytest.raises(StorageUnusable, match="FEATURE_STORE_STORAGE_PATH"):
        table.ensure()


def test_commits_and_their_files_are_synced(tmp_path: Path) -> None:
    """Count fsync calls of a real write, as the kernel is asked for them."""
    import os

    synced: list[str] = []
    original = os.fsync

    def record(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        original(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", record)
        table = new_table(tmp_path)
        assert any(path.endswith(f"{0:020d}.json") for path in synced)
        commit = write_day(table, 0)
    assert any(path.endswith(f"{commit.version:020d}.json") for path in synced)
    assert any(path.endswith(".parquet") for path in synced)
    assert str(folder_of(table) / "_delta_log") in synced


def test_an_append_that_looks_again_still_meets_the_appender_that_was_faster(
    table: OfflineTable,
) -> None:
    """Looking at the newest version within `prepare` must not hide what was written since."""
    other = OfflineTable(table.location, SCHEMA)
    asked: list[int] = []

    def prepare(version: int) -> pa.Table:
        asked.append(version)
        if len(asked) == 1:
            other.append(lambda _: frame(day_rows(0), SCHEMA))
        assert table.version() == version
        return frame(day_rows(1), SCHEMA)

    table.append(prepare)
    assert asked == [asked[0], asked[0] + 1]
    assert table.version() == asked[0] + 2
