"""What an unfinished export keeps in its folder: what was asked, and which files are whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from feature_store_assets.errors import WriteRefused
from feature_store_assets.storage import location
from feature_store_assets.storage.folder import UNFINISHED
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


class Target:
    """The folder of an export.

    Parameters
    ----------
    path
        It need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = location(path)

    @property
    def is_whole(self) -> bool:
        """Whether the archive is written."""
        return (self.path / MANIFEST).exists()

    @property
    def plan(self) -> Plan | None:
        """What is being exported into it; None if nothing is."""
        try:
            return msgspec.json.decode(self.place.read(STATE), type=Plan)
        except (OSError, msgspec.DecodeError):
            return None

    def begin(self, plan: Plan) -> None:
        """Say what is exported into it."""
        self.place.write(STATE, msgspec.json.encode(plan))
        self.place.sync()

    def check_free(self) -> None:
        """Refuse a folder that holds anything but what a killed export leaves."""
        if self.path.is_file():
            raise WriteRefused(f"'{self.path}' is a file: name a folder for the archive.")
        names = self.place.names()
        if STATE in names:
            if self.plan is None:
                raise WriteRefused(f"'{self.path / STATE}' cannot be read. Take another folder.")
        elif MANIFEST in names:
            raise WriteRefused(f"'{self.path}' holds an archive already. Take another folder.")
        elif any(not each.startswith(f"{STATE}.") for each in names):
            raise WriteRefused(f"'{self.path}' is not empty. Take another folder, or empty it.")

    def note(self, files: Sequence[ArchivedFile]) -> None:
        """Note files as finished, once they and their names are on the disk."""
        self.place.sync()
        with (self.path / _FINISHED).open("ab") as notes:
            notes.writelines(msgspec.json.encode(file) + b"\n" for file in files)
            notes.flush()
            os.fsync(notes.fileno())

    @property
    def finished(self) -> dict[str, ArchivedFile]:
        """The files that were on the disk before they were noted; a torn last line is none."""
        place = self.path / _FINISHED
        found = {}
        for line in place.read_bytes().splitlines(keepends=True) if place.exists() else ():
            if line.endswith(b"\n"):
                file = msgspec.json.decode(line, type=ArchivedFile)
                found[file.path] = file
        return found

    def clear(self) -> None:
        """Remove what an export wrote of which nothing can be used."""
        shutil.rmtree(self.path / "data", ignore_errors=True)
        self.place.delete([_FINISHED, REGISTRY])

    def close(self) -> None:
        """Leave nothing but the archive."""
        for part in self.path.rglob(f"*{UNFINISHED}"):  # of a run that was killed
            part.unlink()
        self.place.delete([_FINISHED, STATE])
        self.place.sync()
