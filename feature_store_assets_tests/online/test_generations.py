"""A rebuild: readers go from one whole generation to the next, whatever happens meanwhile."""

import random
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from feature_store_assets import Entity, Feature, FeatureGroup
from feature_store_assets.online import OnlineStore
from feature_store_assets.online.generations import Rebuilt, current, in_each, rebuild
from feature_store_assets.online.publish import Published, publish
from feature_store_assets.online.row import KeySpace
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.online.history import (
    IDS,
    NOW,
    PARTITIONS,
    Give,
    History,
    Killed,
    Stepped,
    Watched,
    changed,
    online,
)

GROUP = FeatureGroup(
    "spending",
    entity=Entity("user", {"id": "int64"}),
    features=[Feature("value", "int64")],
    timestamp="at",
    online=True,
)


def space(store: OnlineStore) -> KeySpace:
    """Where a reader who comes now reads."""
    [generation] = current(store.get, [GROUP])
    return KeySpace.of(GROUP, generation)


def follows(store: OnlineStore, history: History) -> bool:
    return online(store, IDS, space(store)) == history.answer(NOW)


def go(history: History, store: OnlineStore, *partitions: str) -> Published:
    return in_each(store, GROUP, lambda place: publish(history, store, place, partitions, now=NOW))


def rebuilt(
    history: History | Watched,
    store: OnlineStore,
    wait: Callable[[float], object] = lambda _: None,
) -> Rebuilt:
    return rebuild(history, store, GROUP, grace=35.0, now=NOW, wait=wait)


def test_a_rebuild_makes_online_what_the_table_says(store: OnlineStore, history: History) -> None:
    history.commit("p0", {(1, 1, 1): 10, (2, 1, 1): 20})
    go(history, store, "p0")
    history.commit("p1", {(1, 2, 2): 11})  # never published
    place = space(store)
    store.remove(place.keys([2]))  # lost
    store.put([(place.key(5), store.get(place.keys([1]))[0] or b"")])  # never in the table
    done = rebuilt(history, store)
    assert (done.generation, done.published.written, done.removed) == (1, 2, 2)
    assert follows(store, history)
    assert rebuilt(history, store).generation == 2


def test_a_rebuild_leaves_one_generation_of_this_version_and_others_alone(
    store: OnlineStore, history: History
) -> None:
    others = [KeySpace("spending", 10, 0), KeySpace("spend", 1, 0)]
    history.commit("p0", {(key, 1, 1): key for key in IDS})
    for place in (*others, KeySpace.of(GROUP, 0)):
        publish(history, store, place, ["p0"], now=NOW)
    for _ in range(3):
        rebuilt(history, store)
    found = {key.rpartition(b":")[0] for chunk in store.scan(b"fs:") for key in chunk}
    kept = [*others, KeySpace.of(GROUP, 3)]
    assert {each.prefix + b"{i1" for each in kept} | {b"fs:spending:1", b"fs:spending"} >= found
    for place in kept:
        assert len(online(store, IDS, place)) == 6
    for number in range(3):
        assert store.marks(KeySpace.of(GROUP, number).prefix) == {}


def test_a_table_without_rows_empties_what_is_read(store: OnlineStore, history: History) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    go(history, store, "p0")
    history.commit("p0", {})
    rebuilt(history, store)
    assert online(store, IDS, space(store)) == {}


def test_readers_are_waited_for_between_the_switch_and_the_removal(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    go(history, store, "p0")
    old, waited = space(store), list[float]()

    def wait(seconds: float) -> None:
        waited.append(seconds)
        assert space(store) != old
        assert online(store, IDS, old) == online(store, IDS, space(store)) != {}

    rebuilt(history, store, wait)
    assert waited == [35.0]
    assert online(store, IDS, old) == {}


class Rebuilding:
    """A rebuild that goes on one operation at a time."""

    def __init__(self, store: OnlineStore, history: History) -> None:
        def work(give: Give) -> None:
            watched = Watched(history, store, give)
            rebuilt(watched, watched, lambda _: give("wait"))

        self.stepped = Stepped(work)
        self.stepped.step()


def test_a_reader_never_misses_a_row_that_was_there(store: OnlineStore, history: History) -> None:
    history.commit("p0", {(key, 1, 1): key for key in IDS})
    go(history, store, "p0")
    expected = online(store, IDS, space(store))
    begun, over = threading.Event(), threading.Event()
    missed: list[object] = []

    def read() -> None:
        while not over.is_set():
            begun.set()
            seen = online(store, IDS, space(store))
            if seen != expected:
                missed.append(seen)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    old = space(store)
    rebuilding = Rebuilding(store, history).stepped
    while rebuilding.before not in ("wait", None):
        # Prepared before the rebuild, and used for the longest that it may be.
        assert online(store, IDS, old) == expected
        rebuilding.step()
    # The grace that a rebuild waits: who read before the switch is done when another read begins.
    begun.clear()
    assert begun.wait(30)
    rebuilding.finish()
    over.set()
    reader.join()
    assert missed == []


@pytest.mark.slow
def test_what_is_published_during_a_rebuild_is_online_after_it(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    go(history, store, "p0")
    for steps in range(30):
        rebuilding = Rebuilding(store, history).stepped
        for _ in range(steps):
            if rebuilding.before is not None:
                rebuilding.step()
        history.commit("p1", {(2, 1, 1): steps})
        go(history, store, "p1")
        assert follows(store, history)
        rebuilding.finish()
        assert follows(store, history), f"published after {steps} steps"


def test_a_publisher_that_a_rebuild_overtook_follows_it(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    go(history, store, "p0")
    for steps in range(1, 12):
        history.commit("p1", {(2, 1, 1): steps})

        def work(give: Give) -> None:
            watched = Watched(history, store, give)
            in_each(
                watched,
                GROUP,
                lambda place: publish(watched, watched, place, ["p1"], now=NOW),
            )

        publisher = Stepped(work)
        for _ in range(steps):
            publisher.step()
        rebuilt(history, store)
        publisher.finish()
        assert follows(store, history), f"overtaken after {steps} steps"


def test_two_rebuilds_at_once_share_their_generation(store: OnlineStore, history: History) -> None:
    history.commit("p0", {(key, 1, 1): key for key in IDS})
    go(history, store, "p0")
    first, second = Rebuilding(store, history).stepped, Rebuilding(store, history).stepped
    for stepped in (first, second):
        stepped.reach("put", 2)
    first.finish()
    assert follows(store, history)
    second.finish()
    assert current(store.get, [GROUP]) == [1]
    assert follows(store, history)


def test_a_slow_rebuild_removes_nothing_that_is_still_read(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(key, 1, 1): key for key in IDS})
    slow = Rebuilding(store, history).stepped
    slow.reach("wait")
    rebuilding = Rebuilding(store, history).stepped
    rebuilding.reach("wait")
    slow.finish()
    # Switched away from only after the slow one had begun to wait.
    assert online(store, IDS, KeySpace.of(GROUP, 1)) == history.answer(NOW)
    rebuilding.finish()
    assert follows(store, history)


def _until_killed(store: OnlineStore, history: History, operations: int) -> bool:
    """A rebuild that is killed after so many operations; False if it had fewer."""
    left = iter(range(operations))

    def give(_: str) -> None:
        if next(left, None) is None:
            raise Killed

    watched = Watched(history, store, give)
    with suppress(Killed):
        rebuilt(watched, watched)
        return False
    return True


def test_a_rebuild_killed_anywhere_leaves_online_right_and_the_next_one_converges(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(key, 2, 2): key for key in IDS})
    go(history, store, "p0")
    operations = 0
    while _until_killed(store, history, operations):
        assert follows(store, history), f"killed after {operations} operations"
        # A group that was left in the middle is still published to.
        history.commit("p0", {(key, 2, 2): key + operations for key in IDS if key != operations})
        history.commit("p1", {(operations % 6, operations % 8, 9): 7})
        go(history, store, "p0", "p1")
        assert follows(store, history), f"killed after {operations} operations, then published"
        if operations % 2:
            rebuilt(history, store)
            assert follows(store, history), f"killed after {operations} operations, then rebuilt"
        operations += 1
    assert operations > 10


def test_what_a_killed_rebuild_left_of_a_partition_that_is_gone_is_taken_back(
    store: OnlineStore, history: History
) -> None:
    history.commit("p0", {(1, 1, 1): 10})
    killed = Rebuilding(store, history).stepped
    killed.reach("put", 3)
    killed.kill()
    history.commit("p0", {})
    history.commit("p1", {(2, 1, 1): 20})
    rebuilt(history, store)
    assert follows(store, history)


def interleave(rolls: random.Random, store: OnlineStore) -> None:  # noqa: C901 - told in order
    history = History()
    keys, names = rolls.choice((1, 1, 2)), PARTITIONS[: rolls.choice((1, 2, 2, 3))]
    running: dict[Stepped, tuple[int, list[str]]] = {}
    # When each partition was changed, or left by a killed publish: a later one has to follow.
    due: dict[str, int] = {}
    store.delete(b"fs:")
    for number in range(20):  # their marks
        store.delete(KeySpace.of(GROUP, number).prefix)

    def publisher(partitions: list[str]) -> Stepped:
        def work(give: Give) -> None:
            watched = Watched(history, store, give)
            in_each(
                watched,
                GROUP,
                lambda place: publish(watched, watched, place, partitions, now=NOW),
            )

        return Stepped(work)

    def go_on(worker: Stepped, steps: int) -> None:
        for _ in range(steps):
            worker.step()
            if worker.before is None:
                began, partitions = running.pop(worker)
                for name in partitions:
                    if due.get(name, began) < began:
                        del due[name]
                return

    for moment in range(rolls.randint(6, 20)):
        kind = rolls.random()
        if kind < 0.35:
            name = rolls.choice(names)
            history.commit(name, changed(rolls, history, name, keys))
            due[name] = moment
        elif kind < 0.65 or not running:
            again = rolls.random() < 0.35
            count = len(names) if again else rolls.choice((1, len(names)))
            partitions = rolls.sample(names, count)
            worker = Rebuilding(store, history).stepped if again else publisher(partitions)
            running[worker] = moment, partitions
            go_on(worker, rolls.choice((999, rolls.randint(1, 14))))
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
    assert follows(store, history)
    rebuilt(history, store)
    assert follows(store, history)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=examples(25),
    deadline=None,
)
@given(st.randoms(use_true_random=False))
def test_however_rebuilds_and_publishes_interleave_online_is_the_newest_row_per_key(
    store: OnlineStore, rolls: random.Random
) -> None:
    interleave(rolls, store)
