"""A small versioned table in memory, and publishers that go on one operation at a time."""

import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pyarrow as pa

from feature_store_assets.errors import VersionExpired
from feature_store_assets.online import OnlineStore
from feature_store_assets.online.row import KeySpace, RowCodec, event_micros, instant, micros

START = datetime(2024, 1, 1, tzinfo=UTC)
SPACE = KeySpace("spending", 1, 0)
IDS = range(6)
PARTITIONS = ("p0", "p1", "p2")
INTERLEAVINGS = int(os.environ.get("FSA_INTERLEAVINGS", "5"))
MOMENT = pa.timestamp("us", "UTC")

# (key, event, created) -> feature; times count days.
Rows = dict[tuple[int, int, int], int]
# Told the name of the operation that comes next.
Give = Callable[[str], None]
_Row = TypeVar("_Row")


def day(number: int) -> datetime:
    return START + timedelta(days=number)


NOW = day(8)


class History:
    """Every version of a table; a `Source`."""

    keys = ("id",)
    timestamp = "at"
    created = "created"
    features = (("value", "int64"),)
    slots = ("value",)

    def __init__(self) -> None:
        self.versions: list[dict[str, Rows]] = [{}]
        self.expired: set[int] = set()

    def commit(self, partition: str, rows: Rows) -> int:
        self.versions.append({**self.versions[-1], partition: dict(rows)})
        return len(self.versions) - 1

    def version(self) -> int:
        return len(self.versions) - 1

    def _chosen(
        self, version: int, partitions: Sequence[str] | None
    ) -> Iterator[tuple[int, int, int, int, str]]:
        if version in self.expired or version >= len(self.versions):
            raise VersionExpired("spending", version)
        for partition, rows in self.versions[version].items():
            if partitions is None or partition in partitions:
                for (key, event, created), value in rows.items():
                    yield key, event, created, value, partition

    def newest(
        self,
        *,
        version: int,
        until: datetime,
        partitions: Sequence[str] | None = None,
        keys: pa.Table | None = None,
    ) -> pa.Table:
        among = None if keys is None else set(keys.column("id").to_pylist())
        best: dict[int, tuple[int, int, int, int, str]] = {}
        for row in self._chosen(version, partitions):
            key, event, *_ = row
            if day(event) <= until and (among is None or key in among):
                best[key] = max(best.get(key, row), row, key=lambda found: found[1:3])
        return _table(best.values())

    def rows(self, *, version: int, partitions: Sequence[str]) -> pa.Table:
        return _table(self._chosen(version, partitions)).drop_columns(["value"])

    def changes(self, since: int) -> tuple[int, dict[str, int]]:
        newest = self.version()
        return newest, {
            partition: version
            for version in range(max(since, 0) + 1, newest + 1)
            for partition in self.versions[version]
            if self._at(version, partition) is not self._at(version - 1, partition)
        }

    def _at(self, version: int, partition: str) -> Rows | None:
        return self.versions[version].get(partition)

    def portions(self, partitions: Sequence[str]) -> Iterator[list[str]]:
        return ([each] for each in partitions)

    def partitions(self) -> list[str]:
        return sorted(name for name, rows in self.versions[-1].items() if rows)

    def answer(self, until: datetime) -> dict[int, tuple[datetime, int]]:
        """What a store must hold: the newest row of each key."""
        table = self.newest(version=self.version(), until=until)
        columns = [table.column(name).to_pylist() for name in ("id", "at", "value")]
        return {key: (at, value) for key, at, value in zip(*columns, strict=True)}


def _table(rows: Iterable[tuple[int, int, int, int, str]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * 5
    ids, events, created, values, partitions = columns
    return pa.Table.from_arrays(
        [
            pa.array(ids, pa.int64()),
            pa.array([micros(day(event)) for event in events], pa.int64()).cast(MOMENT),
            pa.array([micros(day(event)) for event in created], pa.int64()).cast(MOMENT),
            pa.array(values, pa.int64()),
            pa.array(partitions, pa.string()),
        ],
        ["id", "at", "created", "value", "partition"],
    )


def changed(rolls: random.Random, history: History, partition: str, keys: int) -> Rows:
    """The partition's rows after a random correction, removal, addition or change of date."""
    versions = history.versions
    taken = {row for name, others in versions[-1].items() if name != partition for row in others}
    if rolls.random() < 0.5:
        # Rows of the past come back, too.
        rows = rolls.choice(versions).get(partition, {})
        return {row: value for row, value in rows.items() if row not in taken}
    rows = dict(versions[-1].get(partition, {}))
    for _ in range(rolls.choice((1, 1, 2, 3))):
        row = (rolls.randrange(keys), rolls.randint(6, 9), 1)
        if row in rows and rolls.random() < 0.6:
            del rows[row]
        elif row not in taken:
            rows[row] = rolls.randrange(1000)
    return rows


def online(
    store: OnlineStore, ids: Iterable[int], space: KeySpace = SPACE
) -> dict[int, tuple[datetime, int]]:
    """What a store holds, tombstones left out."""
    ids, decode = list(ids), RowCodec(History.features).decoder(["value"])
    values = zip(ids, store.get(space.keys(ids)), strict=True)
    return {
        key: (instant(event_micros(value)), decode(value)[0])
        for key, value in values
        if value is not None and len(value) > 26
    }


class Watched:
    """A source and store that call `give` before each look and each write.

    Writes are cut in two, so that a publisher may stop or be killed in the middle of one.
    """

    keys, timestamp, created = History.keys, History.timestamp, History.created
    slots = History.slots

    def __init__(self, history: History, store: OnlineStore, give: Give) -> None:
        self._history, self._store, self._give = history, store, give
        self.seen: list[int] = []

    def version(self) -> int:
        self._give("version")
        self.seen.append(self._history.version())
        return self.seen[-1]

    def newest(
        self,
        *,
        version: int,
        until: datetime,
        partitions: Sequence[str] | None = None,
        keys: pa.Table | None = None,
    ) -> pa.Table:
        return self._history.newest(version=version, until=until, partitions=partitions, keys=keys)

    def rows(self, *, version: int, partitions: Sequence[str]) -> pa.Table:
        return self._history.rows(version=version, partitions=partitions)

    def changes(self, since: int) -> tuple[int, dict[str, int]]:
        self._give("changes")
        return self._history.changes(since)

    def portions(self, partitions: Sequence[str]) -> Iterator[list[str]]:
        return self._history.portions(partitions)

    def partitions(self) -> list[str]:
        self._give("partitions")
        return self._history.partitions()

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self._give("get")
        return self._store.get(keys)

    async def aget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return await self._store.aget(keys)

    def look(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self._give("look")
        return self._store.look(keys)

    def put(self, rows: Sequence[tuple[bytes, bytes]]) -> int:
        half = len(rows) // 2
        return sum(self._given("put", self._store.put, part) for part in (rows[:half], rows[half:]))

    def replace(self, rows: Sequence[tuple[bytes, bytes, bytes]]) -> int:
        half = len(rows) // 2
        return sum(
            self._given("replace", self._store.replace, part) for part in (rows[:half], rows[half:])
        )

    def _given(
        self, name: str, write: Callable[[Sequence[_Row]], int], rows: Sequence[_Row]
    ) -> int:
        if not rows:
            return 0
        self._give(name)
        return write(rows)

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        self._give("scan")
        return self._store.scan(prefix)

    def marks(self, name: bytes) -> dict[str, float]:
        self._give("marks")
        return self._store.marks(name)

    def mark(self, name: bytes, fields: Mapping[str, float]) -> None:
        self._give("mark")
        self._store.mark(name, fields)

    def unmark(self, name: bytes, fields: Iterable[str]) -> None:
        self._give("unmark")
        self._store.unmark(name, fields)

    def remove(self, keys: Sequence[bytes]) -> int:
        self._give("remove")
        return self._store.remove(keys)

    def expire(self, prefix: bytes, oldest: bytes) -> int:
        self._give("expire")
        return self._store.expire(prefix, oldest)

    def delete(self, prefix: bytes) -> int:
        self._give("delete")
        return self._store.delete(prefix)

    def size(self) -> int | None:
        return self._store.size()

    def close(self) -> None:
        self._store.close()

    async def aclose(self) -> None:
        await self._store.aclose()


class Killed(BaseException):
    """Ends a publisher where it stands, as SIGKILL does."""


class Stepped:
    """Work in a thread of its own that stands before each operation until it is let on.

    Attributes
    ----------
    before
        The operation that comes next; None once the work is over.
    """

    def __init__(self, work: Callable[[Give], None]) -> None:
        self.before: str | None = "start"
        self._killed = False
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._body, args=(work,), daemon=True)
        self._thread.start()

    def _body(self, work: Callable[[Give], None]) -> None:
        self._turn.acquire()
        try:
            work(self._give)
        except Killed:
            pass
        finally:
            self.before = None
            self._back.release()

    def _give(self, name: str) -> None:
        self.before = name
        self._back.release()
        self._turn.acquire()
        if self._killed:
            raise Killed

    def step(self) -> None:
        """Do one operation."""
        self._turn.release()
        self._back.acquire()
        if self.before is None:
            self._thread.join()

    def reach(self, name: str, times: int = 1) -> None:
        """Go on until the operation of that name comes next, for the first or a later time."""
        for _ in range(times):
            self.step()
            while self.before != name:
                assert self.before is not None, f"over without another '{name}'"
                self.step()

    def finish(self, steps: int = 200) -> None:
        for _ in range(steps):
            if self.before is None:
                return
            self.step()
        raise AssertionError(f"not over after {steps} steps, before '{self.before}'")

    def kill(self) -> None:
        self._killed = True
        self.step()
