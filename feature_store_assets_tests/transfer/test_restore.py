"""Restores: to where nothing is, of what is whole, and nothing half-done."""

import gzip
import hashlib
import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.declaration.feature import Feature
from feature_store_assets.errors import (
    BackupNotFound,
    BackupUnusable,
    RestoreRefused,
    StorageUnusable,
)
from feature_store_assets.registry.database import SCHEMAS, Database
from feature_store_assets.storage.sealed_json import seal
from feature_store_assets.store import FeatureStore
from feature_store_assets.transfer.restore import restore
from feature_store_assets_tests.stores import new_store, pushed, row
from feature_store_assets_tests.transfer.backups import answers, config_at, stocked, tree

CLICKS = pushed("clicks", Feature("x", "int64"))


@pytest.fixture
def kept(store: FeatureStore, tmp_path: Path) -> Path:
    """A backup of the store, which has something of everything."""
    stocked(store)
    store.backup(tmp_path / "kept")
    return tmp_path / "kept"


@pytest.fixture
def config(tmp_path: Path) -> FeatureStoreConfig:
    return config_at(tmp_path / "new")


def change(kept: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest as only its author could."""
    (path,) = (kept / "backups").iterdir()
    content = json.loads(path.read_bytes())
    edit(content)
    path.write_text(json.dumps(seal(content)))


def date_back(kept: Path, schema: str, without: Collection[str] = ()) -> None:
    """Make of a backup's registry what code of a schema before 0009 wrote."""

    def older(content: dict[str, Any]) -> None:
        path = kept / content["registry"]["stored"]
        header, *rows = map(json.loads, gzip.decompress(path.read_bytes()).splitlines())
        tables = {name: of for name, of in header["tables"].items() if name not in without}
        of_pins = tables["pins"]
        tables["pins"] = {"snapshot": of_pins.pop("owner"), **of_pins}
        del tables["pins"]["owner_kind"]
        del tables["audit"]["source"]
        lines: list[Any] = [{"schema": schema, "tables": tables}]
        for name, values in rows:
            if name not in {*without, "pins"}:
                lines.append([name, values[:-1] if name == "audit" else values])
        for kind, owner, *rest in (values for name, values in rows if name == "pins"):
            prefix = "" if kind == "snapshot" else "training-set:"
            lines.append(["pins", [prefix + owner, *rest]])
        text = gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        path.write_bytes(text)
        content["registry"].update(bytes=len(text), sha256=hashlib.sha256(text).hexdigest())
        content["schema"] = schema

    change(kept, older)


def test_a_damaged_backup_is_refused_and_nothing_is_left_of_it(
    kept: Path, config: FeatureStoreConfig
) -> None:
    data, other, *_ = sorted(kept.rglob("*.parquet"))
    whole = data.read_bytes()
    data.write_bytes(bytes(reversed(whole)))
    with pytest.raises(BackupUnusable, match=f"{data.relative_to(kept)} has changed"):
        FeatureStore.restore(kept, config)
    assert list(config.root.parent.iterdir()) == []
    data.write_bytes(whole[:-1])
    with pytest.raises(BackupUnusable, match=f"has {len(whole) - 1} bytes, not {len(whole)}"):
        FeatureStore.restore(kept, config)
    data.write_bytes(whole)
    other.unlink()
    with pytest.raises(BackupUnusable, match=f"{other.relative_to(kept)} is gone"):
        FeatureStore.restore(kept, config)
    assert list(config.root.parent.iterdir()) == []


def test_a_manifest_that_was_edited_or_is_too_new_is_refused(
    kept: Path, config: FeatureStoreConfig
) -> None:
    (path,) = (kept / "backups").iterdir()
    whole = path.read_text()
    path.write_text(whole.replace('"lost": []', '"lost": ["x"]'))
    with pytest.raises(BackupUnusable, match=f"{path.name}: it was changed"):
        FeatureStore.restore(kept, config)
    path.write_text(whole[:-9])
    with pytest.raises(BackupUnusable, match=path.name):
        FeatureStore.restore(kept, config)
    path.write_text(whole)
    change(kept, lambda content: content.update(version=9))
    with pytest.raises(BackupUnusable, match="version 9 is not 1, which this code reads: upgrade"):
        FeatureStore.restore(kept, config)
    path.write_text(whole)
    change(kept, lambda content: content.update(schema="9999"))
    with pytest.raises(BackupUnusable, match="schema 9999, this code knows up to"):
        FeatureStore.restore(kept, config)
    path.write_text(whole)
    change(kept, lambda content: content["files"][0].update(path="../outside"))
    with pytest.raises(BackupUnusable, match=r"'\.\./outside' lies outside the data root"):
        FeatureStore.restore(kept, config)
    assert not config.root.parent.exists()


def test_where_there_is_no_backup_that_is_said(
    kept: Path, config: FeatureStoreConfig, tmp_path: Path
) -> None:
    with pytest.raises(BackupNotFound, match="There is no backup in"):
        FeatureStore.restore(tmp_path / "nowhere", config)
    with pytest.raises(BackupNotFound, match=r"is named 'x'\. The newest: 2"):
        FeatureStore.restore(kept, config, "x")


def test_nothing_is_restored_over_something(
    store: FeatureStore, kept: Path, tmp_path: Path
) -> None:
    before = tree(store.config.root / "offline")
    with pytest.raises(RestoreRefused, match="is not empty: a backup is restored to where nothing"):
        FeatureStore.restore(kept, store.config)
    assert tree(store.config.root / "offline") == before
    registry = config_at(tmp_path / "new", registry_url=SecretStr(store.config.registry))
    with pytest.raises(RestoreRefused, match=r"The registry at .* holds \d+ "):
        FeatureStore.restore(kept, registry)
    online = config_at(tmp_path / "new", online_store_uri=SecretStr(store.config.online))
    with pytest.raises(RestoreRefused, match="online' is not empty"):
        FeatureStore.restore(kept, online)
    assert list((tmp_path / "new").iterdir()) == []
    assert store.get_online_features("a", ["u7"], ["x"]) == {"u7": {"x": 7}}


def test_an_empty_folder_is_where_nothing_is(kept: Path, config: FeatureStoreConfig) -> None:
    config.root.mkdir(parents=True)
    FeatureStore.restore(kept, config)
    with FeatureStore(config) as restored:
        assert len(restored.read_features("a")) == 7


def elsewhere(tmp_path: Path, registry: str) -> FeatureStoreConfig:
    """Registry and online store outside the data root."""
    return config_at(
        tmp_path / "new",
        registry_url=SecretStr(registry),
        online_store_uri=SecretStr(f"lmdb://{tmp_path / 'ours' / 'online'}"),
    )


@pytest.mark.slow
def test_registry_and_online_store_may_lie_outside_the_data_root(tmp_path: Path) -> None:
    config = elsewhere(tmp_path, f"sqlite:///{tmp_path / 'ours' / 'registry.db'}")
    with new_store(tmp_path / "one") as store:
        between = stocked(store)
        known = answers(store, between)
        store.backup(tmp_path / "kept")
    FeatureStore.restore(tmp_path / "kept", config)
    with FeatureStore(config) as restored:
        assert answers(restored, between) == known
    assert {path.name for path in config.root.iterdir()} == {
        "offline", "raw", "training", "quarantine",
    }  # fmt: skip
    assert sorted(each.name for each in (tmp_path / "ours").rglob("*.mdb")) == [
        "data.mdb", "lock.mdb",
    ]  # fmt: skip


def test_a_restore_that_fails_after_the_registry_takes_it_back(kept: Path, tmp_path: Path) -> None:
    config = elsewhere(tmp_path, f"sqlite:///{tmp_path / 'ours' / 'registry.db'}")

    def fail(*_: object) -> tuple[int, list[str]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(kept, config, follow=fail)
    assert list((tmp_path / "new").iterdir()) == []
    assert {path.name for path in (tmp_path / "ours").iterdir()} == {"registry.db"}
    FeatureStore.restore(kept, config)


@pytest.mark.slow
def test_a_long_log_is_read_from_a_checkpoint(
    store: FeatureStore, config: FeatureStoreConfig, tmp_path: Path
) -> None:
    store.register_feature_group(CLICKS)
    for number in range(25):
        store.write_features([row("u", number, x=number)], "clicks")
    store.backup(tmp_path / "kept")
    FeatureStore.restore(tmp_path / "kept", config)
    log = config.root / "offline" / "clicks" / "v1" / "_delta_log"
    assert json.loads((log / "_last_checkpoint").read_bytes())["version"] == 25
    with FeatureStore(config) as restored:
        assert (
            restored.read_features("clicks").to_arrow() == store.read_features("clicks").to_arrow()
        )


def test_a_registry_of_an_older_schema_is_brought_up_to_date(
    store: FeatureStore, config: FeatureStoreConfig, tmp_path: Path
) -> None:
    """As one from before there were legal holds, snapshots' manifests, and removals."""
    store.register_feature_group(CLICKS)
    store.write_features([row("u", 0, x=1)], "clicks")
    store.backup(tmp_path / "kept")
    date_back(tmp_path / "kept", "0006", without={"snapshots", "holds", "removals", "floors"})
    FeatureStore.restore(tmp_path / "kept", config)
    with FeatureStore(config) as restored:
        assert (
            restored.read_features("clicks").to_arrow() == store.read_features("clicks").to_arrow()
        )
        assert next(iter(restored.search("clicks"))).name == "clicks"
        restored.create_snapshot("clicks", "s")
    database = Database(config.registry)
    with database.read() as connection:
        told = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    database.close()
    assert told == SCHEMAS[-1]


def test_pins_of_a_registry_whose_owners_had_no_kind_get_one(
    kept: Path, config: FeatureStoreConfig, store: FeatureStore
) -> None:
    date_back(kept, "0008")
    FeatureStore.restore(kept, config)
    with FeatureStore(config) as restored:
        assert restored.snapshots.pins.all() == store.snapshots.pins.all()
        assert {pin.owner_kind for pin in restored.snapshots.pins.all()} == {
            "snapshot", "training_set",
        }  # fmt: skip
        restored.training_set("set").reproduce()


def test_a_data_root_that_cannot_be_made_is_an_error_that_names_it(
    kept: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnusable, match=f"'{tmp_path / 'file'}' cannot hold the store"):
        FeatureStore.restore(kept, config_at(tmp_path / "file"))
