"""What Dagster knows: assets of what is recorded, and the event log behind a bad value."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from feature_store_assets.dagster_io.code_location import load_definitions
from feature_store_assets.declaration.feature import Feature
from feature_store_assets.errors import DagsterUnavailable, DataError, LineageNotFound, NotFound
from feature_store_assets.orchestration.definitions import build_definitions
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests import market
from feature_store_assets_tests.orchestration.shop import Shop, day, orders
from feature_store_assets_tests.stores import new_store, pushed, row

MARKET = Path(market.__file__)
KNOWN = datetime(2024, 1, 2, tzinfo=UTC)


class Market(Shop):
    """The code location of `market.py`, on a Dagster instance of its own."""

    def __init__(self, root: Path, instance: dg.DagsterInstance) -> None:
        super().__init__(root, instance)
        self.definitions = load_definitions(file=MARKET)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a Dagster instance."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.setenv("FEATURE_STORE_STORAGE_PATH", str(tmp_path / "store"))
    monkeypatch.setenv("FEATURE_STORE_DEFINITIONS", str(MARKET))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def applied(home: Path) -> None:
    with FeatureStore() as store:
        store.apply(*market.GROUPS, *market.VIEWS)


@pytest.fixture
def located(home: Path, applied: None, tmp_path: Path) -> Iterator[Market]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield Market(tmp_path / "store", instance)


def told(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(each["problem"], each["asset"], each["partition"]) for each in found["causes"]]


def keys(definitions: dg.Definitions) -> dict[str, set[str]]:
    """The assets, each with what it depends on."""
    graph = definitions.resolve_asset_graph()
    return {
        key.to_user_string(): {each.to_user_string() for each in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }


# What is recorded joins the graph


def record(store: FeatureStore) -> None:
    store.apply(*market.GROUPS, *market.VIEWS)
    born = {"customer_id": "ann", "event_timestamp": KNOWN, "age": 41, "country": "DE"}
    store.write_features([born], "profile")
    spine = [{"customer_id": "ann", "event_timestamp": KNOWN, "label": 1}]
    store.create_training_set(["profile.age"], spine, "ages-2024.06", description="Of June.")
    store.log_model(
        "ages-v1.1",
        training_set="ages-2024.06",
        endpoint="/ages",
        owners=["team:ages"],
        description="The first.",
        logged_by="ann",
    )
    store.create_snapshot("profile", "june-2024")
    store.register_feature("likes", feature_group="hobbies", data_type="integer")


@pytest.mark.usefixtures("home")
def test_models_training_sets_snapshots_and_pushed_groups_are_assets_after_a_reload(
    tmp_path: Path,
) -> None:
    before = keys(load_definitions(file=MARKET))
    with FeatureStore() as store:
        record(store)
    definitions = load_definitions(file=MARKET)
    found = keys(definitions)
    assert found.keys() - before.keys() == {
        "models/ages-v1.1",
        "training_sets/ages-2024.06",
        "snapshots/profile",
        "hobbies",
    }
    assert found["models/ages-v1.1"] == {"training_sets/ages-2024.06"}
    assert found["training_sets/ages-2024.06"] == {"profile"}
    assert found["snapshots/profile"] == {"profile"}
    node = definitions.resolve_asset_graph().get(dg.AssetKey(["models", "ages-v1.1"]))
    assert (list(node.owners), node.description) == (["team:ages"], "The first.")
    assert not node.is_materializable
    dg.Definitions.validate_loadable(definitions)


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_what_is_an_asset_and_in_the_registry_is_there_once() -> None:
    with FeatureStore() as store:
        record(store)
        found = store.get_feature_lineage("profile.age")
    assert found["source"] == "dagster"
    again = [(each["kind"], each["id"]) for each in found["downstream"]]
    assert sorted(again) == sorted(set(again))
    assert ("model", "ages-v1.1") in again
    assert not [name for _, name in again if name.startswith(("models/", "training_sets/"))]


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_with_lineage_disabled_nothing_joins_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    with FeatureStore() as store:
        record(store)
    monkeypatch.setenv("FEATURE_STORE_ENABLE_LINEAGE", "false")
    assert "models/ages-v1.1" not in keys(load_definitions(file=MARKET))


def test_an_asset_of_ones_own_keeps_its_name(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        store.apply(pushed("orders", Feature("x", "int64")))
        found = keys(build_definitions([], assets=[orders], config=store.config))
    assert found["orders"] == set()


def test_a_registry_that_cannot_be_read_does_not_keep_a_location_from_loading(
    tmp_path: Path,
) -> None:
    with new_store(tmp_path) as store:
        store.config.root.mkdir(parents=True)
        (store.config.root / "registry.db").write_text("This is no database." * 100)
        assert "orders" in keys(build_definitions([], assets=[orders], config=store.config))


def test_a_model_is_reported_to_the_instance(home: Path) -> None:
    with FeatureStore() as store:
        record(store)
        (logged,) = store.models()
        again = store.log_model(
            "ages-v1.1",
            training_set="ages-2024.06",
            endpoint="/ages",
            owners=["team:ages"],
            description="The first.",
        )
        assert again == logged
    assert logged.features == ("profile.age",)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        key = dg.AssetKey(["models", "ages-v1.1"])
        (event,) = instance.fetch_materializations(key, limit=10).records
    assert event.asset_materialization is not None
    shown = event.asset_materialization.metadata
    assert shown["training_set"].value == "ages-2024.06"
    assert shown["endpoint"].value == "/ages"


@pytest.mark.slow
def test_the_instance_of_a_project_is_in_its_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.rename(tmp_path / ".dagster_home")
    monkeypatch.delenv("DAGSTER_HOME")
    with FeatureStore() as store:
        record(store)
    with dg.DagsterInstance.from_config(str(tmp_path / ".dagster_home")) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey(["models", "ages-v1.1"]))


@pytest.mark.slow
def test_columns_that_a_run_told_are_columns(home: Path) -> None:
    lineage = dg.TableColumnLineage(
        {"visitors": [dg.TableColumnDep(dg.AssetKey("spending"), "ordered")]}
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization("dashboard", metadata={"dagster/column_lineage": lineage})
        )
    with FeatureStore() as store:
        found = store.get_feature_lineage("dashboard.visitors", "upstream", 1)["upstream"]
        assert [each["id"] for each in found] == ["dashboard", "spending.ordered"]
        assert store.analyze_impact("orders.amount")["undeclared"] == ["spending.city"]


def test_without_an_instance_a_model_is_recorded_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with new_store(tmp_path) as store:
        record(store)
        assert [model.name for model in store.models()] == ["ages-v1.1"]
        with pytest.raises(DagsterUnavailable, match="FEATURE_STORE_DEFINITIONS"):
            store.root_cause("profile.age", "all")


# Root causes


@pytest.mark.slow
def test_a_good_value_has_its_partitions_and_no_causes(located: Market) -> None:
    located.deliver(0, 2)
    located.run("spending", keys=(day(0), day(2)))
    with FeatureStore() as store:
        found = store.root_cause("spent", day(2))
    assert found["causes"] == []
    assert [(each["asset"], each["partition"], each["depth"]) for each in found["partitions"]] == [
        ("spending", day(2), 0),
        ("orders", day(1), 1),
        ("orders", day(2), 1),
    ]
    assert all(each["run_id"] and each["materialized_at"] for each in found["partitions"])


@pytest.mark.slow
def test_an_input_that_was_corrected_afterwards_is_a_cause(located: Market) -> None:
    located.deliver(0, 2)
    located.run("spending", keys=(day(0), day(2)))
    located.deliver(1, 1, factor=5.0)
    with FeatureStore() as store:
        found = store.root_cause("spending.spent", day(2))
        assert told(found) == [("changed input", "orders", day(1))]
        assert found["causes"][0]["detail"] == (
            f"Materialized after spending {day(2)}, which read it as it was before."
        )
        # Two groups further on it is the same cause, and a step farther away.
        located.run("loyalty", partition=day(1))
        score = store.root_cause("score", day(1))
        assert [(each["asset"], each["depth"]) for each in score["causes"]] == [("orders", 2)]


@pytest.mark.slow
def test_an_input_that_came_too_late_and_one_that_never_came_are_causes(located: Market) -> None:
    located.deliver(3, 3)
    located.run("spending", partition=day(3))
    with FeatureStore() as store:
        assert told(store.root_cause("spent", day(3))) == [("missing partition", "orders", day(2))]
        located.deliver(2, 2)
        found = store.root_cause("spent", day(3))
    assert told(found) == [("late input", "orders", day(2))]
    assert "before it was there" in found["causes"][0]["detail"]


def test_a_rejected_partition_says_why(located: Market) -> None:
    located.deliver(0, 1, bad=[day(1)])
    located.run("spending", keys=(day(0), day(1)))
    with FeatureStore() as store:
        found = store.root_cause("spent", day(1))
        assert told(found) == [
            ("failed check", "spending", day(1)),
            ("failed run", "spending", day(1)),
            ("missing partition", "spending", day(1)),
            ("quarantined", "spending", day(1)),
        ]
        check, run, _, quarantined = found["causes"]
        assert check["detail"].startswith("quality: ")
        assert "spent" in check["detail"]
        assert check["run_id"] == run["run_id"] == quarantined["run_id"]
        # The check of another feature of the group is no cause of this one.
        problems = [each["problem"] for each in store.root_cause("ordered", day(1))["causes"]]
        assert "failed check" not in problems


@pytest.mark.usefixtures("applied")
def test_only_features_and_partitions_that_exist_have_causes() -> None:
    with FeatureStore() as store:
        with pytest.raises(NotFound, match=r"'spending' has no partition '2024-01-99'. Did you"):
            store.root_cause("spent", "2024-01-99")
        with pytest.raises(LineageNotFound, match=r"'orders\.amount'"):
            store.root_cause("orders.amount", day(0))
        with pytest.raises(DataError, match="'profile' is not computed by Dagster"):
            store.root_cause("age", "2024-01")


@pytest.mark.usefixtures("applied")
def test_a_group_without_an_instance_has_no_causes_to_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    with FeatureStore() as store, pytest.raises(DagsterUnavailable, match="Set DAGSTER_HOME"):
        store.root_cause("spent", day(0))


# Timelines


@pytest.mark.slow
def test_a_timeline_tells_what_happened_in_its_order(located: Market) -> None:
    located.deliver(0, 1, bad=[day(1)])
    located.run("spending", keys=(day(0), day(1)))
    with FeatureStore() as store:
        store.create_snapshot("spending", "first")
        at = datetime(2024, 1, 1, 13, tzinfo=UTC)
        spine = [{"customer_id": "ann@example.org", "event_timestamp": at}]
        store.create_training_set(["spending.spent"], spine, "spent-set")
        store.log_model("spent-v1", training_set="spent-set", logged_by="ann")
        events = store.timeline("spent")
        assert store.timeline("spent", limit=2) == events[-2:]
        ordered = [each["event"] for each in store.timeline("ordered")]
    assert [
        (each["event"], each["name"]) for each in events if each["event"] != "materialized"
    ] == [
        ("declaration added", "spending"),
        ("quality failed", f"spending {day(1)}"),
        ("snapshot", "first"),
        ("training set", "spent-set"),
        ("model", "spent-v1"),
    ]
    assert [each["name"] for each in events if each["event"] == "materialized"] == [
        f"spending {day(0)}"
    ]
    assert [each["at"] for each in events] == sorted(each["at"] for each in events)
    assert "training set" not in ordered
    assert "quality failed" not in ordered


def test_a_pushed_group_has_a_timeline_without_dagster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with new_store(tmp_path) as store:
        store.apply(pushed("people", Feature("age", "int64")))
        store.write_features([row("u", 0, age=41)], "people")
        store.create_snapshot("people", "june")
        assert [each["event"] for each in store.timeline("age")] == [
            "declaration added",
            "snapshot",
        ]


def test_pushed_writes_and_snapshots_are_told_to_the_instance(home: Path) -> None:
    with FeatureStore() as store:
        record(store)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["profile"]))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        assert metadata["dagster/row_count"].value == 1
        assert instance.get_dynamic_partitions("snapshots/profile") == ["june-2024"]
    with FeatureStore() as store:
        store.delete_snapshot("june-2024")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_dynamic_partitions("snapshots/profile") == []


def test_a_write_stands_where_dagster_cannot_be_told(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "dagster.yaml").write_text("storage: nonsense")
    with FeatureStore() as store:
        record(store)
        assert len(store.read_features("profile")) == 1
    assert f"The Dagster instance in {home} could not be told." in caplog.text
