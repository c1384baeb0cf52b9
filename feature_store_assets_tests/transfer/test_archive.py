"""An archive is what was written, or it is refused as it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store_assets.declaration.types import arrow_type
from feature_store_assets.errors import (
    ArchiveUnusable,
)
from feature_store_assets.storage import location
from feature_store_assets.storage.sealed_json import seal
from feature_store_assets.store import FeatureStore
from feature_store_assets.transfer.archive import Archive, digested
from feature_store_assets_tests.stores import traces
from feature_store_assets_tests.transfer.archives import (
    interrupted,
)


def test_any_tool_reads_the_files(source: FeatureStore, archive: Path) -> None:
    rows = pl.read_parquet(archive / "data" / "a" / "v1" / "*.parquet")
    assert rows.columns == [
        "entity_id", "event_timestamp", "created_timestamp", "x", "tags", "partition",
    ]  # fmt: skip
    assert rows.filter(entity_id="u1")["x"].to_list() == [1, 10]  # both revisions
    assert rows["partition"].unique().sort().to_list() == [
        "2024-01", "2024-02", "2024-03", "2024-04",
    ]  # fmt: skip
    named = json.loads((archive / "archive.json").read_text())
    assert (named["format"], named["version"]) == ("feature-store archive", 1)
    assert [(each["name"], each["rows"]) for each in named["groups"]] == [("a", 7), ("b", 2)]


def edited(archive: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and seal it again, as somebody would who makes archives."""
    place = archive / "archive.json"
    content = json.loads(place.read_text())
    change(content)
    place.write_text(json.dumps(seal(content)))


def first_file(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["groups"][0]["files"][0]
    return found


def rewritten(archive: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write the first file anew, with what the manifest says of its bytes."""
    place = archive / "data/a/v1/00001.parquet"
    pq.write_table(change(pq.ParquetFile(place).read()), place)
    told = Archive(archive)._changed

    def described(content: dict[str, Any]) -> None:
        rows = pq.ParquetFile(place).read()
        file = content["groups"][0]["files"][1]
        file |= {"bytes": place.stat().st_size, "sha256": location(place.parent).digest(place.name)}
        file |= {"rows": rows.num_rows, "columns": digested(rows)}

    edited(archive, described)
    assert told(Archive(archive).manifest.groups[0].files[1]) == ""


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FIRST = "data/a/v1/00000.parquet"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda at: (at / FIRST).unlink(), f"{FIRST} is missing"),
    "truncated": (lambda at: cut(at / FIRST), rf"{FIRST} has \d+ bytes instead of \d+"),
    "changed": (lambda at: flip(at / FIRST), f"{FIRST} was changed"),
    "registry changed": (lambda at: flip(at / "registry.json"), "registry.json was changed"),
    "manifest changed": (
        lambda at: (at / "archive.json").write_text(
            (at / "archive.json").read_text().replace('"2024-01"', '"2024-07"')
        ),
        "archive.json is not sound: it was changed",
    ),
    "no manifest": (lambda at: (at / "archive.json").unlink(), "it has no archive.json"),
    "no JSON": (lambda at: cut(at / "archive.json"), "archive.json is not sound: "),
    "another format": (
        lambda at: edited(at, lambda it: it.update(format="zip")), "its format is not 'feature-"
    ),
    "newer format": (
        lambda at: edited(at, lambda it: it.update(version=2)),
        "its version 2 is not 1, which this code reads: upgrade",
    ),
    "no groups": (
        lambda at: edited(at, lambda it: it.pop("groups")), "not sound: .*missing .*`groups`"
    ),
    "another name": (
        lambda at: edited(at, lambda it: it["groups"][0].update(name="b")),
        "b v1 is defined under another name",
    ),
    "escaping path": (
        lambda at: edited(at, lambda it: first_file(it).update(path="../x.parquet")),
        r"'\.\./x.parquet' lies outside the archive",
    ),
    "absolute path": (
        lambda at: edited(at, lambda it: first_file(it).update(path="/etc/passwd")),
        "'/etc/passwd' lies outside the archive",
    ),
    "linked path": (
        lambda at: (at / FIRST).symlink_to((at / FIRST).rename(at.parent / "x")),
        "lies outside the archive",
    ),
    "partition twice": (
        lambda at: edited(at, lambda it: it["groups"][0]["files"].append(first_file(it))),
        "partition 2024-01 of a v1 is named twice",
    ),
    "other partition": (
        lambda at: edited(at, lambda it: first_file(it).update(partition="2023-01")),
        f"{FIRST} holds rows of another partition",
    ),
    "other range": (
        lambda at: edited(at, lambda it: it["range"].update(end="2024-01-15T00:00:00Z")),
        f"{FIRST} holds rows of another partition or range",
    ),
    "other values": (
        lambda at: edited(at, lambda it: first_file(it)["columns"].update(x="0" * 64)),
        f"{FIRST} holds other values",
    ),
    "row twice": (
        lambda at: rewritten(at, lambda rows: pa.concat_tables([rows, rows])),
        "00001.parquet is not sound",
    ),
    "another type": (
        lambda at: rewritten(
            at, lambda rows: rows.set_column(3, "x", rows["x"].cast(arrow_type("float64")))
        ),
        "its columns have other types",
    ),
    "a column less": (
        lambda at: rewritten(at, lambda rows: rows.drop_columns(["tags"])), "its columns are entity"
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_archive_says_what_is_wrong_and_nothing_is_written(
    target: FeatureStore, archive: Path, damage: str
) -> None:
    spoil, message = DAMAGES[damage]
    spoil(archive)
    with pytest.raises(ArchiveUnusable, match=message):
        target.import_archive(archive)
    assert traces(target) == ([], [], [])


def test_an_unfinished_export_is_no_archive(source: FeatureStore, tmp_path: Path) -> None:
    place = interrupted(source, tmp_path)
    with pytest.raises(ArchiveUnusable, match=r"its export is unfinished\. Run that export again"):
        Archive(place)
