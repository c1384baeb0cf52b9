"""Sealed JSON: files that carry the SHA-256 of their own content.

A seal finds out what was edited or garbled by accident; it is no signature.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from feature_store_assets.declaration.canonical import canonical
from feature_store_assets.errors import WriteRefused
from feature_store_assets.storage.untrusted import LARGEST, check_size, read_json, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_store_assets.storage import Location


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON content with the `digest` of all the rest of it."""
    rest = {name: value for name, value in content.items() if name != "digest"}
    return {**rest, "digest": hashlib.sha256(canonical(rest).encode()).hexdigest()}


def write_sealed(location: Location, path: str, content: Mapping[str, Any]) -> None:
    """Seal JSON content and write it; it is on the disk on return.

    Raises
    ------
    WriteRefused
        It is too large to be read again.
    """
    text = json.dumps(seal(content), indent=1, ensure_ascii=False).encode()
    if len(text) > LARGEST:
        raise WriteRefused(
            f"'{path}' would have more than {LARGEST >> 20} MiB, which nobody could read again: "
            f"compact the tables, or let retention remove what is old."
        )
    location.write(path, text)
    location.sync()


def read_sealed(
    location: Location,
    path: str,
    format: str,  # noqa: A002 - as the files call it
    version: int,
) -> dict[str, Any]:
    """Return what `write_sealed` wrote.

    Parameters
    ----------
    format, version
        What the content must say of itself; it may be of a lower version.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is none of that format, of a version that this code does not know, or was changed.
    """
    check_size(location.size(path) or 0)
    return opened(read_json(location.read(path)), format, version)


def opened(content: Any, format: str, version: int) -> dict[str, Any]:  # noqa: A002 - as above
    """Return JSON content whose seal is whole; see `read_sealed`."""
    if not isinstance(content, dict) or content.get("format") != format:
        raise ValueError(f"its format is not '{format}'")
    found = content.get("version")
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= version:
        told = found if isinstance(found, int) else shown(found)
        raise ValueError(
            f"its version {told} is not {version}, which this code reads: upgrade "
            f"feature_store_assets here"
        )
    if seal(content)["digest"] != content.get("digest"):
        raise ValueError("it was changed")
    return content
