"""How much readers of Valkey wait while rows are published: ``python -m bench.throttle``.

A reader in its own process asks for one key a thousand times a second by redis-py's MGET on a unix
socket, while another process puts 200,000 rows of ten features: as fast as it goes, then at
`online_write_rate`. Reader, writer and server share the machine's cores, so a part of what the
reader waits for is the processor, not the server.
"""

import multiprocessing
import os
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any, NamedTuple

import msgspec
import numpy as np
import redis

from bench.measuring import REPETITIONS
from feature_store_assets.online import open_store
from feature_store_assets.online.row import KeySpace, sortable
from feature_store_assets_tests.servers import redis_server

_ROWS = 200_000
_FEATURES = 10
_TICK = 0.001
_IDLE = 3.0  # seconds for which the reader is alone
_RATES = (None, 20_000, 10_000, 5_000)
_spawn = multiprocessing.get_context("spawn")


class _Waits(NamedTuple):
    """Seconds that the reader's calls took, and rows a second meanwhile."""

    p50: float
    p95: float
    rate: float


def _rows(space: KeySpace) -> list[tuple[bytes, bytes]]:
    pack, random = msgspec.msgpack.Encoder().encode, np.random.default_rng(7)
    head = sortable(1) * 3 + _FEATURES.to_bytes(2, "big")
    keys = space.keys([f"user_{number}" for number in range(_ROWS)])
    values = random.random((_ROWS, _FEATURES)).tolist()
    return [(key, head + pack(row)) for key, row in zip(keys, values, strict=True)]


def _read(uri: str, over: Any, told: Any) -> None:
    client: Any = redis.Redis.from_url(uri)
    key = KeySpace("read", 1, 0).key("user_7")
    took, clock = list[float](), time.perf_counter
    told.put(None)
    due = clock()
    while not over.is_set():
        began = clock()
        client.execute_command("MGET", key)
        ended = clock()
        took.append(ended - began)
        due = max(due + _TICK, ended)
        time.sleep(due - ended)
    told.put((median(took), quantiles(took, n=20)[-1]))


def _write(uri: str, rate: int | None, number: int, go: Any, told: Any) -> None:
    rows, store = _rows(KeySpace("written", 1, number)), open_store(uri, write_rate=rate)
    # A rate is measured over five seconds: at the lowest, all rows would take half a minute.
    rows = rows if rate is None else rows[: 5 * rate]
    store.look([b""])
    told.put(None)
    go.wait()
    began = time.perf_counter()
    assert store.put(rows) == len(rows)
    told.put(len(rows) / (time.perf_counter() - began))


def _waits(uri: str, work: Callable[[], float]) -> _Waits:
    """What a reader waits while the work is done, which returns its rows a second."""
    over, told = _spawn.Event(), _spawn.Queue()
    reader = _spawn.Process(target=_read, args=(uri, over, told))
    reader.start()
    told.get()
    rate = work()
    over.set()
    p50, p95 = told.get()
    reader.join()
    return _Waits(p50, p95, rate)


def _idle() -> float:
    time.sleep(_IDLE)
    return 0.0


def _written(uri: str, rate: int | None, number: int) -> _Waits:
    go, told = _spawn.Event(), _spawn.Queue()
    writer = _spawn.Process(target=_write, args=(uri, rate, number, go, told))
    writer.start()
    told.get()

    def work() -> float:
        go.set()
        return float(told.get())

    waits = _waits(uri, work)
    writer.join()
    return waits


def _raw(uri: str) -> float:
    """Rows a second of redis-py's MSET of 1,000 finished rows, blind."""
    rows = _rows(KeySpace("raw", 1, 0))
    client: Any = redis.Redis.from_url(uri)
    began = time.perf_counter()
    for first in range(0, _ROWS, 1_000):
        client.execute_command(
            "MSET", *(part for row in rows[first : first + 1_000] for part in row)
        )
    return _ROWS / (time.perf_counter() - began)


def main() -> None:
    """Print medians over the repetitions."""
    found: dict[str, list[_Waits]] = {}
    ratios: dict[str, list[float]] = {}
    raw = []
    for _ in range(REPETITIONS):
        with redis_server("valkey") as uri:
            with redis.Redis.from_url(uri) as client:
                client.set(KeySpace("read", 1, 0).key("user_7"), b"x" * 120)
            idle = _waits(uri, _idle)
            found.setdefault("idle", []).append(idle)
            for number, rate in enumerate(_RATES):
                name = "no limit" if rate is None else f"{rate:,} rows/s"
                waits = _written(uri, rate, number)
                found.setdefault(name, []).append(waits)
                ratios.setdefault(name, []).append(waits.p95 / idle.p95)
            raw.append(_raw(uri))
    print(f"Medians of {REPETITIONS} runs; load average {os.getloadavg()[0]:.2f}.\n")
    print("| publishing | reader p50 | reader p95 | p95 / idle | rows/s |\n|---|---|---|---|---|")
    for name, each in found.items():
        p50, p95, rate = (median(values) for values in zip(*each, strict=True))
        ratio = f"{median(ratios[name]):.2f}" if name in ratios else ""
        print(f"| {name} | {p50 * 1e6:.0f} us | {p95 * 1e6:.0f} us | {ratio} | {rate:,.0f} |")
    print(f"\nredis-py's blind MSET of 1,000: {median(raw):,.0f} rows/s.")


if __name__ == "__main__":
    main()
