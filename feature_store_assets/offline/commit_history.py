"""The entries of a Delta table's log, and what became of every file that the table ever had.

The entries are kept for ever. Delta's own vacuum reads checkpoints instead, and these forget a
removed file after a week, wherever it lies: files that a snapshot held longer would never go.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from feature_store_assets.errors import StorageUnusable
from feature_store_assets.offline.schema import PARTITION
from feature_store_assets.storage.untrusted import check_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from feature_store_assets.storage import Location

# Commits that carry it left every row as it was.
SAME_ROWS = "feature_store.same_rows"
COMMITTED_AT = "feature_store.committed_at"
LOG = "_delta_log"


@dataclass(frozen=True)
class Logged:
    """A file that an entry names: its path within the table, its partition, its bytes if added."""

    path: str
    partition: str
    bytes: int


@dataclass(frozen=True)
class Entry:
    """What one commit did.

    Attributes
    ----------
    text
        The entry as it is stored.
    metadata
        What was kept with the commit.
    added, removed
        The files that are live from this version on, and those that no longer are.
    """

    text: bytes
    metadata: Mapping[str, Any]
    added: tuple[Logged, ...]
    removed: tuple[Logged, ...]


@dataclass(frozen=True)
class Superseded:
    """A file that is in no version from `version` on; its path is within the table."""

    path: str
    partition: str
    version: int


@dataclass(frozen=True)
class History:
    """Every file that a commit ever `named`, and which of them are `superseded`."""

    named: frozenset[str]
    superseded: tuple[Superseded, ...]


def entry_path(version: int) -> str:
    """Return where a table has the log's entry of a commit."""
    return f"{LOG}/{version:020d}.json"


def versions(table: Location) -> list[int]:
    """Return the versions of which a table's log has entries, in order."""
    names = (name.partition(".json") for name in table.names(LOG))
    return sorted(int(stem) for stem, ending, rest in names if ending and not rest)


def read_entry(table: Location, version: int) -> Entry:
    """Read the log's entry of a commit.

    Raises
    ------
    StorageUnusable
        It is gone, or cannot be read.
    """
    try:
        text = table.read(entry_path(version))
    except FileNotFoundError:
        raise StorageUnusable(table.shown, f"its log lacks entry {version}") from None
    try:
        return parse_entry(text)
    except ValueError as error:
        why = f"entry {version} of its log cannot be read: {error}"
        raise StorageUnusable(table.shown, why) from None


def parse_entry(text: bytes) -> Entry:
    """Return what an entry says; ValueError if it is none, or names files outside the table."""
    metadata: dict[str, Any] = {}
    added: list[Logged] = []
    removed: list[Logged] = []
    for line in text.splitlines():
        action = _DECODER.decode(line)
        metadata |= action.commit_info or {}
        if action.add is not None:
            added.append(_logged(action.add))
        if action.remove is not None:
            removed.append(_logged(action.remove))
        if action.cdc is not None:
            _logged(action.cdc)
    return Entry(text, metadata, tuple(added), tuple(removed))


class _File(Struct, rename="camel"):
    path: str
    partition_values: dict[str, str | None] | None = None
    size: int | None = None


class _Action(Struct, rename="camel"):
    add: _File | None = None
    remove: _File | None = None
    cdc: _File | None = None
    commit_info: dict[str, Any] | None = None


_DECODER = msgspec.json.Decoder(_Action)


def _logged(named: _File) -> Logged:
    path = check_path(unquote(named.path), "its table")
    if named.partition_values is not None:
        partition = named.partition_values.get(PARTITION) or ""
    else:  # other writers leave it out where they remove a file
        partition = unquote(path.partition("/")[0].removeprefix(f"{PARTITION}="))
    return Logged(path, partition, named.size or 0)


def added_with(table: Location, metadata: Mapping[str, str]) -> set[str]:
    """Return the files that commits with such metadata added."""
    return {
        file.path
        for _, entry in _entries(table)
        if metadata.items() <= entry.metadata.items()
        for file in entry.added
    }


def history(table: Location) -> History:
    """Return what became of every file, as of the newest commit."""
    named = set[str]()
    gone: dict[str, Superseded] = {}
    for version, entry in _entries(table):
        for file in entry.removed:
            gone[file.path] = Superseded(file.path, file.partition, version)
        for file in entry.added:
            gone.pop(file.path, None)
        named.update(file.path for file in (*entry.removed, *entry.added))
    return History(frozenset(named), tuple(gone.values()))


def changed(table: Location, since: int, until: int) -> dict[str, int]:
    """Return the last version in (since, until] that changed each partition's rows.

    Commits that only moved rows to other files count for nothing.
    """
    found: dict[str, int] = {}
    for version in range(since + 1, until + 1):
        entry = read_entry(table, version)
        if SAME_ROWS not in entry.metadata:
            files = (*entry.added, *entry.removed)
            found |= {file.partition: version for file in files}
    return found


def last_write(table: Location, newest: int) -> datetime | None:
    """Return when the last commit up to a version was made that wrote rows."""
    for version in range(newest, 0, -1):  # the first one makes the table
        if table.size(entry_path(version)) is None:
            break  # a restored log begins with a checkpoint
        entry = read_entry(table, version)
        if entry.added and COMMITTED_AT in entry.metadata and SAME_ROWS not in entry.metadata:
            return datetime.fromisoformat(entry.metadata[COMMITTED_AT])
    return None


def _entries(table: Location) -> Iterator[tuple[int, Entry]]:
    return ((version, read_entry(table, version)) for version in versions(table))
