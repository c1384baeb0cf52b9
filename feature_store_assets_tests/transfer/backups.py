"""A store with something of everything, and all that can be read of it."""

import atexit
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.declaration.feature import Feature
from feature_store_assets.offline.source_table import RawTable
from feature_store_assets.registry.database import metadata
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.stores import at, new_store, pushed, row
from feature_store_assets_tests.transfer.archives import fill

MONTH = 31 * 24
OLD = pushed("old", Feature("z", "int64"), retention=timedelta(days=40), online=False)
USERS = [f"u{number}" for number in range(8)]
SPINE = pl.DataFrame({
    "entity_id": ["u0", "u1", "u4", "nobody"],
    "event_timestamp": [at(24), at(41 * 24), at(200 * 24), at(0)],
    "churned": [0, 1, 0, 1],
})  # fmt: skip


def raw(store: FeatureStore) -> RawTable:
    return RawTable(store.location.at("raw/shop/orders"), "orders", None, compression="zstd")


def stock(store: FeatureStore) -> datetime:
    """Fill a store with something of everything; return an instant between two writes."""
    fill(store)
    store.register_feature_group(OLD)
    for number in range(3):
        store.write_features([row("u1", number * MONTH, z=number)], "old")
    store.create_snapshot("old", "whole", tags={"keep": "y"})
    store.retain(["old"], dry_run=False, now=at(2 * MONTH))
    store.create_snapshot("both", "june")
    store.create_training_set("both", SPINE, "set", label="churned", split={"a": 0.5, "b": 0.5})
    between = datetime.now(UTC)
    store.write_features([row("u1", 20 * 24, x=-1, tags=["late"])], "a", mode="upsert")
    store.write_features([row("u7", 1, x=7, tags=None)], "a")
    store.hold("snapshot", "june", "case 7")
    store.tokens.create("reader")
    store.validate_feature_quality("a")
    rows = pa.table({"amount": [1, 2], "partition": ["2024-01-01"] * 2})
    raw(store).replace(rows, ["2024-01-01"], metadata={})
    reject(store, "run1", 3)
    return between


@cache
def _made() -> tuple[Path, datetime]:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    with new_store(folder) as store:
        return folder / "store", stock(store)


def stocked(store: FeatureStore) -> datetime:
    """As `stock`, by a copy of what was made once; the store has not been used yet."""
    folder, between = _made()
    shutil.copytree(folder, store.config.root, dirs_exist_ok=True)
    return between


def reject(store: FeatureStore, run_id: str, x: int) -> None:
    store.review.quarantine.keep(
        pl.DataFrame({"entity_id": ["u1"], "x": [x], "reasons": [["bad"]]}),
        feature_group="a", version=1, partition="2024-01", run_id=run_id, rejected_at=at(0),
        reasons=["bad"],
    )  # fmt: skip


def answers(store: FeatureStore, between: datetime) -> dict[str, Any]:
    """What every read of a store says."""
    prepared = store.training_set("set")
    prepared.verify()
    registry = {
        table.name: rows_of(store, table.name)
        for table in metadata.sorted_tables
        # The log goes on, who reads is counted, what search finds is derived, leases stay behind.
        if table.name not in {"audit", "usage", "search_entries", "leases"}
    }
    return {
        "rows": [store.read_features(name).to_arrow() for name in ("a", "b", "old")],
        "pinned": [
            store.read_features(each[0], as_of=each[1]).to_arrow()
            for each in (("a", "june"), ("b", "june"), ("old", "whole"), ("a", between))
        ],
        "versions": [store.table(group).version() for group in store.groups()],
        "joined": store.get_historical_features("both", SPINE).to_arrow(),
        "set": (prepared.to_arrow(), prepared.reproduce()),
        "snapshots": [store.verify_snapshot(each.name) for each in store.list_snapshots()],
        "online": store.get_online_features("a", USERS, at=at(0), include_status=True),
        "found": store.search("x"),
        "raw": raw(store).read(),
        "rejected": [
            (each.run_id, each.read().rows()) for each in store.review.quarantine.entries()
        ],
        **registry,
    }


def rows_of(store: FeatureStore, name: str) -> list[Any]:
    table = metadata.tables[name]
    with store.parts.database.read() as connection:
        rows = connection.execute(table.select().order_by(*table.primary_key.columns))
        return [tuple(each) for each in rows]


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def config_at(folder: Path, **settings: Any) -> FeatureStoreConfig:
    return FeatureStoreConfig(storage_path=folder / "store", removal_grace_seconds=0, **settings)
