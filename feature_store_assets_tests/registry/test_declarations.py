"""Applied declarations: one contract, over SQLite and PostgreSQL alike."""

import multiprocessing
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup, Selection
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    BreakingChange,
    DeclarationError,
    DependencyCycle,
    EntityNotFound,
    FeatureNotFound,
    GroupNotFound,
    StorageUnusable,
    ViewNotFound,
)
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.declarations import Applied, Change
from feature_store_assets_tests import functions

X, Y = Feature("x", "int64"), Feature("y", "float64")
USER = Entity("user", {"user_id": "string"})


def group(name: str = "g", *features: Feature, **given: Any) -> FeatureGroup:
    return FeatureGroup(name, entity=USER, features=features or (X,), **given)


@pytest.fixture
def applied(database: Database) -> Applied:
    return Applied(database)


def test_what_is_applied_is_read_back_as_it_was_declared(applied: Applied) -> None:
    declared = group(
        "g", X, Y, partitions=Partitions.calendar(["year"]), ttl=timedelta(days=1), online=True,
        tags={"domain": "sales"}, owners=["team:growth"],
    )  # fmt: skip
    view = FeatureView("v", [declared["y"].rename({"y": "why"})])
    assert applied.apply([declared, view]) == [
        Change("group", "g", 1, "added"),
        Change("view", "v", 1, "added"),
    ]
    assert applied.groups() == [declared]
    assert applied.views() == [view]
    assert (applied.find("g"), applied.group("g", 1)) == (declared, declared)


def test_applying_again_changes_nothing_and_a_difference_is_recorded(applied: Applied) -> None:
    applied.apply([group()])
    assert applied.apply([group()]) == [Change("group", "g", 1, "unchanged")]
    changed = group("g", replace(X, description="Times."), Y)
    assert applied.apply([changed]) == [Change("group", "g", 1, "changed")]
    assert applied.group("g") == changed


def test_features_keep_the_order_in_which_they_were_added(applied: Applied) -> None:
    applied.apply([group("g", Y)])
    applied.apply([group("g", X, Y)])
    assert applied.group("g").feature_names == ["y", "x"]
    assert applied.apply([group("g", X, Y)]) == [Change("group", "g", 1, "unchanged")]


BREAKING: dict[str, tuple[FeatureGroup, str]] = {
    "a removed feature": (group("g", Y), "feature 'x' is removed"),
    "another type": (group("g", Feature("x", "string")), "feature 'x' int64 becomes string"),
    "another key": (
        replace(group(), entity=Entity("user", ["id"])),
        r"join keys \(user_id\) become \(id\)",
    ),
    "another key type": (
        replace(group(), entity=Entity("user", {"user_id": "int64"})),
        "key 'user_id' string becomes int64",
    ),
    "another timestamp": (group(timestamp="t"), "timestamp 'event_timestamp' becomes 't'"),
    "another created": (group(created="c"), "created None becomes 'c'"),
    "another end": (group(closed="right"), "closed 'left' becomes 'right'"),
    "another zone": (group(timezone="Europe/Paris"), "timezone None becomes 'Europe/Paris'"),
    "other partitions": (
        group(partitions=Partitions("daily", cron="0 0 * * *")),
        "the table is partitioned otherwise",
    ),
    "another writer": (
        group(partitions=Partitions.calendar(["year"])),
        "materialized True becomes False",
    ),
}


@pytest.mark.parametrize("case", BREAKING)
def test_a_breaking_change_is_refused_with_what_would_break(applied: Applied, case: str) -> None:
    changed, message = BREAKING[case]
    applied.apply([group()])
    prepared: list[FeatureGroup] = []
    with pytest.raises(BreakingChange, match=f"'g' version 1 .*{message}.*version=2, a new table"):
        applied.apply([group("other"), changed], prepare=prepared.append)
    assert (applied.groups(), prepared) == ([group()], [])
    new = replace(changed, version=2)
    assert applied.apply([new]) == [Change("group", "g", 2, "added")]
    assert (applied.group("g"), applied.group("g", 1)) == (new, group())


def test_the_table_is_made_before_anything_is_recorded(applied: Applied) -> None:
    def prepare(new: FeatureGroup) -> None:
        prepared.append(new.name)
        if new.name == "b":
            raise StorageUnusable("/data", "it is full")

    prepared: list[str] = []
    with pytest.raises(StorageUnusable, match="'/data' cannot hold the store: it is full"):
        applied.apply([group("a"), group("b")], prepare=prepare)
    assert prepared == ["a", "b"]
    assert applied.groups() == []
    applied.apply([group("a")])
    applied.apply([group("a"), group("c")], prepare=prepare)
    assert prepared == ["a", "b", "c"]


def test_a_view_of_something_unknown_leaves_nothing_not_even_a_table(applied: Applied) -> None:
    prepared: list[FeatureGroup] = []

    def refused(view: FeatureView, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            applied.apply([group("g"), view], prepare=prepared.append)

    refused(FeatureView("v", [group("gg")]), GroupNotFound, "named 'gg' .*Did you mean 'g'")
    refused(FeatureView("v", [group("g", version=2)]), GroupNotFound, "'g' in version 2")
    gone = Selection("g", 1, (("why", "why"),))
    refused(FeatureView("v", [gone]), FeatureNotFound, "'why' in 'g'")
    assert (applied.groups(), applied.views(), prepared) == ([], [], [])


def test_a_view_may_name_groups_that_are_applied_already(applied: Applied) -> None:
    applied.apply([group("g", X, Y)])
    applied.apply([FeatureView("v", [group("g")["x"]])])
    assert [chosen.features for chosen in applied.resolve("v").parts] == [{"x": "x"}]


def test_groups_and_views_share_their_names(applied: Applied) -> None:
    applied.apply([group("g"), FeatureView("v", [group("g")])])
    with pytest.raises(DeclarationError, match="A view is named 'v' already: names are shared"):
        applied.apply([group("v")])
    with pytest.raises(DeclarationError, match="A group is named 'g' already: names are shared"):
        applied.apply([FeatureView("g", [group("g")])])
    with pytest.raises(DeclarationError, match="Two declarations are named 'h'"):
        applied.apply([group("h"), group("h", Y)])
    with pytest.raises(DeclarationError, match="Two declarations are named 'h'"):
        applied.apply([group("h"), FeatureView("h", [group("g")])])


def reading(name: str, *upstream: str, **given: Any) -> FeatureGroup:
    return group(name, upstream=upstream, **given)


def test_groups_that_feed_each_other_in_a_circle_are_refused_by_name(applied: Applied) -> None:
    prepared: list[FeatureGroup] = []
    circle = [reading("a", "c", "orders"), reading("b", "a"), reading("c", "b"), reading("d", "c")]
    with pytest.raises(
        DependencyCycle, match=r"circle: (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)\."
    ):
        applied.apply(circle, prepare=prepared.append)
    assert (applied.groups(), prepared) == ([], [])


def test_a_circle_that_closes_over_what_is_applied_is_refused(applied: Applied) -> None:
    applied.apply([reading("a", "b"), reading("z", "a")])
    with pytest.raises(DependencyCycle, match=r"circle: .*b -> (z -> )?a"):
        applied.apply([reading("b", "z", "a")])
    applied.apply([reading("b", "a"), reading("a")])
    assert applied.group("b").upstream == ("a",)
    with pytest.raises(DependencyCycle):
        applied.apply([reading("a", "b", version=2)])
    # Version 1 of a is read by nobody any more: the newest counts.
    applied.apply([reading("a", version=2), reading("a", "b", version=1)])


def test_what_reads_its_own_past_or_another_asset_of_that_name_is_no_circle(
    applied: Applied,
) -> None:
    itself = reading("a", "a", per_partition=True)
    other = reading("b", "c", ins={"c": dg.AssetIn(key="elsewhere")})
    assert len(applied.apply([itself, other, reading("c", "b")])) == 3


def test_unknown_names_are_answered_with_the_nearest(applied: Applied) -> None:
    with pytest.raises((GroupNotFound, EntityNotFound), match="feature-store apply"):
        Applied(_migrated(applied)).group("spending")
    applied.apply([group("spending")])
    with pytest.raises(GroupNotFound, match=r"named 'spendin'. Did you mean 'spending'"):
        applied.group("spendin")
    with pytest.raises(GroupNotFound, match="named 'spending' in version 3"):
        applied.group("spending", 3)
    with pytest.raises(ViewNotFound, match="Did you mean 'spending'"):
        applied.resolve("spendin")


def _migrated(applied: Applied) -> Database:
    database = applied._database
    with database.write():
        pass
    return database


def test_features_are_resolved_by_view_group_or_id(applied: Applied) -> None:
    declared = group("g", X, Y)
    view = FeatureView("v", [declared["y"].rename({"y": "why"})])
    applied.apply([declared, view])
    views: list[Any] = [view, "v"]
    for what in views:
        assert [each.features for each in applied.resolve(what).parts] == [{"y": "why"}]
    groups: list[Any] = [declared, "g", ["g.x", "g.y"]]
    for what in groups:
        assert [each.features for each in applied.resolve(what).parts] == [{"x": "x", "y": "y"}]
    assert [each.features for each in applied.resolve("g", ["y"]).parts] == [{"y": "y"}]
    with pytest.raises(FeatureNotFound, match=r"'y' in 'v'.*'why'"):
        applied.resolve("v", ["y"])
    with pytest.raises(FeatureNotFound, match=re.escape("'x' in 'group.feature'")):
        applied.resolve(["x"])


def test_a_computed_feature_brings_along_what_it_is_computed_from(applied: Applied) -> None:
    declared = group("g", X, Y)
    near = RequestFeature("per_mile", "float64", functions.per_mile)
    size = RequestFeature("size", "int64", functions.letters)
    view = FeatureView(
        "v",
        [declared["x", "y"].rename({"y": "delay"})],
        request={"distance": "float64", "text": "string"},
        computed=[near, size],
    )
    applied.apply([declared, view])
    assert applied.views() == [view]
    whole = applied.resolve("v")
    assert whole.shown == ("x", "delay", "per_mile", "size")
    assert (whole.request, whole.computed) == (dict(view.request), (near, size))
    some = applied.resolve("v", ["per_mile", "x"])
    assert (some.owner, some.shown, some.computed) == ("v", ("x", "per_mile"), (near,))
    assert [each.features for each in some.parts] == [{"x": "x", "y": "delay"}]
    assert some.request == {"distance": "float64"}
    alone = applied.resolve("v", ["size"])
    assert (alone.parts, alone.request) == ([], {"text": "string"})
    stored = applied.resolve("v", ["x"])
    assert (stored.computed, stored.request) == ((), {})
    with pytest.raises(FeatureNotFound, match=r"'per_mil' in 'v'.*'per_mile'"):
        applied.resolve("v", ["per_mil"])


def test_one_group_is_extended_by_what_is_applied_now(applied: Applied) -> None:
    def add(feature: Feature) -> Callable[[FeatureGroup | None], FeatureGroup]:
        return lambda old: group("g", *(old.features if old else ()), feature)

    prepared: list[FeatureGroup] = []
    for feature in (X, Y):
        applied.extend("g", add(feature), prepare=prepared.append)
    assert applied.group("g") == prepared[-1] == group("g", X, Y)
    applied.extend("g", lambda _: group("g", Y, X), prepare=prepared.append)
    assert len(prepared) == 2
    with pytest.raises(BreakingChange):
        applied.extend("g", lambda _: group("g", X), prepare=prepared.append)


def _apply_at_once(url: str, number: int, start: Any, answers: Any) -> None:
    database = Database(url)
    try:
        start.wait()
        own = Applied(database).apply([group(f"g{number}")])
        start.wait()
        same = Applied(database).apply([group("same")])
        answers.put([own[0].action, same[0].action])
    except BaseException as error:
        answers.put([repr(error)])
        start.abort()
        raise
    finally:
        database.close()


@pytest.mark.slow
def test_eight_processes_apply_at_once_and_nothing_is_lost(url: str) -> None:
    """Different groups all land (defect 13 of the peers); the same one is added by just one."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    start, answers = processes.Barrier(8), processes.Queue()
    children = [
        processes.Process(target=_apply_at_once, args=(url, number, start, answers), daemon=True)
        for number in range(8)
    ]
    for child in children:
        child.start()
    told = [answers.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert sorted(told) == [["added", "added"], *[["added", "unchanged"]] * 7]
    database = Database(url)
    assert [each.name for each in Applied(database).groups()] == [
        *(f"g{number}" for number in range(8)),
        "same",
    ]
    database.close()


def test_a_reader_sees_one_whole_definition_or_the_other(url: str, applied: Applied) -> None:
    states = [group("g", X, Y), group("g", X, replace(Y, description="Why."))]
    applied.apply([states[0]])
    over = threading.Event()

    def write() -> None:
        database = Database(url)
        for turn in range(1, 21):
            Applied(database).apply([states[turn % 2]])
        database.close()
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not over.is_set() or not reads:
        assert applied.group("g") in states
        reads += 1
    writer.join()
    assert applied.group("g") == states[0]
