"""Whatever happens in whatever order: live rows and pinned rows are what they should be."""

import os
import tempfile
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from feature_store_assets import Feature, FeatureStore
from feature_store_assets.errors import DataError
from feature_store_assets_tests.stores import at, folder_of, new_store, pushed, row

# Fewer than of the online store: each of these takes two seconds.
RUNS = int(os.environ.get("FSA_INTERLEAVINGS", "25")) // 25
KEPT = timedelta(days=60)
MONTH = 31 * 24

Rows = dict[tuple[str, int], int]
months = st.integers(0, 5)
entities = st.sampled_from("ab")


def month(hours: int) -> str:
    return f"{at(hours):%Y-%m}"


class Upkeep(RuleBasedStateMachine):
    """A group that is pushed to, and all that upkeep does to it; a dict says what is right."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store: FeatureStore = new_store(Path(self.folder.name))
        group = pushed("a", Feature("x", "int64"), retention=KEPT, online=False)
        self.group = self.store.register_feature_group(group)
        self.table = self.store.table(self.group)
        self.live: Rows = {}
        self.pinned: dict[str, Rows] = {}
        self.gone: set[str] = set()
        self.archives: list[tuple[Path, Rows]] = []
        self.wrong: list[Exception] = []
        self.over = threading.Event()
        self.reader = threading.Thread(target=self.read)

    def read(self) -> None:
        """Read all the time, in a store of its own."""
        with new_store(Path(self.folder.name)) as store:
            while not self.over.is_set():
                try:
                    store.read_features("a")
                except Exception as error:  # noqa: BLE001 - any is one too many
                    self.wrong.append(error)

    def teardown(self) -> None:
        self.over.set()
        if self.reader.ident is not None:
            self.reader.join()
        self.store.close()
        self.folder.cleanup()
        assert self.wrong == []

    @initialize(entity=entities, x=st.integers(0, 99))
    def begin(self, entity: str, x: int) -> None:
        self.write({entity: x}, 0)
        self.reader.start()

    @rule(values=st.dictionaries(entities, st.integers(0, 99), min_size=1), number=months)
    def write(self, values: dict[str, int], number: int) -> None:
        hours = number * MONTH
        rows = [row(entity, hours, x=x) for entity, x in values.items()]
        self.store.write_features(rows, "a", mode="upsert")
        self.live |= {(entity, hours): x for entity, x in values.items()}
        self.gone.discard(month(hours))

    @rule(number=months)
    def retain(self, number: int) -> None:
        now = at(number * MONTH) + KEPT - timedelta(days=3)
        old = {month(hours) for _, hours in self.live if at(hours) < now - KEPT}
        (done,) = self.store.retain(["a"], dry_run=False, now=now)
        assert set(done.partitions) == old
        self.live = {key: x for key, x in self.live.items() if month(key[1]) not in old}
        self.gone |= old

    @rule()
    def compact(self) -> None:
        self.store.compact(["a"], at_least=2)
        files = [file.partition for file in self.table.files()]
        assert len(files) == len(set(files))

    @rule()
    def sweep(self) -> None:
        """Vacuum as if time travel were over."""
        newest = self.table.version()
        pinned = self.store.parts.removals.raise_floor("a", 1, newest)
        self.table.sweep(oldest=newest, keep_versions=pinned, dry_run=False)

    @precondition(lambda self: self.live and len(self.pinned) < 4)
    @rule()
    def pin(self) -> None:
        name = f"s{len(self.pinned)}"
        self.store.create_snapshot("a", name)
        self.pinned[name] = dict(self.live)

    @precondition(lambda self: len(self.pinned) > 1)
    @rule()
    def unpin(self) -> None:
        name, _ = self.pinned.popitem()
        self.store.delete_snapshot(name)
        # What it held of removed partitions goes with the next retention.
        self.store.retain(["a"], dry_run=False, now=at(0))

    @precondition(lambda self: self.live and len(self.archives) < 2)
    @rule()
    def export(self) -> None:
        target = Path(self.folder.name) / f"archive{len(self.archives)}"
        self.store.export_archive(target, "a")
        self.archives.append((target, dict(self.live)))

    @precondition(lambda self: self.archives)
    @rule(which=st.integers(0, 1))
    def bring_back(self, which: int) -> None:
        """Import an archive: its partitions are as they were, the others as they are."""
        target, rows = self.archives[which % len(self.archives)]
        self.store.import_archive(target, on_conflict="replace")
        brought = {month(hours) for _, hours in rows}
        others = {key: x for key, x in self.live.items() if month(key[1]) not in brought}
        self.live = others | rows
        self.gone -= brought

    @rule(moment=st.just(None) | st.integers(0, 5))
    def forget(self, moment: int | None) -> None:
        now = None if moment is None else at(moment * MONTH)
        self.store.forget_outdated(dry_run=False, now=now)

    def seen(self, as_of: str | datetime | None = None) -> Rows:
        rows = self.store.read_features("a", as_of=as_of).to_arrow().to_pylist()
        return {
            (
                each["entity_id"],
                round((each["event_timestamp"] - at(0)) / timedelta(hours=1)),
            ): each["x"]
            for each in rows
        }

    @invariant()
    def live_rows_are_right(self) -> None:
        assert self.seen() == self.live

    @invariant()
    def pinned_rows_and_files_are_as_they_were(self) -> None:
        for name, rows in self.pinned.items():
            assert self.seen(name) == rows
            assert self.store.verify_snapshot(name)

    @invariant()
    def files_of_removed_partitions_are_gone(self) -> None:
        held = {
            folder_of(self.table) / file["path"]
            for name in self.pinned
            for group in self.store.snapshots.table.manifest(name)["groups"]
            for file in group["files"]
        }
        for partition in self.gone:
            assert set(folder_of(self.table).glob(f"partition={partition}/*.parquet")) <= held


def test_whatever_happens_live_and_pinned_rows_are_right() -> None:
    bounded = settings(max_examples=max(1, RUNS), stateful_step_count=15, deadline=None)
    run_state_machine_as_test(Upkeep, settings=bounded)


def test_an_empty_table_is_kept_up_as_well(store: FeatureStore) -> None:
    store.register_feature_group(pushed("a", Feature("x", "int64"), retention=KEPT))
    assert [each.partitions for each in store.retain(dry_run=False)] == [()]
    assert store.compact() == []
    with pytest.raises(DataError, match="holds no rows yet"):
        store.create_snapshot("a", "s")
