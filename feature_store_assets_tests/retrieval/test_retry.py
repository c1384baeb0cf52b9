"""A read begins again, and is told of it, where retention removes files beneath it."""

import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.errors import OutsideRetention, OutsideRetentionWarning
from feature_store_assets.offline.table import OfflineTable
from feature_store_assets.retrieval.retry import Watched, steady
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.stores import at, new_store, pushed, row

GROUP = pushed("g", Feature("x", "int64"), retention=timedelta(days=3650), online=False)
OLD = -24 * 365 * 30  # long past any retention


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    with new_store(tmp_path) as opened:
        opened.apply(GROUP)
        opened.write_features([row("u", OLD, x=1), row("u", 0, x=2)], "g")
        yield opened


@pytest.fixture
def removing(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention takes the old month away once the next read has listed its files."""
    listed, done = OfflineTable.files, list[bool]()

    def files(self: OfflineTable, **given: Any) -> Any:
        found = listed(self, **given)
        if not done:
            done.append(True)
            with new_store(Path(store.config.root).parent) as other:
                other.retain(dry_run=False)
        return found

    monkeypatch.setattr(OfflineTable, "files", files)


SPINE = [{"entity_id": "u", "event_timestamp": at(OLD + 1)}, row("u", 1)]
READS: dict[str, Callable[[FeatureStore, Path], Any]] = {
    "in memory": lambda store, _: store.get_historical_features("g", SPINE),
    "to a file": lambda store, path: store.get_historical_features("g", SPINE, out=path),
    "rows": lambda store, _: store.read_features("g", start_time=at(OLD)),
}


@pytest.mark.usefixtures("removing")
@pytest.mark.parametrize("how", READS)
def test_a_read_begins_again_and_says_what_was_removed(
    store: FeatureStore, tmp_path: Path, how: str
) -> None:
    with pytest.warns(OutsideRetentionWarning, match="'g' is outside retention"):
        answer = READS[how](store, tmp_path / "out.parquet").to_polars()
    assert answer["x"].to_list()[-1] == 2
    assert answer["x"].drop_nulls().to_list() == [2]


@pytest.mark.usefixtures("removing")
def test_a_query_begins_again(store: FeatureStore) -> None:
    answer = store.sql("SELECT x FROM g ORDER BY x").to_polars()
    assert answer["x"].to_list() == [2]


@pytest.mark.usefixtures("removing")
def test_a_read_of_what_is_all_removed_is_an_error(store: FeatureStore) -> None:
    with pytest.raises(OutsideRetention):
        store.get_historical_features("g", SPINE[:1])


def test_files_that_are_really_gone_are_an_error(store: FeatureStore) -> None:
    for file in store.table(GROUP).files():
        Path(file.uri).unlink()
    with warnings.catch_warnings(), pytest.raises(OSError, match="No such file"):
        store.read_features("g")


def test_a_read_is_begun_again_only_while_its_tables_change(store: FeatureStore) -> None:
    table, reads = store.table(GROUP), list[int]()

    def read(watched: Watched) -> str:
        watched.add(table)
        reads.append(table.version())
        if len(reads) == 1:
            store.write_features([row("v", 0, x=3)], "g")
            raise FileNotFoundError
        return "rows"

    assert steady(read) == "rows"
    assert len(reads) == 2

    def lost(watched: Watched) -> str:
        watched.add(table)
        reads.append(table.version())
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        steady(lost)
    assert len(reads) == 3


def test_the_checks_run_again_where_a_table_changed_during_the_read(store: FeatureStore) -> None:
    table, checks = store.table(GROUP), list[pl.DataFrame]()

    def read(watched: Watched) -> None:
        watched.add(table, lambda: checks.append(pl.DataFrame()))
        store.write_features([row("w", 0, x=4)], "g")

    steady(read)
    assert len(checks) == 2
