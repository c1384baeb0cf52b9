"""`feature-store plan`, `stage`, `history` and `audit`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from feature_store_assets import Feature, FeatureGroup, FeatureStore
from feature_store_assets.registry.database import audit
from feature_store_assets_tests import bakery
from feature_store_assets_tests.cli.commands import cells, refused, run


def test_a_plan_shows_what_apply_would_do_and_writes_nothing() -> None:
    assert [line[:3] for line in cells(run("plan"))[1:]] == [
        ["added", "group", "takings"],
        ["added", "group", "counters"],
        ["added", "view", "whole"],
    ]
    with FeatureStore.from_env() as store:
        assert store.groups() == []
    run("apply")
    again = run("plan")
    assert again.stderr == "3 unchanged\n"
    assert {each["change"] for each in json.loads(run("plan", "--json").stdout)} == {"unchanged"}


def test_a_plan_says_what_differs_and_what_it_touches() -> None:
    run("apply")
    with FeatureStore.from_env() as store:
        takings = store.applied.group("takings")
        store.apply(replace(takings, description="As it was."))
        store.apply(FeatureGroup("old", entity=bakery.shop, features=[Feature("x", "int64")]))
    planned = {each["name"]: each for each in json.loads(run("plan", "--json").stdout)}
    assert (planned["takings"]["change"], planned["takings"]["touches"]) == (
        "changed",
        "view whole",
    )
    assert planned["takings"]["details"] == "description changed"
    assert planned["old"]["change"] == "missing"


def test_a_plan_that_would_be_refused_says_so_by_its_exit_code() -> None:
    with FeatureStore.from_env() as store:
        store.apply(FeatureGroup("takings", entity=bakery.shop, features=[Feature("taken", "str")]))
    result = run("plan")
    assert result.exit_code == 2
    assert "feature 'taken' string becomes float64" in result.stdout
    assert "1 breaking" in result.stderr


def test_a_group_is_moved_on_and_its_history_told() -> None:
    run("apply")
    moved = run("stage", "takings", "deprecated", "--successor", "counters")
    assert moved.stderr == "Group 'takings' is deprecated. Use 'counters' instead.\n"
    assert "It can become active or retired" in refused("stage", "takings", "deprecated")
    assert "Did you mean 'takings'" in refused("stage", "takins", "retired")
    [_, line] = cells(run("history", "takings"))
    assert line[2:4] == ["added", "1"]


def test_a_draft_is_dropped_for_good() -> None:
    with FeatureStore.from_env() as store:
        store.register_feature("age", feature_group="people", data_type="int")
        store.register_feature("aeg", feature_group="people", data_type="int")
    assert "Retire it first: `feature-store stage people.aeg" in refused("drop", "people.aeg")
    run("stage", "people.aeg", "deprecated")
    run("stage", "people.aeg", "retired")
    dropped = run("drop", "people.aeg")
    assert dropped.stderr == "'people.aeg' is dropped. Features left: age.\n"
    assert "no feature" in refused("drop", "people.aeg").lower()


@pytest.fixture
def logged() -> None:
    run("apply")
    run("stage", "takings", "deprecated")


@pytest.mark.usefixtures("logged")
def test_the_audit_log_tells_who_did_what() -> None:
    lines = cells(run("audit", "list"))
    assert [line[3:5] for line in lines[1:]] == [
        ["apply", "group takings"],
        ["apply", "group counters"],
        ["apply", "view whole"],
        ["move", "group takings"],
    ]
    assert json.loads(run("audit", "list", "--limit", "1", "--json").stdout)[0]["detail"]["to"] == (
        "deprecated"
    )
    assert run("audit", "verify").stderr == "4 entries, all as they were written.\n"


@pytest.mark.usefixtures("logged")
def test_a_log_that_was_edited_or_cut_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "checkpoint.json"
    assert "ends with entry 4" in run("audit", "checkpoint", str(kept)).stderr
    with FeatureStore.from_env() as store, store.parts.database.write() as connection:
        connection.execute(sa.delete(audit).where(audit.c.sequence == 4))
    assert run("audit", "verify").exit_code == 0
    assert "entries 4 to 4 were cut off" in refused("audit", "verify", "--checkpoint", str(kept))
    with FeatureStore.from_env() as store, store.parts.database.write() as connection:
        connection.execute(sa.update(audit).where(audit.c.sequence == 2).values(actor="nobody"))
    assert "entry 2 (apply group counters) was edited" in refused("audit", "verify")
