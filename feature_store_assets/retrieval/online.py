"""The online side of a store: what is applied, prepared to be read and published."""

from __future__ import annotations

import asyncio
import time
import warnings
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from feature_store_assets.errors import (
    DataError,
    FeatureDeprecated,
    OnlineStoreUnavailable,
    RegistryUnusable,
)
from feature_store_assets.online import OnlineStore, Patience, open_store
from feature_store_assets.online.backlog import follow
from feature_store_assets.online.cache import RowCache, Rows
from feature_store_assets.online.generations import Rebuilt, current, in_each, rebuild
from feature_store_assets.online.precomputed_views import (
    entity_part,
    generation_of,
    joined_space,
    refresh,
    sweep,
)
from feature_store_assets.online.publish import Published, Wrote
from feature_store_assets.online.query import Part, Query
from feature_store_assets.online.row import SIGN, KeySpace, micros, sortable
from feature_store_assets.progress import progress
from feature_store_assets.registry.lifecycle import Stages, served
from feature_store_assets.registry.usage import Path, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from feature_store_assets.config import FeatureStoreConfig
    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.offline.table import OfflineTable
    from feature_store_assets.registry.declarations import Applied
    from feature_store_assets.registry.selection import Asked

# Seconds that a prepared read is used before the registry is asked again, and seconds that it may
# be used at all: a generation that was replaced stays for longer than that.
_FRESH = 5.0
_LONGEST = 30.0
_MARGIN = 5.0  # seconds that a read may take from its preparation to its answer
_MICRO = timedelta(microseconds=1)
_AGAIN = 0.5  # seconds until a store that did not answer is asked again
_QUERIES = 2_048


class _Prepared(NamedTuple):
    query: Query
    asked: Asked
    consumer: str
    at: float
    due: float


class Serving:
    """Reads and writes of the online store.

    Parameters
    ----------
    config
        Where it is, and how it is waited for.
    applied, stages
        The applied declarations, and how far each is in its life.
    usage
        Counts what is read.
    """

    def __init__(
        self, config: FeatureStoreConfig, applied: Applied, stages: Stages, usage: Usage
    ) -> None:
        self.path: Path = "online"  # how reads are counted; a server calls them its own
        self._config = config
        self._usage = usage
        self._applied = applied
        self._stages = stages
        self._prepared: dict[tuple[Any, ...], _Prepared] = {}
        self._renewing: dict[Any, asyncio.Task[Query]] = {}

    @cached_property
    def store(self) -> OnlineStore:
        """The online store, opened on first use."""
        config = self._config
        patience = Patience(config.online_timeout_seconds, config.online_retries)
        return open_store(config.online, patience, config.online_write_rate)

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
        current(self.store.get, self._applied.groups()[:1])

    def close(self) -> None:
        self.count()
        if "store" in self.__dict__:
            self.store.close()
            self._forget_store()

    def count(self) -> None:
        """Hand over how often features were read since."""
        for each in list(self._prepared.values()):
            self._counted(each)

    def _counted(self, prepared: _Prepared) -> None:
        query = prepared.query
        asks, query.asks = query.asks, 0
        entities, query.entities = query.entities, 0
        named = [(part.space.group, list(part.features)) for part in query.parts]
        self._usage.add(named, self.path, asks, entities, prepared.consumer)

    async def aclose(self) -> None:
        self.count()
        if "store" in self.__dict__:
            await self.store.aclose()
            self._forget_store()

    def _forget_store(self) -> None:
        for name in ("store", "rows"):
            self.__dict__.pop(name, None)

    # Reading

    def forget(self) -> None:
        """Prepare reads anew: declarations were applied."""
        self.count()
        self._prepared.clear()

    def query(self, what: Any, features: Sequence[str] | None, consumer: str) -> Query:
        """Return the read of these features, prepared of late.

        Parameters
        ----------
        consumer
            Who reads; reads are counted for each.
        """
        key = _key(what, features, consumer)
        found = self._prepared.get(key)
        if found is not None and time.monotonic() < found.due:
            return found.query
        return self._renew(key, what, features, found)

    async def query_async(self, what: Any, features: Sequence[str] | None, consumer: str) -> Query:
        """The same without blocking the event loop: an older one serves while it is renewed."""
        key = _key(what, features, consumer)
        found, now = self._prepared.get(key), time.monotonic()
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

    def _renew(
        self, key: tuple[Any, ...], what: Any, features: Sequence[str] | None, old: _Prepared | None
    ) -> Query:
        now = time.monotonic()
        try:
            asked, notices = self._asked(what, features)
        except RegistryUnusable:  # serving goes on without it
            if old is None:
                raise
            asked, notices = old.asked, old.query.notices
        try:
            query = self._prepare(asked, notices)
            prepared = _Prepared(query, asked, key[-1], now, now + _FRESH)
        except OnlineStoreUnavailable:
            cache = self.rows
            if old is None or not isinstance(cache, RowCache) or now > old.at + self._longest:
                raise
            cache.rest()
            prepared = old._replace(due=now + _AGAIN)
        if len(self._prepared) > _QUERIES:  # somebody asks for ever other features
            self.forget()
        if old is not None:
            self._counted(old)
        self._prepared[key] = prepared
        return prepared.query

    def _asked(self, what: Any, features: Sequence[str] | None) -> tuple[Asked, Sequence[str]]:
        """Return what is served of what was asked for, and what is said of it."""
        asked = self._applied.resolve(what, features)
        by_name = features is not None or isinstance(what, list | tuple)
        names, notices = served(asked, self._stages.all(), by_name=by_name)
        for notice in notices:
            warnings.warn(notice, FeatureDeprecated, stacklevel=6)
        return (
            asked if names == list(asked.shown) else self._applied.resolve(what, names)
        ), notices

    def _prepare(self, asked: Asked, notices: Sequence[str]) -> Query:
        groups = [each.group for each in asked.parts]
        for group in groups:
            if not group.online:
                raise DataError(f"'{group.name}' is not served: declare online=True on it.")
        parts = [
            Part.of(each.group, each.features, generation)
            for each, generation in zip(asked.parts, current(self.store.get, groups), strict=True)
        ]
        for feature in asked.computed:
            feature.load()
        view = asked.view
        joined = None
        if view is not None and view.precompute and 1 < len(parts) == len(view.selections):
            joined = joined_space(view.name, [part.space for part in parts])
        return Query(
            asked.owner,
            parts,
            computed=asked.computed,
            request=asked.request,
            shown=asked.shown,
            defaults=asked.defaults,
            joined=joined,
            notices=notices,
        )

    # Writing

    def reach(self, group: FeatureGroup) -> None:
        """Refuse where rows could not be published."""
        [generation] = current(self.store.look, [group])
        self.store.marks(KeySpace.of(group, generation).prefix)

    def publish(
        self,
        group: FeatureGroup,
        table: OfflineTable,
        partitions: Sequence[str],
        *,
        now: datetime | None = None,
        told: Callable[[int], None] = lambda _: None,
    ) -> Published:
        """Make the online rows of a group follow partitions of its table.

        What else was committed and is not online yet is published, too. While the group is
        rebuilt, also the rows that will be read then; the answer counts the others. `told` hears
        of every 20,000 rows.
        """
        with self._writing(group, table, partitions, told) as wrote:
            return in_each(
                self.store,
                group,
                lambda space: follow(table, self.store, space, partitions, now=now, wrote=wrote),
            )

    def rebuild(
        self,
        group: FeatureGroup,
        table: OfflineTable,
        *,
        now: datetime | None = None,
        wait: Callable[[float], object] = time.sleep,
    ) -> Rebuilt:
        """Write all online rows of a group anew beside the old ones, then switch to them.

        The old ones go once no reader can use them any more, which `wait` waits for.
        """
        with self._writing(group, table, None) as wrote:
            done = rebuild(
                table,
                self.store,
                group,
                grace=self._longest + _MARGIN,
                now=now,
                wrote=wrote,
                wait=wait,
            )
        for view, spaces in self._precomputed(group):
            sweep(self.store, view.name, spaces)
        return done

    @contextmanager
    def _writing(
        self,
        group: FeatureGroup,
        table: OfflineTable,
        partitions: Sequence[str] | None,
        told: Callable[[int], None] = lambda _: None,
    ) -> Iterator[Wrote]:
        """What has to hear of rows that are put: what is made of them, and who is watching."""

        def total() -> int:
            return sum(file.rows for file in table.files(partitions=partitions))

        with progress(f"Publishing {group.name}", total) as advance:

            def wrote(keys: Sequence[bytes]) -> None:
                self._follow(group, keys)
                advance(len(keys))
                told(len(keys))

            yield wrote

    def _follow(self, group: FeatureGroup, keys: Sequence[bytes]) -> None:
        """Bring what is made of rows up to date, after those of a group were written."""
        changed = list(keys)
        if keys:
            # Perhaps in a generation that nobody reads yet, or any more.
            space = KeySpace.of(group, generation_of(keys[0]))
            # Looked up after the write: a view that is applied later finds the rows themselves.
            for view, spaces in self._precomputed(group, space):
                changed += refresh(self.store, view.name, spaces, map(entity_part, keys))
        if isinstance(self.rows, RowCache):
            self.rows.forget(changed)

    def _precomputed(
        self, group: FeatureGroup, space: KeySpace | None = None
    ) -> Iterator[tuple[FeatureView, list[KeySpace]]]:
        """The precomputed views over a group, and where their groups' rows stand."""
        this = (group.name, group.version)
        for view in self._applied.views():
            versions = [(each.group, each.version) for each in view.selections]
            if view.precompute and this in versions:
                groups = [self._applied.group(*each) for each in versions]
                numbers = current(self.store.look, groups)
                spaces = list(map(KeySpace.of, groups, numbers))
                if space is not None:
                    spaces[versions.index(this)] = space
                yield view, spaces

    def remove(self, group: FeatureGroup, entity_ids: Sequence[Any]) -> int:
        """Remove the online rows of entities; return how many there were."""

        def remove(space: KeySpace) -> int:
            part = Part.of(group, {}, space.generation)
            keys = Query(group.name, [part]).keys(entity_ids)
            removed = self.store.remove(keys)
            self._follow(group, keys)
            return removed

        return in_each(self.store, group, remove)

    def expire(
        self, group: FeatureGroup, now: datetime, grace: timedelta = timedelta(days=1)
    ) -> int:
        """Remove online rows older than the group's ttl and a grace; return how many.

        Without a ttl rows are served at any age, and none is removed.
        """
        if group.ttl is None:
            return 0
        # In whole numbers, for the instant may lie before all that Python has.
        oldest = sortable(max(micros(now) - group.ttl // _MICRO - grace // _MICRO, -SIGN))
        return in_each(self.store, group, lambda space: self.store.expire(space.prefix, oldest))


def _key(what: Any, features: Sequence[str] | None, consumer: str) -> tuple[Any, ...]:
    return (
        tuple(what) if isinstance(what, list) else what,
        None if features is None else tuple(features),
        consumer,
    )
