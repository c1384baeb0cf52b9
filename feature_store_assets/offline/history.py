"""What became of every file that a Delta table ever had, by the entries of its log.

The entries are kept for ever. Delta's own vacuum reads checkpoints instead, and these forget a
removed file after a week, wherever it lies: files that a snapshot held longer would never go.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from feature_store_assets.offline.schema import PARTITION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# Commits that carry it left every row as it was.
SAME_ROWS = "feature_store.same_rows"
COMMITTED_AT = "feature_store.committed_at"


@dataclass(frozen=True)
class Superseded:
    """A file that is in no version from `version` on."""

    path: Path
    partition: str
    version: int


@dataclass(frozen=True)
class History:
    """Every file that a commit ever `named`, and which of them are `superseded`."""

    named: frozenset[Path]
    superseded: tuple[Superseded, ...]


def entry_of(table: Path, version: int) -> Path:
    """Return the log's entry of a commit."""
    return table / "_delta_log" / f"{version:020d}.json"


def added_by(table: Path, version: int) -> list[Path]:
    """Return the files that a commit added."""
    actions = _actions(entry_of(table, version))
    return [_path(table, each["add"]) for each in actions if "add" in each]


def added_with(table: Path, metadata: Mapping[str, str]) -> list[Path]:
    """Return the files that commits with such metadata added."""
    found = []
    for entry in sorted((table / "_delta_log").glob("*.json")):
        actions = list(_actions(entry))
        if any(metadata.items() <= each.get("commitInfo", {}).items() for each in actions):
            found += [_path(table, each["add"]) for each in actions if "add" in each]
    return found


def history(table: Path) -> History:
    """Return what became of every file, as of the newest commit."""
    partitions: dict[Path, str] = {}
    gone: dict[Path, Superseded] = {}
    for entry in sorted((table / "_delta_log").glob("*.json")):
        for each in _actions(entry):
            if added := each.get("add"):
                path = _path(table, added)
                partitions[path] = added["partitionValues"].get(PARTITION) or ""
                gone.pop(path, None)
            elif removed := each.get("remove"):
                path = _path(table, removed)
                gone[path] = Superseded(path, partitions.get(path, ""), int(entry.stem))
    return History(frozenset(partitions.keys() | gone.keys()), tuple(gone.values()))


def changed(table: Path, since: int, until: int) -> dict[str, int]:
    """Return the last version in (since, until] that changed each partition's rows.

    Commits that only moved rows to other files count for nothing.
    """
    found: dict[str, int] = {}
    for version in range(since + 1, until + 1):
        actions = list(_actions(entry_of(table, version)))
        if any(SAME_ROWS in each.get("commitInfo", ()) for each in actions):
            continue
        for each in actions:
            if named := each.get("add") or each.get("remove"):
                found[_partition(named)] = version
    return found


def last_write(table: Path, newest: int) -> datetime | None:
    """Return when the last commit up to a version was made that wrote rows."""
    for version in range(newest, 0, -1):  # the first one makes the table
        entry = entry_of(table, version)
        if not entry.exists():
            break  # a restored log begins with a checkpoint
        actions = list(_actions(entry))
        added = any("add" in each for each in actions)
        info: dict[str, Any] = {}
        for each in actions:
            info |= each.get("commitInfo", {})
        if added and COMMITTED_AT in info and SAME_ROWS not in info:
            return datetime.fromisoformat(info[COMMITTED_AT])
    return None


def _partition(action: dict[str, Any]) -> str:
    """Return the partition of a file: other writers leave it out where they remove one."""
    values = action.get("partitionValues")
    if values is not None:
        return values.get(PARTITION) or ""
    folder = unquote(action["path"]).partition("/")[0]
    return unquote(folder.removeprefix(f"{PARTITION}="))


def _actions(entry: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, entry.read_text().splitlines())


def _path(table: Path, action: dict[str, Any]) -> Path:
    return table / unquote(action["path"])
