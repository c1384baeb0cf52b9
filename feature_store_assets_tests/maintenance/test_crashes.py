"""Upkeep killed at any moment: the next run converges, and nothing pinned or live is lost."""

import os
import random
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from feature_store_assets import Feature, FeatureStore
from feature_store_assets.offline.commit_history import history
from feature_store_assets.offline.table import OfflineTable
from feature_store_assets_tests.stores import at, folder_of, new_store, pushed, row

KILLS = min(20, int(os.environ.get("KILLS", "1")))
KEPT = timedelta(days=60)
MONTH = 31 * 24
# The months 0 to 5; retention removes those before the fourth.
NOW = at(4 * MONTH) + KEPT - timedelta(days=3)

WORK = """
import sys
from pathlib import Path
from feature_store_assets_tests.stores import new_store
from feature_store_assets_tests.maintenance.test_crashes import NOW, sweep, write
with new_store(Path(sys.argv[1])) as store:
    turn = int(sys.argv[2])
    while True:
        write(store, turn)
        print(turn, flush=True)
        store.compact(["a"], at_least=2)
        store.retain(["a"], dry_run=False, now=NOW)
        sweep(store)
        turn += 1
"""


def write(store: FeatureStore, turn: int) -> None:
    rows = [row(user, number * MONTH, x=turn) for number in range(6) for user in ("ann", "bob")]
    store.write_features(rows, "a", mode="upsert")


def sweep(store: FeatureStore) -> None:
    """Vacuum as if time travel were over."""
    table = store.table(store.applied.group("a"))
    newest = table.version()
    pinned = store.parts.removals.raise_floor("a", 1, newest)
    table.sweep(oldest=newest, keep_versions=pinned, dry_run=False)


def files(table: OfflineTable) -> set[Path]:
    return {path for path in folder_of(table).rglob("*.parquet") if "_delta_log" not in path.parts}


@pytest.mark.slow
def test_killed_at_any_moment_upkeep_loses_nothing_and_converges(tmp_path: Path) -> None:
    chosen = random.Random(7)
    with new_store(tmp_path) as store:
        group = pushed("a", Feature("x", "int64"), retention=KEPT, online=False)
        table = store.table(store.register_feature_group(group))
        write(store, 0)
        store.create_snapshot("a", "kept")
        pinned = store.read_features("a", as_of="kept").to_arrow()
        turn = 1
        for _ in range(KILLS):
            turn = killed(tmp_path, table, turn, chosen.randrange(1, 4), chosen.randrange(1, 6))
            assert store.read_features("a", as_of="kept").to_arrow() == pinned
            assert store.verify_snapshot("kept") == 6
            store.retain(["a"], dry_run=False, now=NOW)
            store.compact(["a"], at_least=2)
            sweep(store)
            whole(store, table, turn)
            turn += 1


def killed(root: Path, table: OfflineTable, turn: int, turns: int, changes: int) -> int:
    """Run upkeep for some turns and kill it in the next, after some changes on disk."""
    command = [sys.executable, "-c", WORK, str(root), str(turn)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(turns):
            turn = int(child.stdout.readline())
        for _ in range(changes):
            before = files(table)
            while files(table) == before:
                assert child.poll() is None
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate()
    return max([turn, *map(int, rest.split())])


def whole(store: FeatureStore, table: OfflineTable, turn: int) -> None:
    """Each kept month has the rows of the last acknowledged write, or of the one cut off."""
    rows = store.read_features("a").to_polars()
    assert rows.height == 4
    assert set(rows["x"]) in ({turn}, {turn + 1})
    live = {Path(file.uri) for file in table.files()}
    pinned = {
        folder_of(table) / file["path"]
        for file in store.snapshots.table.manifest("kept")["groups"][0]["files"]
    }
    # What a killed writer left uncommitted is not swept until no run can be that old.
    named = {folder_of(table) / path for path in history(table.location).named}
    assert files(table) & named == live | pinned
    unfinished = [each for each in store.parts.removals.of("a", 1) if each.freed_at is None]
    assert [each.partition for each in unfinished if each.partition not in table.partitions()] == []
