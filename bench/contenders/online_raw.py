"""The plain clients, given finished keys: LMDB, redis-py's MGET, or a bare socket.

They decode the same bytes into the same dicts; the socket only receives them. No declarations are
looked up, no ttl is applied, nothing is retried: the limit, not a product.
"""

import socket
from collections.abc import Callable
from typing import Any

import lmdb
import msgspec
import redis

from bench.contenders.calls import Case, Job, Read, Ready, Rows, serve

_HEAD = 26
_decode = msgspec.msgpack.Decoder(list).decode


def prepare(job: Job) -> Any:
    if job["client"] == "socket":
        return _bytes(job)
    fetch = {"lmdb": _lmdb, "redis": _redis}[job["client"]](job)

    def make(case: Case) -> tuple[Ready, Read, Rows]:
        groups = [each["features"] for each in case["groups"]]

        def read(asked: Any) -> Any:
            keys, count = asked
            values = fetch(keys)
            if len(groups) == 1:
                [names] = groups
                return [dict(zip(names, _decode(value[_HEAD:]), strict=True)) for value in values]
            rows: list[dict[str, Any]] = [{} for _ in range(count)]
            for number, names in enumerate(groups):
                for row, value in zip(rows, values[number * count :], strict=False):
                    row.update(zip(names, _decode(value[_HEAD:]), strict=True))
            return rows

        def ready(entities: list[str]) -> Any:
            return _keys(case, entities), len(entities)

        return ready, read, lambda found: [list(row.values()) for row in found]

    return make


def _keys(case: Case, entities: list[str]) -> list[bytes]:
    return [
        group["prefix"].encode() + b"{s%d:%b}" % (len(each), each.encode())
        for group in case["groups"]
        for each in entities
    ]


Fetch = Callable[[list[bytes]], Any]


def _lmdb(job: Job) -> Fetch:
    environment = lmdb.open(job["uri"].removeprefix("lmdb://"), readonly=True, map_size=1 << 30)

    def fetch(keys: list[bytes]) -> list[Any]:
        with environment.begin() as transaction:
            return [transaction.get(key) for key in keys]

    return fetch


def _redis(job: Job) -> Fetch:
    client: Any = redis.Redis.from_url(job["uri"], socket_timeout=0.2, socket_connect_timeout=0.2)
    fetch: Fetch = client.mget
    return fetch


def _bytes(job: Job) -> Any:
    """Send and receive; how long a reply is is found out before the clock starts."""
    host, _, port = job["uri"].removeprefix("redis://").partition(":")
    connection = socket.create_connection((host, int(port)))

    def make(case: Case) -> tuple[Ready, Read, Rows]:
        def read(asked: Any) -> bytes:
            request, size = asked
            connection.sendall(request)
            received: bytes = connection.recv(1 << 20)
            while len(received) < size:
                received += connection.recv(1 << 20)
            return received

        def ready(entities: list[str]) -> Any:
            keys = _keys(case, entities)
            parts = [b"*%d\r\n$4\r\nMGET\r\n" % (len(keys) + 1)]
            parts += [b"$%d\r\n%b\r\n" % (len(key), key) for key in keys]
            request = b"".join(parts)
            connection.sendall(request)
            received = b""
            while not _whole(received, len(keys)):
                received += connection.recv(1 << 20)
            return request, len(received)

        return ready, read, lambda _: []

    return make


def _whole(received: bytes, count: int) -> bool:
    """Whether a reply to MGET is complete."""
    at = received.find(b"\r\n") + 2
    if at < 2:
        return False
    for _ in range(count):
        end = received.find(b"\r\n", at)
        if end < 0:
            return False
        at = end + 2 + int(received[at + 1 : end]) + 2
    return len(received) >= at


if __name__ == "__main__":
    serve(prepare)
