"""What belongs to a store, file by file, as it was at versions of its tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_store_assets.offline.commit_history import (
    entry_path,
    parse_entry,
    read_entry,
    versions as versions_of,
)
from feature_store_assets.storage import location
from feature_store_assets.storage.untrusted import UNSOUND, check_name, read_json
from feature_store_assets.training.manifest import MANIFEST
from feature_store_assets.transfer.backup_repository import CONTENT


@dataclass(frozen=True)
class Wanted:
    """A file to be kept.

    Attributes
    ----------
    sha256
        None for data files, whose names are given once: by name they are known.
    stored
        Where it belongs.
    needed
        False where the backup does without: for time travel, or because it may go at any time.
    """

    path: str
    stored: str
    bytes: int
    sha256: str | None
    needed: bool


def versions(root: Path, before: Mapping[str, int]) -> dict[str, int]:
    """Return the newest version of each table, by folder; looking on from what is known."""
    found = {}
    for pattern in ("offline/*/v*/_delta_log", "raw/**/_delta_log"):
        for log in sorted(root.glob(pattern)):
            folder = log.parent.relative_to(root).as_posix()
            table = location(log.parent)
            newest = before.get(folder, -1)
            if newest < 0:
                newest = max(versions_of(table), default=-1)
            while table.size(entry_path(newest + 1)) is not None:
                newest += 1
            if newest >= 0:
                found[folder] = newest
    return found


def place_of(folder: str) -> tuple[str, int]:
    """Return the group, and its version, whose rows lie in a folder of `offline/`."""
    _, group, version = folder.split("/")
    return group, int(version.removeprefix("v"))


def table_files(root: Path, folder: str, version: int, pinned: Collection[int]) -> Iterator[Wanted]:
    """List the log of a table up to a version, and the files that it names."""
    table = location(root).at(folder)
    live, needed, named = set[str](), set[str](), dict[str, int]()
    for number in range(version + 1):
        entry = read_entry(table, number)
        path, text = f"{folder}/{entry_path(number)}", entry.text
        yield Wanted(path, f"files/{path}", len(text), hashlib.sha256(text).hexdigest(), True)
        live -= {f"{folder}/{file.path}" for file in entry.removed}
        for file in entry.added:
            named[f"{folder}/{file.path}"] = file.bytes
            live.add(f"{folder}/{file.path}")
        if number in pinned or number == version:
            needed |= live
    for data, size in named.items():
        yield Wanted(data, f"files/{data}", size, None, data in needed)


def check_inside(path: str, file: Path) -> None:
    """Refuse a file of a backup that names others where it must not; ValueError and others.

    A table's log and a training set's manifest are followed by whoever reads, sweeps or backs up
    the store.
    """
    folder, _, name = path.rpartition("/")
    if folder.endswith("/_delta_log"):
        text = file.read_bytes()
        for line in text.splitlines():
            read_json(line)
        parse_entry(text)
    elif path.startswith("training/") and name == MANIFEST:
        _parts(read_json(file.read_bytes()))


def _parts(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a training set, whose files lie in its folder."""
    parts: list[dict[str, Any]] = manifest["parts"]
    for part in parts:
        check_name(part["file"], "its training set")
    return parts


def training_set(root: Path, name: str, digest: str) -> list[Wanted]:
    """List the files of a recorded training set, as its manifest has them."""
    folder = f"training/{check_name(name, 'training')}"
    try:
        text = location(root).read(f"{folder}/{MANIFEST}")
    except FileNotFoundError:
        raise ValueError(f"{folder}/{MANIFEST} is gone") from None
    if hashlib.sha256(text).hexdigest() != digest:
        raise ValueError(f"{folder}/{MANIFEST} has changed")
    try:
        parts = _parts(json.loads(text))
    except UNSOUND as error:
        raise ValueError(f"{folder}/{MANIFEST} is not sound: {error}") from None
    files = [(MANIFEST, len(text), digest)]
    files += [(part["file"], part["bytes"], part["sha256"]) for part in parts]
    return [
        Wanted(f"{folder}/{file}", f"files/{folder}/{file}", size, sha256, needed=True)
        for file, size, sha256 in files
    ]


def loose(root: Path) -> Iterable[Wanted]:
    """List rejected partitions and reports, which may go or be replaced at any time."""
    store = location(root)
    for path, size in sorted([*store.list("quarantine").items(), *store.list("reports").items()]):
        if path.endswith((".parquet", ".html")):
            with suppress(FileNotFoundError):
                digest = store.digest(path)
                yield Wanted(path, f"{CONTENT}/{digest}", size, digest, needed=False)


def present(root: Path, wanted: list[Wanted]) -> tuple[list[Wanted], list[str]]:
    """Return the files that are there, and the needed ones that are not."""
    gone = location(root).missing(each.path for each in wanted)
    there = [each for each in wanted if each.path not in gone]
    return there, [each.path for each in wanted if each.needed and each.path in gone]
