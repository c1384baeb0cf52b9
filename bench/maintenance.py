"""Snapshots, retention and compaction of a year of daily partitions, beside deltalake itself."""

import hashlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from bench.measuring import REPETITIONS, Row, in_turn, versus
from bench.offline import KEY, TIME, prepared, random_rows
from feature_store_assets import FeatureStore, FeatureStoreConfig
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup

_FEATURES, _DAYS, _KEPT, _ROWS = 20, 365, 90, 730_000
_SMALL_FILES = 100
_NOW = datetime(2024, 12, 30, 12, tzinfo=UTC)
_GROUP = FeatureGroup(
    "spending",
    entity=Entity("customer", {KEY: "string"}),
    features=[Feature(f"f{number}", "float64") for number in range(_FEATURES)],
    timestamp=TIME,
    retention=timedelta(days=_KEPT),
)


def keep(folder: Path) -> Iterator[Row]:
    """365 partitions of 2,000 rows x 20 features.

    A snapshot reads and digests each file once, and keeps the manifest in the registry; the raw
    work is SHA-256 over the same files. Retention drops 275 partitions: recorded, one commit,
    their files removed, superseded ones swept, a listing afterwards; raw are `DeltaTable.delete`
    and `vacuum(full=True)`, which is not safe beside writers. Compaction writes a partition of 100
    appended files anew, sorted, and on the disk; raw is `optimize.compact`, which does neither.
    Each repetition has a copy of its own.
    """
    template = folder / "template"
    _filled(template)
    yield from _snapshots(template)
    yield from _retention(folder, template)
    yield from _compaction(folder)


def _store(root: Path) -> FeatureStore:
    return FeatureStore(FeatureStoreConfig(storage_path=root, removal_grace_seconds=0))


def _filled(root: Path) -> None:
    with _store(root) as store:
        store.apply(_GROUP)
        table = store.table(_GROUP)
        rows = random_rows(_ROWS, _FEATURES, _DAYS, 2_000)
        days = rows[TIME].dt.strftime("%Y-%m-%d")
        table.replace(prepared(table, rows.to_arrow(), days), None)


def _snapshots(template: Path) -> Iterator[Row]:
    with _store(template) as store:
        table, names = store.table(_GROUP), (f"s{number}" for number in count())

        def first() -> None:
            for each in store.list_snapshots():
                store.delete_snapshot(each.name)
            store.create_snapshot("spending", next(names))

        def digests() -> None:
            for file in table.files():
                with Path(file.uri).open("rb") as opened:
                    hashlib.file_digest(opened, "sha256")

        ours, raw = in_turn(first, digests)
        yield versus(f"the first snapshot of {_DAYS} partitions", ours, raw)
        (again,) = in_turn(lambda: store.create_snapshot("spending", next(names)))
        yield Row("a second one", str(again), "", "")


def _retention(folder: Path, template: Path) -> Iterator[Row]:
    copies = _copies(folder, template, 2)

    def ours() -> None:
        with _store(next(copies)) as store:
            (done,) = store.retain(dry_run=False, now=_NOW)
        assert len(done.partitions) == _DAYS - _KEPT - 1, len(done.partitions)

    def raw() -> None:
        table = DeltaTable(str(next(copies) / "offline" / "spending" / "v1"))
        oldest = f"{_NOW - timedelta(days=_KEPT):%Y-%m-%d}"
        table.delete(f"partition < '{oldest}'")
        table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)

    mine, theirs = in_turn(ours, raw)
    yield versus(f"retention of {_DAYS - _KEPT - 1} partitions", mine, theirs)


def _compaction(folder: Path) -> Iterator[Row]:
    template = folder / "small"
    with _store(template) as store:
        store.apply(_GROUP)
        table = store.table(_GROUP)
        for _ in range(_SMALL_FILES):
            rows = random_rows(1_000, _FEATURES, 1, 1_000)
            one = prepared(table, rows.to_arrow(), pl.Series(["all"] * 1_000))
            table.append(lambda _, one=one: one)  # type: ignore[misc]
    copies = _copies(folder, template, 2)
    found: list[pa.Table] = []

    def ours() -> None:
        with _store(next(copies)) as store:
            store.compact()
            found.append(store.table(_GROUP).read())

    def raw() -> None:
        table = DeltaTable(str(next(copies) / "offline" / "spending" / "v1"))
        table.optimize.compact()
        found.append(pa.table(table.to_pyarrow_dataset().to_table()))

    mine, theirs = in_turn(ours, raw)
    sides = [pl.DataFrame(each).select(KEY, TIME, "f0").sort(KEY, TIME) for each in found[-2:]]
    assert sides[0].equals(sides[1])
    yield versus(f"compaction of {_SMALL_FILES} files of 1,000 rows, read back", mine, theirs)


def _copies(folder: Path, template: Path, works: int) -> Iterator[Path]:
    """Give a copy of a store for each repetition of each work, made beforehand."""
    places = [folder / f"{template.name}-{number}" for number in range((REPETITIONS + 1) * works)]
    for place in places:
        shutil.copytree(template, place)
    return iter(places)
