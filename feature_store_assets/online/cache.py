"""Rows read of late, kept in memory for a while."""

import time
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import NamedTuple, Protocol

from cachetools import LRUCache

from feature_store_assets.errors import OnlineStoreUnavailable

# Seconds after a failure in which old rows are given without asking the store first.
_BREATH = 0.5
_NEVER = (float("-inf"), None)


class Rows(Protocol):
    """What a read needs: an online store, or a cache before one."""

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The stored values in the order of the keys, None where there is none."""
        ...

    async def aget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The same without blocking the event loop."""
        ...


class Stale(list[bytes | None]):
    """Values of which some were kept for longer than they should: the store does not answer."""


class RowCache:
    """A cache of single rows in front of a store; safe for threads.

    Parameters
    ----------
    store
        What is asked for rows that are not kept.
    ttl
        Seconds that a row is kept, also the news that there is none.
    rows
        How many at most; those longest not asked for go first.
    stale
        Seconds after `ttl` that a row may still be given while the store does not answer.
    clock
        Gives the time, in seconds.

    Attributes
    ----------
    hits, misses
        How many rows were found here, and how many had to be asked for.
    """

    def __init__(
        self,
        store: Rows,
        *,
        ttl: float,
        rows: int,
        stale: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ttl = ttl
        self._longest = ttl + stale
        self._down_until = 0.0
        # Times of our own: cachetools' TTLCache takes twice as long, and cannot give old rows.
        self._kept: LRUCache[bytes, tuple[float, bytes | None]] = LRUCache(rows)
        self._lock = Lock()
        self._forgotten = 0
        self.hits = self.misses = 0

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values in the order of the keys; `Stale` if the store did not answer."""
        look = self._look(keys)
        if look.lacking:
            try:
                values = self._store.get([keys[at] for at in look.lacking])
            except OnlineStoreUnavailable as error:
                return self._old(keys, look, error)
            self._keep(keys, look, values)
        return look.found

    async def aget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The same without blocking the event loop."""
        look = self._look(keys)
        if look.lacking:
            try:
                values = await self._store.aget([keys[at] for at in look.lacking])
            except OnlineStoreUnavailable as error:
                return self._old(keys, look, error)
            self._keep(keys, look, values)
        return look.found

    def forget(self, keys: Iterable[bytes]) -> None:
        """Ask the store for these again: they were written."""
        with self._lock:
            self._forgotten += 1
            for key in keys:
                self._kept.pop(key, None)

    def rest(self) -> None:
        """Give old rows for a moment without asking the store: it does not answer."""
        self._down_until = self._clock() + _BREATH

    def _look(self, keys: Sequence[bytes]) -> "_Look":
        """The values that are here and young enough, and the places of those that are not."""
        found: list[bytes | None] = []
        lacking: list[int] = []
        now, kept = self._clock(), self._kept
        youngest = now - (self._longest if now < self._down_until else self._ttl)
        oldest = now
        with self._lock:
            for at, key in enumerate(keys):
                try:
                    read_at, value = kept[key]
                except KeyError:
                    read_at, value = _NEVER
                if read_at < youngest:
                    lacking.append(at)
                    found.append(None)
                else:
                    found.append(value)
                    oldest = min(oldest, read_at)
            self.misses += len(lacking)
            self.hits += len(keys) - len(lacking)
            stale = oldest < now - self._ttl
            return _Look(Stale(found) if stale else found, lacking, self._forgotten)

    def _keep(self, keys: Sequence[bytes], look: "_Look", values: Sequence[bytes | None]) -> None:
        now = self._clock()
        with self._lock:
            # What was read before a write must not be kept after it.
            keep = look.forgotten == self._forgotten
            for at, value in zip(look.lacking, values, strict=True):
                look.found[at] = value
                if keep:
                    self._kept[keys[at]] = (now, value)

    def _old(
        self, keys: Sequence[bytes], look: "_Look", error: OnlineStoreUnavailable
    ) -> list[bytes | None]:
        """The rows that are here, however old; the store's error if one is not."""
        self.rest()
        oldest = self._clock() - self._longest
        with self._lock:
            for at in look.lacking:
                read_at, value = self._kept.get(keys[at], _NEVER)
                if read_at < oldest:
                    raise error
                look.found[at] = value
        return Stale(look.found)


class _Look(NamedTuple):
    """What a cache has of some keys; `forgotten` tells whether it changed meanwhile."""

    found: list[bytes | None]
    lacking: list[int]
    forgotten: int
