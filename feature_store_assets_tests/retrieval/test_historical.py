"""Historical features in memory and in files, of spines in any form."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    AnswerTooLarge,
    DataError,
    FunctionFailed,
    SpineError,
)
from feature_store_assets.offline.dataframes import ParquetTable
from feature_store_assets.offline.point_in_time import Join, Lookup
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests import functions
from feature_store_assets_tests.counts import some
from feature_store_assets_tests.stores import T0, at, new_store, once, pushed

FLIGHTS = pushed(
    "flights", Feature("delay", "float64"), Feature("tags", "list<string>"),
    entity=Entity("carrier", {"carrier": "string"}), ttl=timedelta(days=3), online=False,
)  # fmt: skip
ROUTES = pushed(
    "routes", Feature("seats", "int64"), Feature("name", "string"), Feature("daily", "bool"),
    entity=Entity("route", {"origin": "string", "number": "int64"}), online=False,
)  # fmt: skip
TRIP = FeatureView(
    "trip",
    [FLIGHTS, ROUTES],
    request={"distance": "float64"},
    computed=[RequestFeature("per_mile", "float64", functions.per_mile)],
)
COUNT = 300


@pytest.fixture
@once
def air(store: FeatureStore) -> FeatureStore:
    store.apply(FLIGHTS, ROUTES, TRIP)
    store.write_features(
        [
            {"carrier": f"c{n % 7}", "event_timestamp": at(n), "delay": n / 4, "tags": [str(n)]}
            for n in range(100)
        ],
        "flights",
    )
    store.write_features(
        [
            {"origin": "JFK", "number": n % 5, "event_timestamp": at(n), "seats": None if n % 3
             else n, "name": f"route {n}", "daily": n % 2 == 0}
            for n in range(60)
        ],
        "routes",
    )  # fmt: skip
    return store


def spine(count: int = COUNT) -> pl.DataFrame:
    """Carriers and routes at scattered hours, some unknown, some null, with a label."""
    return pl.DataFrame(
        [
            {
                "carrier": f"c{n % 9}",
                "origin": "JFK",
                "number": None if n % 11 == 0 else n % 6,
                "event_timestamp": at(n * 37 % 120),
                "distance": float(n % 50 + 1),
                "label": n % 2,
            }
            for n in range(count)
        ]
    )


# Spines in any form


def as_file(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_parquet(folder / "spine.parquet")
    return folder / "spine.parquet"


def as_folder(frame: pl.DataFrame, folder: Path) -> Path:
    (folder / "spine").mkdir()
    for number, start in enumerate(range(0, len(frame), 70)):
        part = frame.slice(start, 70)
        part.write_parquet(folder / "spine" / f"{number}.parquet", row_group_size=32)
    return folder / "spine"


FORMS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "pandas": lambda frame, _: frame.to_pandas(),
    "Polars": lambda frame, _: frame,
    "Polars, lazy": lambda frame, _: frame.lazy(),
    "Arrow": lambda frame, _: frame.to_arrow(),
    "dicts": lambda frame, _: frame.to_dicts(),
    "a stream": lambda frame, _: pa.RecordBatchReader.from_stream(frame.to_arrow()),
    "a file": as_file,
    "the name of a file": lambda frame, folder: str(as_file(frame, folder)),
    "a folder": as_folder,
    "the name of a folder": lambda frame, folder: str(as_folder(frame, folder)),
    "a ParquetTable": lambda frame, folder: ParquetTable(as_folder(frame, folder)),
}


@pytest.mark.parametrize("form", some(FORMS, 7))
def test_a_spine_in_any_form_gets_the_same_answer(
    air: FeatureStore, tmp_path: Path, form: str
) -> None:
    frame = spine().with_columns(number=pl.col("number").fill_null(7))  # pandas makes floats
    expected = air.get_historical_features("trip", frame).to_polars()
    assert expected["delay"].null_count() not in (0, COUNT)
    given = FORMS[form](frame, tmp_path)
    answer = air.get_historical_features("trip", given)
    assert answer.to_polars().equals(expected)
    given = FORMS[form](frame, tmp_path / "again") if form == "a stream" else given
    filed = air.get_historical_features("trip", given, out=tmp_path / "out" / "answer.parquet")
    assert filed.to_polars().equals(expected)


def test_a_query_is_a_spine(air: FeatureStore, tmp_path: Path) -> None:
    query = """
        -- each flight with its own delay as the label
        SELECT carrier, event_timestamp, delay AS label FROM flights WHERE delay > 5
    """
    joined = air.get_historical_features("flights", query).to_polars()
    assert len(joined) == 79
    assert joined["delay"].equals(joined["label"])
    filed = air.get_historical_features("flights", query, out=str(tmp_path / "x.parquet"))
    assert filed.to_polars().sort("label").equals(joined.sort("label"))
    with pytest.raises(DataError, match=r"The query cannot be answered: .*carriar"):
        air.get_historical_features("flights", "SELECT carriar FROM flights")


def test_what_is_neither_a_path_nor_a_query_is_refused(air: FeatureStore, tmp_path: Path) -> None:
    for wrong in ("spine.parquet", "select.parquet", "SELEC " + "delay, " * 1000, "\0", ""):
        with pytest.raises(SpineError, match=r"There is no '.*to take the spine from\. Give a"):
            air.get_historical_features("flights", wrong)
    with pytest.raises(SpineError, match=r"There is no '.*missing.parquet' to take"):
        air.get_historical_features("flights", tmp_path / "missing.parquet")
    with pytest.raises(DataError, match="neither a Parquet file nor a folder"):
        air.get_historical_features("flights", tmp_path / "store" / "offline" / "flights" / "v1"
                                    / "_delta_log")  # fmt: skip


def test_a_file_may_be_called_as_a_query_begins(air: FeatureStore, tmp_path: Path) -> None:
    named = tmp_path / "select carriers.parquet"
    as_file(spine(), tmp_path).rename(named)
    assert len(air.get_historical_features("flights", named)) == COUNT
    assert len(air.get_historical_features("flights", str(named))) == COUNT


def test_the_checks_of_a_frame_are_those_of_a_file(air: FeatureStore, tmp_path: Path) -> None:
    def refused(frame: pl.DataFrame, message: str) -> None:
        for given in (frame, as_file(frame, tmp_path)):
            for out in (None, tmp_path / "out.parquet"):
                with pytest.raises(DataError, match=message):
                    air.get_historical_features("trip", given, out=out)
        assert not (tmp_path / "out.parquet").exists()

    good = spine()
    refused(good.drop("carrier"), "no column 'carrier', a join key of 'flights'")
    refused(good.drop("distance"), "no column 'distance', a request value")
    refused(good.drop("event_timestamp"), "no column 'event_timestamp'")
    refused(good.with_columns(seats=1), "'seats' of 'routes' is also a column of the spine")
    refused(good.with_columns(per_mile=1), "'per_mile' of 'trip' is computed, but there is")
    naive = pl.col("event_timestamp").dt.replace_time_zone(None)
    refused(good.with_columns(naive), "have no time zone")


# Into a file


def test_an_answer_in_a_file_is_the_answer_in_memory(air: FeatureStore, tmp_path: Path) -> None:
    out = tmp_path / "new" / "answer.parquet"
    every: list[dict[str, Any]] = [{}, {"full_feature_names": True}, {"ttl": timedelta(hours=5)}]
    for options in every:
        held = air.get_historical_features("trip", spine(), **options)
        filed = air.get_historical_features("trip", spine(), out=out, **options)
        assert isinstance(filed, ParquetTable)
        assert (filed.path, len(filed), filed.columns) == (out, len(held), held.columns)
        assert filed.to_polars().equals(held.to_polars())
        assert list(out.parent.iterdir()) == [out]
    assert pq.read_schema(out).names == filed.columns


def test_no_rows_are_a_file_without_rows(air: FeatureStore, tmp_path: Path) -> None:
    none = spine().head(0)
    for given in (none, as_file(none, tmp_path)):
        held = air.get_historical_features("trip", given)
        filed = air.get_historical_features("trip", given, out=tmp_path / "answer.parquet")
        assert (len(held), len(filed)) == (0, 0)
        assert filed.columns == held.columns
        assert filed.to_polars().schema == held.to_polars().schema


def test_a_spine_may_be_replaced_by_its_own_answer(air: FeatureStore, tmp_path: Path) -> None:
    path = as_file(spine(), tmp_path)
    expected = air.get_historical_features("trip", path).to_polars()
    assert air.get_historical_features("trip", path, out=path).to_polars().equals(expected)


def test_a_join_that_fails_leaves_the_old_file(
    air: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "answers" / "answer.parquet"
    air.get_historical_features("flights", spine(), out=out)
    before = out.read_bytes()
    monkeypatch.delattr(functions, "per_mile")
    with pytest.raises(FunctionFailed, match="has no 'per_mile'"):
        air.get_historical_features("trip", spine(), out=out)
    assert out.read_bytes() == before
    assert list(out.parent.iterdir()) == [out]


def test_a_folder_cannot_be_the_file(air: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder: name the file"):
        air.get_historical_features("flights", spine(), out=tmp_path)


# Within a limit


def test_an_answer_beyond_the_limit_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    rows = 400_000
    wide = pushed("wide", *(Feature(f"s{n}", "string") for n in range(4)))
    with new_store(tmp_path, memory_limit="64MiB") as store:
        store.apply(wide)
        one = {"entity_id": "u", "event_timestamp": T0, **{f"s{n}": str(n) for n in range(4)}}
        store.write_features([one], "wide")
        large = pa.table(
            {
                "entity_id": pa.array(np.where(np.arange(rows) % 2, "u", "v")),
                "event_timestamp": pa.repeat(pa.scalar(T0, pa.timestamp("us", "UTC")), rows),
            }
        )
        few = large.slice(0, 1000)
        assert store.get_historical_features("wide", few).to_arrow()["s3"].null_count == 500
        data = list((store.config.root / "offline").rglob("*.parquet"))
        hidden = [path.rename(path.with_suffix(".away")) for path in data]
        with pytest.raises(AnswerTooLarge, match=r"400,000 rows .*more than memory_limit"):
            store.get_historical_features("wide", large)
        for path in hidden:
            path.rename(path.with_suffix(".parquet"))
        filed = store.get_historical_features("wide", large, out=tmp_path / "answer.parquet")
        answer = filed.to_arrow()
        assert (answer.num_rows, answer["s3"].null_count) == (rows, rows // 2)
        assert answer.slice(rows - 1).to_pylist() == [{**one, "entity_id": "u"}]


def large_join(store: FeatureStore, memory: int | None, count: int = 50_000) -> Join:
    """A join of both groups that spills and comes in several pieces where memory is short."""
    frame = spine(COUNT).sample(count, with_replacement=True, seed=7)
    tables = {group.name: store.table(group) for group in (FLIGHTS, ROUTES)}
    lookups = [
        Lookup(tables["flights"], {"delay": "delay", "tags": "tags"}, timedelta(days=3)),
        Lookup(tables["routes"], {"seats": "seats", "name": "name", "daily": "daily"}),
    ]
    return Join(frame.to_arrow(), lookups, timestamp="event_timestamp", parallel=2, memory=memory)


@pytest.mark.parametrize("memory", [1, 10_000, 1 << 20, None])
def test_pieces_are_the_table_whatever_memory_they_may_take(
    air: FeatureStore, tmp_path: Path, memory: int | None
) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    join = large_join(air, memory)
    whole = join.table()
    pieces, spilled = [], set[str]()
    for piece in join.pieces(spill):
        pieces.append(piece)
        spilled |= {path.suffix for path in spill.rglob("*")}
    assert (len(pieces) > 1) == (memory is not None)
    assert (".arrow" in spilled) == (memory in {1, 10_000})
    assert pa.concat_tables(pieces).equals(whole)
    assert whole["delay"].null_count not in (0, 50_000)
    assert list(spill.iterdir()) == []


def test_a_consumer_that_stops_early_leaves_nothing_behind(
    air: FeatureStore, tmp_path: Path
) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    pieces: Any = large_join(air, 1).pieces(spill)
    assert list(spill.iterdir()) == []
    next(pieces)
    assert len(list(spill.rglob("*.arrow"))) > 1
    pieces.close()
    assert list(spill.iterdir()) == []


def test_a_spine_in_files_is_joined_piece_by_piece_too(air: FeatureStore, tmp_path: Path) -> None:
    frame = spine(COUNT).sample(40_000, with_replacement=True, seed=8)
    frame.write_parquet(tmp_path / "spine.parquet", row_group_size=3000)
    lookups = [Lookup(air.table(FLIGHTS), {"delay": "delay", "tags": "tags"})]
    held, filed = (
        Join(each, lookups, timestamp="event_timestamp", memory=1)
        for each in (frame.to_arrow(), ParquetTable(tmp_path / "spine.parquet"))
    )
    pieces = list(filed.pieces(tmp_path))
    assert len(pieces) > 1
    assert pl.DataFrame(pa.concat_tables(pieces)).equals(pl.DataFrame(held.table()))
    assert pl.DataFrame(filed.table()).equals(pl.DataFrame(held.table()))


def test_pandas_takes_the_answer_in_a_file(air: FeatureStore, tmp_path: Path) -> None:
    filed = air.get_historical_features("trip", spine(), out=tmp_path / "answer.parquet")
    frame = filed.to_pandas()
    assert (frame["seats"].dtype, frame["daily"].dtype) == (pd.Int64Dtype(), pd.BooleanDtype())
    assert list(pd.read_parquet(tmp_path / "answer.parquet").columns) == filed.columns
