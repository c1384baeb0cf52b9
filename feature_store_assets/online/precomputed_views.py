"""Joined rows: what the groups of a view hold of one entity, under one key.

A joined row is made of the groups' own rows and never stands for them: whoever changes one of
those joins it again afterwards, and a reader who finds none asks for the groups' rows. It is
written by compare-and-swap against the one that stood there before the groups' rows were read, so
of several at once the last to succeed has seen the changes of all. A value is a head as other rows
have, with a digest in place of the times; eight bytes of event time per group; a msgpack array of
the groups' arrays, nil for a group without a row.
"""

import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from feature_store_assets.errors import WriteConflict
from feature_store_assets.online import OnlineStore
from feature_store_assets.online.decode import Reader, Told
from feature_store_assets.online.row import HEAD, SIGN, KeySpace, sortable, tombstone

_CHUNK = 1_000
_ROUNDS = 50
_NIL = b"\xc0"
_NEVER = bytes(8)
_SAME = sortable(0) + b"\0\0"  # commit number and field count: nothing is older or newer here
_nothing = tombstone(0)
_unpack = msgspec.msgpack.Decoder(list).decode


def joined_space(view: str, spaces: Sequence[KeySpace]) -> KeySpace:
    """Where the joined rows of a view stand, as long as its groups' rows stand in `spaces`."""
    digest = blake2b(b"\0".join(space.prefix for space in spaces), digest_size=6)
    # No group has version 0, and no group is named as a view is.
    return KeySpace(view, 0, int.from_bytes(digest.digest(), "big"))


def join(values: Sequence[bytes | None]) -> bytes:
    """One value for those of several groups."""
    rows = [None if value is None or len(value) <= HEAD else value for value in values]
    times = b"".join(_NEVER if row is None else row[:8] for row in rows)
    arrays = b"".join(_NIL if row is None else row[HEAD:] for row in rows)
    content = times + b"\xdc" + len(rows).to_bytes(2, "big") + arrays
    return blake2b(content, digest_size=16).digest() + _SAME + content


class JoinedReader:
    """Reads the wanted features of several groups out of joined values.

    Parameters
    ----------
    readers
        The groups' own, in the order of the view.
    """

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._readers = readers
        self._times = struct.Struct(f">{len(readers)}Q").unpack_from
        self._start = HEAD + 8 * len(readers)

    def told(
        self, values: Sequence[bytes | None], moment: int
    ) -> tuple[list[list[Any] | None], list[Told]]:
        """Whole rows, None where there is no joined one; and what each group told, without rows."""
        groups = [Told([], [], []) for _ in self._readers]
        parts = [
            (reader.pick, len(reader.names), reader.oldest(moment), told.statuses, told.times)
            for reader, told in zip(self._readers, groups, strict=True)
        ]
        rows: list[list[Any] | None] = []
        times, start, unpack = self._times, self._start, _unpack
        for value in values:
            if value is None or len(value) <= HEAD:
                rows.append(None)
                for _, _, _, statuses, known in parts:
                    statuses.append("missing")
                    known.append(None)
                continue
            row: list[Any] = []
            for (pick, width, oldest, statuses, known), time, array in zip(
                parts, times(value, HEAD), unpack(value[start:]), strict=True
            ):
                if array is None:
                    row += [None] * width
                    statuses.append("missing")
                    known.append(None)
                    continue
                known.append(time - SIGN)
                if time < oldest:
                    row += [None] * width
                    statuses.append("expired")
                else:
                    row += pick(array)
                    statuses.append("present")
            rows.append(row)
        return rows, groups


def entity_part(key: bytes) -> bytes:
    """The part of a row's key that names the entity; the same in every group."""
    return key[key.index(b"{") :]


def generation_of(key: bytes) -> int:
    """The generation that a row's key is of."""
    return int(key[: key.index(b"{")].split(b":")[-2])


def refresh(
    store: OnlineStore, view: str, spaces: Sequence[KeySpace], entities: Iterable[bytes]
) -> list[bytes]:
    """Join the rows of entities again, after one of them changed; return the joined rows' keys.

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
    return [home.prefix + entity for entity in every]


def sweep(store: OnlineStore, view: str, spaces: Sequence[KeySpace]) -> int:
    """Remove joined rows of a view that are made of rows elsewhere; return how many.

    Who still looks for them there asks for the groups' rows.
    """
    home = joined_space(view, spaces)
    every = home.prefix[: home.prefix.rindex(b":", 0, -1) + 1]
    others = {
        key[: key.index(b"{")] for keys in store.scan(every) for key in keys if b"{" in key
    } - {home.prefix}
    return sum(store.delete(prefix) for prefix in others)


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
