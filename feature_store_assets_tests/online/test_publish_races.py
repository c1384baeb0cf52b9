"""One schedule of two or three publishers for each fine point of `publish`."""

import pytest

from feature_store_assets.online import OnlineStore
from feature_store_assets.online.publish import publish
from feature_store_assets_tests.online.history import (
    SPACE,
    Give,
    History,
    Rows,
    Stepped,
    Watched,
    day,
    online,
)

OLD, NEW = (1, 1, 1), (1, 2, 2)  # times of the one key's rows


class Race:
    """Publishers of one table into one store, each let on by hand."""

    def __init__(self, store: OnlineStore) -> None:
        self._store, self._history = store, History()

    def commit(self, partition: str, rows: Rows) -> None:
        self._history.commit(partition, rows)

    def begin(self, *partitions: str) -> Stepped:
        """A publisher that stands before its look at the table's version."""

        def work(give: Give) -> None:
            watched = Watched(self._history, self._store, give)
            publish(watched, watched, SPACE, partitions, now=day(8))

        publisher = Stepped(work)
        publisher.step()
        return publisher

    def go(self, *partitions: str) -> None:
        self.begin(*partitions).finish()

    def is_won(self) -> bool:
        return online(self._store, [1, 2]) == self._history.answer(day(8))


@pytest.fixture
def race(store: OnlineStore) -> Race:
    return Race(store)


def test_rows_put_before_a_kill_are_taken_back_as_their_mark_came_first(race: Race) -> None:
    race.commit("p0", {NEW: 10})
    killed = race.begin("p0")
    killed.reach("put")
    killed.step()
    killed.kill()
    race.commit("p0", {})
    race.go("p0")
    assert race.is_won()


def test_the_home_of_a_replacement_stays_marked_when_all_is_done(race: Race) -> None:
    race.commit("p0", {NEW: 10})
    race.go("p0")
    race.commit("p1", {OLD: 11})
    race.commit("p0", {})
    race.go("p0")
    race.commit("p1", {})
    race.go("p1")
    assert race.is_won()


def test_a_slow_publisher_takes_back_what_it_put_after_a_later_one_was_done(race: Race) -> None:
    race.commit("p0", {NEW: 10})
    slow = race.begin("p0")
    slow.reach("put")
    race.commit("p0", {})
    race.go("p0")
    slow.finish()
    assert race.is_won()


def test_a_replacement_that_is_gone_by_the_next_look_is_looked_at_again(race: Race) -> None:
    race.commit("p0", {NEW: 10})
    slow = race.begin("p0")
    slow.reach("version")
    race.commit("p1", {OLD: 11})
    race.commit("p0", {})
    slow.reach("look")
    # The replacement's home is published before anything says that it may stand online.
    race.commit("p1", {})
    race.go("p1")
    slow.finish()
    race.go("p0")
    assert race.is_won()


def test_keys_once_doubtful_stay_so_until_the_last_look(race: Race) -> None:
    slow = race.begin("p0")
    slow.reach("marks")
    race.commit("p0", {NEW: 10})
    race.go("p0")
    race.commit("p0", {})
    slow.finish()
    race.go("p0")
    assert race.is_won()


def test_the_mark_of_a_living_publisher_is_left_for_the_one_after_its_kill(race: Race) -> None:
    race.commit("p0", {NEW: 10})
    slow = race.begin("p0")
    slow.reach("put")
    race.commit("p0", {})
    race.go("p0")
    slow.step()
    slow.kill()
    race.go("p0")
    assert race.is_won()


def test_a_key_that_a_later_version_settled_is_left_alone(race: Race) -> None:
    slow = race.begin("p0")
    slow.reach("marks")
    race.commit("p0", {NEW: 10})
    race.go("p0")
    slow.finish()
    assert race.is_won()


def test_a_row_that_came_back_is_settled_after_a_kill_in_its_absence(race: Race) -> None:
    race.commit("p0", {OLD: 10})
    race.go("p0")
    race.commit("p0", {})
    race.commit("p1", {NEW: 11})
    settler = race.begin("p0")
    settler.reach("look")
    settler.step()
    race.commit("p0", {OLD: 10})
    race.commit("p1", {})
    race.go("p1")
    settler.reach("replace")
    settler.step()
    settler.kill()
    race.go("p0")
    assert race.is_won()


def test_each_version_that_a_killed_publisher_looked_at_is_marked(race: Race) -> None:
    race.commit("p0", {OLD: 10})
    settler = race.begin("p0")
    settler.reach("version")
    race.commit("p0", {})
    race.commit("p1", {NEW: 11})
    settler.reach("look")
    settler.step()
    race.commit("p0", {OLD: 10})
    race.commit("p1", {})
    race.go("p1")
    settler.reach("replace")
    settler.step()
    settler.kill()
    race.go("p0")
    assert race.is_won()


def test_a_mark_built_upon_outlives_the_publisher_that_removes_it(race: Race) -> None:
    race.commit("p0", {OLD: 10})
    race.go("p0")
    race.commit("p0", {})
    settler = race.begin("p0")
    settler.reach("look")
    race.go("p0")
    race.commit("p1", {NEW: 11})
    settler.reach("look")
    settler.step()
    race.commit("p1", {})
    race.go("p1")
    settler.reach("replace")
    settler.step()
    settler.kill()
    race.go("p0")
    assert race.is_won()


def test_a_row_found_right_by_others_is_still_taken_back_with_its_partition(race: Race) -> None:
    race.commit("p0", {NEW: 10})
    race.commit("p1", {OLD: 11})
    race.go("p1")
    slow = race.begin("p0")
    slow.reach("version")
    race.commit("p0", {})
    slow.reach("look")
    race.commit("p0", {NEW: 10})
    race.commit("p1", {})
    race.go("p1")
    slow.finish()
    race.commit("p0", {})
    race.go("p0")
    assert race.is_won()


def test_a_row_that_moved_to_another_partition_is_taken_back_with_that_one(race: Race) -> None:
    race.commit("p0", {NEW: 10})
    race.go("p0")
    race.commit("p0", {})
    race.commit("p1", {NEW: 10})
    race.go("p0")
    race.commit("p1", {})
    race.go("p1")
    assert race.is_won()


def test_a_row_that_moved_on_while_it_was_looked_at_is_looked_at_again(race: Race) -> None:
    race.commit("p0", {NEW: 10})
    slow = race.begin("p0")
    slow.reach("version")
    race.commit("p0", {})
    race.commit("p1", {NEW: 10})
    slow.reach("look")
    race.commit("p1", {})
    race.go("p1")
    slow.finish()
    assert race.is_won()
