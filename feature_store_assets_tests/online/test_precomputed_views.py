"""Joined rows follow the groups' rows that they are made of, however writers interleave."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from feature_store_assets.errors import WriteConflict
from feature_store_assets.online import OnlineStore, open_store
from feature_store_assets.online.decode import Reader
from feature_store_assets.online.precomputed_views import (
    JoinedReader,
    entity_part,
    generation_of,
    join,
    joined_space,
    refresh,
)
from feature_store_assets.online.row import KeySpace, RowCodec, sortable, tombstone

SPACES = [KeySpace("a", 1, 0), KeySpace("b", 2, 3)]
HOME = joined_space("both", SPACES)


READERS = [Reader(RowCodec([("x", "int64")]), ["x"], None)] * 2


def row(number: int) -> bytes:
    """A row that is known since then, and holds that number."""
    return sortable(number) * 3 + b"\0\1\x91" + bytes([number])


def entity(number: int) -> bytes:
    return entity_part(SPACES[0].key(number))


def joined(store: OnlineStore, numbers: Sequence[int]) -> list[list[int | None] | None]:
    """The two groups' numbers of entities; None where there is no joined row."""
    values = store.get([HOME.prefix + entity(number) for number in numbers])
    return JoinedReader(READERS).told(values, 0)[0]


NUMBERS = st.lists(st.none() | st.integers(0, 127), min_size=3, max_size=3)


@given(st.lists(NUMBERS, max_size=4), st.integers(0, 50), st.integers(0, 130))
def test_a_joined_row_tells_what_each_groups_row_would(
    entities: list[list[int | None]], age: int, moment: int
) -> None:
    ttls = [None, timedelta(microseconds=age), timedelta(microseconds=2 * age)]
    readers = [Reader(RowCodec([("x", "int64"), ("new", "date32")]), ["new", "x"], ttl)
               for ttl in ttls]  # fmt: skip
    values = [[None if each is None else row(each) for each in numbers] for numbers in entities]
    rows, told = JoinedReader(readers).told([join(each) for each in values], moment)
    alone = [reader.told(column, moment) for reader, column in
             zip(readers, zip(*values, strict=True), strict=False)]  # fmt: skip
    for each, whole in zip(alone, told, strict=False):
        assert (each.statuses, each.times) == (whole.statuses, whole.times)
    for number, whole_row in enumerate(rows):
        assert whole_row == [value for each in alone for value in each.rows[number]]


def test_a_tombstone_is_no_row() -> None:
    rows, told = JoinedReader(READERS).told([join([tombstone(3), row(5)]), None, tombstone(0)], 9)
    assert rows == [[None, 5], None, None]
    assert [each.statuses for each in told] == [
        ["missing", "missing", "missing"],
        ["present", "missing", "missing"],
    ]


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
    assert joined(store, [1, 2, 3, 4]) == [[1, 2], [None, 3], [None, None], None]
    store.put([(SPACES[0].key(1), row(9))])
    refresh(store, "both", SPACES, [entity(1)])
    assert joined(store, [1]) == [[9, 2]]


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
    assert joined(store, [1]) == [[1, 7]]


def test_who_is_always_overtaken_says_so(store: OnlineStore) -> None:
    never_ending = [row(number) for number in range(100, 1, -1)]
    slow: OnlineStore = Interrupted(store, never_ending)  # type: ignore[assignment]
    with pytest.raises(WriteConflict, match="both"):
        refresh(slow, "both", SPACES, [entity(1)])


@pytest.mark.slow
def test_writers_in_many_processes_leave_the_newest_joined(uri: str) -> None:
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from feature_store_assets.online import open_store\n"
        "from feature_store_assets.online.precomputed_views import refresh\n"
        "from feature_store_assets_tests.online.test_precomputed_views import SPACES, entity, row\n"
        "store, at = open_store(sys.argv[1]), int(sys.argv[2])\n"
        "for number in range(60):\n"
        "    store.put([(SPACES[at].key(each), row(number)) for each in range(5)])\n"
        "    refresh(store, 'both', SPACES, map(entity, range(5)))\n"
        "store.close()\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, uri, str(number % 2)]) for number in range(2)
    ]
    assert [child.wait() for child in children] == [0] * 2
    store = open_store(uri)
    assert joined(store, range(5)) == [[59, 59]] * 5
    store.close()
