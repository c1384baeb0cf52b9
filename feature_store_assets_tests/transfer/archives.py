"""Two groups in a view, what a store holds of them, and an export that stops half-way."""

from pathlib import Path
from typing import Any

import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.store import FeatureStore
from feature_store_assets.transfer.archive import digested
from feature_store_assets_tests.stores import pushed, row

A = pushed("a", Feature("x", "int64"), Feature("tags", "list<string>"))
B = pushed("b", Feature("y", "float64"), online=False)
BOTH = FeatureView("both", [A["x"], B])
DAY = 24


def fill(store: FeatureStore) -> None:
    """Rows of both groups in months, one of them revised."""
    store.apply(A, B, BOTH)
    rows = [row(f"u{n}", 20 * DAY * n, x=n, tags=["a", None]) for n in range(6)]
    store.write_features(rows, "a")
    store.write_features([row("u1", 20 * DAY, x=10, tags=[])], "a", mode="upsert")
    store.write_features([row("u0", 0, y=-0.0), row("u1", 40 * DAY, y=None)], "b")


def stored(store: FeatureStore, name: str, version: int | None = None) -> tuple[Any, ...]:
    """Schema and digest of each column, all revisions, in one order."""
    table = store.table(store.applied.group(name, version))
    rows = table.read()
    order: Any = [(each, "ascending") for each in (*table.keys, table.timestamp, table.created)]
    return rows.schema, rows.num_rows, digested(rows.sort_by(order))


def x_of(store: FeatureStore) -> dict[str, int]:
    rows = store.read_features("a").to_arrow()
    return dict(zip(rows["entity_id"].to_pylist(), rows["x"].to_pylist(), strict=True))  # type: ignore[arg-type]


def pinned(store: FeatureStore) -> set[str]:
    return {pin.owner for pin in store.snapshots.pins.all()}


class Stopped(Exception):
    """As good as a kill: nothing is cleared up."""


def stop(_: str) -> None:
    raise Stopped


def interrupted(store: FeatureStore, tmp_path: Path) -> Path:
    place = tmp_path / "unfinished"
    with pytest.raises(Stopped):
        store.export_archive(place, told=stop)
    return place
