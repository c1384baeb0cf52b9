"""The online store: the newest row per entity, read in microseconds.

`open_store` gives one by URI. What a row is made of is in `row`, how raw values become answers in
`read`, how an offline table gets here in `publish`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from feature_store_assets.errors import ConfigError
from feature_store_assets.online.lmdb import LmdbStore
from feature_store_assets.online.redis import RedisStore
from feature_store_assets.online.redis_client import Patience, masked

__all__ = ["OnlineStore", "Patience", "open_store"]

_REDIS = ("redis://", "rediss://", "unix://", "redis+sentinel://", "redis+cluster://")


class OnlineStore(Protocol):
    """What a backend offers: keys and values are those of `feature_store_assets.online.row`.

    Every method may be called by several threads and processes at once. What a method wrote is
    kept when it returns.

    Reading by `get` and `aget` gives up soon. The other methods wait out a server that restarts
    or fails over, once it has answered this store object: for 15 seconds and with all that was
    under way sent again. Numbers of rows then leave out what the lost attempt had done.
    """

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The stored values in the order of the keys, None where there is none."""
        ...

    async def aget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The same without blocking the event loop."""
        ...

    def look(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `get`, with a writer's patience."""
        ...

    def put(self, rows: Sequence[tuple[bytes, bytes]]) -> int:
        """Write each row unless the stored one has a triple as great; how many were written.

        A tombstone is overwritten unless its commit number is greater than the row's.
        """
        ...

    def replace(self, rows: Sequence[tuple[bytes, bytes, bytes]]) -> int:
        """Write `new` of each (key, old, new) where `old` still stands; how many were written.

        `old` stands if the stored value has its event and created time, and no commit number
        greater than that of `new`. Either may be a tombstone.
        """
        ...

    def remove(self, keys: Sequence[bytes]) -> int:
        """Remove rows and tombstones; how many there were."""
        ...

    def expire(self, prefix: bytes, oldest: bytes) -> int:
        """Remove the rows under a prefix whose event time is before `oldest`; how many.

        `oldest` is an event time as the first eight bytes of a value have it. Each row is looked
        at and removed in one, so that none put meanwhile is lost. Tombstones stay.
        """
        ...

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        """The keys that begin with a prefix, in chunks; a key may come twice."""
        ...

    def marks(self, name: bytes) -> dict[str, float]:
        """The fields of a small hash that stands beside the rows, for `publish`."""
        ...

    def mark(self, name: bytes, fields: Mapping[str, float]) -> None:
        """Set fields of that hash, all at once."""
        ...

    def unmark(self, name: bytes, fields: Iterable[str]) -> None:
        """Remove fields of that hash, all at once."""
        ...

    def delete(self, prefix: bytes) -> int:
        """Remove every row whose key begins with a prefix, then the marks of that name."""
        ...

    def size(self) -> int | None:
        """Bytes that the store takes, with whatever else its server holds; None if it hides it."""
        ...

    def close(self) -> None:
        """Let go of files and connections; the store is not used again."""
        ...

    async def aclose(self) -> None:
        """The same, with what belongs to the running event loop."""
        ...


def open_store(
    uri: str, patience: Patience | None = None, write_rate: int | None = None
) -> OnlineStore:
    """The online store at a URI.

    Parameters
    ----------
    uri
        ``lmdb://<path>``, ``redis://``, ``rediss://``, ``unix://``,
        ``redis+sentinel://host:port,host:port/service/db`` or ``redis+cluster://host:port``.
    patience
        How long a Redis is waited for when it is read.
    write_rate
        How many rows a second are written to a Redis at most; None: as fast as it goes.

    Raises
    ------
    ConfigError
        The URI is of another kind.
    StorageUnusable
        The LMDB directory is not writable, or not on a local disk.
    OnlineStoreUnavailable
        By the first use of a Redis that does not answer, never here.
    """
    if uri.startswith("lmdb://") and uri != "lmdb://":
        return LmdbStore(uri.removeprefix("lmdb://"))
    if uri.startswith(_REDIS):
        return RedisStore(uri, patience, write_rate)
    raise ConfigError(
        f"No online store is known for '{masked(uri)}'. Use lmdb://<path>, redis://, rediss://, "
        f"unix://, redis+sentinel://host:port,host:port/service/db or redis+cluster://host:port."
    )
