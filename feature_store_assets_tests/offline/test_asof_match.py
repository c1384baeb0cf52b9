"""Winners against brute force, with batches, runs and number widths so small that all paths run."""

import os
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from feature_store_assets.offline import asof_match as module
from feature_store_assets.offline.asof_match import TIME, History, winners
from feature_store_assets.offline.scan import DataFile, windows
from feature_store_assets.offline.schema import CREATED
from feature_store_assets_tests.strategies import START, instants, ttls

CASES = int(os.environ.get("CASES", "25"))
TIMES = "timestamp[us, UTC]"
UTC_TIME = pl.Datetime("us", "UTC")


class Stored(NamedTuple):
    key: int
    event: datetime
    created: datetime


class Question(NamedTuple):
    key: int | None
    time: datetime | None


keys = st.integers(0, 3)
stored_files = st.lists(
    st.lists(st.builds(Stored, keys, instants, instants), max_size=12), max_size=4
).filter(lambda files: len({row for file in files for row in file}) == sum(map(len, files)))
questions_asked = st.lists(
    st.builds(Question, st.one_of(st.none(), keys), st.one_of(st.none(), instants)), max_size=25
)


def written(folder: Path, number: int, rows: Sequence[Stored]) -> DataFile:
    path = folder / f"{number}.parquet"
    schema: dict[str, Any] = {"key": pl.Int64, "event": UTC_TIME, CREATED: UTC_TIME}
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(path)
    return DataFile(path.name, str(number), len(rows), 0, None, None, str(path.parent))


def found(
    files: Sequence[DataFile], asked: Sequence[Question], *, batch_rows: int = 1000, **rules: Any
) -> list[int]:
    types = {"key": "int64", "event": TIMES, CREATED: TIMES}
    history = History(files, types, ["key"], "event", **rules)
    frame = pl.DataFrame(asked, schema={"key": pl.Int64, TIME: UTC_TIME}, orient="row")
    answer = winners(frame, history, batch_rows=batch_rows, advance=lambda _: None)
    return [int(row) for row in answer]


def expected(
    rows: Sequence[Stored],
    question: Question,
    *,
    ttl: timedelta | None = None,
    bitemporal: bool = False,
    recorded_by: datetime | None = None,
) -> int:
    """Look at every row: the definition."""
    key, time = question
    best = -1
    for number, row in enumerate(rows):
        if (
            time is not None
            and row.key == key
            and row.event <= time
            and (ttl is None or time - row.event <= ttl)
            and (not bitemporal or row.created <= time)
            and (recorded_by is None or row.created <= recorded_by)
            and (best < 0 or (row.event, row.created) > (rows[best].event, rows[best].created))
        ):
            best = number
    return best


@settings(
    max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    files=stored_files,
    asked=questions_asked,
    ordered=st.booleans(),
    batch_rows=st.integers(1, 30),
    bits=st.sampled_from([2, 20, 38, 63]),
    run=st.sampled_from([0, 2, 500]),
    ttl=ttls,
    bitemporal=st.booleans(),
    recorded_by=st.one_of(st.none(), instants),
)
def test_every_path_equals_the_oracle(
    monkeypatch: pytest.MonkeyPatch,
    files: list[list[Stored]],
    asked: list[Question],
    *,
    ordered: bool,
    batch_rows: int,
    bits: int,
    run: int,
    ttl: timedelta | None,
    bitemporal: bool,
    recorded_by: datetime | None,
) -> None:
    """Files sorted as ours are, or by nobody; windows that cut files; times that do not fit."""
    monkeypatch.setattr(module, "_WORD", bits)
    monkeypatch.setattr(module, "_RUN", run)
    if ordered:
        files = [sorted(file) for file in files]
    rules: dict[str, Any] = {"ttl": ttl, "bitemporal": bitemporal, "recorded_by": recorded_by}
    rows = [row for file in files for row in file]
    with tempfile.TemporaryDirectory() as folder:
        on_disk = [written(Path(folder), number, file) for number, file in enumerate(files)]
        answer = found(on_disk, asked, batch_rows=batch_rows, **rules)
    assert answer == [expected(rows, question, **rules) for question in asked]


def test_times_decades_and_entities_apart_are_told_to_the_microsecond(tmp_path: Path) -> None:
    """Two centuries in microseconds and many entities do not fit into one number together."""
    step = timedelta(days=73_000, microseconds=1)
    many = range(5_000)
    rows = [Stored(key, START + step * (key % 2), START) for key in many]
    file = written(tmp_path, 0, rows)
    micro = timedelta(microseconds=1)
    asked = [Question(row.key, row.event - micro) for row in rows]
    asked += [Question(row.key, row.event) for row in rows]
    assert found([file], asked) == [-1] * len(rows) + list(many)


def test_windows_cover_every_row_once_and_in_order() -> None:
    sizes = [3, 0, 10, 1, 1, 25, 2]
    files = [DataFile(f"{n}", "", size, 0, None, None, "") for n, size in enumerate(sizes)]
    for most in (1, 4, 10, 100):
        parts = windows(files, most)
        assert [part.first for part in parts] == [
            sum(part.rows for part in parts[:n]) for n in range(len(parts))
        ]
        assert sum(part.rows for part in parts) == sum(sizes)
        assert max(part.rows for part in parts) <= most
