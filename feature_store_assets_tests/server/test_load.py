"""Readers at work while something happens: nothing wrong is ever answered, refusals are counted.

LOAD_SECONDS says for how long a backfill publishes meanwhile.
"""

import asyncio
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families as families

from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.server.apps import FEAST, ONLINE, serving
from feature_store_assets_tests.server.load import (
    BOTH,
    JOINED,
    KINDS,
    PLACES,
    USERS,
    Answer,
    Reader,
    answers,
    backfill,
    percentiles,
    under_load,
    until,
    write,
)
from feature_store_assets_tests.servers import tcp_server
from feature_store_assets_tests.stores import new_store

LOAD_SECONDS = float(os.environ.get("LOAD_SECONDS", "3"))
# Where a late answer of Redis is not what is looked at, a busy machine gets time.
PATIENT = {"FEATURE_STORE_ONLINE_TIMEOUT_SECONDS": "5"}


def uri(port: int) -> str:
    return f"redis://127.0.0.1:{port}"


@contextmanager
def first_revision(folder: Path, port: int) -> Iterator[FeatureStore]:
    """A store whose rows are all of revision 1."""
    with new_store(folder, online_store_uri=uri(port)) as store:
        store.apply(USERS, PLACES, BOTH, JOINED)
        write(store, 1)
        yield store


@contextmanager
def served(
    folder: Path, port: int, *options: str, **settings: str
) -> Iterator[tuple[psutil.Process, str]]:
    """A server of its own over these rows; gives its process and URL. It never fails."""
    log, where = folder / "log", {"FEATURE_STORE_ONLINE_STORE_URI": uri(port)}
    with serving(folder / "store", *options, log=log, **where, **settings) as (child, url):
        yield psutil.Process(child.pid), url
    assert "Traceback" not in log.read_text()


@pytest.fixture
def elsewhere() -> Iterator[Executor]:
    """A process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        yield process


# A backfill publishes


@pytest.mark.timeout(240 + 2 * LOAD_SECONDS)
@pytest.mark.slow
@pytest.mark.parametrize("ttl", [None, 0.5])
def test_answers_are_whole_and_of_now_while_a_backfill_publishes(
    tmp_path: Path, elsewhere: Executor, ttl: float | None
) -> None:
    """With a cache they are as old as it may keep them, plus half a second for a busy machine."""
    settings, allowed = PATIENT, 0.0
    if ttl is not None:
        allowed = ttl + 0.5
        settings = PATIENT | {
            "FEATURE_STORE_ENABLE_CACHING": "true",
            "FEATURE_STORE_CACHE_TTL_SECONDS": str(ttl),
        }
    published: dict[int, float] = {}

    async def publishing(_: list[Reader]) -> None:
        job = elsewhere.submit(backfill, tmp_path / "store", uri(port), LOAD_SECONDS)
        done = await asyncio.wrap_future(job)
        published.update(done)
        await asyncio.sleep(allowed)  # what was kept goes

    with (
        tcp_server(tmp_path) as port,
        first_revision(tmp_path, port),
        served(tmp_path, port, **settings) as (_, url),
    ):
        readers = under_load(url, publishing, cached=ttl is not None)

    found = answers(readers)
    assert not any(reader.lost for reader in readers)
    assert {each.status for each in found} == {200}
    assert {each.kind.name for each in found} == {kind.name for kind in KINDS}
    last = max(published)
    assert last > 1
    assert all(reader.answers[-1].revision == last for reader in readers)
    revision, due = 1, iter([*published.items(), (last, float("inf"))])
    following, online_at = next(due)
    for each in sorted(found, key=lambda answer: answer.sent):
        while online_at + allowed < each.sent:
            revision = following
            following, online_at = next(due)
        assert each.revision >= revision
    print(f"{last} revisions published")
    percentiles(found)


# Redis goes away


def counted(url: str, metric: str, label: str) -> Counter[str]:
    """What `/metrics` tells of the routes that features are read by, by a label."""
    found: Counter[str] = Counter()
    for family in families(httpx.get(f"{url}/metrics").text):
        for sample in family.samples:
            if sample.name == metric and sample.labels["route"] in {ONLINE, FEAST}:
                found[sample.labels[label]] += int(sample.value)
    return found


@pytest.mark.slow
def test_while_redis_restarts_requests_are_refused_or_right(
    tmp_path: Path, elsewhere: Executor
) -> None:
    """Its rows are kept on disk, and the backfill under way goes on."""
    published: dict[int, float] = {}
    keep = ("--appendonly", "yes")

    async def restart(readers: list[Reader]) -> None:
        job = elsewhere.submit(backfill, tmp_path / "store", uri(port), 3)
        await until(lambda: all(reader.answers[-1].revision > 3 for reader in readers))
        await asyncio.to_thread(server.close)  # by SIGKILL
        await until(lambda: all(refused(reader) >= 20 for reader in readers))
        again = tcp_server(tmp_path, *keep, port=port)
        await asyncio.to_thread(server.enter_context, again)
        done = await asyncio.wrap_future(job)
        published.update(done)

    with ExitStack() as server:
        port = server.enter_context(tcp_server(tmp_path, *keep))
        with first_revision(tmp_path, port), served(tmp_path, port, **PATIENT) as (_, url):
            readers = under_load(url, restart)
            told = counted(url, "feature_store_requests_total", "status")
            errors = counted(url, "feature_store_errors_total", "error")

    found = answers(readers)
    statuses = Counter(str(each.status) for each in found)
    assert not any(reader.lost for reader in readers)
    assert set(statuses) == {"200", "503"}
    assert told == statuses
    assert errors == {"OnlineStoreUnavailable": statuses["503"]}
    assert all(reader.answers[-1].revision == max(published) for reader in readers)
    away = [each for each in found if each.status == 503]
    # Nobody waits for a server that is gone: connections are refused, none times out.
    assert not [each.refused for each in away if "timeout" in each.refused.lower()]
    percentiles(away)


def refused(reader: Reader) -> int:
    return sum(each.status == 503 for each in reader.answers)


def stale(reader: Reader) -> list[Answer]:
    return [each for each in reader.answers if each.stale]


async def freeze(port: int, passed: Callable[[], bool]) -> None:
    """Stop Redis until a condition holds: who waits for Redis is not answered until then."""
    with redis.Redis(port=port) as server:
        pid = server.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        await until(passed)
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
def test_while_redis_is_frozen_nobody_waits_for_it(tmp_path: Path) -> None:
    with (
        tcp_server(tmp_path) as port,
        first_revision(tmp_path, port),
        served(tmp_path, port) as (_, url),
    ):

        def incident(readers: list[Reader]) -> Awaitable[None]:
            return freeze(port, lambda: all(refused(reader) >= 3 for reader in readers))

        readers = under_load(url, incident)
        told = counted(url, "feature_store_requests_total", "status")

    found = answers(readers)
    assert not any(reader.lost for reader in readers)
    assert told == Counter(str(each.status) for each in found)
    assert {each.status for each in found} == {200, 503}
    percentiles([each for each in found if each.status == 503])


@pytest.mark.slow
def test_while_redis_is_frozen_rows_of_the_cache_are_served_as_stale(tmp_path: Path) -> None:
    settings = {
        "FEATURE_STORE_ENABLE_CACHING": "true",
        "FEATURE_STORE_CACHE_TTL_SECONDS": "0.2",
        "FEATURE_STORE_SERVE_STALE_SECONDS": "60",
    }
    with (
        tcp_server(tmp_path) as port,
        first_revision(tmp_path, port),
        served(tmp_path, port, **settings) as (_, url),
    ):

        def incident(readers: list[Reader]) -> Awaitable[None]:
            return freeze(port, lambda: all(len(stale(reader)) >= 3 for reader in readers))

        readers = under_load(url, incident, cached=True)

    found = answers(readers)
    assert not any(reader.lost for reader in readers)
    assert {(each.status, each.revision) for each in found} == {(200, 1)}
    percentiles([each for reader in readers for each in stale(reader)])


# The server and its rows are exchanged


@pytest.mark.slow
def test_a_killed_worker_takes_only_what_it_was_asked_itself(tmp_path: Path) -> None:
    async def kill(_: list[Reader]) -> None:
        before = set(server.children())
        answering = [each for each in before if "spawn_main" in " ".join(each.cmdline())]
        assert len(answering) == 2
        max(answering, key=lambda worker: len(worker.net_connections("tcp"))).kill()
        await until(lambda: bool(set(server.children()) - before))

    with (
        tcp_server(tmp_path) as port,
        first_revision(tmp_path, port),
        served(tmp_path, port, "--workers", "2", **PATIENT) as (server, url),
    ):
        readers = under_load(url, kill)
    found = answers(readers)
    assert {(each.status, each.revision) for each in found} == {(200, 1)}
    assert 1 <= sum(reader.lost for reader in readers) <= len(readers)


@pytest.mark.slow
def test_while_rows_are_rebuilt_nobody_misses_one(tmp_path: Path) -> None:
    async def rebuild(readers: list[Reader]) -> None:
        loop = asyncio.get_running_loop()

        def switched() -> bool:
            """Whether every reader was answered anew, in each way of asking."""
            return all(
                {each.kind.name for each in reader.answers if each.revision == 2}
                == {kind.name for kind in KINDS}
                for reader in readers
            )

        def wait(_: float) -> None:
            write(store, 2)  # where it is read from now on, alone
            asyncio.run_coroutine_threadsafe(until(switched), loop).result()

        group = store.applied.group("users")
        done = await asyncio.to_thread(store.serving.rebuild, group, store.table(group), wait=wait)
        assert done.generation == 1
        assert done.removed == done.published.written == 100

    with (
        tcp_server(tmp_path) as port,
        first_revision(tmp_path, port) as store,
        served(tmp_path, port, **PATIENT) as (_, url),
    ):
        readers = under_load(url, rebuild)
    found = answers(readers)
    assert not any(reader.lost for reader in readers)
    assert {each.status for each in found} == {200}
    assert all(reader.answers[-1].revision == 2 for reader in readers)
