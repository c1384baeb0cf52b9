"""The online side of a store: what is applied, prepared to be read and published."""

from __future__ import annotations

import asyncio
import time
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from cachetools import LRUCache

from feature_store_assets.errors import DataError, OnlineStoreUnavailable, RegistryUnusable
from feature_store_assets.online import OnlineStore, Patience, open_store
from feature_store_assets.online.cache import RowCache, Rows
from feature_store_assets.online.generations import current
from feature_store_assets.online.publish import Published, publish
from feature_store_assets.online.query import Part, Query
from feature_store_assets.online.row import KeySpace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from feature_store_assets.config import FeatureStoreConfig
    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.offline.delta import OfflineTable
    from feature_store_assets.registry.applied import Applied
    from feature_store_assets.registry.asked import Asked

# Seconds that a prepared read is used before the registry is asked again, and seconds that it may
# be used at all: a generation that was replaced stays for longer than that.
_FRESH = 5.0
_LONGEST = 30.0
_AGAIN = 0.5  # seconds until a store that did not answer is asked again
_QUERIES = 2_048


class _Prepared(NamedTuple):
    query: Query
    asked: Asked
    at: float
    due: float


class Serving:
    """Reads and writes of the online store.

    Parameters
    ----------
    config
        Where it is, and how it is waited for.
    applied
        The applied declarations.
    """

    def __init__(self, config: FeatureStoreConfig, applied: Applied) -> None:
        self._config = config
        self._applied = applied
        self._prepared: LRUCache[Any, _Prepared] = LRUCache(_QUERIES)
        self._lock = Lock()
        self._renewing: dict[Any, asyncio.Task[Query]] = {}

    @cached_property
    def store(self) -> OnlineStore:
        """The online store, opened on first use."""
        config = self._config
        patience = Patience(config.online_timeout_seconds, config.online_retries)
        return open_store(config.online, patience)

    @cached_property
    def rows(self) -> Rows:
        """Where rows are read: the store, behind a cache where one is wanted."""
        config = self._config
        if not config.enable_caching or config.online.startswith("lmdb://"):
            return self.store
        return RowCache(
            self.store,
            ttl=config.cache_ttl_seconds,
            rows=config.cache_rows,
            stale=config.serve_stale_seconds,
        )

    def check(self) -> None:
        """Refuse where features could not be read: the registry or the store does not answer.

        Raises
        ------
        RegistryUnusable, OnlineStoreUnavailable
            Naming what does not.
        """
        current(self.store, self._applied.groups()[:1])

    def close(self) -> None:
        if "store" in self.__dict__:
            self.store.close()
            self._forget_store()

    async def aclose(self) -> None:
        if "store" in self.__dict__:
            await self.store.aclose()
            self._forget_store()

    def _forget_store(self) -> None:
        for name in ("store", "rows"):
            self.__dict__.pop(name, None)

    # Reading

    def forget(self) -> None:
        """Prepare reads anew: declarations were applied."""
        with self._lock:
            self._prepared.clear()

    def query(self, what: Any, features: Sequence[str] | None) -> Query:
        """Return the read of these features, prepared of late."""
        key = _key(what, features)
        found = self._find(key)
        if found is not None and time.monotonic() < found.due:
            return found.query
        return self._renew(key, what, features, found)

    async def query_async(self, what: Any, features: Sequence[str] | None) -> Query:
        """The same without blocking the event loop: an older one serves while it is renewed."""
        key = _key(what, features)
        found, now = self._find(key), time.monotonic()
        if found is not None and now < found.due:
            return found.query
        place = (id(asyncio.get_running_loop()), key)
        task = self._renewing.get(place)
        if task is None:
            renewal = asyncio.to_thread(self._renew, key, what, features, found)
            task = self._renewing[place] = asyncio.create_task(renewal)
            task.add_done_callback(lambda done: self._renewed(place, done))
        if found is not None and now < found.at + self._longest:
            return found.query
        return await asyncio.shield(task)

    def _renewed(self, place: Any, task: asyncio.Task[Query]) -> None:
        self._renewing.pop(place, None)
        if not task.cancelled():
            task.exception()  # told to those who wait for it, if anyone does

    @property
    def _longest(self) -> float:
        return max(_LONGEST, self._config.serve_stale_seconds)

    def _find(self, key: Any) -> _Prepared | None:
        with self._lock:
            found: _Prepared | None = self._prepared.get(key)
        return found

    def _renew(
        self, key: Any, what: Any, features: Sequence[str] | None, old: _Prepared | None
    ) -> Query:
        now = time.monotonic()
        try:
            asked = self._applied.resolve(what, features)
        except RegistryUnusable:  # serving goes on without it
            if old is None:
                raise
            asked = old.asked
        try:
            prepared = _Prepared(self._prepare(asked), asked, now, now + _FRESH)
        except OnlineStoreUnavailable:
            cache = self.rows
            if old is None or not isinstance(cache, RowCache) or now > old.at + self._longest:
                raise
            cache.rest()
            prepared = old._replace(due=now + _AGAIN)
        with self._lock:
            self._prepared[key] = prepared
        return prepared.query

    def _prepare(self, asked: Asked) -> Query:
        groups = [each.group for each in asked.parts]
        for group in groups:
            if not group.online:
                raise DataError(f"'{group.name}' is not served: declare online=True on it.")
        return Query(
            asked.owner,
            [
                Part.of(each.group, each.features, generation)
                for each, generation in zip(asked.parts, current(self.store, groups), strict=True)
            ],
            computed=asked.computed,
            request=asked.request,
            shown=asked.shown,
        )

    # Writing

    def reach(self, group: FeatureGroup) -> None:
        """Refuse where rows could not be published."""
        self.store.marks(self._space(group).prefix)

    def publish(
        self,
        group: FeatureGroup,
        table: OfflineTable,
        partitions: Sequence[str],
        *,
        now: datetime | None = None,
    ) -> Published:
        """Make the online rows of a group follow partitions of its table."""
        cache = self.rows
        wrote = cache.forget if isinstance(cache, RowCache) else None
        space = self._space(group)
        return publish(table, self.store, space, list(partitions), now=now, wrote=wrote)

    def _space(self, group: FeatureGroup) -> KeySpace:
        [generation] = current(self.store, [group])
        return KeySpace.of(group, generation)


def _key(what: Any, features: Sequence[str] | None) -> Any:
    return (tuple(what) if isinstance(what, list) else what, features and tuple(features))
