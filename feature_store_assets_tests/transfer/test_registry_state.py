"""Export and import: what one registry holds comes into another whole, or not at all."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from feature_store_assets.declaration.canonical import canonical
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    DataError,
    DeclarationError,
    FeatureNotFound,
    ImportConflict,
    StorageUnusable,
)
from feature_store_assets.quality.statistics import Profile
from feature_store_assets.registry.actor import Actor
from feature_store_assets.registry.alerts import Alert, Alerts
from feature_store_assets.registry.audit import Audit
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.declarations import Applied
from feature_store_assets.registry.lifecycle import Stages, Standing
from feature_store_assets.registry.models import Model, Models
from feature_store_assets.registry.pins import Pins
from feature_store_assets.registry.search import search
from feature_store_assets.registry.statistics import Statistics
from feature_store_assets.registry.tokens import Tokens
from feature_store_assets.registry.training_sets import Recorded, TrainingSetTable
from feature_store_assets.registry.usage import Usage
from feature_store_assets.storage.sealed_json import seal
from feature_store_assets.transfer.registry_state import PARTS, export_state, import_state

X, Y = Feature("x", "int64"), Feature("y", "float64")
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def group(name: str = "g", *features: Feature, **given: Any) -> FeatureGroup:
    entity = Entity("user", {"user_id": "string"})
    return FeatureGroup(name, entity=entity, features=features or (X,), **given)


def profile(mean: float) -> Profile:
    return Profile(3, 0, 0.0, mean=mean)


def recorded(name: str = "t", digest: str = "d" * 64) -> Recorded:
    return Recorded(name, digest, "v", 10, "", "ann", NOON)


def model(name: str = "m", endpoint: str = "") -> Model:
    return Model(name, "t", "v", ("g.x",), ("team:growth",), endpoint, "Why.", "ann", NOON)


def by(database: Database, name: str) -> Applied:
    return Applied(database.acting_as(Actor(name)))


def stock(database: Database) -> None:
    applied = Applied(database)
    applied.apply([group("g", Y), FeatureView("v", [group("g", Y)], "Who leaves.")])
    by(database, "bob").apply([group("g", X, Y, description="Apples.")])
    by(database, "cleo").apply([group("g", X, version=2, description="Pears.")])
    Stages(database).move(Standing("view", "v", 1, "active"), "deprecated", successor="w")
    Pins(database).add("s", [("g", 1, 7), ("g", 2, 1)], description="May", created_by="ann")
    Pins(database).add("t", [("g", 1, 3)], kind="training_set", description="", created_by="ann")
    TrainingSetTable(database).add(recorded())
    Models(database).add(model())
    statistics = Statistics(database)
    profiles = {"2024-01-01": {"y": profile(0.1 + 0.2)}, "2024-01-02": {"y": profile(float("inf"))}}
    statistics.put("g", 1, profiles, table_version=7)
    statistics.put_reference("g", 1, "snapshot s", {"y": profile(2.5)})
    usage = Usage(database)
    usage.add([("g", ["x", "y"])], "online", 2, 30, "ann")
    usage.flush()
    Tokens(database).create("secret")


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stocked") / "registry.db"
    database = Database(f"sqlite:///{path}")
    stock(database)
    database.close()
    return path


@pytest.fixture
def full(database: Database, stocked: Path, tmp_path: Path) -> Database:
    """A registry with something in every part."""
    if database.engine.dialect.name == "sqlite":
        shutil.copy(stocked, tmp_path / "registry.db")
    else:
        stock(database)
    return database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def empty(
    request: pytest.FixtureRequest, tmp_path: Path, schema: Callable[[], str]
) -> Iterator[Database]:
    """Another registry, of either kind, that was never written to."""
    path = tmp_path / "empty" / "registry.db"
    opened = Database(f"sqlite:///{path}" if request.param == "sqlite" else schema())
    yield opened
    opened.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'target' / 'registry.db'}")
    yield opened
    opened.close()


def moved(state: Any) -> Any:
    """A state as it comes back from a file."""
    return json.loads(json.dumps(state, allow_nan=False))


def names(database: Database, text: str) -> list[str]:
    return [hit.name for hit in search(database, text, Stages(database).reader())]


def test_what_is_exported_comes_back_equal_in_an_empty_registry(
    full: Database, empty: Database
) -> None:
    state = moved(export_state(full))
    done = import_state(empty.acting_as(Actor("dan")), state)
    assert export_state(empty)["parts"] == state["parts"]
    assert all(state["parts"][name] for name in PARTS if name not in {"snapshots", "holds"})
    assert (done.kept, done.replaced) == ((), ())
    assert done.added == {
        "declarations": 3, "stages": 1, "pins": 2, "training_sets": 1, "models": 1,
        "statistics": 2, "drift_references": 1, "usage": 2,
    }  # fmt: skip
    ours, theirs = Applied(full), Applied(empty)
    assert theirs.group("g", 1) == ours.group("g", 1)
    assert theirs.history("g") == ours.history("g")
    assert theirs.views() == ours.views()
    assert Pins(empty).all() == Pins(full).all()
    assert Models(empty).all() == Models(full).all()
    assert Statistics(empty).of("g", 1) == Statistics(full).of("g", 1)
    assert Usage(empty).of() == Usage(full).of()


def test_what_is_imported_is_found_in_its_newest_version(full: Database, empty: Database) -> None:
    import_state(empty, export_state(full))
    assert (names(empty, "pears"), names(empty, "apples")) == (["g"], [])
    assert names(empty, "leaves") == ["v"]


def test_tokens_and_alerts_stay_and_the_audit_log_is_only_told_of(
    full: Database, other: Database
) -> None:
    Alerts(full).add(Alert("freshness", "critical", "Late", "It is secret.", "secret"))
    state = export_state(full)
    assert "secret" not in json.dumps(state["parts"])
    assert [entry["sequence"] for entry in state["audit"]] == list(
        range(1, len(Audit(full).entries()) + 1)
    )
    import_state(other.acting_as(Actor("dan")), state)
    (entry,) = Audit(other).entries()
    assert (entry.actor, entry.action, entry.subject) == ("dan", "import", "registry state")
    assert entry.detail["digest"] == state["digest"]
    assert entry.detail["added"]["declarations"] == 3
    assert Audit(other).verify() == 1
    assert (Tokens(other).names(), Alerts(other).pending()) == ([], [])


def test_importing_again_changes_nothing(full: Database, other: Database) -> None:
    state = export_state(full)
    import_state(other, state)
    done = import_state(other, state)
    assert (done.added, done.replaced, done.kept) == ({}, (), ())
    assert export_state(other)["parts"] == state["parts"]


def test_a_registry_that_was_never_written_is_exported_empty(
    other: Database, database: Database
) -> None:
    state = export_state(other)
    assert not other.exists
    assert not any(state["parts"].values())
    assert import_state(database, state).added == {}


def test_only_the_parts_asked_for_are_imported(full: Database, other: Database) -> None:
    parts = ["declarations", "statistics"]
    done = import_state(other, export_state(full), parts=parts)
    assert set(done.added) == set(parts)
    filled = {name for name, rows in export_state(other)["parts"].items() if rows}
    assert filled == {"declarations", "history", "statistics"}
    with pytest.raises(DataError, match=r"No part .*'pin'\. Did you mean 'pins'"):
        import_state(other, export_state(full), parts=["pin"])


def test_tables_are_prepared_before_anything_is_written(full: Database, other: Database) -> None:
    prepared: list[tuple[str, int]] = []

    def prepare(new: FeatureGroup) -> None:
        prepared.append((new.name, new.version))
        if new.version == 2:
            raise StorageUnusable("/data", "it is full")

    with pytest.raises(StorageUnusable):
        import_state(other, export_state(full), prepare=prepare)
    assert prepared == [("g", 1), ("g", 2)]
    assert not any(export_state(other)["parts"].values())


# What cannot be read


def edited(change: Any) -> Any:
    return lambda state: seal({**state, **change(state)})


def row_with(part: str, **values: Any) -> Any:
    def change(state: dict[str, Any]) -> dict[str, Any]:
        first, *rest = state["parts"][part]
        return {"parts": {**state["parts"], part: [{**first, **values}, *rest]}}

    return edited(change)


def part_with(part: str, rows: Any) -> Any:
    return edited(lambda state: {"parts": {**state["parts"], part: rows(state["parts"][part])}})


WRONG: dict[str, tuple[Any, str]] = {
    "a list": (lambda _: [], "not the exported state"),
    "foreign": (lambda state: {**state, "format": "feast"}, "not the exported state"),
    "without a version": (edited(lambda _: {"version": "1"}), "its version '1' is not 1"),
    "of a newer format": (lambda state: {**state, "version": 2}, "its version 2 is not 1.*upgrade"),
    "of a newer schema": (edited(lambda _: {"schema": "9999"}), "schema '9999'.*Upgrade"),
    "tampered with": (
        lambda state: {**state, "parts": {**state["parts"], "pins": []}},
        "it was changed",
    ),
    "without a digest": (
        lambda state: {key: each for key, each in state.items() if key != "digest"},
        "it was changed",
    ),
    "no JSON": (lambda state: {**state, "more": {1, 2}}, "exported state.*JSON"),
    "half a character": (lambda state: {**state, "more": "\ud800"}, "exported state.*encode"),
    "without parts": (edited(lambda _: {"parts": 3}), "no parts"),
    "with an unknown part": (
        edited(lambda state: {"parts": {**state["parts"], "tokens": []}}),
        "part 'tokens' that this code does not know",
    ),
    "with a part that is no list": (part_with("pins", lambda _: {}), "'pins' .* is no list"),
    "with a row that is none": (part_with("pins", lambda _: [3]), "Row 1 of part 'pins'"),
    "with a column too many": (row_with("pins", more=1), "Row 1 .* columns of its table"),
    "with a row twice": (part_with("pins", lambda rows: rows * 2), "Row 4 .*'pins'.* twice"),
    "with text for a number": (row_with("pins", table_version="7"), "no sound 'table_version'"),
    "with a bool for a number": (row_with("pins", table_version=True), "sound 'table_version'"),
    "with a number too great": (row_with("pins", group_version=2**40), "sound 'group_version'"),
    "with no time": (row_with("pins", created_at="yesterday"), "no sound 'created_at'"),
    "with a naive time": (row_with("pins", created_at="2024-01-01"), "no sound 'created_at'"),
    "with a name too long": (row_with("pins", owner="s" * 129), "no sound 'owner'"),
    "with a NUL": (row_with("pins", description="\0"), "no sound 'description'"),
    "with null": (row_with("pins", description=None), "no sound 'description'"),
    "with a mean that is none": (row_with("statistics", mean="much"), "no sound 'mean'"),
    "with a broken profile": (row_with("statistics", profile="{"), "no sound 'profile'"),
    "with a definition of something else": (
        row_with("declarations", name="h"), "'h' v1 .* is not what its hash says",
    ),
    "with an edited hash": (row_with("declarations", hash="0" * 32), "not what its hash says"),
    "with a definition of nothing": (row_with("declarations", definition="{}"), "not sound"),
    "with a definition that is a list": (row_with("declarations", definition="[]"), "not sound"),
    "of an unknown kind": (row_with("declarations", kind="thing"), "thing 'g' v1 .* not sound"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_state_that_is_not_sound_is_refused_before_anything_is_written(
    full: Database, other: Database, case: str
) -> None:
    change, message = WRONG[case]
    with pytest.raises(DataError, match=message):
        import_state(other, change(moved(export_state(full))))
    assert not other.exists


def test_a_state_of_an_older_schema_may_lack_parts_and_the_kind_of_owners(
    full: Database, other: Database
) -> None:
    state = export_state(full)
    parts = {name: rows for name, rows in state["parts"].items() if name != "snapshots"}
    prefixes = {"snapshot": "", "training_set": "training-set:"}
    parts["pins"] = [
        {name: value for name, value in row.items() if not name.startswith("owner")}
        | {"snapshot": prefixes[row["owner_kind"]] + row["owner"]}
        for row in parts["pins"]
    ]
    import_state(other, seal({**state, "parts": parts, "schema": "0008"}))
    assert export_state(other)["parts"] == state["parts"]


def test_no_such_way_to_resolve_conflicts(full: Database, other: Database) -> None:
    wrong: Any = "replaced"
    with pytest.raises(DataError, match="Did you mean 'replace'"):
        import_state(other, export_state(full), wrong)


# What is here otherwise


@pytest.fixture
def differing(database: Database) -> Database:
    """A registry with other things under the names of a full one."""
    applied = Applied(database)
    applied.apply([group("g", Y, description="Mine."), FeatureView("v", [group("g", Y)], "Mine.")])
    applied.apply([group("mine")])
    Stages(database).move(Standing("view", "v", 1, "draft"), "active")
    Pins(database).add("s", [("g", 1, 8)], description="", created_by="me")
    TrainingSetTable(database).add(recorded(digest="e" * 64))
    Models(database).add(model(endpoint="http://here"))
    statistics = Statistics(database)
    statistics.put("g", 1, {"2024-01-01": {"y": profile(9.0)}}, table_version=1)
    statistics.put_reference("g", 1, "snapshot s", {"y": profile(9.0)})
    usage = Usage(database)
    usage.add([("g", ["x"])], "online", 1, 1, "ann")
    usage.flush()
    return database


@pytest.fixture
def state(other: Database) -> dict[str, Any]:
    """The state of another registry, whose things are called alike."""
    applied = Applied(other)
    applied.apply([group("g", X, Y, description="Theirs."), FeatureView("v", [group("g", X)])])
    Stages(other).move(Standing("view", "v", 1, "active"), "deprecated")
    Pins(other).add("s", [("g", 1, 7)], description="", created_by="ann")
    TrainingSetTable(other).add(recorded())
    Models(other).add(model())
    statistics = Statistics(other)
    both = {day: {"y": profile(1.0)} for day in ("2024-01-01", "2024-01-02")}
    statistics.put("g", 1, both, table_version=7)
    statistics.put_reference("g", 1, "snapshot s", {"y": profile(1.0)})
    usage = Usage(other)
    usage.add([("g", ["x"])], "online", 2, 2, "ann")
    usage.flush()
    found: dict[str, Any] = moved(export_state(other))
    return found


DIFFERENT = (
    "group g v1", "view v v1", "stage of view v v1", "pins of s", "training set t", "model m",
    "statistics of g v1", "drift reference snapshot s of g v1", "usage of g",
)  # fmt: skip


def test_all_that_is_here_otherwise_is_told_at_once_and_nothing_is_written(
    differing: Database, state: dict[str, Any]
) -> None:
    before = export_state(differing)
    with pytest.raises(ImportConflict, match="on_conflict='keep'") as error:
        import_state(differing, state)
    told = [line.strip() for line in str(error.value).splitlines()[1:-1]]
    assert tuple(told) == DIFFERENT
    after = export_state(differing)
    assert (after["parts"], after["audit"]) == (before["parts"], before["audit"])


def test_keep_leaves_what_is_here_and_brings_the_rest(
    differing: Database, state: dict[str, Any]
) -> None:
    before = export_state(differing)["parts"]
    done = import_state(differing, state, "keep")
    assert (done.kept, done.replaced, done.added) == (DIFFERENT, (), {"statistics": 1})
    after = export_state(differing)["parts"]
    assert {name for name in after if after[name] != before[name]} == {"statistics"}
    assert [*Statistics(differing).of("g", 1)] == ["2024-01-01", "2024-01-02"]


def test_replace_takes_what_is_imported(differing: Database, state: dict[str, Any]) -> None:
    done = import_state(differing.acting_as(Actor("dan")), state, "replace")
    assert (done.replaced, done.kept) == (DIFFERENT, ())
    applied = Applied(differing)
    now = applied.group("g")
    assert now.hash == group("g", X, Y, description="Theirs.").hash
    assert now.feature_names == ["y", "x"], "the order of the table that is here"
    assert [(edit.action, edit.changed_by) for edit in applied.history("g")][-1] == (
        "changed", "dan",
    )  # fmt: skip
    assert [pin.table_version for pin in Pins(differing).of("s")] == [7]
    assert TrainingSetTable(differing).get("t") == recorded()
    assert Models(differing).get("m") == model()
    assert [used.reads for used in Usage(differing).of()] == [2]
    assert names(differing, "theirs") == ["g"]
    assert names(differing, "mine") == ["mine", "mine.x"]
    assert applied.group("mine") == group("mine")
    assert Audit(differing).verify()
    assert import_state(differing, state).added == {}, "all of it is here now"


def test_replace_refuses_what_stored_rows_could_not_follow_all_at_once(
    database: Database, other: Database
) -> None:
    Applied(database).apply([group("g", Y), group("h", X, Y), group("v")])
    Applied(other).apply([group("g", X), group("h", X), FeatureView("v", [group("g", X)])])
    before = export_state(database)["parts"]
    with pytest.raises(ImportConflict, match="Replacing cannot mend that") as error:
        import_state(database, export_state(other), "replace")
    assert "group g v1: feature 'y' is removed" in str(error.value)
    assert "group h v1: feature 'y' is removed" in str(error.value)
    assert "view v v1 (a group has that name)" in str(error.value)
    assert export_state(database)["parts"] == before


def test_a_view_over_what_is_kept_needs_its_features(database: Database, other: Database) -> None:
    Applied(database).apply([group("g", Y)])
    Applied(other).apply([group("g", X), FeatureView("v", [group("g", X)])])
    with pytest.raises(FeatureNotFound, match="'x' in 'g'"):
        import_state(database, export_state(other), "keep")
    assert Applied(database).views() == []


def test_a_group_and_a_view_of_one_name_cannot_both_be_brought(
    full: Database, database: Database, other: Database
) -> None:
    state = export_state(full)
    view = next(row for row in state["parts"]["declarations"] if row["kind"] == "view")
    same = replace(group("v"), features=(X,))
    row = {**view, "kind": "group", "hash": same.hash, "definition": canonical(same.to_json())}
    parts = {**state["parts"], "declarations": [*state["parts"]["declarations"], row]}
    with pytest.raises(DeclarationError, match="Two declarations are named 'v'"):
        import_state(other, seal({**state, "parts": parts}))
    assert not any(export_state(other)["parts"].values())
