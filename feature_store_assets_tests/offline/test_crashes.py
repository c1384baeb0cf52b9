"""Writers that are killed, and writers that meet: nothing acknowledged is ever lost."""

import multiprocessing as mp
import os
import signal
import subprocess
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pyarrow as pa
import pytest

from feature_store_assets.offline.commit_history import history
from feature_store_assets.offline.table import OfflineTable
from feature_store_assets.storage import location
from feature_store_assets_tests.offline.tables import DAY, SCHEMA, frame, new_table, write_day
from feature_store_assets_tests.stores import folder_of

KILLS = int(os.environ.get("KILLS", "1"))

WRITER = """
import signal
import sys
from pathlib import Path
import deltalake
from feature_store_assets.offline.table import OfflineTable
from feature_store_assets.storage import location
from feature_store_assets_tests.offline.tables import SCHEMA, write_day

path, first, halted = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
write = deltalake.write_deltalake

def write_deltalake(table, *given, **named):
    if turn == halted:  # its data files get onto the disk, its commit finds its name taken
        taken = path / "_delta_log" / f"{table.version() + 1:020d}.json"
        taken.mkdir()
        try:
            write(table, *given, **named)
        except deltalake.exceptions.CommitFailedError:
            taken.rmdir()
            print("between", flush=True)
            signal.pause()
    write(table, *given, **named)

deltalake.write_deltalake = write_deltalake
table = OfflineTable(location(path), SCHEMA)
table.ensure()
for turn in range(first, 10**9):
    write_day(table, turn % 3, count=30_000, x=turn * 100_000)
    print(turn, flush=True)
"""


def start(path: Path, turn: int, halted: int) -> subprocess.Popen[str]:
    """A writer that goes on from a turn, and halts between data files and commit of another."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(turn), str(halted)],
        stdout=subprocess.PIPE,
        text=True,
    )


def data_files(table: OfflineTable) -> set[Path]:
    return set(folder_of(table).glob("partition=*/*.parquet"))


@pytest.mark.timeout(1200)
def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Kill between the data files of a write and its commit, and at any other moment in turn."""
    table = new_table(tmp_path)
    turn = 0
    acknowledged: dict[int, int] = {}
    for number in range(KILLS):
        between = number % 2 == 0
        before = data_files(table)
        writer = start(folder_of(table), turn, turn + 3 if between else -1)
        assert writer.stdout is not None
        for _ in range(3):
            turn = int(writer.stdout.readline())
            acknowledged[turn % 3] = turn
        if between:
            assert writer.stdout.readline() == "between\n"
        else:
            before = data_files(table)
            while data_files(table) == before:
                assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        for line in rest.split():
            turn = int(line)
            acknowledged[turn % 3] = turn

        survivor = OfflineTable(table.location, SCHEMA)
        named = history(survivor.location).named
        committed = {folder_of(table) / path for path in named}
        assert not between or data_files(table) - before - committed
        for day, last in acknowledged.items():
            rows = survivor.read(["x"], partitions=[f"2024-01-0{day + 1}"])["x"].to_pylist()
            first = min(rows)  # type: ignore[type-var]
            # Exactly one write's rows: the last acknowledged, or the one that was cut off after
            # its commit and before its acknowledgement.
            assert sorted(rows) == list(range(first, first + 30_000))  # type: ignore[operator, arg-type, type-var]
            assert first in {last * 100_000, (last + 3) * 100_000}
        turn += 1
    write_day(table, 0, count=1, x=-1)
    assert table.read(["x"], partitions=["2024-01-01"])["x"].to_pylist() == [-1]


def replace_days(path: Path, barrier: Barrier, days: list[int], x: int) -> None:
    """Create the table beside others, then write."""
    barrier.wait()
    table = OfflineTable(location(path), SCHEMA)
    table.ensure()
    for day in days:
        write_day(table, day, count=10, x=x)


def run_together(path: Path, days: list[list[int]]) -> None:
    context = mp.get_context("spawn")
    barrier = context.Barrier(len(days))
    writers = [
        context.Process(target=replace_days, args=(path, barrier, each, 1000 * number))
        for number, each in enumerate(days)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * len(days)


@pytest.mark.slow
def test_eight_processes_write_one_group_at_once(tmp_path: Path) -> None:
    """Different partitions with the race to create the table, then all the same partition."""
    table = OfflineTable(location(tmp_path / "v1"), SCHEMA)
    run_together(folder_of(table), [[day, day + 8] for day in range(8)])
    for day in range(16):
        rows = table.read(["x"], partitions=[f"2024-01-{day + 1:02d}"])["x"].to_pylist()
        assert sorted(rows) == list(range(1000 * (day % 8), 1000 * (day % 8) + 10))  # type: ignore[type-var]
    run_together(folder_of(table), [[0, 0]] * 8)
    rows = table.read(["x"], partitions=["2024-01-01"])["x"].to_pylist()
    assert any(set(rows) == set(range(1000 * n, 1000 * n + 10)) for n in range(8))
    written = [entry for entry in table._log.open().history() if entry["operation"] == "WRITE"]  # type: ignore[union-attr]
    assert len(written) == 16 + 16


@pytest.mark.slow
def test_appenders_take_turns(tmp_path: Path) -> None:
    """Each sees the rows of those before it: none writes what another has written."""
    table = new_table(tmp_path)
    writers = 2
    context = mp.get_context("spawn")
    barrier = context.Barrier(writers)
    processes = [
        context.Process(target=append_once, args=(folder_of(table), barrier))
        for _ in range(writers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * writers
    assert table.read().num_rows == 5


def append_once(path: Path, barrier: Barrier) -> None:
    table = OfflineTable(location(path), SCHEMA)
    new = frame([{"customer": f"c{n}", "event_timestamp": DAY, "x": n} for n in range(5)], SCHEMA)

    def absent(version: int) -> pa.Table:
        known = set(table.read(["customer"], version=version)["customer"].to_pylist())
        return new.filter(pa.array([key not in known for key in new["customer"].to_pylist()]))

    barrier.wait()
    table.append(absent)
