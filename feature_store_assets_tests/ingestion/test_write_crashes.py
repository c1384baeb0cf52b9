"""Writes that are killed between the commit and the end of the publish; online follows anyway."""

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.parts import Parts
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.counts import some
from feature_store_assets_tests.stores import new_store, pushed, row

KILLS = int(os.environ.get("KILLS", "1"))
GROUP = pushed("clicks", Feature("x", "int64"))
MODES = ("append", "upsert", "overwrite")
MONTH = 31 * 24
LATER = datetime(2025, 1, 1, tzinfo=UTC)
FIRST = [row(f"u{n}", MONTH * (n % 4), x=n) for n in range(40)]
# What each mode does next: new facts; corrections of old ones; fewer entities, in other months.
NEXT: dict[str, list[dict[str, Any]]] = {
    "append": [row(f"u{n}", MONTH * (n % 6) + 1, x=100 + n) for n in range(50)],
    "upsert": [row(f"u{n}", MONTH * (n % 4), x=200 + n) for n in range(0, 40, 3)],
    "overwrite": [row(f"u{n}", MONTH * (n % 3) + 2, x=300 + n) for n in range(20)],
}
CHILD = """
import signal, sys
from feature_store_assets_tests.ingestion.test_write_crashes import NEXT, new_store
from pathlib import Path

with new_store(Path(sys.argv[1])) as store:
    store.get_online_features("clicks", ["u0"])
    signal.setitimer(signal.ITIMER_REAL, float(sys.argv[3]))  # ends the process as a kill does
    store.write_features(NEXT[sys.argv[2]], "clicks", mode=sys.argv[2])
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("done")
"""


class Stopped(Exception):
    """As good as a kill: nothing is cleared up."""


def stop(*_: Any, **__: Any) -> None:
    raise Stopped


def filled(root: Path) -> None:
    with new_store(root) as store:
        store.apply(GROUP)
        store.write_features(FIRST, "clicks")


def check(store: FeatureStore) -> None:
    """Online is the newest row of each entity offline, and nothing else."""
    rows = store.read_features("clicks").to_polars().sort("event_timestamp", maintain_order=True)
    newest = {each["entity_id"]: each["x"] for each in rows.iter_rows(named=True)}
    ids = [f"u{n}" for n in range(60)]
    online = store.get_online_features("clicks", ids, at=LATER)
    assert {each: online[each]["x"] for each in ids} == {each: newest.get(each) for each in ids}


def go_on(store: FeatureStore, how: str, mode: str) -> None:
    """The same write again, or another one."""
    if how == "the same again":
        store.write_features(NEXT[mode], "clicks", mode=mode)  # type: ignore[arg-type]
    else:
        store.write_features([row("u59", 0, x=59)], "clicks")


WAYS: Sequence[str] = ("the same again", "another write")


@pytest.mark.parametrize("how", some(WAYS))
@pytest.mark.parametrize("mode", MODES)
def test_a_write_that_ended_with_its_commit_is_published_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any, how: str
) -> None:
    filled(tmp_path)
    with new_store(tmp_path) as store:
        with monkeypatch.context() as ended:
            ended.setattr(Parts, "publish", stop)
            with pytest.raises(Stopped):
                store.write_features(NEXT[mode], "clicks", mode=mode)
        go_on(store, how, mode)
        check(store)


def test_what_only_a_commit_changed_is_published_with_any_partition(tmp_path: Path) -> None:
    filled(tmp_path)
    with new_store(tmp_path) as store:
        store.table(GROUP).remove(["2024-02"])
        done = store.publish(store.applied.group("clicks"), ["2024-01"])
        assert done.partitions == ("2024-01", "2024-02")
        check(store)


@pytest.mark.slow
def test_compaction_is_nothing_to_publish(tmp_path: Path) -> None:
    filled(tmp_path)
    with new_store(tmp_path) as store:
        for n in range(5):
            store.write_features([row("u1", n / 100, x=n)], "clicks", mode="upsert")
        before = store.table(GROUP).version()
        store.compact(at_least=2)
        assert store.table(GROUP).version() > before
        assert store.publish(store.applied.group("clicks"), ()).partitions == ()
        check(store)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_killed_at_any_moment_online_is_offline_after_the_next_write(
    tmp_path: Path, mode: Any
) -> None:
    rolls = random.Random(KILLS)
    finished = 0
    for turn in range(KILLS):
        root = tmp_path / str(turn)
        filled(root)
        delay = str(rolls.uniform(0.001, 0.25))
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(root), mode, delay],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        finished += done.stdout == "done\n"
        assert done.returncode in {0, -14}, done.stderr
        with new_store(root) as store:
            go_on(store, rolls.choice(WAYS), mode)
            check(store)
    assert finished < KILLS or KILLS == 1  # else the test does not kill
