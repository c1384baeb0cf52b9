"""Random instants in every unit and zone: refused at the door, or held by every step after it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from feature_store_assets.declaration.feature import Entity
from feature_store_assets.declaration.instants import FIRST_MICRO, LAST_MICRO
from feature_store_assets.errors import OutsideCalendar
from feature_store_assets.offline.dataframes import FeatureTable
from feature_store_assets.offline.schema import CREATED, TableSchema, conform
from feature_store_assets.online.row import HEAD, KeySpace, RowCodec, encode_table, instant, micros
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.stores import new_store
from feature_store_assets_tests.test_instants import BEFORE, FEATURES, MISREAD, NOW, group, read

# So many go through a whole store, and twenty times as many through its kernels.
CASES = examples(25)
_FILLED = 50


Numbers = list[int | None]
Rows = list[tuple[int, int, int | None]]
_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_CORNERS = [FIRST_MICRO, LAST_MICRO, MISREAD, BEFORE, 0, micros(NOW), -(2**63), 2**63 - 1]
_CORNERS += [-(2**63) // 1000, 2**63 // 1000]  # where nanoseconds end
_LOCAL = {"Etc/GMT+5": 5, "Etc/GMT-9": -9}  # hours that their local times lie behind UTC


def _numbers() -> st.SearchStrategy[int]:
    steps = st.sampled_from([0, 1, -1, 1_000, -1_000, 3_600_000_000, -86_400_000_000])
    near = st.builds(lambda corner, step: corner + step, st.sampled_from(_CORNERS), steps)
    sound = st.integers(FIRST_MICRO, LAST_MICRO)
    any_ = st.integers(-(2**63), 2**63 - 1)
    whole = st.one_of(sound, near, sound, any_)
    return whole.map(lambda number: max(-(2**63), min(number, 2**63 - 1)))


@st.composite
def _columns(
    draw: st.DrawFn, rows: int, *, nulls: bool, naive: bool
) -> tuple[Any, list[int | None]]:
    """Draw a column of instants in some unit and zone, and their microseconds in UTC."""
    unit = draw(st.sampled_from([*_UNITS, "ns"]))
    zone = draw(st.sampled_from(["UTC", "+05:30", "America/New_York", *([None] * naive)]))
    one = st.one_of(_numbers(), st.none()) if nulls else _numbers()
    drawn = draw(st.lists(one, min_size=rows, max_size=rows))
    if unit == "ns":
        least, most = -(2**63) // 1000 + 1, 2**63 // 1000
        cut = [None if each is None else max(least, min(each, most - 1)) for each in drawn]
        given = [None if each is None else each * 1000 for each in cut]
    else:
        given = [None if each is None else each // _UNITS[unit] for each in drawn]
        cut = [None if each is None else each * _UNITS[unit] for each in given]
    kind: Any = pa.timestamp(unit, zone)
    return pa.array(given, pa.int64()).cast(kind), cut


def _moved(column: Any, numbers: Numbers, hours: int) -> Numbers:
    """Return what a column of local times means in UTC."""
    if column.type.tz is not None:
        return numbers
    return [None if each is None else each + hours * 3_600_000_000 for each in numbers]


@st.composite
def _pushes(draw: st.DrawFn) -> tuple[str, pa.Table, Rows | None]:
    """Draw a zone, rows, and what the rows mean: entity, event, feature; None if they are bad."""
    zone = draw(st.sampled_from(sorted(_LOCAL)))
    rows = draw(st.integers(1, 4))
    in_list = draw(st.booleans())
    event, events = draw(_columns(rows, nulls=False, naive=True))
    # Only whole columns are local times.
    value, values = draw(_columns(rows, nulls=True, naive=not in_list))
    moved = [_moved(event, events, _LOCAL[zone]), _moved(value, values, _LOCAL[zone])]
    ends: Any = pa.array(range(rows + 1), pa.int32())
    entities = list(range(rows))
    table = pa.table(
        {
            "entity_id": entities,
            "event_timestamp": event,
            "t": pa.nulls(rows) if in_list else value,
            "ts": pa.ListArray.from_arrays(ends, value) if in_list else pa.nulls(rows),
            "d": pa.nulls(rows),
            "x": entities,
        }
    )
    given = [each for column in (events, values, *moved) for each in column if each is not None]
    sound = all(FIRST_MICRO <= each <= LAST_MICRO for each in given)
    meant: Any = list(zip(entities, *moved, strict=True))
    return zone, table, meant if sound else None


def _value(table: pa.Table, row: int) -> int | None:
    value = table["t"][row] if table["t"][row].is_valid else (table["ts"][row].values or [None])[0]
    return None if value is None or not value.is_valid else int(value.value)


def _stored(store: FeatureStore, name: str) -> Rows:
    table = store.read_features(name).to_arrow()
    assert len(read(store, name)) == table.num_rows
    events = table["event_timestamp"].cast(pa.int64()).to_pylist()
    pairs: Any = zip(table["entity_id"].to_pylist(), events, strict=True)
    return sorted((*pair, _value(table, row)) for row, pair in enumerate(pairs))


@settings(max_examples=20 * CASES, deadline=None)
@given(case=_pushes())
def test_any_instant_is_refused_or_means_the_same_in_every_form(
    case: tuple[str, pa.Table, Rows | None],
) -> None:
    zone, rows, meant = case
    keyed = Entity("user", {"entity_id": "int64"})
    schema = TableSchema.of(group("g", timezone=zone, entity=keyed))
    if meant is None:
        with pytest.raises(OutsideCalendar, match="outside the years 1 to 9999"):
            conform(rows, schema, written=NOW)
        return
    table = conform(rows, schema, written=NOW)
    events = table["event_timestamp"].cast(pa.int64()).to_pylist()
    held = [_value(table, row) for row in range(table.num_rows)]
    assert (events, held) == ([event for _, event, _ in meant], [value for *_, value in meant])
    answer = FeatureTable(table)
    assert answer.to_polars().to_dicts() == table.to_pylist()
    assert answer.to_pandas()["event_timestamp"].tolist() == table["event_timestamp"].to_pylist()
    names = [feature.name for feature in FEATURES]
    encoded = encode_table(
        KeySpace("g", 1, 0),
        table,
        keys=["entity_id"],
        timestamp="event_timestamp",
        created=CREATED,
        features=names,
        commit=1,
    )
    decode = RowCodec([(each.name, each.dtype) for each in FEATURES]).decoder(names)
    assert [decode(row) for _, row in encoded] == [
        [row[name] for name in names] for row in table.to_pylist()
    ]
    assert all(len(row) > HEAD for _, row in encoded)


class Pair:
    """Two stores, made anew from time to time: what they hold makes every step slower."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._drawn = 0

    def next(self) -> tuple[FeatureStore, FeatureStore, Path]:
        """The stores, and a folder of its own for each example."""
        if self._drawn % _FILLED == 0:
            self.close()
            places = [self._folder / f"{self._drawn}-{side}" for side in ("one", "other")]
            self._one, self._other = (
                self._open.enter_context(new_store(place)) for place in places
            )
        self._drawn += 1
        return self._one, self._other, self._folder / f"archive-{self._drawn}"

    def close(self) -> None:
        self._open.close()
        for each in self._folder.iterdir():
            shutil.rmtree(each)


@pytest.fixture(scope="module")
def two() -> Iterator[Pair]:
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(Path(folder))
        yield pair
        pair.close()


@settings(
    max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=_pushes(), mode=st.sampled_from(["append", "upsert", "overwrite"]))
def test_any_instant_is_refused_at_the_door_or_held_by_every_step(
    two: Pair,
    case: tuple[str, pa.Table, Rows | None],
    mode: Any,
) -> None:
    store, other, archive = two.next()
    zone, rows, meant = case
    name = archive.name.replace("-", "_")
    entity = Entity("user", {"entity_id": "int64"})
    store.register_feature_group(group(name, timezone=zone, entity=entity))
    if meant is None:
        with pytest.raises(OutsideCalendar, match="outside the years 1 to 9999"):
            store.write_features(rows, name, mode)
        assert not store.table(store.applied.group(name)).files()
        return
    store.write_features(rows, name, mode)
    assert _stored(store, name) == meant
    spine = [{"entity_id": e, "event_timestamp": instant(event)} for e, event, _ in meant]
    joined = store.get_historical_features(name, spine, ttl=timedelta(0)).to_arrow()
    assert [_value(joined, row) for row in range(len(meant))] == [value for *_, value in meant]
    found = store.get_online_features(name, [e for e, *_ in meant], include_status=True)
    due = [each for each in meant if instant(each[1]) <= NOW]
    for e, event, value in due:
        values = found[e]["values"]
        online = values["t"] if values["ts"] is None else values["ts"][0]
        assert (found[e]["event_timestamp"], online) == (
            instant(event),
            None if value is None else instant(value),
        )
    store.export_archive(archive, name)
    other.import_archive(archive)
    assert _stored(other, name) == meant
    store.retain([name], dry_run=False, now=NOW)
    assert set(_stored(store, name)) <= set(meant)
    store.write_features(rows.slice(0, 1), name, "overwrite")
    assert _stored(store, name) == meant[:1]
