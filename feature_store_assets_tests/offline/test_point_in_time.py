"""The join against a brute-force oracle, and the cases in which others go wrong."""

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from feature_store_assets.declaration.types import arrow_type
from feature_store_assets.errors import NaiveTimestamps, SpineError
from feature_store_assets.offline import point_in_time
from feature_store_assets.offline.point_in_time import Join, Known, Lookup
from feature_store_assets.offline.schema import UTC_MICROSECONDS, TableSchema, conform
from feature_store_assets.offline.table import OfflineTable
from feature_store_assets_tests.offline.tables import DAY, SCHEMA, frame, new_table
from feature_store_assets_tests.strategies import cases, histories_of, instants, spines, ttls

CASES = int(os.environ.get("CASES", "15"))
Row = dict[str, Any]


def oracle(
    history: list[Row], asked: Row, keys: list[str], ttl: timedelta | None, known: Known
) -> Row | None:
    """Look at every row of the history: the definition, not a plan."""
    bound = asked["t"] if known == "event" else known if isinstance(known, datetime) else None
    eligible = [
        row
        for row in history
        if all(asked[key] is not None and row[key] == asked[key] for key in keys)
        and row["event"] <= asked["t"]
        and (ttl is None or asked["t"] - row["event"] <= ttl)
        and (bound is None or row["created"] <= bound)
    ]
    return max(eligible, key=lambda row: (row["event"], row["created"]), default=None)


def spine_table(rows: list[Row], keys: dict[str, str]) -> pa.Table:
    fields: list[tuple[str, pa.DataType]] = [
        (name, arrow_type(kind)) for name, kind in keys.items()
    ]
    fields += [("t", pa.timestamp("us", "UTC")), ("label", pa.int32())]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def stored(
    path: Path, keys: dict[str, str], history: list[Row], replaced: int = 1000
) -> OfflineTable:
    schema = TableSchema(
        "g", tuple(keys.items()), "event", (("x", "int64"), ("y", "float64")), created="created"
    )
    table = new_table(path, schema)
    names = [*keys, "event", "created_timestamp", "x", "y"]
    typed = pa.schema([schema.arrow.field(name) for name in names])
    data = [{**row, "created_timestamp": row["created"]} for row in history]
    rows = pa.Table.from_pylist(data, schema=typed).rename_columns({"created_timestamp": "created"})
    conformed = conform(rows, schema, written=DAY)
    days = pa.array([f"{row['event']:%Y-%m-%d}" for row in history], pa.string())
    cut = conformed.append_column("partition", days)
    table.replace(cut.slice(0, replaced), None)
    # What comes later lies in files of its own, in whatever order of time.
    for late in (cut.slice(replaced, 3), cut.slice(replaced + 3)):
        table.append(lambda _, rows=late: rows)  # type: ignore[misc]
    return table


@settings(
    max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    case=cases(),
    ttl=ttls,
    known=st.one_of(st.sampled_from(["event", "latest"]), instants),
    replaced=st.integers(0, 30),
)
def test_random_joins_equal_the_oracle(
    case: tuple[dict[str, str], list[Row], list[Row]],
    ttl: timedelta | None,
    known: Literal["event", "latest"] | datetime,
    replaced: int,
) -> None:
    keys, history, spine = case
    with tempfile.TemporaryDirectory() as folder:
        table = stored(Path(folder), keys, history, replaced)
        lookup = Lookup(table, {"x": "x", "y": "renamed"}, ttl, known)
        asked = spine_table(spine, keys)
        answer = Join(asked, [lookup], timestamp="t").table()
        assert answer.equals(spilled(asked, lookup, Path(folder)))
    expected = []
    for row in spine:
        winner = oracle(history, row, list(keys), ttl, known) or {"x": None, "y": None}
        expected.append({**row, "x": winner["x"], "renamed": winner["y"]})
    assert answer.to_pylist() == expected


def spilled(asked: pa.Table, lookup: Lookup, folder: Path) -> pa.Table:
    """Join with hardly any memory: a few rows a piece, all features through the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(point_in_time, "_LEAST_ROWS", 1)
        patch.setattr(point_in_time, "_MOST_PIECES", 4)
        before = sorted(folder.iterdir())
        pieces = list(Join(asked, [lookup], timestamp="t", memory=1).pieces(folder))
        assert 1 <= len(pieces) <= 4
        assert sorted(folder.iterdir()) == before
        return pa.concat_tables(pieces)


@pytest.mark.slow
@settings(
    max_examples=max(1, CASES // 4),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), ttl=ttls, known=st.sampled_from(["event", "latest"]))
def test_random_joins_of_several_groups_equal_the_oracle(
    data: st.DataObject, ttl: timedelta | None, known: Literal["event", "latest"]
) -> None:
    """Groups by one key, by the other and by both, each with a history of its own."""
    kinds = {"k0": "string", "k1": "int64"}
    by = [["k0"], ["k1"], ["k0", "k1"], ["k0"]]
    spine = data.draw(spines(kinds))
    histories = [data.draw(histories_of({name: kinds[name] for name in keys})) for keys in by]
    with tempfile.TemporaryDirectory() as folder:
        lookups = [
            Lookup(
                stored(Path(folder) / str(number), {name: kinds[name] for name in keys}, history),
                {"x": f"x{number}"},
                ttl,
                known,
            )
            for number, (keys, history) in enumerate(zip(by, histories, strict=True))
        ]
        answer = Join(spine_table(spine, kinds), lookups, timestamp="t", parallel=3).table()
    for row, found in zip(spine, answer.to_pylist(), strict=True):
        winners = [
            oracle(history, row, keys, ttl, known)
            for keys, history in zip(by, histories, strict=True)
        ]
        wanted = [None if winner is None else winner["x"] for winner in winners]
        assert found == {**row, **{f"x{number}": x for number, x in enumerate(wanted)}}


@pytest.fixture
def table(tmp_path: Path) -> OfflineTable:
    return new_table(tmp_path)


def put(table: OfflineTable, *rows: tuple[str, datetime, int | None]) -> None:
    dicts = [{"customer": key, "event_timestamp": at, "x": x} for key, at, x in rows]
    table.replace(frame(dicts, SCHEMA), None)


def spine(*rows: tuple[str | None, datetime]) -> pa.Table:
    columns: list[tuple[str, pa.DataType]] = [("customer", pa.string()), ("t", UTC_MICROSECONDS)]
    return pa.Table.from_pylist(
        [{"customer": key, "t": at} for key, at in rows], schema=pa.schema(columns)
    )


def asked(table: OfflineTable, rows: pa.Table, **options: Any) -> list[int | None]:
    lookup = Lookup(table, {"x": "x"}, **options)
    return Join(rows, [lookup], timestamp="t").table()["x"].to_pylist()


def test_spine_rows_before_the_first_value_are_kept(table: OfflineTable) -> None:
    put(table, ("a", DAY, 1))
    rows = spine(("a", DAY - timedelta(days=1)), ("unknown", DAY), (None, DAY), ("a", DAY))
    assert asked(table, rows) == [None, None, None, 1]


def test_duplicate_spine_rows_stay_in_their_order(table: OfflineTable) -> None:
    put(table, ("a", DAY, 1), ("b", DAY, 2))
    rows = spine(("b", DAY), ("a", DAY), ("b", DAY), ("b", DAY))
    assert asked(table, rows) == [2, 1, 2, 2]


def test_a_null_in_the_newest_row_is_the_answer(table: OfflineTable) -> None:
    put(table, ("a", DAY, 1), ("a", DAY + timedelta(hours=1), None))
    assert asked(table, spine(("a", DAY + timedelta(hours=2)))) == [None]


def test_age_equal_to_the_ttl_counts_and_a_microsecond_more_does_not(table: OfflineTable) -> None:
    put(table, ("a", DAY, 1))
    ttl = timedelta(hours=1)
    later = DAY + ttl
    rows = spine(("a", later), ("a", later + timedelta(microseconds=1)))
    assert asked(table, rows, ttl=ttl) == [1, None]


def test_times_within_a_millisecond_are_not_pruned_away(table: OfflineTable) -> None:
    """The log cuts its statistics to milliseconds; pruning allows for that."""
    at = DAY + timedelta(microseconds=999)
    put(table, ("a", at, 1))
    assert asked(table, spine(("a", at)), ttl=timedelta(0)) == [1]


def test_an_empty_table_and_an_empty_spine_answer_empty(table: OfflineTable) -> None:
    assert asked(table, spine(("a", DAY))) == [None]
    assert asked(table, spine()) == []


def test_a_partition_that_became_empty_answers_nothing(table: OfflineTable) -> None:
    put(table, ("a", DAY, 1), ("a", DAY + timedelta(days=1), 2))
    rows = spine(("a", DAY + timedelta(days=2)))
    assert asked(table, rows) == [2]
    table.replace(frame([], SCHEMA), [f"{DAY + timedelta(days=1):%Y-%m-%d}"])
    assert asked(table, rows) == [1]
    table.replace(frame([], SCHEMA), None)
    assert asked(table, rows) == [None]


def test_several_groups_with_different_keys_join_to_one_spine(tmp_path: Path) -> None:
    customers = new_table(tmp_path / "a")
    put(customers, ("a", DAY, 1))
    by_shop = TableSchema("shops", (("shop", "int64"),), "at", (("size", "float64"),))
    shops = new_table(tmp_path / "b", by_shop)
    shops.replace(frame([{"shop": 7, "at": DAY, "size": 0.5}], by_shop), None)
    rows = spine(("a", DAY)).append_column("shop", pa.array([7], pa.int32()))
    lookups = [Lookup(customers, {"x": "x"}), Lookup(shops, {"size": "shop_size"})]
    assert Join(rows, lookups, timestamp="t", parallel=2).table().to_pylist() == [
        {"customer": "a", "t": DAY, "shop": 7, "x": 1, "shop_size": 0.5}
    ]


def test_spine_columns_keep_their_own_types(table: OfflineTable) -> None:
    put(table, ("a", DAY, 1))
    rows = pa.Table.from_arrays(
        [
            pa.array(["a", "b"]).dictionary_encode(),
            pa.array([DAY, DAY], pa.timestamp("ns", "Europe/Paris")),
            pa.array([1, 2], pa.int8()),
        ],
        names=["customer", "t", "label"],
    )
    answer = Join(rows, [Lookup(table, {"x": "x"})], timestamp="t").table()
    assert answer.select(["customer", "t", "label"]).schema == rows.schema
    assert answer["x"].to_pylist() == [1, None]
    assert answer.schema.field("x").type == pa.int64()


def test_a_feature_may_have_any_suffix(tmp_path: Path) -> None:
    schema = TableSchema("g", (("k", "int64"),), "at", (("sum_y", "int64"), ("x_right", "int64")))
    table = new_table(tmp_path, schema)
    table.replace(frame([{"k": 1, "at": DAY, "sum_y": 2, "x_right": 3}], schema), None)
    rows = pa.Table.from_pylist([{"k": 1, "t": DAY}])
    answer = Join(
        rows, [Lookup(table, {"sum_y": "sum_y", "x_right": "x_right"})], timestamp="t"
    ).table()
    assert answer.to_pylist() == [{"k": 1, "t": DAY, "sum_y": 2, "x_right": 3}]


def test_an_old_version_answers_as_it_did(table: OfflineTable) -> None:
    put(table, ("a", DAY, 1))
    before = table.version()
    put(table, ("a", DAY, 99))
    assert asked(table, spine(("a", DAY)), version=before) == [1]
    assert asked(table, spine(("a", DAY))) == [99]


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([{"customer": "a"}], SpineError, "no column 't'. Name its time column"),
        ([{"t": DAY}], SpineError, "no column 'customer', a join key of 'spending'"),
        ([{"customer": "a", "t": "2024"}], SpineError, "not a timestamp with a time zone"),
        ([{"customer": "a", "t": datetime(2024, 1, 1)}], NaiveTimestamps, "no time zone"),  # noqa: DTZ001
        ([{"customer": 5, "t": DAY}], SpineError, "is int64; 'spending' has string"),
        ([{"customer": "a", "t": DAY, "x": 1}], SpineError, "full_feature_names=True"),
    ],
)
def test_a_bad_spine_is_refused_with_a_hint(
    table: OfflineTable, rows: list[Row], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        asked(table, pa.Table.from_pylist(rows))


def test_the_join_equals_polars_on_a_larger_table(tmp_path: Path) -> None:
    """Ten thousand rows over many files against Polars' own as-of join."""
    count = 10_000
    base = pl.DataFrame({"row": range(count)}).with_columns(
        customer=(pl.col("row") * 7919 % 97).cast(pl.String),
        event_timestamp=pl.lit(DAY) + pl.duration(seconds=pl.col("row") * 104729 % 2_000_000),
        x=pl.col("row"),
    )
    history = base.unique(["customer", "event_timestamp"], keep="first", maintain_order=True)
    table = new_table(tmp_path)
    rows = frame(history.drop("row").to_dicts(), SCHEMA)
    table.replace(rows, None)
    questions = base.select("customer", t=pl.col("event_timestamp") + pl.duration(seconds=17))
    answer = asked(table, questions.to_arrow(), ttl=timedelta(days=3))
    expected = questions.with_row_index().sort("t").join_asof(
        history.sort("event_timestamp"), left_on="t", right_on="event_timestamp", by="customer",
        tolerance="3d", check_sortedness=False,
    ).sort("index")  # fmt: skip
    assert answer == expected["x"].to_list()
    assert sum(each is not None for each in answer) > count / 2
    assert len(table.files()) > 20


def test_every_utc_offset_of_one_instant_matches(table: OfflineTable) -> None:
    at = datetime(2024, 3, 31, 1, 0, tzinfo=UTC)
    put(table, ("a", at, 1))
    rows = spine(("a", at))
    paris = rows.set_column(1, "t", rows["t"].cast(pa.timestamp("us", "Europe/Paris")))
    assert asked(table, paris) == [1]
