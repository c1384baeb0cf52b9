"""`feature-store lineage` and `feature-store impact`."""

import json

import pytest

from feature_store_assets_tests import market
from feature_store_assets_tests.cli.commands import cells, refused, run


@pytest.fixture
def located(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project whose definitions are those of `market.py`."""
    monkeypatch.setenv("FEATURE_STORE_DEFINITIONS", str(market.__file__))


@pytest.mark.usefixtures("located")
def test_lineage_lists_the_steps_from_the_farthest_source_to_the_farthest_use() -> None:
    result = run("lineage", "loyalty.score")
    table = cells(result)
    assert table[0] == ["step", "kind", "name", "owners"]
    assert [line[:3] for line in table[1:]] == [
        ["-4", "asset", "till"],
        ["-3", "asset", "orders"],
        ["-3", "column", "till.cents"],
        ["-2", "column", "orders.amount"],
        ["-1", "feature", "spending.spent"],
        ["0", "feature", "loyalty.score"],
        ["1", "group", "loyalty"],
        ["1", "view", "regulars"],
    ]
    assert table[2][3] == "team:sales"
    assert result.stderr == ""


@pytest.mark.usefixtures("located")
def test_lineage_goes_one_way_and_so_far() -> None:
    table = cells(run("lineage", "score", "--direction", "upstream", "--depth", "1"))
    assert [line[2] for line in table[1:]] == ["spending.spent", "loyalty.score"]


@pytest.mark.usefixtures("located")
def test_lineage_is_drawn_and_told_to_machines() -> None:
    assert run("lineage", "score", "--format", "mermaid").stdout.startswith("flowchart LR\n")
    assert run("lineage", "score", "--format", "dot").stdout.startswith("digraph lineage {\n")
    found = json.loads(run("lineage", "score", "--json").stdout)
    assert (found["feature_id"], found["source"]) == ("loyalty.score", "dagster")


@pytest.mark.usefixtures("located")
def test_impact_lists_what_depends_on_a_column_with_effects_and_owners() -> None:
    result = run("impact", "orders.amount", "--change", "rename")
    assert cells(result) == [
        ["kind", "name", "effect", "owners"],
        ["feature", "loyalty.score", "breaks", "ann@example.org"],
        ["feature", "spending.spent", "breaks", "team:growth"],
        ["view", "churn", "breaks", "team:churn"],
        ["view", "regulars", "breaks"],
    ]
    assert result.stderr == (
        "4 thing(s) depend on orders.amount.\n"
        "These read it without saying which columns (derived_from): dashboard, spending.city.\n"
    )
    found = json.loads(run("impact", "orders.amount", "--json").stdout)
    assert found["change_type"] == "schema_change"


@pytest.mark.usefixtures("stocked")
def test_without_definitions_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_STORE_ENABLE_LINEAGE", "false")
    result = run("impact", "delay")
    assert cells(result)[1:] == [["view", "trip", "breaks"]]
    assert result.stderr.endswith("No definitions are at hand: this is what is applied.\n")


@pytest.mark.usefixtures("located")
def test_unknown_names_get_a_suggestion() -> None:
    assert refused("lineage", "scor").endswith("Did you mean 'score'?")
    assert refused("impact", "orders.amuont").endswith("Did you mean 'orders.amount'?")
