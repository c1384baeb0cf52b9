import os
import random
import time
from collections.abc import Iterator

import pytest

from feature_store_assets.errors import WriteConflict
from feature_store_assets.online import OnlineStore
from feature_store_assets.online.publish import Published, publish
from feature_store_assets_tests.online.history import (
    IDS,
    INTERLEAVINGS,
    NOW,
    PARTITIONS,
    SPACE,
    Give,
    History,
    Stepped,
    Watched,
    changed,
    day,
    online,
)


def follows(store: OnlineStore, history: History) -> bool:
    return online(store, IDS) == history.answer(NOW)


def go(history: History, store: OnlineStore, *partitions: str) -> Published:
    return publish(history, store, SPACE, partitions, now=NOW)


def test_the_newest_row_of_each_key_is_put(store: OnlineStore, history: History) -> None:
    history.commit("p0", {(1, 1, 1): 10, (1, 2, 2): 11, (2, 1, 1): 20})
    assert go(history, store, "p0") == Published(2, 0, 0, 0, 0, 1, swept=False, partitions=("p0",))
    assert follows(store, history)
    assert go(history, store, "p0").written == 0


def test_an_old_partition_published_late_changes_nothing_newer(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 1, 1): 10, (2, 1, 1): 20})
    history.commit("p1", {(1, 2, 2): 11})
    go(history, store, "p1")
    assert go(history, store, "p0").older == 1
    assert follows(store, history)


def test_a_correction_under_the_same_times_gets_through(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    go(history, store, "p0")
    history.commit("p0", {(1, 1, 1): 11})
    assert go(history, store, "p0").written == 1
    assert follows(store, history)


def test_a_row_that_vanished_is_taken_back_into_the_one_before(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    history.commit("p1", {(1, 2, 2): 11, (2, 2, 2): 21})
    go(history, store, "p0", "p1")
    history.commit("p1", {})
    done = go(history, store, "p1")
    assert (done.taken_back, done.tombstones) == (1, 1)
    assert follows(store, history)
    history.commit("p1", {(2, 2, 2): 22})
    assert go(history, store, "p1").written == 1
    assert follows(store, history)


def test_a_row_dated_back_is_taken_back(store: OnlineStore, history: History) -> None:
    history.commit("p0", {(1, 5, 5): 10})
    go(history, store, "p0")
    history.commit("p0", {(1, 3, 6): 10})
    assert go(history, store, "p0").taken_back == 1
    assert follows(store, history)


def test_a_replacement_out_of_a_partition_never_published_is_taken_back_with_it(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 5, 5): 10})
    go(history, store, "p0")
    history.commit("p1", {(1, 3, 3): 11})
    history.commit("p0", {})
    go(history, store, "p0")
    assert follows(store, history)
    history.commit("p1", {})
    go(history, store, "p1")
    assert online(store, IDS) == {}


def test_rows_dated_in_the_future_wait_until_they_are_due(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    go(history, store, "p0")
    history.commit("p0", {(1, 9, 1): 11, (2, 9, 1): 21})
    held = publish(history, store, SPACE, ["p0"], now=NOW)
    assert (held.held_back, held.tombstones) == (2, 1)
    assert online(store, IDS) == {}
    # The table did not change: the due row has the commit number of the tombstone it ends.
    assert publish(history, store, SPACE, ["p0"], now=day(9)).written == 2
    assert online(store, IDS) == history.answer(day(9))
    # A publisher whose clock is behind takes no due row back.
    history.commit("p0", {(1, 9, 1): 12, (2, 9, 1): 21, (2, 9, 2): 22})
    publish(history, store, SPACE, ["p0"], now=NOW)
    history.commit("p0", {(1, 9, 1): 12, (2, 9, 1): 21})
    publish(history, store, SPACE, ["p0"], now=day(9))
    assert online(store, IDS) == history.answer(day(9))


def test_marks_do_not_pile_up(store: OnlineStore, history: History) -> None:
    for value in range(5):
        history.commit("p0", {(1, value, value): value})
        history.commit("p1", {(1, value, value + 1): value})
        go(history, store, "p0", "p1")
    assert len(store.marks(SPACE.prefix)) == 2


def test_the_mark_of_a_publisher_dead_for_a_day_goes_away(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    dead = {"p0\0putting:1:dead": time.time() - 90_000, "p0\0putting:1:slow": time.time() - 80_000}
    store.mark(SPACE.prefix, dead)
    go(history, store, "p0")
    left = {field.rpartition(":")[2] for field in store.marks(SPACE.prefix)}
    assert "slow" in left
    assert "dead" not in left


@pytest.mark.parametrize("newer", [False, True])
def test_a_version_that_can_no_longer_be_read_has_every_online_key_compared(
    store: OnlineStore, history: History, *, newer: bool
) -> None:
    history.commit("p0", {(key, 5, 5): key for key in IDS})
    go(history, store, "p0")
    history.commit("p1", {(1, 3, 3): 11, (2, 6 if newer else 2, 3): 12})
    history.commit("p0", {(3, 5, 5): 3})
    history.expired = {1}
    assert go(history, store, "p0").swept
    go(history, store, "p1")
    assert follows(store, history)
    history.commit("p0", {})
    assert not go(history, store, "p0").swept


def test_a_year_of_partitions_takes_a_handful_of_round_trips(
    store: OnlineStore, history: History
) -> None:
    days = [f"d{number}" for number in range(365)]
    for number, name in enumerate(days):
        history.commit(name, {(number % 6, number % 8, number): number})
    trips: list[str] = []
    watched = Watched(history, store, trips.append)
    publish(watched, watched, SPACE, days, now=NOW)
    assert len(trips) <= 8
    assert follows(store, history)


@pytest.mark.slow
def test_a_table_that_never_rests_is_given_up_with_an_error(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    go(history, store, "p0")
    history.commit("p0", {})
    history.commit("p1", {(1, 1, 1): 0})
    restless = iter(range(1, 10**6))

    def change(_: str) -> None:
        history.commit("p1", {(1, 1, 1): next(restless)})

    watched = Watched(history, store, change)
    with pytest.raises(WriteConflict):
        publish(watched, watched, SPACE, ["p0"], now=NOW)
    go(history, store, "p0")
    go(history, store, "p1")
    assert follows(store, history)


def interleave(seed: int, store: OnlineStore) -> None:  # noqa: C901 - one race, told in order
    rolls, history = random.Random(seed), History()
    keys, names = rolls.choice((1, 1, 2)), PARTITIONS[: rolls.choice((1, 2, 2, 3))]
    running: dict[Stepped, tuple[int, list[str]]] = {}
    # When each partition was changed, or left by a killed publish: a later one has to follow.
    due: dict[str, int] = {}
    store.delete(SPACE.prefix)

    def begin(partitions: list[str], moment: int) -> Stepped:
        def work(give: Give) -> None:
            watched = Watched(history, store, give)
            publish(watched, watched, SPACE, partitions, now=NOW)

        publisher = Stepped(work)
        running[publisher] = moment, partitions
        publisher.reach("version")
        publisher.step()
        return publisher

    def go_on(publisher: Stepped, steps: int) -> None:
        for _ in range(steps):
            publisher.step()
            if publisher.before is None:
                began, partitions = running.pop(publisher)
                for name in partitions:
                    if due.get(name, began) < began:
                        del due[name]
                return

    for moment in range(rolls.randint(6, 24)):
        kind = rolls.random()
        if kind < 0.35:
            name = rolls.choice(names)
            history.commit(name, changed(rolls, history, name, keys))
            due[name] = moment
        elif kind < 0.6 or not running:
            partitions = rolls.sample(names, min(len(names), rolls.choice((1, 1, 1, 2, 3))))
            go_on(begin(partitions, moment), rolls.choice((999, rolls.randint(1, 14))))
        elif kind < 0.93:
            go_on(rolls.choice(list(running)), rolls.choice((1, 2, 3, 4, 6, 999)))
        else:
            killed = rolls.choice(list(running))
            due |= dict.fromkeys(running.pop(killed)[1], moment)
            killed.kill()
    while running:
        go_on(rolls.choice(list(running)), rolls.choice((1, 3, 999)))
    # What nobody published since is published now; nothing else is.
    for name in rolls.sample(sorted(due), len(due)):
        go(history, store, name)
    assert online(store, IDS) == history.answer(NOW), f"seed {seed}"


@pytest.fixture
def seeds() -> Iterator[int]:
    first = int(os.environ.get("FSA_SEED", "0"))
    return iter(range(first, first + INTERLEAVINGS))


def test_however_publishes_interleave_online_is_the_newest_row_per_key(
    store: OnlineStore, seeds: Iterator[int]
) -> None:
    for seed in seeds:
        interleave(seed, store)
