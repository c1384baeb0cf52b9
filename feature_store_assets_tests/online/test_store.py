"""What every backend of the online store does alike."""

import multiprocessing
import random
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from feature_store_assets.errors import ConfigError
from feature_store_assets.online import OnlineStore, open_store
from feature_store_assets.online.row import HEAD, KeySpace, sortable, tombstone
from feature_store_assets_tests.counts import examples, some

SPACE = KeySpace("spending", 1, 0)
KEY = SPACE.key("user_1")
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.integers(-300, 300), st.sampled_from([2**53, 2**53 + 1])
)
TRIPLES = st.tuples(NUMBERS, NUMBERS, NUMBERS)
Triple = tuple[int, int, int]


def row(event: int, created: int, commit: int) -> bytes:
    head = b"".join(map(sortable, (event, created, commit)))
    # The triple again as its feature, so that a value shows which row it is.
    return head + struct.pack(">H", 1) + b"\x91\xc4\x18" + head


def test_absent_keys_are_none_in_their_place(store: OnlineStore) -> None:
    store.put([(KEY, row(1, 1, 1))])
    other = SPACE.key("user_2")
    assert store.get([other, KEY, other]) == [None, row(1, 1, 1), None]
    assert store.get([]) == []


def test_more_keys_than_one_round_trip_takes_come_back_in_order(store: OnlineStore) -> None:
    rows = [(SPACE.key(number), row(number, 0, 0)) for number in range(10_500)]
    assert store.put(rows) == 10_500
    assert store.get([key for key, _ in rows]) == [value for _, value in rows]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))
@given(st.lists(TRIPLES, min_size=1, max_size=6))
def test_put_keeps_the_greatest_triple(store: OnlineStore, triples: list[Triple]) -> None:
    store.delete(SPACE.prefix)
    written = store.put([(KEY, row(*triple)) for triple in triples])
    assert store.get([KEY]) == [row(*max(triples))]
    highs = [triple for at, triple in enumerate(triples) if triple > max(triples[:at], default=())]
    assert written == len(highs)


def test_an_equal_triple_is_not_written(store: OnlineStore) -> None:
    assert store.put([(KEY, row(1, 1, 1))]) == 1
    assert store.put([(KEY, row(1, 1, 1) + b"other")]) == 0
    assert store.get([KEY]) == [row(1, 1, 1)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(40))
@given(NUMBERS, TRIPLES)
def test_a_tombstone_yields_to_rows_read_no_earlier(
    store: OnlineStore, commit: int, triple: Triple
) -> None:
    store.delete(SPACE.prefix)
    store.put([(KEY, tombstone(commit))])
    assert store.put([(KEY, row(*triple))]) == (triple[2] >= commit)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))
@given(TRIPLES, TRIPLES, TRIPLES)
def test_replace_writes_only_where_the_old_row_stands(
    store: OnlineStore, stored: Triple, old: Triple, new: Triple
) -> None:
    for former in (stored, old):
        store.delete(SPACE.prefix)
        store.put([(KEY, row(*stored))])
        stands = stored[:2] == former[:2] and stored[2] <= new[2]
        assert store.replace([(KEY, row(*former), row(*new))]) == stands
        assert store.get([KEY]) == [row(*new) if stands else row(*stored)]


def test_replace_leaves_an_absent_key_absent(store: OnlineStore) -> None:
    assert store.replace([(KEY, row(1, 1, 1), row(2, 2, 2))]) == 0
    assert store.get([KEY]) == [None]


def test_replace_takes_a_row_back_into_a_tombstone_and_out_again(store: OnlineStore) -> None:
    store.put([(KEY, row(5, 5, 1))])
    assert store.replace([(KEY, row(5, 5, 1), tombstone(2))]) == 1
    assert store.get([KEY]) == [tombstone(2)]
    assert store.put([(KEY, row(9, 9, 1))]) == 0
    assert store.replace([(KEY, tombstone(2), row(3, 3, 3))]) == 1
    assert store.get([KEY]) == [row(3, 3, 3)]


def test_nothing_to_write_writes_nothing(store: OnlineStore) -> None:
    assert store.put([]) == store.replace([]) == 0


def test_delete_removes_one_generation_and_its_marks_only(store: OnlineStore) -> None:
    spaces = [SPACE, KeySpace("spending", 1, 1), KeySpace("spending", 10, 0), KeySpace("s*", 1, 0)]
    keys = [space.key(number) for space in spaces for number in range(30)]
    store.put([(key, row(1, 1, 1)) for key in keys])
    for space in spaces:
        store.mark(space.prefix, {"p": 1.0})
    assert store.delete(KeySpace("s*", 1, 0).prefix) == 30
    assert store.delete(SPACE.prefix) == 30
    left = [key for key, value in zip(keys, store.get(keys), strict=True) if value]
    assert left == keys[30:90]
    assert [len(store.marks(space.prefix)) for space in spaces] == [0, 1, 1, 0]


def test_look_reads_as_get_does(store: OnlineStore) -> None:
    rows = [(SPACE.key(number), row(number, 0, 0)) for number in range(10_500)]
    store.put(rows)
    absent = KeySpace("t", 1, 0).key(1)
    assert store.look([absent, *(key for key, _ in rows)]) == [None, *(row for _, row in rows)]
    assert store.look([]) == []


def test_remove_tells_how_many_rows_and_tombstones_were_there(store: OnlineStore) -> None:
    keys = [SPACE.key(number) for number in range(2_500)]
    store.put([(key, row(1, 1, 1)) for key in keys])
    store.replace([(keys[0], row(1, 1, 1), tombstone(2))])
    assert store.remove([*keys[:2_400], SPACE.key("never there"), keys[0]]) == 2_400
    assert store.get(keys) == [None] * 2_400 + [row(1, 1, 1)] * 100
    assert store.remove(keys[:2_400]) == store.remove([]) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))
@given(st.lists(NUMBERS, min_size=1, max_size=6), NUMBERS)
def test_expire_removes_the_rows_of_earlier_event_times(
    store: OnlineStore, events: list[int], oldest: int
) -> None:
    store.delete(SPACE.prefix)
    keys = [SPACE.key(number) for number in range(len(events))]
    store.put([(key, row(event, 0, 0)) for key, event in zip(keys, events, strict=True)])
    assert store.expire(SPACE.prefix, sortable(oldest)) == sum(event < oldest for event in events)
    left = [row(event, 0, 0) if event >= oldest else None for event in events]
    assert store.get(keys) == left


def test_expire_leaves_tombstones_marks_and_other_groups_alone(store: OnlineStore) -> None:
    others = [KeySpace("spending", 1, 1).key(1), KeySpace("t", 1, 0).key(1)]
    store.put([(SPACE.key(number), row(1, 1, 1)) for number in range(2_500)])
    store.put([(key, row(1, 1, 1)) for key in others])
    store.replace([(SPACE.key(0), row(1, 1, 1), tombstone(2))])
    store.mark(SPACE.prefix, {"p": 1.0})
    assert store.expire(SPACE.prefix, sortable(2)) == 2_499
    assert store.expire(SPACE.prefix, sortable(2)) == 0
    assert store.get([SPACE.key(0), *others]) == [tombstone(2), row(1, 1, 1), row(1, 1, 1)]
    assert store.marks(SPACE.prefix) == {"p": 1.0}


@pytest.mark.parametrize("uri", some(["lmdb", "valkey", "redis"]), indirect=True)
def test_a_row_renewed_while_others_expire_stays(store: OnlineStore, uri: str) -> None:
    keys = [SPACE.key(number) for number in range(3_000)]
    store.put([(key, row(1, 1, 1)) for key in keys])
    other = open_store(uri)
    with ThreadPoolExecutor(1) as pool:
        expiring = pool.submit(store.expire, SPACE.prefix, sortable(2))
        for key in keys:
            other.put([(key, row(2, 1, 1))])
        expiring.result()
    assert store.get(keys) == [row(2, 1, 1)] * 3_000
    other.close()


def test_scan_finds_every_key_of_a_prefix(store: OnlineStore) -> None:
    keys = {SPACE.key(number) for number in range(2_500)}
    store.put([(key, row(1, 1, 1)) for key in [*keys, KeySpace("t", 1, 0).key(1)]])
    assert {key for chunk in store.scan(SPACE.prefix) for key in chunk} == keys


def test_marks_are_kept_changed_and_removed_by_field(store: OnlineStore) -> None:
    assert store.marks(SPACE.prefix) == {}
    store.mark(SPACE.prefix, {"2024-01-01\0putting:1:a": 1.5, "ü": 2.0})
    store.mark(SPACE.prefix, {"ü": 3.25})
    assert store.marks(SPACE.prefix) == {"2024-01-01\0putting:1:a": 1.5, "ü": 3.25}
    store.unmark(SPACE.prefix, ["ü", "never there"])
    store.unmark(SPACE.prefix, [])
    assert store.marks(SPACE.prefix) == {"2024-01-01\0putting:1:a": 1.5}


def _put_random_rows(uri: str, seed: int) -> dict[bytes, bytes]:
    """Puts in random order and batches; the greatest row put of each key."""
    rolls, best, store = random.Random(seed), dict[bytes, bytes](), open_store(uri)
    for _ in range(40):
        rows = [
            (SPACE.key(rolls.randrange(20)), row(rolls.randrange(50), rolls.randrange(3), seed))
            for _ in range(25)
        ]
        store.put(rows)
        for key, value in rows:
            best[key] = max(best.get(key, b""), value)
    store.close()
    return best


@pytest.mark.parametrize("uri", some(["lmdb", "valkey", "redis"]), indirect=True)
def test_processes_that_put_the_same_keys_keep_the_greatest(store: OnlineStore, uri: str) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        per_process = pool.starmap(_put_random_rows, [(uri, seed) for seed in range(2)])
        # Ended, not terminated: children may have inherited that SIGTERM is ignored.
        pool.close()
        pool.join()
    best: dict[bytes, bytes] = {}
    for rows in per_process:
        for key, value in rows.items():
            best[key] = max(best.get(key, b""), value)
    assert dict(zip(best, store.get(list(best)), strict=True)) == best


def test_threads_that_put_the_same_keys_keep_the_greatest(store: OnlineStore) -> None:
    def work(seed: int) -> None:
        rolls = random.Random(seed)
        for _ in range(30):
            store.put([(KEY, row(rolls.randrange(10**6), 0, seed))])
            (value,) = store.get([KEY])
            assert value is not None
            assert value[:24] == value[HEAD + 3 :]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    seen = [random.Random(seed) for seed in range(4)]
    best = max(rolls.randrange(10**6) for rolls in seen for _ in range(30))
    (value,) = store.get([KEY])
    assert value is not None
    assert value[:8] == sortable(best)


@pytest.mark.parametrize("wrong", ["", "lmdb://", "mysql://u:secret@host/db", "/some/path"])
def test_an_unknown_uri_is_refused_without_its_password(wrong: str) -> None:
    with pytest.raises(ConfigError, match="No online store is known for") as caught:
        open_store(wrong)
    assert "secret" not in str(caught.value)
