"""Joined rows: what the groups of a view hold of one entity, under one key.

A joined row is made of the groups' own rows and never stands for them: whoever changes one of
those joins it again afterwards, and a reader who finds none asks for the groups' rows. It is
written by compare-and-swap against the one that stood there before the groups' rows were read, so
of several at once the last to succeed has seen the changes of all. A value is a head as other rows
have, with a digest in place of the times, then each group's value after its length.
"""

import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from feature_store_assets.errors import WriteConflict
from feature_store_assets.online import OnlineStore
from feature_store_assets.online.row import HEAD, KeySpace, sortable, tombstone

_CHUNK = 1_000
_ROUNDS = 50
_NONE = 0xFFFFFFFF
_SAME = sortable(0) + b"\0\0"  # commit number and field count: nothing is older or newer here
_length = struct.Struct(">I")
_nothing = tombstone(0)


def joined_space(view: str, spaces: Sequence[KeySpace]) -> KeySpace:
    """Where the joined rows of a view stand, as long as its groups' rows stand in `spaces`."""
    digest = blake2b(b"\0".join(space.prefix for space in spaces), digest_size=6)
    # No group has version 0, and no group is named as a view is.
    return KeySpace(view, 0, int.from_bytes(digest.digest(), "big"))


def join(values: Sequence[bytes | None]) -> bytes:
    """One value for those of several groups.

    Examples
    --------
    >>> split(join([b"a row", None]), 2)
    [b'a row', None]
    """
    parts = [
        _length.pack(_NONE) if value is None else _length.pack(len(value)) + value
        for value in values
    ]
    content = b"".join(parts)
    return blake2b(content, digest_size=16).digest() + _SAME + content


def split(value: bytes, count: int) -> list[bytes | None]:
    """The values of the groups again."""
    found: list[bytes | None] = []
    at = HEAD
    for _ in range(count):
        [length] = _length.unpack_from(value, at)
        at += 4
        if length == _NONE:
            found.append(None)
        else:
            found.append(value[at : at + length])
            at += length
    return found


def entity_part(key: bytes) -> bytes:
    """The part of a row's key that names the entity; the same in every group."""
    return key[key.index(b"{") :]


def generation_of(key: bytes) -> int:
    """The generation that a row's key is of."""
    return int(key[: key.index(b"{")].split(b":")[-2])


def refresh(
    store: OnlineStore, view: str, spaces: Sequence[KeySpace], entities: Iterable[bytes]
) -> None:
    """Join the rows of entities again, after one of them changed.

    Parameters
    ----------
    spaces
        Where the rows of the view's groups stand, in its order.
    entities
        The entities, as `entity_part` gives them.

    Raises
    ------
    WriteConflict
        Others changed the same rows faster.
    """
    home = joined_space(view, spaces)
    every = list(dict.fromkeys(entities))
    for first in range(0, len(every), _CHUNK):
        chunk = every[first : first + _CHUNK]
        for _ in range(_ROUNDS):
            if _refreshed(store, home, spaces, chunk):
                break
        else:
            raise WriteConflict(view, _ROUNDS)


def _refreshed(
    store: OnlineStore, home: KeySpace, spaces: Sequence[KeySpace], entities: Sequence[bytes]
) -> bool:
    """Whether the joined rows are those of now; False where another was faster."""
    names = [home.prefix + entity for entity in entities]
    stored = store.look(names)
    if new := [(name, _nothing) for name, old in zip(names, stored, strict=True) if old is None]:
        store.put(new)
    count = len(entities)
    rows = store.look([space.prefix + entity for space in spaces for entity in entities])
    swaps = []
    for at, (name, old) in enumerate(zip(names, stored, strict=True)):
        whole = join(rows[at::count])
        if old != whole:
            swaps.append((name, old or _nothing, whole))
    return not swaps or store.replace(swaps) == len(swaps)
