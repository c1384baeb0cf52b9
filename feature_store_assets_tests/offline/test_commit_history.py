"""The log of a table: one reader of its entries, which trusts none of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from feature_store_assets.errors import StorageUnusable
from feature_store_assets.offline.commit_history import (
    SAME_ROWS,
    Logged,
    Superseded,
    changed,
    entry_path,
    history,
    parse_entry,
    read_entry,
    versions,
)
from feature_store_assets.storage import Location, location


def entry(*actions: dict[str, Any]) -> bytes:
    return "\n".join(map(json.dumps, actions)).encode()


def add(path: str, partition: str | None = "a") -> dict[str, Any]:
    return {"add": {"path": path, "partitionValues": {"partition": partition}, "size": 7}}


def remove(path: str) -> dict[str, Any]:
    """As other writers remove a file: they leave its partition out."""
    return {"remove": {"path": path, "dataChange": True}}


def logged(folder: Path, *entries: bytes) -> Location:
    table = location(folder / "table")
    for version, text in enumerate(entries):
        table.write(entry_path(version), text)
    return table


def test_an_entry_names_files_as_they_lie_on_the_disk() -> None:
    metadata = {"commitInfo": {"operation": "WRITE", "run_id": "r"}}
    path = "partition=a%2520b%252Fc/part-1.parquet"
    found = parse_entry(entry(metadata, add(path, "a b/c"), remove(path), {"txn": {"version": 1}}))
    assert found.metadata == {"operation": "WRITE", "run_id": "r"}
    assert found.added == (Logged("partition=a%20b%2Fc/part-1.parquet", "a b/c", 7),)
    assert found.removed == (Logged("partition=a%20b%2Fc/part-1.parquet", "a b/c", 0),)
    assert parse_entry(entry(add("f", None))).added == (Logged("f", "", 7),)


@pytest.mark.parametrize("kind", ["add", "remove", "cdc"])
@pytest.mark.parametrize("path", ["../other/f", "a/%2E%2E/f", "/etc/passwd", "a%5Cf", "s3://b/f"])
def test_a_file_outside_the_table_is_refused(kind: str, path: str) -> None:
    with pytest.raises(ValueError, match=r"lies outside its table|is no path of a file"):
        parse_entry(entry({kind: {"path": path, "size": 1}}))


@pytest.mark.parametrize("text", [b"{", b'{"add": {"size": 1}}', b'{"add": 5}', b"\xff", b"[]"])
def test_what_is_no_entry_is_said_to_be_unreadable(tmp_path: Path, text: bytes) -> None:
    table = logged(tmp_path, text)
    with pytest.raises(StorageUnusable, match="entry 0 of its log cannot be read"):
        read_entry(table, 0)
    with pytest.raises(StorageUnusable, match="its log lacks entry 1"):
        read_entry(table, 1)


def test_files_that_were_removed_are_superseded_until_they_are_added_again(tmp_path: Path) -> None:
    table = logged(
        tmp_path,
        entry({"metaData": {"id": "x"}}),
        entry(add("partition=a/1"), add("partition=a/2")),
        entry(remove("partition=a/1"), add("partition=b/3", "b")),
        entry(remove("partition=a/2"), add("partition=a/4"), {"commitInfo": {SAME_ROWS: "true"}}),
        entry(add("partition=a/1")),
    )
    table.write("_delta_log/00000000000000000003.checkpoint.parquet", b"")
    table.write("_delta_log/_last_checkpoint", b"{}")
    assert versions(table) == [0, 1, 2, 3, 4]
    found = history(table)
    assert found.named == {f"partition={each}" for each in ("a/1", "a/2", "b/3", "a/4")}
    assert found.superseded == (Superseded("partition=a/2", "a", 3),)
    assert changed(table, 1, 3) == {"a": 2, "b": 2}
    assert changed(table, 1, 4) == {"a": 4, "b": 2}
    assert changed(table, 4, 4) == {}
