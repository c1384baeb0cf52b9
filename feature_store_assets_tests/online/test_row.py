import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st
from redis.crc import key_slot

from feature_store_assets.errors import DataError
from feature_store_assets.online.row import (
    HEAD,
    KeySpace,
    RowCodec,
    commit_number,
    encode_keys,
    encode_table,
    event_micros,
    instant,
    micros,
    sortable,
    tombstone,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
SPACE = KeySpace("spending", 1, 0)
UTC_TIMES = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0))
IDS = st.one_of(st.text(), st.integers(), st.booleans(), st.dates(), UTC_TIMES, st.uuids())
TYPES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "int64": (pa.int64(), INT64),
    "float64": (pa.float64(), st.floats()),
    "bool": (pa.bool_(), st.booleans()),
    "string": (pa.string(), st.text()),
    "date32": (pa.date32(), st.dates()),
    "timestamp[us, UTC]": (pa.timestamp("us", "UTC"), UTC_TIMES),
}
TYPES |= {
    f"list<{name}>": (pa.list_(kind), st.lists(st.none() | values, max_size=4))
    for name, (kind, values) in list(TYPES.items())
}


def one_row_each(fields: list[tuple[str, str]], rows: list[list[Any]]) -> list[bytes]:
    """The values that a table of those features is written as."""
    count = len(rows)
    times = pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * count, pa.timestamp("us", "UTC"))
    columns: list[Any] = [pa.array(range(count), pa.int64()), times, times]
    for at, (_, kind) in enumerate(fields):
        columns.append(pa.array([row[at] for row in rows], TYPES[kind][0]))
    names = ["id", "at", "created", *(name for name, _ in fields)]
    table = pa.Table.from_arrays(columns, names)
    # Two chunks, one of them sliced: offsets that do not begin at zero.
    table = pa.concat_tables([table.slice(0, count // 2), table.slice(count // 2)])
    features = [name for name, _ in fields]
    encoded = encode_table(
        SPACE, table, keys=["id"], timestamp="at", created="created", features=features, commit=3
    )
    return [value for _, value in encoded]


def same(left: Any, right: Any) -> bool:
    """Equal with NaN equal to itself, and 1 other than 1.0 and True."""
    return repr(left) == repr(right)


@given(INT64, INT64)
def test_bytes_compare_as_the_numbers_do(left: int, right: int) -> None:
    assert (sortable(left) < sortable(right)) == (left < right)


@given(st.lists(IDS, min_size=1, max_size=3), st.lists(IDS, min_size=1, max_size=3))
def test_two_entities_never_share_a_key(left: list[Any], right: list[Any]) -> None:
    def typed(values: list[Any]) -> list[str]:
        return [repr(str(value) if isinstance(value, UUID) else value) for value in values]

    assert (SPACE.key(*left) == SPACE.key(*right)) == (typed(left) == typed(right))


@given(st.text(), st.integers(1, 30), st.integers(0, 30), st.text(), st.integers(1, 30))
def test_two_groups_never_share_a_key(
    group: str, version: int, generation: int, other: str, other_version: int
) -> None:
    left = KeySpace(group, version, generation)
    right = KeySpace(other, other_version, generation)
    assert left.prefix.startswith(right.prefix) == ((group, version) == (other, other_version))


@given(IDS, st.text())
def test_one_entity_has_one_slot_in_all_groups(entity: Any, group: str) -> None:
    assert key_slot(KeySpace(group, 2, 5).key(entity)) == key_slot(SPACE.key(entity))


@given(st.binary(min_size=1, max_size=600), st.text(min_size=1))
def test_keys_have_one_tag_and_fit_into_lmdb(raw: bytes, group: str) -> None:
    key = KeySpace(group * 20, 2**31, 2**31).key(raw.decode("latin-1"))
    assert len(key) <= 511
    assert key.count(b"{") >= 1
    assert key.index(b"}") == len(key) - 1


def test_an_int_a_string_and_a_bool_are_three_entities() -> None:
    assert len({SPACE.key(1), SPACE.key("1"), SPACE.key(True), SPACE.key(1, 1)}) == 4


def test_numpy_and_uuid_ids_are_those_that_arrow_columns_hold() -> None:
    uuid = UUID("12345678-1234-5678-1234-567812345678")
    assert SPACE.key(np.int64(5)) == SPACE.key(5)
    assert SPACE.key(np.str_("x")) == SPACE.key("x")
    assert SPACE.key(np.bool_(True)) == SPACE.key(True)
    assert SPACE.key(uuid) == SPACE.key(str(uuid))


@pytest.mark.parametrize("entity", [1.5, None, b"x", datetime(2024, 1, 1)])  # noqa: DTZ001 - naive
def test_an_id_of_another_type_is_refused_without_showing_it(entity: Any) -> None:
    with pytest.raises(DataError, match="An entity key is"):
        SPACE.key(entity)


@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        (pa.int32(), [1, -5, 0]),
        (pa.string(), ["a", "}", "%7D", "", "ü" * 100, "x" * 200]),
        (pa.large_string(), ["{x}"]),
        (pa.dictionary(pa.int32(), pa.string()), ["a", "b", "a"]),
        (pa.bool_(), [True, False]),
        (pa.date32(), [date(2024, 1, 1), date(1960, 1, 1)]),
        (pa.timestamp("ms", "UTC"), [datetime(2024, 1, 1, tzinfo=UTC)]),
    ],
)
def test_columns_give_the_keys_that_single_ids_give(kind: pa.DataType, ids: list[Any]) -> None:
    table = pa.Table.from_arrays([pa.array(ids, kind), pa.array(range(len(ids)))], ["id", "n"])
    assert encode_keys(SPACE, table, ["id"]) == [SPACE.key(one) for one in ids]
    assert encode_keys(SPACE, table, ["id"]) == SPACE.keys(ids)
    pairs = [SPACE.key(one, at) for at, one in enumerate(ids)]
    assert encode_keys(SPACE, table, ["id", "n"]) == pairs


def test_a_key_column_of_floats_is_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1.0])], ["id"])
    with pytest.raises(DataError, match="Key column 'id' is double"):
        encode_keys(SPACE, table, ["id"])


@given(st.data())
def test_values_come_back_as_they_were(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(TYPES)), max_size=5))
    fields = [(f"f{at}", kind) for at, kind in enumerate(kinds)]
    row = st.tuples(*(st.none() | TYPES[kind][1] for kind in kinds)).map(list)
    rows = data.draw(st.lists(row, max_size=5))
    wanted = data.draw(st.permutations([name for name, _ in fields]))
    wanted = wanted[: data.draw(st.integers(0, len(wanted)))]
    decode = RowCodec(fields).decoder(wanted)
    for value, given_row in zip(one_row_each(fields, rows), rows, strict=True):
        whole = dict(zip([name for name, _ in fields], given_row, strict=True))
        assert same(decode(value), [whole[name] for name in wanted])


@pytest.mark.parametrize("wanted", [["a", "b", "c"], ["c"], ["b", "a"], ["c", "a"], []])
def test_fields_added_later_are_none_in_older_rows(wanted: list[str]) -> None:
    (value,) = one_row_each([("a", "int64")], [[7]])
    fields = [("a", "int64"), ("b", "date32"), ("c", "string")]
    expected = {"a": 7, "b": None, "c": None}
    assert RowCodec(fields).decoder(wanted)(value) == [expected[name] for name in wanted]


def test_fields_that_a_reader_does_not_know_yet_are_left_out() -> None:
    (value,) = one_row_each([("a", "int64"), ("b", "int64")], [[7, 8]])
    assert RowCodec([("a", "int64")]).decoder(["a"])(value) == [7]


def test_large_and_fixed_lists_are_lists() -> None:
    times = pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))
    large = pa.array([[1.0], None], pa.large_list(pa.float64()))
    fixed = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64(), 2))
    ids = pa.array(["a", "b"])
    names = ["id", "at", "large", "fixed"]
    table = pa.Table.from_arrays([ids, times, large, fixed], names)
    rows = encode_table(
        SPACE,
        table.slice(1),
        keys=["id"],
        timestamp="at",
        created="at",
        features=["large", "fixed"],
        commit=1,
    )
    decode = RowCodec([("large", "list<float64>"), ("fixed", "list<float64>")]).decoder(
        ["large", "fixed"]
    )
    assert [decode(value) for _, value in rows] == [[None, [3.0, 4.0]]]


def test_slots_of_dropped_features_stay_empty_in_every_row() -> None:
    times = pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))
    table = pa.Table.from_arrays([pa.array(["a", "b"]), times, pa.array([1, 2])], ["id", "at", "x"])
    rows = encode_table(
        SPACE,
        table,
        keys=["id"],
        timestamp="at",
        created="at",
        features=["", "x", ""],
        commit=1,
    )
    decode = RowCodec([("", "int64"), ("x", "int64"), ("", "int64")]).decoder(["x"])
    assert [decode(value) for _, value in rows] == [[1], [2]]


@given(UTC_TIMES, INT64)
def test_the_head_gives_back_event_time_and_commit(moment: datetime, commit: int) -> None:
    value = sortable(micros(moment)) + sortable(0) + sortable(commit) + b"\0\1" + b"\x90"
    assert instant(event_micros(value)) == moment
    assert commit_number(value) == commit


@given(INT64)
def test_a_tombstone_is_a_head_of_the_least_times(commit: int) -> None:
    value = tombstone(commit)
    assert len(value) == HEAD
    assert value[:16] == sortable(-(2**63)) * 2
    assert commit_number(value) == commit


def test_microseconds_are_exact_far_from_now() -> None:
    far = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros(far)) == far


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys, feature_store_assets.online.decode, feature_store_assets.online.publish\n"
        "heavy = {'redis', 'lmdb', 'polars', 'pyarrow', 'pandas', 'numpy', 'dagster'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
