"""What a snapshot's manifest says: all that it takes to trust what was pinned."""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from feature_store_assets.errors import VersionExpired

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.offline.table import OfflineTable
    from feature_store_assets.storage import Location

    # Returns the statistics of each feature over partitions of a group, as JSON.
    Describe = Callable[[FeatureGroup, Sequence[str]], Mapping[str, Any]]

_FORMAT = 1
_PACKAGES = ("feature_store_assets", "deltalake", "polars", "pyarrow", "numpy")
_THREADS = 4


@dataclass(frozen=True)
class About:
    """What is told of a snapshot.

    Attributes
    ----------
    tags
        `{"keep": "forever"}` keeps it whatever the settings say of the age of snapshots.
    view
        The definition of the view that was asked for, if one was.
    """

    name: str
    description: str = ""
    created_by: str = ""
    tags: Mapping[str, str] | None = None
    view: Mapping[str, Any] | None = None


def manifest_of(about: About, groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a manifest over groups as `held` describes them."""
    return {
        "format": _FORMAT,
        "name": about.name,
        "description": about.description,
        "created_by": about.created_by,
        "created_at": datetime.now(UTC).isoformat(),
        "tags": dict(about.tags or {}),
        "view": about.view,
        "groups": list(groups),
        "packages": packages(),
    }


def packages() -> dict[str, str]:
    """Return the versions of Python and of what reads and writes files."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def held(
    group: FeatureGroup, table: OfflineTable, describe: Describe, known: dict[str, tuple[int, str]]
) -> dict[str, Any]:
    """Describe the newest version of a table, file by file.

    Parameters
    ----------
    known
        Bytes and digest of files by path: files never change, so each is read once. Files that
        are read now are added.

    Raises
    ------
    FileNotFoundError
        A file went away meanwhile.
    """
    number = table.version()
    files = table.files(version=number)
    new = [file for file in files if known.get(file.path, (0, ""))[0] != file.bytes]
    with ThreadPoolExecutor(_THREADS) as threads:
        digests = threads.map(lambda file: table.location.digest(file.path), new)
        for file, digest in zip(new, digests, strict=True):
            known[file.path] = (file.bytes, digest)
    return {
        "group": group.name,
        "version": group.version,
        "table_version": number,
        "definition": group.to_json(),
        "columns": table.columns,
        "rows": sum(file.rows for file in files),
        "bytes": sum(file.bytes for file in files),
        "statistics": dict(describe(group, sorted({file.partition for file in files}))),
        "files": [
            {
                "path": file.path,
                "partition": file.partition,
                "rows": file.rows,
                "bytes": file.bytes,
                "sha256": known[file.path][1],
            }
            for file in files
        ],
    }


def digests(group: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """Return bytes and digest of each file that a manifest names for a group, by path."""
    return {each["path"]: (each["bytes"], each["sha256"]) for each in group["files"] or ()}


def problems(group: Mapping[str, Any], table: OfflineTable) -> list[str]:
    """Return which files of a group are gone from its table, or changed."""
    named = group["files"]
    if named is None:  # pinned before manifests were kept: only what is gone shows
        try:
            table.files(version=group["table_version"])
        except VersionExpired as error:
            return [str(error)]
        return []
    with ThreadPoolExecutor(_THREADS) as threads:
        found = threads.map(lambda each: _problem(table.location, each), named)
        return [problem for problem in found if problem]


def _problem(location: Location, named: Mapping[str, Any]) -> str:
    size = location.size(named["path"])
    if size is None:
        return f"{named['path']} is gone"
    if size != named["bytes"] or location.digest(named["path"]) != named["sha256"]:
        return f"{named['path']} has changed"
    return ""
