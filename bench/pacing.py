"""Requests at a steady rate over loopback; each latency counts from when it should have been sent.

A closed loop waits for slow answers and so hides them; here the next request is due all the same.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import cast

import numpy as np
import uvloop


@dataclass(frozen=True)
class Paced:
    """Milliseconds of the answers, and how many were no 200."""

    rate: float
    p50: float
    p95: float
    p99: float
    failed: int


class _Connection(asyncio.Protocol):
    """One HTTP connection that is asked one thing after the other, without waiting in between."""

    def __init__(self, taken: list[float]) -> None:
        self._taken = taken
        self._due: deque[float] = deque()
        self._rest = b""
        self.failed = 0
        self.quiet = asyncio.Event()
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of its own classes.
        self.transport = cast("asyncio.WriteTransport", transport)

    def ask(self, request: bytes, due: float) -> None:
        assert self.transport is not None
        self._due.append(due)
        self.quiet.clear()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head = self._rest[:end].lower()
            length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            if len(self._rest) < end + 4 + length:
                return
            self.failed += not head.startswith(b"http/1.1 200")
            self._taken.append((time.perf_counter() - self._due.popleft()) * 1e3)
            self._rest = self._rest[end + 4 + length :]
        if not self._due:
            self.quiet.set()


def paced(
    port: int, path: str, bodies: list[bytes], *, rate: float, seconds: float, connections: int = 16
) -> Paced:
    """Ask for so many seconds at so many requests per second."""
    requests = [
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
        for body in bodies
    ]
    taken: list[float] = []

    async def main() -> int:
        loop = asyncio.get_running_loop()
        pairs = [
            await loop.create_connection(lambda: _Connection(taken), "127.0.0.1", port)
            for _ in range(connections)
        ]
        lines = [connection for _, connection in pairs]
        start = time.perf_counter() + 0.1
        for number in range(int(rate * seconds)):
            due = start + number / rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            lines[number % connections].ask(requests[number % len(requests)], due)
        await asyncio.gather(*(line.quiet.wait() for line in lines))
        for transport, _ in pairs:
            transport.close()
        return sum(line.failed for line in lines)

    failed = uvloop.run(main())
    p50, p95, p99 = np.percentile(taken, [50, 95, 99])
    return Paced(rate, p50, p95, p99, failed)
