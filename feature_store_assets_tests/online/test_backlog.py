"""Whatever was committed and not published is found by the next publish, whoever makes it."""

import os
import random

import pytest

from feature_store_assets.online import OnlineStore
from feature_store_assets.online.backlog import follow
from feature_store_assets.online.publish import publish
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
    online,
)


def go(history: History, store: OnlineStore, *partitions: str) -> tuple[str, ...]:
    return follow(history, store, SPACE, partitions, now=NOW).partitions


def follows(store: OnlineStore, history: History) -> bool:
    return online(store, IDS) == history.answer(NOW)


def test_what_nobody_published_is_published_with_the_next(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    history.commit("p1", {(2, 1, 1): 20})
    assert go(history, store, "p1") == ("p1", "p0")
    assert go(history, store) == ()
    history.commit("p0", {})
    history.commit("p2", {(3, 1, 1): 30})
    assert go(history, store, "p2") == ("p2", "p0")
    assert follows(store, history)
    assert go(history, store, "p2") == ("p2",)


def test_the_last_change_of_a_partition_counts_whatever_changed_beside_it(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    go(history, store)
    history.commit("p0", {(1, 1, 1): 11})
    history.commit("p1", {(1, 2, 1): 12})
    publish(history, store, SPACE, ["p1"], now=NOW)  # as a process that dies before it is done
    assert set(go(history, store)) == {"p0", "p1"}
    assert follows(store, history)


def test_a_store_that_was_emptied_is_filled_again(store: OnlineStore, history: History) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    history.commit("p1", {(2, 1, 1): 20})
    go(history, store)
    for prefix in (SPACE.prefix, b"fs:spending:"):
        store.delete(prefix)
    history.commit("p1", {(2, 1, 1): 21})
    assert set(go(history, store, "p1")) == {"p0", "p1"}
    assert follows(store, history)


def test_rows_that_earlier_code_published_are_not_published_again(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    history.commit("p1", {(2, 1, 1): 20})
    publish(history, store, SPACE, ["p0", "p1"], now=NOW)
    history.commit("p1", {(2, 1, 1): 21})
    assert go(history, store) == ("p1",)
    assert follows(store, history)
    assert go(history, store) == ()


def test_a_table_older_than_what_is_online_is_published_whole(
    store: OnlineStore, history: History, caplog: pytest.LogCaptureFixture
) -> None:
    for value in range(4):
        history.commit("p0", {(1, 1, 1): value})
    go(history, store)
    del history.versions[2:]
    history.commit("p1", {(2, 1, 1): 20})
    assert set(go(history, store)) == {"p0", "p1"}
    assert "Rebuild the group" in caplog.text


def interleave(seed: int, store: OnlineStore) -> None:  # noqa: C901 - one step after the other
    rolls = random.Random(seed)
    history = History()
    names = PARTITIONS[: rolls.choice((1, 2, 3))]
    running: list[Stepped] = []
    for prefix in (SPACE.prefix, b"fs:spending:"):
        store.delete(prefix)

    def begin(partitions: list[str]) -> Stepped:
        def work(give: Give) -> None:
            watched = Watched(history, store, give)
            follow(watched, watched, SPACE, partitions, now=NOW)

        publisher = Stepped(work)
        publisher.step()
        running.append(publisher)
        return publisher

    def go_on(publisher: Stepped, steps: int) -> None:
        for _ in range(steps):
            if publisher.before is not None:
                publisher.step()
        if publisher.before is None:
            running.remove(publisher)

    for _ in range(rolls.randint(6, 24)):
        kind = rolls.random()
        if kind < 0.4:
            name = rolls.choice(names)
            history.commit(name, changed(rolls, history, name, len(IDS)))
        elif kind < 0.6 or not running:
            partitions = rolls.sample(names, rolls.randint(0, len(names)))
            go_on(begin(partitions), rolls.choice((999, rolls.randint(1, 20))))
        elif kind < 0.9:
            go_on(rolls.choice(running), rolls.choice((1, 2, 3, 4, 6, 999)))
        else:
            killed = running.pop(rolls.randrange(len(running)))
            killed.kill()
    while running:
        go_on(rolls.choice(running), rolls.choice((1, 3, 999)))
    follow(history, store, SPACE, (), now=NOW)
    assert follows(store, history), f"seed {seed}"


def test_however_publishers_are_killed_the_next_publish_makes_online_whole(
    store: OnlineStore,
) -> None:
    first = int(os.environ.get("FSA_SEED", "0"))
    for seed in range(first, first + INTERLEAVINGS):
        interleave(seed, store)
