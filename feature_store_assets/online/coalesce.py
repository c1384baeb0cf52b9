"""Look-ups that arrive within one turn of the event loop, answered by one command.

What a command costs the client is shared by all who ask at the same time; connections, their
repair and their encryption stay the library's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

Values = list[bytes | None]

_FLIGHTS = 2  # commands under way: while these are out, more look-ups come together


class Coalescer:
    """Shares commands among look-ups of one event loop.

    Parameters
    ----------
    fetch
        Gives the values of keys, in their order.
    """

    def __init__(self, fetch: Callable[[list[bytes]], Awaitable[Values]]) -> None:
        self._fetch = fetch
        self._waiting: list[tuple[Sequence[bytes], asyncio.Future[Values]]] = []
        self._flights: set[asyncio.Task[None]] = set()
        self._called = False

    def get(self, keys: Sequence[bytes]) -> asyncio.Future[Values]:
        """The values of keys, in their order."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Values] = loop.create_future()
        self._waiting.append((keys, future))
        self._call(loop)
        return future

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._called and self._waiting and len(self._flights) < _FLIGHTS:
            self._called = True
            loop.call_soon(self._start)

    def _start(self) -> None:
        self._called = False
        batch, self._waiting = self._waiting, []
        flight = asyncio.create_task(self._fly(batch))
        self._flights.add(flight)
        flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._call(flight.get_loop())

    async def _fly(self, batch: list[tuple[Sequence[bytes], asyncio.Future[Values]]]) -> None:
        keys = (
            list(batch[0][0]) if len(batch) == 1 else [key for asked, _ in batch for key in asked]
        )
        try:
            values = await self._fetch(keys)
        except Exception as error:  # noqa: BLE001 - told to everyone who waits
            # Those who came meanwhile have waited long enough for a store that does not answer.
            late, self._waiting = self._waiting, []
            for _, future in [*batch, *late]:
                if not future.done():
                    future.set_exception(error)
            return
        first = 0
        for asked, future in batch:
            last = first + len(asked)
            if not future.done():  # the caller may have gone
                future.set_result(values[first:last])
            first = last

    async def close(self) -> None:
        """Wait for the commands under way."""
        while self._flights:
            await asyncio.wait(self._flights)
