"""Look-ups of one turn of the event loop share a command."""

import asyncio
from collections.abc import Sequence

import pytest

from feature_store_assets.online.coalesce import Coalescer


class Server:
    """Answers keys by themselves, and only when it is let."""

    def __init__(self) -> None:
        self.commands: list[list[bytes]] = []
        self.let = asyncio.Event()
        self.let.set()

    async def fetch(self, keys: list[bytes]) -> list[bytes | None]:
        self.commands.append(keys)
        await self.let.wait()
        if b"bad" in keys:
            raise ConnectionError("gone")
        return [None if key == b"none" else key.upper() for key in keys]


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_look_ups_of_one_turn_are_one_command() -> None:
    async def main() -> None:
        server = Server()
        look_ups = Coalescer(server.fetch)
        asked: Sequence[list[bytes]] = [[b"a", b"b"], [b"none"], [], [b"a"]]
        found = await asyncio.gather(*(look_ups.get(keys) for keys in asked))
        assert found == [[b"A", b"B"], [None], [], [b"A"]]
        assert server.commands == [[b"a", b"b", b"none", b"a"]]

    asyncio.run(main())


def test_while_two_commands_are_under_way_the_others_come_together() -> None:
    async def main() -> None:
        server = Server()
        look_ups = Coalescer(server.fetch)
        server.let.clear()
        waiting = []
        for number in range(5):
            waiting.append(look_ups.get([b"%d" % number]))
            await turns()
        assert server.commands == [[b"0"], [b"1"]]
        server.let.set()
        assert await asyncio.gather(*waiting) == [[b"%d" % number] for number in range(5)]
        assert server.commands[2:] == [[b"2", b"3", b"4"]]

    asyncio.run(main())


def test_a_failure_is_told_to_all_who_wait() -> None:
    async def main() -> None:
        server = Server()
        look_ups = Coalescer(server.fetch)
        server.let.clear()
        first = [look_ups.get([b"bad"]), look_ups.get([b"a"])]
        await turns()
        second = look_ups.get([b"b"])
        await turns()
        late = look_ups.get([b"c"])
        server.let.set()
        told = await asyncio.gather(*first, late, return_exceptions=True)
        assert [type(each) for each in told] == [ConnectionError] * 3
        assert await second == [b"B"]
        assert await look_ups.get([b"d"]) == [b"D"]

    asyncio.run(main())


def test_who_gives_up_does_not_disturb_the_others() -> None:
    async def main() -> None:
        look_ups = Coalescer(Server().fetch)
        leaver, stayer = look_ups.get([b"a"]), look_ups.get([b"b"])
        leaver.cancel()
        assert await stayer == [b"B"]
        with pytest.raises(asyncio.CancelledError):
            await leaver

    asyncio.run(main())


def test_closing_waits_for_what_is_under_way() -> None:
    async def main() -> None:
        server = Server()
        look_ups = Coalescer(server.fetch)
        server.let.clear()
        asked = look_ups.get([b"a"])
        await turns()
        closing = asyncio.create_task(look_ups.close())
        await turns()
        assert not closing.done()
        server.let.set()
        await closing
        assert await asked == [b"A"]

    asyncio.run(main())
