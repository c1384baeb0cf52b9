"""Plans: what applying would change, and what that touches."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.registry.actor import Actor
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.declarations import Applied, Declared
from feature_store_assets.registry.dependents import (
    Dependents,
    TrainingSetFeatures,
    User,
    UserKind,
)
from feature_store_assets.registry.models import Model
from feature_store_assets.registry.pins import OwnerKind, Pin
from feature_store_assets.registry.planning import Planned, plan

X, Y = Feature("x", "int64"), Feature("y", "float64")
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def group(name: str = "g", *features: Feature, **given: Any) -> FeatureGroup:
    entity = Entity("user", {"user_id": "string"})
    return FeatureGroup(name, entity=entity, features=features or (X,), **given)


def pin(owner: str, group: str = "g", version: int = 1, kind: OwnerKind = "snapshot") -> Pin:
    return Pin(kind, owner, group, version, 7, "", "ann", NOON)


def model(name: str, view: str = "", features: tuple[str, ...] = ()) -> Model:
    return Model(name, "set", view, features, (), "", "", "ann", NOON)


def users(*texts: str) -> tuple[User, ...]:
    """The users that texts such as `training set t` mean."""
    kinds: tuple[UserKind, ...] = get_args(UserKind)
    found = [User(kind, text.rpartition(" ")[2]) for text in texts for kind in kinds]
    return tuple(each for each in found if str(each) in texts)


def known(
    applied: Applied, *, pins: Sequence[Pin] = (), models: Sequence[Model] = ()
) -> Dependents:
    sets = [
        TrainingSetFeatures(pin.owner, "ann", (f"{pin.feature_group}.x",))
        for pin in pins
        if pin.owner_kind == "training_set"
    ]
    return Dependents(applied.groups(), applied.views(), pins, sets, models)


@pytest.fixture
def applied(database: Database) -> Applied:
    """A registry that holds `g` with a view over it, and a pushed group."""
    made = Applied(database)
    pushed = group("pushed", partitions=Partitions.calendar(["year"]))
    made.apply([group(), FeatureView("v", [group()]), pushed])
    return made


def test_before_anything_is_applied_all_is_added(database: Database) -> None:
    view, applied = FeatureView("v", [group()]), Applied(database)
    applied.apply([])
    found = plan(
        applied, [group(), view], known(applied, pins=[pin("s")], models=[model("m", "v")])
    )
    assert found == [Planned("group", "g", 1, "added"), Planned("view", "v", 1, "added")]


def test_what_is_declared_as_it_is_applied_is_unchanged_and_touches_nothing(
    applied: Applied,
) -> None:
    same: list[Declared] = [group(), FeatureView("v", [group()])]
    assert plan(applied, same, known(applied, pins=[pin("s")], models=[model("m", "v")])) == [
        Planned("group", "g", 1, "unchanged"),
        Planned("view", "v", 1, "unchanged"),
    ]


def test_a_change_tells_what_differs_and_who_uses_it(applied: Applied) -> None:
    wider = group("g", replace(X, description="Times."), Y)
    pins = [pin("s"), pin("t", kind="training_set"), pin("other", "h"), pin("newer", "g", 2)]
    models = [model("m", "v"), model("n", features=("g.x",)), model("o", features=("gg.x",))]
    changed = plan(
        applied, [wider, FeatureView("v", [group()])], known(applied, pins=pins, models=models)
    )[0]
    assert changed == Planned(
        "group", "g", 1, "changed",
        ("feature 'y' (float64) is added", "feature 'x' changed"),
        users("view v", "snapshot s", "training set t", "model m", "model n"),
    )  # fmt: skip


def test_a_changed_view_touches_its_models(applied: Applied) -> None:
    view = FeatureView("v", [group()], owners=["team:growth"])
    found = plan(
        applied, [group(), view], known(applied, pins=[pin("s")], models=[model("m", "v")])
    )[1]
    assert found == Planned(
        "view", "v", 1, "changed", ('owners: null becomes ["team:growth"]',), users("model m")
    )


def test_a_breaking_change_is_told_and_a_new_version_is_added(applied: Applied) -> None:
    other = group("g", Feature("x", "string"))
    broken, *_ = plan(applied, [other], known(applied, pins=[pin("s")]))
    assert (broken.action, broken.details) == ("breaking", ("feature 'x' int64 becomes string",))
    assert broken.touches == users("view v", "snapshot s")
    assert plan(applied, [replace(other, version=2)], known(applied))[0] == Planned(
        "group", "g", 2, "added"
    )


def test_what_is_declared_no_more_is_missing_unless_it_is_pushed(applied: Applied) -> None:
    assert plan(applied, [], known(applied, models=[model("m", "v")])) == [
        Planned("group", "g", 1, "missing", (), users("view v", "model m")),
        Planned("view", "v", 1, "missing", (), users("model m")),
    ]


def test_planning_writes_nothing(applied: Applied, database: Database) -> None:
    plan(applied, [group("g", X, Y), group("new")], known(applied))
    assert [each.name for each in applied.groups()] == ["g", "pushed"]
    assert Applied(database).group("g") == group()


def test_history_tells_every_change_in_order_and_by_whom(database: Database) -> None:
    def by(name: str) -> Applied:
        return Applied(database.acting_as(Actor(name)))

    applied = Applied(database)
    applied.apply([])
    assert applied.history("g") == []
    by("ann").apply([group()])
    by("bob").apply([group()])  # the same: no change
    by("bob").apply([group("g", X, Y), group("h")])
    by("cleo").extend(
        "g", lambda old: replace(old or group(), description="All."), prepare=lambda _: None
    )
    by("dan").apply([replace(group(), version=2)])
    by("eve").apply([FeatureView("v", [group()])])
    edits = applied.history("g")
    assert [(edit.version, edit.action, edit.changed_by) for edit in edits] == [
        (1, "added", "ann"),
        (1, "changed", "bob"),
        (1, "changed", "cleo"),
        (2, "added", "dan"),
    ]
    assert [edit.hash for edit in edits[:2]] == [group().hash, group("g", X, Y).hash]
    assert [edit.changed_at for edit in edits] == sorted(edit.changed_at for edit in edits)
    assert [(edit.kind, edit.action) for edit in applied.history("v")] == [("view", "added")]
    assert applied.history("nothing") == []
