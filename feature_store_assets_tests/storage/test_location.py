"""Locations: folders and object stores keep one contract."""

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store_assets.errors import ConfigError, FeatureStoreError, LocationUnusable
from feature_store_assets.storage import Location, location
from feature_store_assets_tests.servers import ObjectStore, object_store

# Names that a partition key may give a file.
NAMES = ["plain", "day=2024-01-01 00:00", "a%20b", "a%2Fb", "ümlaut é", "100%", "a+b&c=d", "x#y?z"]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "folder":
        return location(tmp_path / "place")
    request.getfixturevalue("bucket")
    return location(f"s3://features/{tmp_path.name}")


def test_a_file_is_read_as_it_was_written(place: Location) -> None:
    content = os.urandom(100_000)
    written = place.write("a/b/c", iter([content[:10], content[10:]]))
    assert (written.size, written.sha256) == (100_000, hashlib.sha256(content).hexdigest())
    place.sync()
    assert place.read("a/b/c") == content
    assert b"".join(place.stream("a/b/c")) == content
    assert place.size("a/b/c") == 100_000
    assert place.digest("a/b/c") == written.sha256
    place.write("a/b/c", b"other")
    assert place.read("a/b/c") == b"other"
    place.write("empty", b"")
    assert (place.read("empty"), place.size("empty")) == (b"", 0)


def test_ranges_end_where_the_file_does(place: Location) -> None:
    place.write("f", b"0123456789")
    ranges = [(0, 3), (4, 2), (8, 5), (10, 1), (99, 1), (3, 0), (7, None)]
    found = [place.read("f", start, length) for start, length in ranges]
    assert found == [b"012", b"45", b"89", b"", b"", b"", b"789"]


def test_a_file_that_is_not_there_is_said_to_be_missing(place: Location) -> None:
    place.write("folder/f", b"")
    for path in ("nothing", "nowhere/f", "folder", "folder/f/below"):
        assert place.size(path) is None
        for read in (place.read, lambda path: list(place.stream(path)), place.digest):
            with pytest.raises(FileNotFoundError):
                read(path)
        place.delete([path])
    assert place.list("nowhere") == place.list("nothing/at/all") == {}
    assert place.names("nowhere") == set()
    assert place.list() == {"folder/f": 0}


@pytest.mark.parametrize("name", NAMES)
def test_any_name_that_a_partition_may_have_names_one_file(place: Location, name: str) -> None:
    path = f"partition={name}/{name}.parquet"
    place.write(path, b"rows")
    assert place.list() == {path: 4}
    assert place.names() == {f"partition={name}"}
    assert place.at(f"partition={name}").read(f"{name}.parquet") == b"rows"
    place.delete([path])
    assert place.list() == {}


def test_folders_are_listed_with_all_below_and_nothing_beside_them(place: Location) -> None:
    for path in ("a/1", "a/b/2", "ab/3", "4"):
        place.write(path, path.encode())
    assert place.list() == {"a/1": 3, "a/b/2": 5, "ab/3": 4, "4": 1}
    assert place.list("a") == {"a/1": 3, "a/b/2": 5}
    assert place.at("a").list() == {"1": 3, "b/2": 5}
    assert place.names() == {"a", "ab", "4"}
    assert place.names("a") == {"1", "b"}
    place.delete(["a/1", "not there", "a/b/2"])
    assert place.list() == {"ab/3": 4, "4": 1}


def test_what_breaks_off_leaves_what_was_there(place: Location) -> None:
    place.write("f", b"before")

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionAbortedError

    for path in ("f", "new"):
        with pytest.raises(ConnectionAbortedError):
            place.write(path, broken())
    other = hashlib.sha256(b"expected").hexdigest()
    written = place.write("f", b"unexpected", sha256=other)
    assert written.sha256 != other
    assert place.list() == {"f": 6}
    assert place.read("f") == b"before"
    assert place.write("f", b"expected", sha256=other).size == 8
    assert place.read("f") == b"expected"


def test_libraries_write_into_a_file_that_appears_as_the_block_ends(place: Location) -> None:
    table = pa.table({"x": range(1000)})
    with place.create("arrow.parquet") as sink:
        pq.write_table(table, sink)
        assert place.list() == {}
    with place.create("polars.parquet") as sink:
        pl.DataFrame(table).write_parquet(sink)
    for name in ("arrow", "polars"):
        stored = place.read(f"{name}.parquet")
        assert pq.read_table(pa.BufferReader(stored)).equals(table)
    assert sink.written.size == place.size("polars.parquet")
    assert sink.written.sha256 == place.digest("polars.parquet")


def test_libraries_read_parts_of_a_file(place: Location) -> None:
    table = pa.table({"x": range(100_000), "y": ["text"] * 100_000})
    with place.create("a/t.parquet") as sink:
        pq.write_table(table, sink, row_group_size=10_000)
    with place.open("a/t.parquet") as file:
        stored = pq.ParquetFile(file)
        assert stored.metadata.num_rows == 100_000
        assert stored.read_row_group(7, ["x"])["x"].to_pylist() == list(range(70_000, 80_000))
    with place.open("a/t.parquet") as file:
        assert pl.read_parquet(file).to_arrow()["x"].equals(table["x"])
    with place.open("a/t.parquet") as file:
        assert file.read(4) == b"PAR1"
        assert file.seek(-4, os.SEEK_END) == sink.written.size - 4
        assert (file.read(), file.read()) == (b"PAR1", b"")
    for path in ("a", "a/nothing", "nowhere/f"):
        with pytest.raises(FileNotFoundError):
            place.open(path)


def test_other_libraries_find_the_place_by_its_address(place: Location) -> None:
    below = place.at("table")
    assert below.uri == f"{place.uri}/table"
    pl.DataFrame({"x": [1, 2]}).lazy().sink_parquet(f"{below.uri}/f.parquet", mkdir=True)
    below.sync(["f.parquet"])
    assert place.list().keys() == {"table/f.parquet"}
    assert pl.scan_parquet(f"{below.uri}/f.parquet").collect()["x"].to_list() == [1, 2]


def test_a_file_says_when_it_was_written(place: Location) -> None:
    place.write("a/f", b"x")
    found = place.modified("a/f")
    assert found is not None
    assert abs(datetime.now(UTC) - found) < timedelta(hours=1)
    assert [place.modified(path) for path in ("a", "nothing", "a/f/below")] == [None] * 3


def test_files_that_are_missing_are_told_from_those_that_are_not(place: Location) -> None:
    for path in ("a/1", "a/b/2", "3"):
        place.write(path, b"")
    below = place.at("a")
    assert place.missing(["a/1", "a/2", "3", "nowhere/4"]) == {"a/2", "nowhere/4"}
    assert below.missing(["1", "b/2"]) == place.missing([]) == set()


def test_a_folder_that_is_cleared_is_gone_and_can_be_written_again(place: Location) -> None:
    for path in ("a/1", "a/b/2", "ab/3"):
        place.write(path, b"x")
    place.clear("nothing")
    place.clear("a")
    assert place.list() == {"ab/3": 1}
    place.write("a/b/2", b"again")
    place.sync()
    assert place.list() == {"a/b/2": 5, "ab/3": 1}


@pytest.mark.slow
def test_an_object_store_is_listed_once_where_its_files_are_asked_for(bucket: ObjectStore) -> None:
    place = location("s3://features/counted")
    for number in range(12):
        place.write(f"a/{number}/f", b"x")
    bucket.lists = 0
    assert len(place.list("a")) == 12
    assert bucket.lists == 1
    place.read("a/1/f")
    place.size("a/2/f")
    place.digest("a/3/f")
    place.write("a/4/f", b"y")
    place.delete(place.list("a"))
    assert bucket.lists == 2


@pytest.mark.slow
def test_a_large_file_reaches_an_object_store_whole(bucket: ObjectStore) -> None:
    place = location("s3://features/large")
    part = os.urandom(1 << 20)
    written = place.write("f", (part for _ in range(40)))
    assert place.size("f") == written.size == 40 << 20
    assert place.digest("f") == written.sha256
    assert place.read("f", (39 << 20) + 5, 7) == part[5:12]


@pytest.mark.slow
def test_secrets_are_in_no_error(bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")
    refused = location("s3://features/place")
    for act in (refused.list, lambda: refused.write("f", b""), lambda: refused.size("f")):
        with pytest.raises(LocationUnusable, match="'s3://features/place' cannot be used") as info:
            act()
        told = str(info.value)
        assert not [each for each in ("a-wrong-secret", "a-key") if each in told], told


def test_a_scheme_that_nobody_knows_is_no_folder(tmp_path: Path) -> None:
    for url in ("ftp://host/folder", "hdfs://namenode/x", "s33://bucket/x"):
        with pytest.raises(ConfigError, match="is no scheme of a location"):
            location(url)
    assert list(tmp_path.iterdir()) == []
    assert location(f"file://{tmp_path}").local == tmp_path


def test_a_folder_survives_with_all_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Count fsync calls, as the kernel is asked for them."""
    synced = set[str]()
    original = os.fsync

    def record(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    place = location(tmp_path / "new" / "place")
    (tmp_path / "new" / "place" / "a").mkdir(parents=True)  # by somebody else
    place.write("a/b/f", b"")
    place.sync()
    above = [tmp_path / "new" / "place" / each for each in ("", "a", "a/b")]
    assert synced >= {str(folder) for folder in above}
    synced.clear()
    (tmp_path / "new" / "place" / "c").mkdir()
    (tmp_path / "new" / "place" / "c" / "g").write_text("by another library")
    place.sync(["c/g"])
    assert synced == {str(above[0]), str(above[0] / "c"), str(above[0] / "c" / "g")}


def test_what_a_killed_writer_left_is_cleared_with_its_folder(tmp_path: Path) -> None:
    place = location(tmp_path)
    place.write("a/f", b"")
    (tmp_path / "a" / "g.part").write_text("cut off")
    assert place.list() == {"a/f": 0}
    place.clear("a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["", " ", "s3:/bucket/x", "file://host/x", "s3://user:pw@b/x"])
def test_what_looks_like_a_place_and_is_none_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError) as info:
        location(place)
    assert "pw" not in str(info.value)
    assert list(tmp_path.iterdir()) == []


def test_options_in_an_url_are_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="Set them in the environment") as info:
        location("s3://features/a?secret_key=hidden")
    assert "hidden" not in str(info.value)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "place", Path("/proc/place")):
        with pytest.raises(FeatureStoreError, match="place' cannot be used"):
            location(folder).write("f", b"")
