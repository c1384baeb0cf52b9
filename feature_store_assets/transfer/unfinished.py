"""What an unfinished export keeps in its folder: what was asked, and which files are whole."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from feature_store_assets.errors import WriteRefused
from feature_store_assets.offline.frames import fsync
from feature_store_assets.transfer.archive import (
    MANIFEST,
    REGISTRY,
    STATE,
    ArchivedFile,
    ArchivedGroup,
    Range,
    What,
)

_FINISHED = "finished.jsonl"


class Plan(msgspec.Struct, frozen=True):
    """What `export.json` says.

    Attributes
    ----------
    groups
        As the manifest will have them, still without their files.
    """

    format: str
    version: int
    what: What
    range: Range
    pin: str
    groups: list[ArchivedGroup]
    views: list[dict[str, Any]]
    snapshot: dict[str, Any] | None


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Hold a folder against other exports; the lock goes with the process."""
    try:
        target.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise WriteRefused(f"'{target}' is a file: name a folder for the archive.") from None
    folder = os.open(target, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WriteRefused(f"Another process exports into '{target}' now.") from None
    else:
        yield
    finally:
        os.close(folder)


def read_plan(target: Path) -> Plan | None:
    """Return what is being exported into a folder; None if nothing is."""
    try:
        return msgspec.json.decode((target / STATE).read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError):
        return None


def check_free(target: Path) -> None:
    """Refuse a folder that holds anything but what a killed export leaves."""
    if (target / STATE).exists():
        if read_plan(target) is None:
            raise WriteRefused(f"'{target / STATE}' cannot be read. Take another folder.")
    elif (target / MANIFEST).exists():
        raise WriteRefused(f"'{target}' holds an archive already. Take another folder.")
    elif any(each.name != f"{STATE}.part" for each in target.iterdir()):
        raise WriteRefused(f"'{target}' is not empty. Take another folder, or empty it.")


def close(target: Path) -> None:
    """Leave nothing but the archive in a folder."""
    for name in (_FINISHED, STATE):
        (target / name).unlink(missing_ok=True)
    fsync(target)


def clear(target: Path) -> None:
    """Remove what an export wrote of which nothing can be used."""
    shutil.rmtree(target / "data", ignore_errors=True)
    for name in (_FINISHED, REGISTRY):
        (target / name).unlink(missing_ok=True)


def note(target: Path, folder: Path, files: Sequence[ArchivedFile]) -> None:
    """Note files as finished, once they and their names are on the disk."""
    while folder != target:
        fsync(folder)
        folder = folder.parent
    with (target / _FINISHED).open("ab") as notes:
        notes.writelines(msgspec.json.encode(file) + b"\n" for file in files)
        notes.flush()
        os.fsync(notes.fileno())
    fsync(target)


def read_finished(target: Path) -> dict[str, ArchivedFile]:
    """Return the files that were on the disk before they were noted; a torn last line is none."""
    place = target / _FINISHED
    found = {}
    for line in place.read_bytes().splitlines(keepends=True) if place.exists() else ():
        if line.endswith(b"\n"):
            file = msgspec.json.decode(line, type=ArchivedFile)
            found[file.path] = file
    return found


def place_of(target: Path) -> str:
    return f"{socket.gethostname()}:{target.resolve()}"
