"""Names and JSON that came from elsewhere: manifests, dumps, exported states.

Whoever made them may have meant harm, or a disk may have garbled them. All of it is checked here,
by one reader, before anything is done with it.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from feature_store_assets.errors import FeatureStoreError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# What is read at once: a manifest of a million files, or one row of a registry.
LARGEST = 256 << 20
# Nothing that we write is nested nearly as deep.
_DEEPEST = 100
_SHOWN = 80
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What reading somebody else's definitions and rows can raise.
UNSOUND = (FeatureStoreError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


def read_json(text: bytes | str) -> Any:
    """Return what JSON says, if it says one thing only.

    Raises
    ------
    ValueError
        It is no JSON, or names a key twice, holds no finite number or half a character, or is
        nested or grown beyond all that is ever written.
    """
    check_size(len(text))
    try:
        plain = text.decode() if isinstance(text, bytes) else text
        found = json.loads(plain, object_pairs_hook=_unique, parse_constant=_number)
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    _check(found, texts="\\ud" in plain.lower())
    return found


def read_file(path: Path) -> Any:
    """Return what a file of JSON says, as `read_json` does."""
    check_size(path.stat().st_size)
    return read_json(path.read_bytes())


def check_size(size: int) -> None:
    """Refuse to read at once what is grown beyond all that is ever written."""
    if size > LARGEST:
        raise ValueError(f"it has more than {LARGEST >> 20} MiB")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has two values of {shown(twice)}")
    return found


def _number(name: str) -> float:
    raise ValueError(f"it holds the number {name}")


def _check(found: Any, *, texts: bool) -> None:
    """Refuse depth, infinite numbers and, where escapes may have made some, half characters."""
    level = [found]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
                if texts:
                    inner += each
            elif isinstance(each, list):
                inner += each
            elif isinstance(each, float) and not math.isfinite(each):
                _number("Infinity")
            elif texts and isinstance(each, str):
                each.encode()
        if not inner:
            return
        level = inner
    raise ValueError("it is nested too deep")


def shown(name: object) -> str:
    """Return a name as a message may show it: in quotes, short, without control characters."""
    text = str(name)
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def check_path(path: str, within: str) -> str:
    """Return the path of a file below a folder, with slashes; ValueError for any other.

    Parameters
    ----------
    within
        What the folder is, for the message: `"the data root"`.
    """
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "\\" in path or _DRIVE.match(path):
        raise ValueError(f"{shown(path)} lies outside {within}")
    if _CONTROL.search(path) or "" in parts or "." in parts:
        raise ValueError(f"{shown(path)} is no path of a file in {within}")
    path.encode()
    return path


def check_name(name: str, within: str) -> str:
    """Return what names a folder or a file directly in a folder; ValueError for any other."""
    if "/" in check_path(name, within):
        raise ValueError(f"{shown(name)} lies outside {within}")
    return name


def check_paths(paths: Iterable[str], within: str) -> None:
    """Refuse paths that cannot all be files below a folder: outside, twice, one in the other."""
    known = set[str]()
    for path in paths:
        if check_path(path, within) in known:
            raise ValueError(f"{shown(path)} is named twice")
        known.add(path)
    for path in known:
        above = path
        while above := above.rpartition("/")[0]:
            if above in known:
                raise ValueError(f"{shown(above)} is named as a file and as a folder")


def check_file(size: int, sha256: str, called: str) -> None:
    """Refuse what cannot be the bytes and the SHA-256 of a file."""
    if not 0 <= size < 2**63:
        raise ValueError(f"{shown(called)} cannot have {shown(size)} bytes")
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"{shown(called)} has {shown(sha256)} for a SHA-256")
