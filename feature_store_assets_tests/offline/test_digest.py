"""Digests: by the values alone, whatever holds them, and other for any other values."""

import decimal
import io
import struct
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st

from feature_store_assets.errors import DataError
from feature_store_assets.offline.digest import ColumnDigest, TableDigest

D = decimal.Decimal
T = datetime(2024, 1, 1, 12, tzinfo=UTC)


def digest(values: Any) -> str:
    """The digest of a column in one piece."""
    found = ColumnDigest(values.type)
    for chunk in values.chunks if isinstance(values, pa.ChunkedArray) else [values]:
        found.update(chunk)
    return found.hexdigest()


NUMBERS: list[Any] = [
    pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
    pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
]  # fmt: skip
DECIMALS: list[Any] = [
    pa.decimal32(5, 2), pa.decimal64(9, 2), pa.decimal128(20, 2), pa.decimal256(50, 2)
]  # fmt: skip
# One column per type that has a digest, with a null where a value could stand.
COLUMNS: list[Any] = [
    pa.nulls(3),
    pa.array([True, None, False]),
    *(pa.array([1, None, 2], kind) for kind in NUMBERS),
    *(pa.array([D("1.5"), None, D("-2")], kind) for kind in DECIMALS),
    *(
        pa.array(["a", None, "", "bé"], kind)
        for kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
    ),
    pa.array([T.date(), None], pa.date32()),
    pa.array([T.date(), None], pa.date64()),
    *(
        pa.array([T.replace(tzinfo=None if zone is None else UTC), None], pa.timestamp(unit, zone))
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "Europe/Paris")
    ),
    *(
        pa.array([time(12, 30), None], kind)
        for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"))
    ),
    *(pa.array([timedelta(1), None], pa.duration(unit)) for unit in ("s", "ms", "us", "ns")),
    *(
        pa.array([[1.5, None], None, [], [2.0]], kind)
        for kind in (pa.list_(pa.float64()), pa.large_list(pa.float32()))
    ),
    pa.array([[1, 2], None, [3, None]], pa.list_(pa.int64(), 2)),
    pa.array([["a", None], None, []], pa.list_(pa.string())),
    pa.array([[[1], []], None, [None]], pa.list_(pa.list_(pa.int64()))),
    pa.array([[T], None], pa.list_(pa.timestamp("s", "UTC"))),
    pa.array([{"a": 1, "b": ["x"]}, None, {"a": None, "b": None}]),
    pa.array([[{"a": 1}], None, [None]]),
    pa.array(["a", "b", None, "a"]).dictionary_encode(),
    pa.array([1, 2, None, 1]).dictionary_encode(),
    pa.array([["a"], None, ["b", "a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
]
BY_TYPE = pytest.mark.parametrize("column", COLUMNS, ids=[str(each.type) for each in COLUMNS])


@BY_TYPE
def test_chunks_slices_and_offsets_do_not_count(column: Any) -> None:
    whole = digest(column)
    longer = pa.concat_arrays([column, column, column])
    assert digest(longer.slice(len(column), len(column))) == whole
    assert digest(pa.chunked_array([column.slice(n, 1) for n in range(len(column))])) == whole
    empty = column.slice(0, 0)
    assert digest(pa.chunked_array([empty, column, empty])) == whole
    assert digest(longer) != whole
    assert digest(empty) == digest(pa.chunked_array([], column.type)) != whole


@BY_TYPE
def test_a_file_gives_back_what_went_in(column: Any) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"x": column}), file)
    assert digest(pq.read_table(file)["x"]) == digest(column)


@BY_TYPE
def test_a_change_of_one_value_changes_the_digest(column: Any) -> None:
    if pa.types.is_null(column.type):
        return
    null = pa.array([None], column.type)
    first, rest = column.slice(0, 1), column.slice(1)
    assert digest(pa.chunked_array([null, rest])) != digest(column)
    assert digest(pa.chunked_array([rest, first])) != digest(column)


def test_a_dictionary_is_its_values() -> None:
    plain = pa.array(["b", None, "a", "b"])
    other = pa.DictionaryArray.from_arrays(pa.array([1, None, 0, 1]), pa.array(["a", "b", "c"]))
    holed = pa.DictionaryArray.from_arrays(pa.array([1, 2, 0, 1]), pa.array(["a", "b", None]))
    for encoded in (plain.dictionary_encode(), other, holed):
        assert digest(encoded) == digest(plain)


def test_the_type_is_part_of_the_digest() -> None:
    kinds: list[Any] = [
        pa.string(), pa.large_string(), pa.binary(), pa.null(), pa.int32(), pa.int64(),
        pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC"),
        pa.list_(pa.int64()), pa.large_list(pa.int64()), pa.list_(pa.int64(), 2),
        pa.list_(pa.int64(), 3), pa.struct([("a", pa.int64())]), pa.struct([("b", pa.int64())]),
        pa.struct([("a", pa.int32())]), pa.decimal128(5, 2), pa.decimal128(5, 3),
    ]  # fmt: skip
    assert len({digest(pa.nulls(2, kind)) for kind in kinds}) == len(kinds)


def test_what_lies_under_a_null_does_not_count() -> None:
    def array(kind: Any, buffers: list[Any]) -> Any:
        return pa.Array.from_buffers(kind, 3, buffers)

    holes = pa.py_buffer(bytes([0b101]))
    numbers = [pa.py_buffer(struct.pack("3q", 1, garbage, 3)) for garbage in (0, 99)]
    one, other = (array(pa.int64(), [holes, each]) for each in numbers)
    assert digest(one) == digest(other) == digest(pa.array([1, None, 3]))
    words = [
        [holes, pa.py_buffer(struct.pack("4i", 0, 1, 3, 4)), pa.py_buffer(b"a??c")],
        [holes, pa.py_buffer(struct.pack("4i", 0, 1, 1, 2)), pa.py_buffer(b"ac")],
    ]
    one, other = (array(pa.string(), each) for each in words)
    assert digest(one) == digest(other) == digest(pa.array(["a", None, "c"]))
    children = pa.array([1, 99, 3])
    hidden = pa.StructArray.from_arrays([children], ["a"], mask=pa.array([False, True, False]))
    assert digest(hidden) == digest(pa.array([{"a": 1}, None, {"a": 3}]))
    listed = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), children,
                                      mask=pa.array([False, True, False]))  # fmt: skip
    assert digest(listed) == digest(pa.array([[1], None, [3]]))


def test_numbers_count_by_their_bits() -> None:
    assert digest(pa.array([float("nan")])) == digest(pa.array([float("nan")]))
    assert digest(pa.array([float("nan")])) != digest(pa.array([None], pa.float64()))
    assert digest(pa.array([0.0])) != digest(pa.array([-0.0]))
    assert digest(pa.array([0.1 + 0.2])) != digest(pa.array([0.3]))
    assert digest(pa.array([0])) != digest(pa.array([None], pa.int64()))


def test_texts_and_lists_do_not_run_into_each_other() -> None:
    assert digest(pa.array(["ab", "c"])) != digest(pa.array(["a", "bc"]))
    assert digest(pa.array(["", None])) != digest(pa.array([None, ""]))
    assert digest(pa.array([[1, 2], [3]])) != digest(pa.array([[1], [2, 3]]))
    assert digest(pa.array([[], None, [1]])) != digest(pa.array([None, [], [1]]))
    assert digest(pa.array([["a"], ["b"]])) != digest(pa.array([["a", "b"], []]))


Column = tuple[Any, list[Any]]


@st.composite
def columns(draw: st.DrawFn) -> Column:
    """Draw a type and values of it."""
    kinds: list[tuple[Any, st.SearchStrategy[Any]]] = [
        (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
        (pa.float64(), st.floats(allow_nan=False)),
        (pa.string(), st.text(max_size=5)),
        (pa.bool_(), st.booleans()),
        (pa.date32(), st.dates(date(1900, 1, 1))),
        (pa.decimal64(6, 2), st.decimals(-999, 999, places=2)),
        (pa.list_(pa.string()), st.lists(st.none() | st.text(max_size=3), max_size=3)),
        (
            pa.struct([("a", pa.int64())]),
            st.fixed_dictionaries({"a": st.none() | st.integers(0, 9)}),
        ),
    ]
    kind, values = draw(st.sampled_from(kinds))
    return kind, draw(st.lists(st.none() | values, max_size=12))


@given(columns(), st.lists(st.integers(0, 12), max_size=4))
def test_any_values_have_one_digest_however_they_are_cut(column: Column, cuts: list[int]) -> None:
    kind, values = column
    array: Any = pa.array(values, kind)
    edges = [0, *sorted(min(cut, len(array)) for cut in cuts), len(array)]
    pieces = [array.slice(start, stop - start) for start, stop in pairwise(edges)]
    assert digest(pa.chunked_array(pieces, kind)) == digest(array)


@given(columns(), st.data())
def test_any_other_values_have_another_digest(column: Column, data: st.DataObject) -> None:
    kind, values = column
    changed = data.draw(
        st.one_of(
            st.permutations(values),
            st.integers(0, len(values)).map(lambda at: [*values[:at], None, *values[at + 1 :]]),
            st.integers(0, len(values)).map(lambda at: [*values[:at], *values[at + 1 :]]),
        )
    )
    same = repr(changed) == repr(values)  # -0.0 == 0.0 in Python
    assert (digest(pa.array(changed, kind)) == digest(pa.array(values, kind))) is same


@pytest.mark.parametrize(
    "kind",
    [
        pa.binary(4), pa.string_view(), pa.binary_view(), pa.list_view(pa.int64()),
        pa.month_day_nano_interval(), pa.map_(pa.string(), pa.int64()), pa.uuid(),
        pa.list_(pa.binary(4)), pa.struct([("a", pa.string_view())]),
        pa.dictionary(pa.int8(), pa.binary(4)),
    ],
    ids=str,
)  # fmt: skip
def test_a_type_without_a_digest_is_refused_before_any_value_comes(kind: pa.DataType) -> None:
    with pytest.raises(DataError, match="has no digest: cast it, or leave it out"):
        ColumnDigest(kind)


def test_a_table_has_a_digest_per_column_and_its_order_does_not_count() -> None:
    table = pa.table({"a": [1, None, 3], "b": ["x", "y", None]})
    found = TableDigest(table.schema)
    for piece in (table.slice(0, 2), table.slice(2)):
        found.update(piece.select(["b", "a"]))
    assert found.columns() == {name: digest(table[name]) for name in ("a", "b")}
    assert all(len(each) == 64 for each in found.columns().values())
