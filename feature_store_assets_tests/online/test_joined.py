"""Joined rows follow the groups' rows that they are made of, however writers interleave."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store_assets.errors import WriteConflict
from feature_store_assets.online import OnlineStore, open_store
from feature_store_assets.online.joined import (
    entity_part,
    generation_of,
    join,
    joined_space,
    refresh,
    split,
)
from feature_store_assets.online.row import HEAD, KeySpace, sortable

SPACES = [KeySpace("a", 1, 0), KeySpace("b", 2, 3)]
HOME = joined_space("both", SPACES)


def row(number: int) -> bytes:
    return sortable(number) * 3 + b"\0\1\x91\x01"


def entity(number: int) -> bytes:
    return entity_part(SPACES[0].key(number))


def joined(store: OnlineStore, numbers: Sequence[int]) -> list[list[bytes | None]]:
    values = store.get([HOME.prefix + entity(number) for number in numbers])
    return [[] if value is None or len(value) <= HEAD else split(value, 2) for value in values]


@given(st.lists(st.none() | st.binary(max_size=40), min_size=1, max_size=5))
def test_what_was_joined_comes_apart_again(values: list[bytes | None]) -> None:
    whole = join(values)
    assert len(whole) > HEAD
    assert split(whole, len(values)) == values


def test_every_layout_has_a_home_of_its_own() -> None:
    homes = {
        joined_space("both", SPACES),
        joined_space("both", SPACES[::-1]),
        joined_space("both", [SPACES[0], KeySpace("b", 2, 4)]),
        joined_space("both", [SPACES[0], KeySpace("b", 3, 3)]),
        joined_space("other", SPACES),
    }
    assert len({home.prefix for home in homes}) == 5


def test_a_key_tells_its_entity_and_its_generation() -> None:
    key = SPACES[1].key("x}{y")
    assert entity_part(key) == entity_part(SPACES[0].key("x}{y"))
    assert generation_of(key) == 3


def test_a_joined_row_has_what_each_group_has(store: OnlineStore) -> None:
    store.put([(SPACES[0].key(1), row(1)), (SPACES[1].key(1), row(2)), (SPACES[1].key(2), row(3))])
    refresh(store, "both", SPACES, [entity(1), entity(2), entity(3), entity(1)])
    assert joined(store, [1, 2, 3, 4]) == [[row(1), row(2)], [None, row(3)], [None, None], []]
    store.put([(SPACES[0].key(1), row(9))])
    refresh(store, "both", SPACES, [entity(1)])
    assert joined(store, [1]) == [[row(9), row(2)]]


class Interrupted:
    """A store in which somebody else acts between two steps of ours."""

    def __init__(self, store: OnlineStore, meanwhile: list[bytes]) -> None:
        self._store = store
        self._meanwhile = meanwhile

    def look(self, keys: Sequence[bytes]) -> list[bytes | None]:
        found = self._store.look(keys)
        if self._meanwhile and keys[0].startswith(HOME.prefix):
            # After our look at the joined row, before our write.
            self._store.put([(SPACES[1].key(1), self._meanwhile.pop())])
            refresh(self._store, "both", SPACES, [entity(1)])
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def test_who_is_overtaken_joins_again(store: OnlineStore) -> None:
    store.put([(SPACES[0].key(1), row(1))])
    slow: OnlineStore = Interrupted(store, [row(7), row(6), row(5)])  # type: ignore[assignment]
    refresh(slow, "both", SPACES, [entity(1)])
    assert joined(store, [1]) == [[row(1), row(7)]]


def test_who_is_always_overtaken_says_so(store: OnlineStore) -> None:
    never_ending = [row(number) for number in range(100, 1, -1)]
    slow: OnlineStore = Interrupted(store, never_ending)  # type: ignore[assignment]
    with pytest.raises(WriteConflict, match="both"):
        refresh(slow, "both", SPACES, [entity(1)])


def test_writers_in_many_processes_leave_the_newest_joined(uri: str) -> None:
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from feature_store_assets.online import open_store\n"
        "from feature_store_assets.online.joined import refresh\n"
        "from feature_store_assets_tests.online.test_joined import SPACES, entity, row\n"
        "store, at = open_store(sys.argv[1]), int(sys.argv[2])\n"
        "for number in range(60):\n"
        "    store.put([(SPACES[at].key(each), row(number)) for each in range(5)])\n"
        "    refresh(store, 'both', SPACES, map(entity, range(5)))\n"
        "store.close()\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, uri, str(number % 2)]) for number in range(4)
    ]
    assert [child.wait() for child in children] == [0] * 4
    store = open_store(uri)
    assert joined(store, range(5)) == [[row(59), row(59)]] * 5
    store.close()
