"""Load that checks itself: every value written is its revision's number, every answer is looked at.

A row of several revisions is torn; one of an older revision than the same reader saw before went
back in time.
"""

import asyncio
import operator
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from tenacity import AsyncRetrying, retry_if_result, stop_after_delay, wait_fixed

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.server.apps import FEAST, ONLINE
from feature_store_assets_tests.stores import pushed

READERS = 8
ENTITIES = [f"u{number}" for number in range(100)]
NOBODY = "nobody"
USER = Entity("user", {"user": "string"})
USERS = pushed(
    "users",
    Feature("count", "int64"),
    Feature("share", "float64"),
    Feature("name", "string"),
    entity=USER,
)
PLACES = pushed("places", Feature("visits", "int64"), Feature("rank", "float64"), entity=USER)
NAMES = USERS.feature_names
SELECTED = [USERS["count", "share", "name"], PLACES["visits", "rank"]]
BOTH = FeatureView("both", SELECTED)
JOINED = FeatureView("joined", SELECTED, precompute=True)
OF_USERS, OF_BOTH = (slice(3),), (slice(3), slice(3, 5))


class Kind(NamedTuple):
    """A kind of request, and which values of an answer's row are one group's."""

    name: str
    path: str
    asked: Mapping[str, Any]
    groups: tuple[slice, ...]

    def body(self, entities: Sequence[str]) -> dict[str, Any]:
        column = {"user": entities} if self.path == FEAST else entities
        return {**self.asked, "entities": column}

    def rows(self, told: Any) -> list[tuple[str, Sequence[Any]]]:
        """The status and the values of each entity."""
        if self.path == ONLINE:
            return list(zip(told["statuses"], told["values"], strict=True))
        _, *columns = told["results"]
        statuses = zip(*(each["statuses"] for each in columns), strict=True)
        values = zip(*(each["values"] for each in columns), strict=True)
        spoken = {"PRESENT": "present", "NOT_FOUND": "missing"}
        return [
            ("/".join(sorted({spoken.get(each, each) for each in of_row})), row)
            for of_row, row in zip(statuses, values, strict=True)
        ]


KINDS = (
    Kind("group", ONLINE, {"group": "users"}, OF_USERS),
    Kind("view", ONLINE, {"view": "both"}, OF_BOTH),
    Kind("joined view", ONLINE, {"view": "joined"}, OF_BOTH),
    Kind("Feast's", FEAST, {"features": [f"users:{each}" for each in NAMES]}, OF_USERS),
    Kind("Feast's service", FEAST, {"feature_service": "joined"}, OF_BOTH),
)


def write(store: FeatureStore, revision: int) -> None:
    """Write and publish a revision of all rows; every other one corrects the one before."""
    when = datetime(2000, 1, 1, tzinfo=UTC) + revision // 2 * timedelta(days=1)
    for group in (USERS, PLACES):
        made = {"int64": int, "float64": float, "string": str}
        features = {each.name: made[each.dtype](revision) for each in group.features}
        rows = [{"user": each, "event_timestamp": when, **features} for each in ENTITIES]
        store.write_features(rows, group.name, mode="upsert")


def backfill(root: Path, uri: str, seconds: float) -> dict[int, float]:
    """Write revisions from the second on, for so long; return when each stood online."""
    published: dict[int, float] = {}
    with FeatureStore(FeatureStoreConfig(storage_path=root, online_store_uri=uri)) as store:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            revision = len(published) + 2
            write(store, revision)
            published[revision] = time.monotonic()
    return published


class Answer(NamedTuple):
    """What a request was answered; `revision` is the oldest in it, 0 where it was `refused`."""

    kind: Kind
    sent: float
    seconds: float
    status: int
    revision: int
    stale: bool
    refused: str


class Reader:
    """One connection that asks one thing after the other.

    Parameters
    ----------
    seed
        Of the choice of what is asked.
    cached
        Whether rows come from a cache, where of two reads at once the later may be kept.
    """

    def __init__(self, url: str, seed: int, *, cached: bool) -> None:
        self._url = url
        self._random = random.Random(seed)
        self._cached = cached
        self._newest: Counter[tuple[str, str, int]] = Counter()
        self.answers: list[Answer] = []
        self.lost = 0

    async def read(self, ended: asyncio.Event) -> None:
        """Ask for everything once, then for this and that."""
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(
            base_url=self._url, limits=limits, verify=False, timeout=30
        ) as client:
            for kind in KINDS:
                await self._ask(client, kind, [*ENTITIES, NOBODY])
            while not ended.is_set():
                choose = self._random
                entities = choose.sample(ENTITIES, choose.choice([1, 1, 10, 50]))
                if choose.random() < 0.3:
                    entities.insert(choose.randrange(len(entities) + 1), NOBODY)
                await self._ask(client, choose.choice(KINDS), entities)

    async def _ask(self, client: httpx.AsyncClient, kind: Kind, entities: Sequence[str]) -> None:
        sent = time.monotonic()
        try:
            answer = await client.post(kind.path, json=kind.body(entities))
        except httpx.TransportError:
            self.lost += 1
            return
        seconds = time.monotonic() - sent
        told = answer.json()
        revision, stale, refused = 0, False, ""
        if answer.status_code == 200:
            revision, stale = self._checked(kind, entities, told), told.get("stale", False)
        else:
            assert answer.status_code == 503, answer.text
            refused = answer.text
            assert "does not answer" in refused
        self.answers.append(
            Answer(kind, sent, seconds, answer.status_code, revision, stale, refused)
        )

    def _checked(self, kind: Kind, entities: Sequence[str], told: Any) -> int:
        """The oldest revision in an answer in which nothing is wrong."""
        found = set()
        for entity, (status, row) in zip(entities, kind.rows(told), strict=True):
            if entity == NOBODY:
                assert status == "missing"
                assert not any(row)
                continue
            assert status == "present", (entity, status, row)
            for group in kind.groups:
                revisions = {int(value) for value in row[group]}
                assert len(revisions) == 1, f"torn: {entity} {row}"
                [revision] = revisions
                place = (kind.name, entity, group.stop)
                assert self._cached or revision >= self._newest[place], f"back in time: {place}"
                self._newest[place] = revision
                found.add(revision)
        return min(found)

    def well(self) -> bool:
        """Whether it was answered often of late, freshly each time."""
        last = self.answers[-20:]
        return len(last) == 20 and all(each.status == 200 and not each.stale for each in last)


def under_load(
    url: str, incident: Callable[[list[Reader]], Awaitable[None]], *, cached: bool = False
) -> list[Reader]:
    """Read until an incident has passed, and the readers are well again."""

    async def main() -> list[Reader]:
        readers = [Reader(url, seed, cached=cached) for seed in range(READERS)]
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for reader in readers:
                tasks.create_task(reader.read(ended))
            await until(lambda: all(reader.well() for reader in readers))
            await incident(readers)
            before = [len(reader.answers) for reader in readers]
            await until(
                lambda: all(
                    reader.well() and len(reader.answers) >= count + 20
                    for reader, count in zip(readers, before, strict=True)
                )
            )
            ended.set()
        return readers

    return asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    """Return when a condition holds; a busy machine has its time."""
    waiting = AsyncRetrying(
        stop=stop_after_delay(200), wait=wait_fixed(0.02), retry=retry_if_result(operator.not_)
    )

    async def ask() -> bool:
        return condition()

    await waiting(ask)


def answers(readers: Sequence[Reader]) -> list[Answer]:
    """What all were answered."""
    return [answer for reader in readers for answer in reader.answers]


def percentiles(of: Sequence[Answer]) -> tuple[float, float, float]:
    """Half, 95 and 99 of a hundred answers came within so many seconds; printed."""
    p50, p95, p99 = np.percentile([each.seconds for each in of], [50, 95, 99])
    print(
        f"{len(of)} answers, {Counter(each.status for each in of)}: "
        f"p50 {p50 * 1e3:.1f}, p95 {p95 * 1e3:.1f}, p99 {p99 * 1e3:.1f} ms"
    )
    return p50, p95, p99
