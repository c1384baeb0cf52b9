"""Rows kept in memory: young ones are not asked for again, old ones only where nothing answers."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, strategies as st

from feature_store_assets.errors import OnlineStoreUnavailable
from feature_store_assets.online.cache import RowCache, Stale

Values = list[bytes | None]


class Rows:
    """A store as a dict, which may be down; `before` is called at the start of each read."""

    def __init__(self, **rows: bytes) -> None:
        self.rows = {key.encode(): value for key, value in rows.items()}
        self.asked: list[list[bytes]] = []
        self.down = False
        self.before: Callable[[], object] = lambda: None

    def get(self, keys: Sequence[bytes]) -> Values:
        self.asked.append(list(keys))
        found = [self.rows.get(key) for key in keys]
        self.before()
        if self.down:
            raise OnlineStoreUnavailable("redis://x", "down")
        return found

    async def aget(self, keys: Sequence[bytes]) -> Values:
        return self.get(keys)


class Clock:
    """The time, to be set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["get", "aget"])
def read(request: pytest.FixtureRequest) -> Callable[[RowCache, list[bytes]], Values]:
    def read(kept: RowCache, keys: list[bytes]) -> Values:
        return kept.get(keys) if request.param == "get" else asyncio.run(kept.aget(keys))

    return read


def test_a_row_is_asked_for_once_in_its_time(clock: Clock, read: Any) -> None:
    rows = Rows(a=b"1")
    kept = RowCache(rows, ttl=10, rows=100, stale=0, clock=clock)
    assert read(kept, [b"a", b"none"]) == [b"1", None]
    clock.now += 10
    assert read(kept, [b"none", b"a", b"b"]) == [None, b"1", None]
    clock.now += 0.1
    rows.rows[b"a"] = b"2"
    assert read(kept, [b"a"]) == [b"2"]
    assert rows.asked == [[b"a", b"none"], [b"b"], [b"a"]]
    assert (kept.hits, kept.misses) == (2, 4)


def test_what_was_written_is_asked_for_again(clock: Clock, read: Any) -> None:
    rows = Rows(a=b"1", b=b"1")
    kept = RowCache(rows, ttl=10, rows=100, stale=0, clock=clock)
    read(kept, [b"a", b"b"])
    rows.rows[b"a"] = b"2"
    kept.forget([b"a", b"never read"])
    assert read(kept, [b"a", b"b"]) == [b"2", b"1"]


def test_what_was_read_before_a_write_is_not_kept_after_it(clock: Clock, read: Any) -> None:
    rows = Rows(a=b"1")
    kept = RowCache(rows, ttl=10, rows=100, stale=0, clock=clock)

    def write() -> None:
        rows.rows[b"a"] = b"2"
        kept.forget([b"a"])
        rows.before = lambda: None

    rows.before = write
    assert read(kept, [b"a"]) == [b"1"]
    assert read(kept, [b"a"]) == [b"2"]


def test_the_rows_asked_for_longest_ago_make_room(clock: Clock) -> None:
    rows = Rows(a=b"1", b=b"2", c=b"3")
    kept = RowCache(rows, ttl=10, rows=2, stale=0, clock=clock)
    for key in (b"a", b"b", b"a", b"c", b"a"):
        kept.get([key])
    assert rows.asked == [[b"a"], [b"b"], [b"c"]]
    assert kept.get([b"a", b"b", b"c"]) == [b"1", b"2", b"3"]


def test_old_rows_are_given_and_marked_while_nothing_answers(clock: Clock, read: Any) -> None:
    rows = Rows(a=b"1")
    kept = RowCache(rows, ttl=10, rows=100, stale=60, clock=clock)
    assert type(read(kept, [b"a"])) is list
    clock.now += 30
    rows.down = True
    found = read(kept, [b"a"])
    assert (found, type(found)) == ([b"1"], Stale)
    asked = len(rows.asked)
    found = read(kept, [b"a"])  # for a moment nothing is asked at all
    assert (found, type(found), len(rows.asked)) == ([b"1"], Stale, asked)
    with pytest.raises(OnlineStoreUnavailable):
        read(kept, [b"a", b"b"])
    clock.now += 1
    rows.down = False
    rows.rows[b"a"] = b"2"
    found = read(kept, [b"a"])
    assert (found, type(found)) == ([b"2"], list)


def test_rows_that_are_too_old_are_never_given(clock: Clock, read: Any) -> None:
    rows = Rows(a=b"1")
    kept = RowCache(rows, ttl=10, rows=100, stale=60, clock=clock)
    read(kept, [b"a"])
    clock.now += 70.1
    rows.down = True
    for _ in range(2):  # also in the moment in which nothing is asked
        with pytest.raises(OnlineStoreUnavailable):
            read(kept, [b"a"])


def test_without_leave_an_old_row_is_no_answer(clock: Clock, read: Any) -> None:
    rows = Rows(a=b"1")
    kept = RowCache(rows, ttl=10, rows=100, stale=0, clock=clock)
    read(kept, [b"a"])
    rows.down = True
    assert read(kept, [b"a"]) == [b"1"]  # its time is not over
    clock.now += 10.1
    with pytest.raises(OnlineStoreUnavailable):
        read(kept, [b"a"])


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("rwt"), st.integers(0, 5), st.integers(0, 5)), max_size=40
    )
)
def test_no_answer_is_older_than_the_caches_time(steps: list[tuple[str, int, int]]) -> None:
    """Oracle: each value that the store held within the last ten seconds may be answered."""
    clock = Clock()
    rows = Rows()
    kept = RowCache(rows, ttl=10, rows=3, stale=0, clock=clock)
    written: dict[bytes, list[tuple[float, bytes | None]]] = {}
    for number, (step, first, second) in enumerate(steps):
        key = b"%d" % first
        if step == "w":  # by another process: nobody tells this cache
            rows.rows[key] = b"%d" % number
            written.setdefault(key, [(-1.0, None)]).append((clock.now, rows.rows[key]))
        elif step == "t":
            clock.now += first * 3
        else:
            keys = [key, b"%d" % second]
            for each, value in zip(keys, kept.get(keys), strict=True):
                history = written.get(each, [(-1.0, None)])
                ends = [at for at, _ in history[1:]] + [clock.now]
                pairs = zip(history, ends, strict=True)
                assert value in [was for (_, was), end in pairs if end >= clock.now - 10]


def test_threads_share_a_cache() -> None:
    names = [f"k{number}" for number in range(50)]
    rows = Rows(**{name: name.encode() for name in names})
    kept = RowCache(rows, ttl=10, rows=20, stale=0)
    start = threading.Barrier(4)

    def work(seed: int) -> None:
        start.wait()
        for number in range(400):
            at = (seed * 7 + number * 3) % 45
            keys = [name.encode() for name in names[at : at + 5]]
            assert kept.get(keys) == keys
            if number % 10 == 0:
                kept.forget(keys[:2])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert kept.hits + kept.misses == 4 * 400 * 5
