"""Eight processes that apply at once, from the first moment of a registry on."""

import multiprocessing
from collections.abc import Callable
from typing import Any

import pytest

from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import BreakingChange
from feature_store_assets.registry.actor import Actor
from feature_store_assets.registry.audit import Audit
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.declarations import Applied
from feature_store_assets.registry.lifecycle import Stages
from feature_store_assets.registry.search import search

_spawn = multiprocessing.get_context("spawn")

COUNT, OWN = 8, 3
TYPES = ("int64", "string")
BOUND = 90  # seconds for what takes a few


def group(name: str, feature: str = "x", dtype: str = "int64", **given: Any) -> FeatureGroup:
    entity = Entity("user", {"user_id": "string"})
    return FeatureGroup(name, entity=entity, features=[Feature(feature, dtype)], **given)


def adding(number: int) -> Callable[[FeatureGroup | None], FeatureGroup]:
    def add(old: FeatureGroup | None) -> FeatureGroup:
        known = () if old is None else old.features
        feature = Feature(f"by_{number}", "int64")
        return FeatureGroup("common", entity=group("g").entity, features=[*known, feature])

    return add


def work(applied: Applied, number: int, together: Callable[[], object]) -> list[str]:
    """Apply what is this process's own, and what all want; return what was acknowledged."""
    told = []
    together()  # nobody has made the database yet
    for each in range(OWN):
        changes = applied.apply([group(f"own_{number}_{each}")])
        told += [f"{change.name} {change.action}" for change in changes]
    together()
    applied.extend("common", adding(number), prepare=lambda _: None)
    together()
    described = group("described", description=f"By {number}.")
    view = FeatureView(f"view_{number}", [group(f"own_{number}_0")])
    changes = applied.apply([described, view])
    told += [f"{change.name} {change.action}" for change in changes]
    together()
    try:
        applied.apply([group("contested", dtype=TYPES[number % 2])])
        told.append(f"contested {TYPES[number % 2]}")
    except BreakingChange as error:
        told.append(str(error))
    return told


def process(url: str, number: int, barrier: Any, answers: Any) -> None:
    database = Database(url, Actor(str(number)))
    try:
        answers.put((number, work(Applied(database), number, lambda: barrier.wait(BOUND))))
    except BaseException as error:
        answers.put((number, [repr(error)]))
        barrier.abort()
        raise
    finally:
        database.close()


def run(url: str) -> dict[int, list[str]]:
    """What each process was told."""
    barrier, answers = _spawn.Barrier(COUNT), _spawn.Queue()
    children = [
        _spawn.Process(target=process, args=(url, number, barrier, answers), daemon=True)
        for number in range(COUNT)
    ]
    for child in children:
        child.start()
    told = dict(answers.get(timeout=BOUND) for _ in children)
    for child in children:
        child.join(BOUND)
    assert [child.exitcode for child in children] == [0] * COUNT, told
    return told


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_losers_are_told(url: str) -> None:
    told = run(url)
    database = Database(url)
    applied = Applied(database)

    owned = [f"own_{number}_{each}" for number in range(COUNT) for each in range(OWN)]
    known = {each.name: each for each in applied.groups()}
    assert sorted(known) == sorted([*owned, "common", "contested", "described"])
    assert {view.name for view in applied.views()} == {f"view_{each}" for each in range(COUNT)}
    for number, lines in told.items():
        assert lines[:OWN] == [f"own_{number}_{each} added" for each in range(OWN)]
        assert f"view_{number} added" in lines

    # Each saw what the ones before it had added.
    assert set(known["common"].feature_names) == {f"by_{number}" for number in range(COUNT)}
    edits = applied.history("common")
    assert [edit.action for edit in edits] == ["added"] + ["changed"] * (COUNT - 1)
    assert known["common"].feature_names == [f"by_{edit.changed_by}" for edit in edits]

    # All were acknowledged, one after the other: the last one holds.
    edits = applied.history("described")
    assert sorted(edit.changed_by for edit in edits) == [str(each) for each in range(COUNT)]
    assert sum("described added" in lines for lines in told.values()) == 1
    assert known["described"].description == f"By {edits[-1].changed_by}."

    # Of two definitions that exclude each other, one was applied and the other one refused.
    won = known["contested"].feature("x").dtype
    for number, lines in told.items():
        if TYPES[number % 2] == won:
            assert lines[-1] == f"contested {won}"
        else:
            wanted = f"feature 'x' {won} becomes {TYPES[number % 2]}. Declare version=2"
            assert "'contested' version 1 is applied already" in lines[-1]
            assert wanted in lines[-1]
    assert [edit.action for edit in applied.history("contested")] == ["added"]

    changes = COUNT * (OWN + 1) + 2 * COUNT + 1
    assert Audit(database).verify() == changes
    found = {hit.name for hit in search(database, "", Stages(database).reader())}
    features = {f"{name}.{each}" for name in known for each in known[name].feature_names}
    assert found == {*known, *features, *(f"view_{number}" for number in range(COUNT))}
    database.close()
