"""Lineage: what a feature comes from and feeds, from Dagster's graph or from what is applied."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    AmbiguousFeature,
    DataError,
    DeclarationError,
    ExtraMissing,
    LineageNotFound,
    NameTaken,
    TrainingSetNotFound,
)
from feature_store_assets.lineage.exports import (
    dot,
    emit,
    mermaid,
    networkx_graph,
    openlineage_events,
)
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests import market
from feature_store_assets_tests.stores import copied_store, folder_of, new_store, pushed, row

MARKET = Path(market.__file__)
KNOWN = datetime(2024, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("script")
    with new_store(folder) as opened:
        spending = pushed(
            "spending",
            Feature("spent", "float64", derived_from=["orders.amount"]),
            Feature("visits", "int64", derived_from=["orders.day"]),
            Feature("city", "string"),
            owners=["team:growth"],
        )
        people = pushed("people", Feature("age", "int64", owner="ann@example.org"))
        churn = FeatureView("churn", [spending["spent"], people], owners=["team:churn"])
        other = FeatureView("other", [spending["visits"]])
        opened.apply(spending, people, churn, other)
        opened.write_features([row("u", 0, spent=1.0, visits=1, city="Ulm")], "spending")
        opened.write_features([row("u", 0, age=41)], "people")
        for view in ("churn", "other"):
            opened.create_training_set(view, [row("u", 1, label=0)], f"{view}-2024")
        opened.create_snapshot("spending", "june", created_by="ann")
    return folder


@pytest.fixture
def store(script: Path, folder: Path) -> Iterator[FeatureStore]:
    """A plain script's store: two pushed groups, two views, a training set of each, a snapshot."""
    with copied_store(script, folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("location")
    with new_store(folder, definitions=str(MARKET)) as opened:
        opened.apply(*market.GROUPS, *market.VIEWS)
        born = {"customer_id": "ann", "event_timestamp": KNOWN, "age": 41, "country": "DE"}
        opened.write_features([born], "profile")
        spine = [{"customer_id": "ann", "event_timestamp": KNOWN, "label": 1}]
        opened.create_training_set(["profile.age"], spine, "ages")
        opened.log_model("ages-v1", training_set="ages", endpoint="https://ages.example.org")
        opened.create_snapshot("profile", "june")
    return folder


@pytest.fixture
def located(location: Path, folder: Path) -> Iterator[FeatureStore]:
    """The store of a code location with a pushed group, a model, and a snapshot."""
    with copied_store(location, folder, definitions=str(MARKET)) as opened:
        yield opened


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in found]


def edges(found: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(each["from"], each["to"], each["known_by"]) for each in found["edges"]}


# What is applied


def test_without_definitions_the_applied_dependencies_answer_and_say_so(
    store: FeatureStore,
) -> None:
    store.log_model("churn-v1", training_set="churn-2024", endpoint="/churn")
    found = store.get_feature_lineage("spending.spent")
    assert found["source"] == "applied"
    assert found["owners"] == ["team:growth"]
    assert found["upstream"] == [
        {"id": "orders.amount", "kind": "column", "depth": 1, "owners": []},
        {"id": "orders", "kind": "asset", "depth": 2, "owners": []},
    ]
    assert [(each["kind"], each["id"], each["depth"]) for each in found["downstream"]] == [
        ("group", "spending", 1),
        ("training_set", "churn-2024", 1),
        ("view", "churn", 1),
        ("model", "churn-v1", 2),
        ("snapshot", "june", 2),
        ("endpoint", "/churn", 3),
    ]
    assert edges(found) == {
        ("orders", "orders.amount", "applied"),
        ("orders.amount", "spending.spent", "applied"),
        ("spending.spent", "spending", "applied"),
        ("spending.spent", "churn", "applied"),
        ("spending.spent", "churn-2024", "recorded"),
        ("spending", "june", "recorded"),
        ("churn-2024", "churn-v1", "recorded"),
        ("churn-v1", "/churn", "recorded"),
    }


def test_a_direction_and_a_depth_limit_the_answer(store: FeatureStore) -> None:
    assert store.get_feature_lineage("spent", "upstream")["downstream"] == []
    near = store.get_feature_lineage("spent", direction="both", depth=1)
    assert ids(near["upstream"]) == ["orders.amount"]
    assert ids(near["downstream"]) == ["spending", "churn-2024", "churn"]


def test_a_source_column_has_lineage_too(store: FeatureStore) -> None:
    found = store.get_feature_lineage("orders.day", "downstream", depth=1)
    assert (found["kind"], ids(found["downstream"])) == ("column", ["spending.visits"])


def test_the_owner_of_a_feature_comes_before_those_of_its_group(store: FeatureStore) -> None:
    assert store.get_feature_lineage("age")["owners"] == ["ann@example.org"]


def test_what_is_applied_later_is_in_the_next_answer(store: FeatureStore) -> None:
    store.get_feature_lineage("city")
    store.apply(FeatureView("places", [store.applied.group("spending")["city"]]))
    assert "places" in ids(store.get_feature_lineage("city")["downstream"])
    store.create_snapshot("spending", "july")
    assert "july" in ids(store.get_feature_lineage("city")["downstream"])


def test_a_training_set_whose_files_are_gone_may_hold_all_that_it_pins(
    store: FeatureStore,
) -> None:
    (folder_of(store.training_set("other-2024")) / "manifest.json").unlink()
    assert "other-2024" in ids(store.get_feature_lineage("city")["downstream"])


def test_a_training_set_read_from_a_snapshot_comes_from_it(store: FeatureStore) -> None:
    store.create_training_set(["spending.spent"], [row("u", 1)], "of-june", as_of="june")
    store.log_model("june-v1", training_set="of-june")
    found = edges(store.get_feature_lineage("spending.spent"))
    assert {
        ("spending", "june", "recorded"),
        ("june", "of-june", "recorded"),
        ("of-june", "june-v1", "recorded"),
    } <= found


def test_a_bare_name_must_be_unique(store: FeatureStore) -> None:
    store.apply(pushed("animals", Feature("age", "int64")))
    with pytest.raises(AmbiguousFeature, match=r"'age' may be 'animals.age', 'people.age'"):
        store.get_feature_lineage("age")
    assert store.get_feature_lineage("people.age")["feature_id"] == "people.age"


def test_unknown_names_and_wrong_words_are_told(store: FeatureStore) -> None:
    with pytest.raises(LineageNotFound, match=r"Did you mean 'spending\.spent'"):
        store.get_feature_lineage("spending.spend")
    sideways: Any = "sideways"
    with pytest.raises(DataError, match="one of upstream, downstream, both, not 'sideways'"):
        store.get_feature_lineage("spent", sideways)
    with pytest.raises(DataError, match="from 1 on, not 0"):
        store.get_feature_lineage("spent", depth=0)


@pytest.mark.slow
def test_a_plain_script_asks_without_loading_dagster(store: FeatureStore, folder: Path) -> None:
    del store
    code = """if True:
        import sys
        from feature_store_assets import FeatureStore
        with FeatureStore.from_env() as store:
            assert store.get_feature_lineage("spent")["upstream"]
            assert store.analyze_impact("orders.amount")["models"] == []
            store.log_model("churn-v1", training_set="churn-2024")
            assert store.timeline("spent")[-1]["event"] == "model"
        assert not {"dagster", "great_expectations", "pandas"} & sys.modules.keys()
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_empty_store_has_no_lineage(folder: Path) -> None:
    with new_store(folder) as empty, pytest.raises(LineageNotFound):
        empty.get_feature_lineage("spent")
    assert not (folder / "store").exists()


# Dagster's graph


def test_lineage_is_read_from_dagsters_graph(located: FeatureStore) -> None:
    found = located.get_feature_lineage("loyalty.score")
    assert found["source"] == "dagster"
    assert [(each["kind"], each["id"]) for each in found["upstream"]] == [
        ("feature", "spending.spent"),
        ("column", "orders.amount"),
        ("asset", "orders"),
        ("column", "till.cents"),
        ("asset", "till"),
    ]
    assert {
        ("till", "orders", "asset graph"),
        ("till.cents", "orders.amount", "column_lineage"),
        ("orders.amount", "spending.spent", "column_lineage"),
        ("spending.spent", "loyalty.score", "column_lineage"),
    } <= edges(found)
    assert next(each for each in found["upstream"] if each["id"] == "orders")["owners"] == [
        "team:sales"
    ]


def test_only_what_uses_a_feature_comes_from_it(located: FeatureStore) -> None:
    found = located.get_feature_lineage("spending.spent", "downstream")
    assert ids(found["downstream"]) == [
        "loyalty.score",
        "spending",
        "churn",
        "dashboard",
        "online/spending",
        "loyalty",
        "regulars",
    ]


def test_a_feature_that_does_not_say_its_columns_comes_from_the_assets_of_its_group(
    located: FeatureStore,
) -> None:
    found = located.get_feature_lineage("city", "upstream")
    assert ids(found["upstream"]) == ["orders", "till"]
    assert edges(found) == {
        ("orders", "spending.city", "asset graph"),
        ("till", "orders", "asset graph"),
    }


def test_features_that_a_view_computes_are_features(located: FeatureStore) -> None:
    assert ids(located.get_feature_lineage("churn.size")["downstream"]) == ["churn"]


def test_models_and_snapshots_are_there_before_a_reload(located: FeatureStore) -> None:
    found = located.get_feature_lineage("age", "downstream")
    assert {"ages", "ages-v1", "https://ages.example.org", "june"} <= set(ids(found["downstream"]))


def test_a_workspace_in_the_project_names_the_definitions(folder: Path) -> None:
    (folder / "workspace.yaml").write_text(f"load_from:\n  - python_file: {MARKET}\n")
    with new_store(folder) as store:
        assert store.get_feature_lineage("score")["source"] == "dagster"


def test_definitions_that_are_named_must_be_there(folder: Path) -> None:
    with (
        new_store(folder, definitions="no_such_module") as store,
        pytest.raises(DeclarationError, match="no module 'no_such_module'"),
    ):
        store.get_feature_lineage("score")


def test_with_lineage_disabled_nothing_is_recorded_and_dagster_is_not_asked(
    located: FeatureStore, folder: Path
) -> None:
    with new_store(folder, definitions=str(MARKET), enable_lineage=False) as store:
        store.log_model("ages-v2", training_set="ages")
        assert [model.name for model in store.models()] == ["ages-v1"]
        assert store.get_feature_lineage("loyalty.score")["source"] == "applied"


# Models


def test_a_logged_model_knows_the_features_of_its_training_set(store: FeatureStore) -> None:
    model = store.log_model(
        "churn-v1", training_set="churn-2024", owners=["team:churn"], logged_by="ann"
    )
    assert model.features == ("spending.spent", "people.age")
    assert (model.view, model.owners) == ("churn", ("team:churn",))
    assert store.models() == [model]


def test_the_same_model_is_logged_once(store: FeatureStore) -> None:
    first = store.log_model("churn-v1", training_set="churn-2024", endpoint="/churn")
    store.log_model("churn-v1", training_set="churn-2024", endpoint="/churn")
    assert store.models() == [first]
    with pytest.raises(NameTaken, match="A model named 'churn-v1' exists already"):
        store.log_model("churn-v1", training_set="churn-2024", endpoint="/other")


def test_a_model_without_its_training_set_is_refused(store: FeatureStore) -> None:
    with pytest.raises(TrainingSetNotFound, match="Did you mean 'churn-2024'"):
        store.log_model("churn-v1", training_set="churn-2023")
    assert store.models() == []


# Exports


def test_mermaid_and_graphviz_draw_the_same_edges(located: FeatureStore) -> None:
    part = located.lineage.part("loyalty.score", "upstream", 2)
    assert mermaid(part).splitlines() == [
        "flowchart LR",
        '  n0(["column orders.amount"])',
        '  n1("feature loyalty.score")',
        '  n2("feature spending.spent")',
        "  n0 --> n2",
        "  n2 --> n1",
    ]
    assert dot(part).splitlines() == [
        "digraph lineage {",
        "  rankdir=LR;",
        "  node [shape=box];",
        '  n0 [label="column orders.amount"];',
        '  n1 [label="feature loyalty.score"];',
        '  n2 [label="feature spending.spent"];',
        "  n0 -> n2;",
        "  n2 -> n1;",
        "}",
    ]


def test_what_dagster_does_not_say_is_dashed(store: FeatureStore) -> None:
    part = store.lineage.part("spent", "upstream", 1)
    assert "-.->" in mermaid(part)
    assert "[style=dashed]" in dot(part)


def test_a_drawing_keeps_what_names_hold(store: FeatureStore) -> None:
    odd = 'https://m.example.org/?a="1"&b=<2>'
    store.log_model("churn-v1", training_set="churn-2024", endpoint=odd)
    part = store.lineage.part("spent", "downstream")
    assert '>"endpoint https://m.example.org/?a=#quot;1#quot;&b=#lt;2#gt;"]' in mermaid(part)
    assert json.dumps(f"endpoint {odd}") in dot(part)


def test_networkx_gets_all_nodes_and_edges(located: FeatureStore) -> None:
    nx = pytest.importorskip("networkx")
    graph = located.lineage.graph()
    found = networkx_graph(graph)
    assert nx.is_directed_acyclic_graph(found)
    assert set(found.nodes) == {tuple(node) for node in graph.owners}
    assert nx.has_path(found, ("column", "till.cents"), ("view", "regulars"))
    edge = found.edges[("feature", "spending.spent"), ("feature", "loyalty.score")]
    assert edge["known_by"] == "column_lineage"


def test_openlineage_gets_a_job_for_each_table_with_its_columns(
    located: FeatureStore, folder: Path
) -> None:
    pytest.importorskip("openlineage.client")
    graph = located.lineage.graph()
    by_job = {event.job.name: event for event in openlineage_events(graph)}
    assert {"orders", "spending", "loyalty", "training_sets/ages", "models/ages-v1"} <= set(by_job)
    (output,) = by_job["loyalty"].outputs
    (field,) = output.facets["columnLineage"].fields["score"].inputFields
    assert (field.namespace, field.name, field.field) == ("feature_store", "spending", "spent")
    assert output.facets["ownership"].owners[0].name == "team:loyalty"
    assert [each.name for each in by_job["models/ages-v1"].inputs] == ["training_sets/ages"]
    assert [each.name for each in by_job["training_sets/ages"].inputs] == ["profile"]

    path = folder / "events.jsonl"
    assert emit(graph, file=str(path)) == len(by_job)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["job"]["name"] for line in lines} == set(by_job)


def test_events_go_to_a_file_or_to_a_server(store: FeatureStore) -> None:
    with pytest.raises(DataError, match="either file= or url="):
        emit(store.lineage.graph())


def test_without_the_extra_an_export_names_it(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "networkx", None)
    monkeypatch.setitem(sys.modules, "openlineage.client", None)
    for export in (networkx_graph, openlineage_events):
        with pytest.raises(ExtraMissing, match=r"feature_store_assets\[lineage\]"):
            export(store.lineage.graph())
