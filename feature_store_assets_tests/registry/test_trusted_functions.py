"""Functions that came from outside do not run, and their modules are not imported."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from feature_store_assets.dagster_io.code_location import load_definitions
from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    CodeNotTrusted,
    DeclarationError,
    FunctionNotTrusted,
)
from feature_store_assets.registry.database import Database, functions
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.counts import some
from feature_store_assets_tests.migrations import downgrade
from feature_store_assets_tests.stores import at, new_store, pushed, row

SIZES = pushed("sizes", Feature("x", "int64"))
CANARY = """
def double(x):
    return x * 2
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeatureStore]:
    """A store whose view computes by a module that nobody has imported since."""
    (tmp_path / "canary.py").write_text(CANARY)
    monkeypatch.syspath_prepend(tmp_path)
    view = FeatureView(
        "doubled", [SIZES], computed=[RequestFeature("twice", "int64", "canary:double")]
    )
    with new_store(tmp_path / "source") as store:
        store.apply(SIZES, view)
        store.write_features([row("u", 0, x=3)], "sizes")
        monkeypatch.delitem(sys.modules, "canary")
        yield store
    sys.modules.pop("canary", None)


def other(tmp_path: Path, **settings: Any) -> FeatureStore:
    return new_store(tmp_path / "other", **settings)


def twice(store: FeatureStore) -> tuple[Any, Any]:
    spine = [{"entity_id": "u", "event_timestamp": at(1)}]
    read = store.get_historical_features("doubled", spine).to_arrow()
    online = store.get_online_features("doubled", ["u"], at=at(1))
    return read["twice"].to_pylist(), online["u"]["twice"]


def by_archive(source: FeatureStore, tmp_path: Path) -> Callable[..., FeatureStore]:
    if not (tmp_path / "archive").exists():
        source.export_archive(tmp_path / "archive")

    def bring(trust_code: bool = False, **settings: Any) -> FeatureStore:
        store = other(tmp_path, **settings)
        store.import_archive(tmp_path / "archive", trust_code=trust_code)
        return store

    return bring


def by_state(source: FeatureStore, tmp_path: Path) -> Callable[..., FeatureStore]:
    state = source.export_registry()

    def bring(trust_code: bool = False, **settings: Any) -> FeatureStore:
        store = other(tmp_path, **settings)
        store.import_registry(state, trust_code=trust_code)
        store.write_features([row("u", 0, x=3)], "sizes")
        return store

    return bring


def by_backup(source: FeatureStore, tmp_path: Path) -> Callable[..., FeatureStore]:
    source.backup(tmp_path / "backup")

    def bring(trust_code: bool = False, **settings: Any) -> FeatureStore:
        store = other(tmp_path, **settings)
        done = FeatureStore.restore(tmp_path / "backup", store.config, trust_code=trust_code)
        trusted = trust_code or settings.get("request_modules")
        assert done.untrusted == (() if trusted else ("canary:double",))
        return store

    return bring


ROADS = {"archive": by_archive, "state": by_state, "backup": by_backup}


@pytest.mark.parametrize("road", ["archive", "state"])
def test_an_import_names_unknown_functions_and_writes_nothing(
    source: FeatureStore, tmp_path: Path, road: str
) -> None:
    with pytest.raises(CodeNotTrusted, match="canary:double") as refused:
        ROADS[road](source, tmp_path)()
    assert refused.value.functions == ("canary:double",)
    with other(tmp_path) as store:
        assert (store.groups(), store.applied.views()) == ([], [])
    assert "canary" not in sys.modules


def test_a_restored_function_does_not_run_before_the_view_is_applied(
    source: FeatureStore, tmp_path: Path
) -> None:
    with by_backup(source, tmp_path)() as store:
        for read in (
            lambda: store.get_online_features("doubled", ["u"]),
            lambda: store.get_historical_features("doubled", [row("u", 1)]),
            lambda: store.create_training_set("doubled", [row("u", 1)], "t"),
        ):
            with pytest.raises(FunctionNotTrusted, match="canary:double"):
                read()
        assert store.card("doubled").name == "doubled"
        assert store.get_online_features("doubled", ["u"], ["x"], at=at(1)) == {"u": {"x": 3}}
        assert "canary" not in sys.modules
        computed = [RequestFeature("twice", "int64", "canary:double")]
        store.apply(SIZES, FeatureView("doubled", [SIZES], computed=computed))
        assert twice(store) == ([6], 6)


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("given", some([{"trust_code": True}, {"request_modules": ("canary",)}]))
def test_functions_run_where_somebody_trusts_them(
    source: FeatureStore, tmp_path: Path, road: str, given: dict[str, Any]
) -> None:
    with ROADS[road](source, tmp_path)(**given) as store:
        assert twice(store) == ([6], 6)
        assert store.audit.verify() > 0


def test_what_an_import_trusted_is_in_the_audit_log_and_trusted_from_then_on(
    source: FeatureStore, tmp_path: Path
) -> None:
    with by_archive(source, tmp_path)(trust_code=True) as store:
        entries = [each for each in store.audit.entries() if each.action == "trust"]
        assert [each.detail for each in entries] == [
            {"by": "import", "functions": ["canary:double"]}
        ]
        store.import_registry(source.export_registry(), on_conflict="keep")
        assert len([each for each in store.audit.entries() if each.action == "trust"]) == 1


def test_a_view_read_from_json_is_applied_without_trust(source: FeatureStore) -> None:
    [view] = source.applied.views()
    with source.parts.database.write() as connection:
        connection.execute(sa.delete(functions))
    source.apply(view)
    with pytest.raises(FunctionNotTrusted):
        source.get_online_features(view, ["u"])
    assert "canary" not in sys.modules


def test_functions_that_an_earlier_schema_applied_itself_stay_trusted(
    source: FeatureStore, tmp_path: Path
) -> None:
    foreign = json.loads(json.dumps(source.applied.views()[0].to_json()))
    foreign["computed"][0]["function"] = "subprocess:call"
    view = FeatureView.from_json({**foreign, "name": "foreign"})
    source.apply(view)
    database = Database(source.config.registry)
    with database.write() as connection:  # as commit 5c9bb8d left it
        downgrade(connection, "0007")
        connection.execute(sa.text("UPDATE applied SET hash = 'imported' WHERE name = 'foreign'"))
    database.close()
    with new_store(tmp_path / "source") as store:
        store.apply()
        assert twice(store) == ([6], 6)
        with pytest.raises(FunctionNotTrusted, match="subprocess:call"):
            store.get_online_features("foreign", ["u"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
@pytest.mark.parametrize("whose", ["workspace.yaml", "definitions.py", "."])
def test_definitions_of_somebody_else_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "definitions.py").write_text("raise SystemExit('it ran')")
    (folder / "workspace.yaml").write_text("load_from:\n  - python_file: definitions.py\n")
    monkeypatch.chdir(folder)
    os.chown(folder / whose, 4711, 4711)
    with pytest.raises(DeclarationError, match=r"No code of .* was run.* belongs to user 4711"):
        load_definitions()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_modules_of_somebody_else_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strangers.py").write_text("raise SystemExit('it ran')")
    os.chown(tmp_path / "strangers.py", 4711, 4711)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DeclarationError, match=r"No code of .*strangers.py was run"):
        load_definitions(module="strangers")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_workspace_of_somebody_else_above_is_no_project_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "outer" / "inner"
    inside.mkdir(parents=True)
    (tmp_path / "outer" / "workspace.yaml").write_text("load_from: []\n")
    os.chown(tmp_path / "outer" / "workspace.yaml", 4711, 4711)
    monkeypatch.chdir(inside)
    with new_store(tmp_path) as store:
        assert store.config.project == inside
