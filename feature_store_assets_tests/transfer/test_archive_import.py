"""Imports: all of an archive with equal values, or nothing; what is here stays if it should."""

import math
import struct
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    ArchiveConflict,
    BreakingChange,
    DataError,
    DeclarationError,
    GroupHeld,
    ImportConflict,
    OnlineStoreUnavailable,
)
from feature_store_assets.offline.schema import PARTITION, TableSchema
from feature_store_assets.quality.statistics import Profile
from feature_store_assets.store import FeatureStore
from feature_store_assets.transfer.archive_import import Filled
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.servers import postgres_server
from feature_store_assets_tests.stores import at, new_store, pushed, row, traces
from feature_store_assets_tests.strategies import KEY_VALUES, instants
from feature_store_assets_tests.transfer.archives import (
    BOTH,
    DAY,
    A,
    B,
    Stopped,
    pinned,
    stop,
    stored,
    x_of,
)

# Round trips


def test_a_whole_store_comes_into_an_empty_one(
    source: FeatureStore, target: FeatureStore, archive: Path
) -> None:
    told: list[str] = []
    done = target.import_archive(archive, told=told.append)
    assert [stored(target, name) for name in "ab"] == [stored(source, name) for name in "ab"]
    assert target.groups() == source.groups()
    assert target.applied.views() == source.applied.views()
    assert told == ["'a': 4 partitions imported.", "'b': 2 partitions imported."]
    assert done.groups == (
        Filled("a", 1, {"2024-01": 1, "2024-02": 3, "2024-03": 1, "2024-04": 2}, ()),
        Filled("b", 1, {"2024-01": 1, "2024-02": 1}, ()),
    )
    assert (done.resumed, done.snapshot, done.notes) == (0, "", ())


def test_rows_are_served_after_an_import(target: FeatureStore, archive: Path) -> None:
    target.import_archive(archive)
    answer = target.get_online_features("a", ["u1", "u5"], ["x"], at=at(101 * DAY))
    assert answer == {"u1": {"x": 10}, "u5": {"x": 5}}


NANS = [struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in (0x7FF8 << 48, 0xFFF8 << 48)]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.sampled_from([0, -1, 2**63 - 1, -(2**63)]),
    "float64": st.sampled_from([0.0, -0.0, math.inf, -math.inf, 5e-324, 0.1, *NANS]),
    "bool": st.booleans(),
    "string": st.sampled_from(["", "a", "\0", "ß\U0001f600", "x" * 50]),
    "date32": st.sampled_from([date(1, 1, 1), date(1970, 1, 1), date(9999, 12, 31)]),
    "timestamp[us, UTC]": st.sampled_from(
        [datetime(1900, 1, 1, 0, 0, 0, 1, UTC), datetime(2262, 4, 12, tzinfo=UTC)]
    ),
}
TYPES = [*VALUES, *(f"list<{kind}>" for kind in VALUES)]


def values_of(kind: str) -> st.SearchStrategy[Any]:
    if kind.startswith("list<"):
        return st.none() | st.lists(st.none() | VALUES[kind[5:-1]], max_size=3)
    return st.none() | VALUES[kind]


@st.composite
def contents(draw: st.DrawFn) -> tuple[FeatureGroup, pa.Table]:
    """A group with keys and features of any types, and rows of its table, all revisions."""
    kinds = draw(st.lists(st.sampled_from(sorted(KEY_VALUES)), min_size=1, max_size=2))
    keys = {f"k{number}": kind for number, kind in enumerate(kinds)}
    types = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=4))
    features = {f"f{number}": kind for number, kind in enumerate(types)}
    created = draw(st.sampled_from([None, "recorded_at"]))
    group = pushed(
        "g",
        *(Feature(name, kind) for name, kind in features.items()),
        entity=Entity("thing", keys),
        created=created,
        online=False,
    )
    rows = draw(
        st.lists(
            st.fixed_dictionaries(
                {name: KEY_VALUES[kind] for name, kind in keys.items()}
                | {"event_timestamp": instants, "created_timestamp": instants}
                | {name: values_of(kind) for name, kind in features.items()}
            ),
            max_size=12,
            unique_by=lambda each: (
                *(each[name] for name in keys), each["event_timestamp"], each["created_timestamp"],
            ),
        )
    )  # fmt: skip
    for each in rows:
        each[PARTITION] = f"{each['event_timestamp']:%Y-%m}"
    return group, pa.Table.from_pylist(rows, schema=TableSchema.of(group).arrow)


@settings(max_examples=examples(8))
@given(content=contents())
def test_every_value_of_every_type_comes_back(content: tuple[FeatureGroup, pa.Table]) -> None:
    group, rows = content
    with TemporaryDirectory() as name:
        folder = Path(name)
        with new_store(folder / "one") as one, new_store(folder / "other") as other:
            one.apply(group)
            one.table(group).replace(rows, None)
            one.export_archive(folder / "archive")
            other.import_archive(folder / "archive")
            assert stored(other, "g") == stored(one, "g")
            assert stored(one, "g")[1] == rows.num_rows


@pytest.mark.slow
def test_an_archive_comes_into_a_registry_in_postgresql(
    source: FeatureStore, archive: Path, tmp_path: Path
) -> None:
    """And out of it again, into SQLite."""
    with postgres_server() as url, new_store(tmp_path / "pg", registry_url=url) as middle:
        middle.import_archive(archive)
        assert middle.get_online_features("a", ["u5"], ["x"], at=at(101 * DAY))["u5"] == {"x": 5}
        middle.create_snapshot("both", "pinned")
        second = middle.export_archive(tmp_path / "second", snapshot="pinned").path
        assert pinned(middle) == {"pinned"}
    with new_store(tmp_path / "last") as last:
        assert last.import_archive(second).snapshot == "pinned"
        assert [stored(last, name) for name in "ab"] == [stored(source, name) for name in "ab"]


def test_history_and_stages_come_along(
    source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    source.apply(replace(A, description="Better told."))
    source.set_stage("a", "deprecated", successor="b")
    target.import_archive(source.export_archive(tmp_path / "archive").path)
    assert [edit.action for edit in target.applied.history("a")] == ["added", "changed"]
    assert target.standing("a").successor == "b"


def profiles(**counts: int) -> dict[str, dict[str, Profile]]:
    """Statistics by month: of the rows of 'a' these hold, or of others."""
    return {
        f"2024-{month[1:]}": {"x": Profile(count, 0, 0.0, mean=1.5)}
        for month, count in counts.items()
    }


def test_statistics_of_whole_partitions_come_along(
    source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    """What is not of the very rows of a partition does not; nor do older ones stay."""
    source.review.statistics.put("a", 1, profiles(_01=1, _02=3, _03=1), table_version=1)
    place = source.export_archive(tmp_path / "archive", "a", end_time=at(40 * DAY)).path
    target.apply(A)
    target.review.statistics.put("a", 1, profiles(_02=9, _07=9), table_version=1)
    target.import_archive(place)
    assert target.review.statistics.of("a", 1) == profiles(_01=1, _07=9)


# Snapshots


def test_a_snapshot_is_exported_as_it_was_and_made_again(
    source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    before = stored(source, "a")
    source.create_snapshot("a", "first", description="Why.", tags={"keep": "ever"})
    source.write_features([row("u0", 0, x=99, tags=None)], "a", mode="overwrite")
    place = source.export_archive(tmp_path / "archive", snapshot="first").path
    assert target.import_archive(place).snapshot == "first"
    assert stored(target, "a") == before
    (made,) = target.list_snapshots()
    assert (made.name, made.description, made.tags) == ("first", "Why.", {"keep": "ever"})
    assert target.verify_snapshot("first") == 4
    assert target.import_archive(place).snapshot == "first"  # it is there


def test_a_snapshot_is_not_made_again_beside_other_rows(
    source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    source.create_snapshot("a", "first")
    place = source.export_archive(tmp_path / "archive", snapshot="first").path
    target.apply(A)
    target.write_features([row("v", 400 * DAY, x=1, tags=None)], "a")
    done = target.import_archive(place)
    assert done.snapshot == ""
    assert done.notes == ("Snapshot 'first' was not made again: a v1 held other rows already.",)
    assert target.list_snapshots() == []


def test_a_part_of_a_snapshot_or_a_name_in_use_makes_none(
    source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    source.create_snapshot("b", "first")
    part = source.export_archive(tmp_path / "part", snapshot="first", end_time=at(1)).path
    assert "holds a part of it only" in target.import_archive(part).notes[0]
    target.create_snapshot("b", "first")
    whole = source.export_archive(tmp_path / "whole", snapshot="first").path
    done = target.import_archive(whole, on_conflict="replace")
    assert done.notes == (
        "Snapshot 'first' was not made again: another snapshot has that name here.",
    )


# Conflicts


def other_rows(store: FeatureStore) -> None:
    """Other rows of 'a', in a partition of the archive and in one that it does not have."""
    store.apply(A)
    store.write_features(
        [row("u1", 20 * DAY, x=-1, tags=None), row("v", 400 * DAY, x=-2, tags=None)], "a"
    )


def test_partitions_that_hold_rows_refuse_an_import(target: FeatureStore, archive: Path) -> None:
    other_rows(target)
    before = traces(target)
    with pytest.raises(ArchiveConflict, match=r"left alone:\n  a v1: 2024-02\nImport with"):
        target.import_archive(archive)
    assert traces(target) == before


def test_kept_rows_stay_and_the_rest_is_imported(target: FeatureStore, archive: Path) -> None:
    other_rows(target)
    done = target.import_archive(archive, on_conflict="keep")
    assert x_of(target) == {"u0": 0, "u1": -1, "u3": 3, "u4": 4, "u5": 5, "v": -2}
    assert done.groups[0].kept == ("2024-02",)
    assert "2024-02" not in done.groups[0].rows


def test_replaced_partitions_are_the_archives(target: FeatureStore, archive: Path) -> None:
    other_rows(target)
    target.import_archive(archive, on_conflict="replace")
    assert x_of(target) == {"u0": 0, "u1": 10, "u2": 2, "u3": 3, "u4": 4, "u5": 5, "v": -2}
    served = target.get_online_features("a", ["u1", "v"], ["x"], at=at(401 * DAY))
    assert served == {"u1": {"x": 10}, "v": {"x": -2}}


@pytest.mark.parametrize("way", ["refuse", "keep", "replace"])
def test_an_archive_that_was_imported_is_there(
    target: FeatureStore, archive: Path, way: Any
) -> None:
    target.import_archive(archive)
    version = target.table(A).version()
    done = target.import_archive(archive, on_conflict=way)
    assert done.resumed == 6
    assert done.groups[0].rows == {"2024-01": 1, "2024-02": 3, "2024-03": 1, "2024-04": 2}
    assert target.table(A).version() == version


@pytest.mark.slow
def test_what_was_written_after_an_import_is_in_its_way_again(
    target: FeatureStore, archive: Path
) -> None:
    target.import_archive(archive)
    target.write_features([row("u1", 20 * DAY, x=77, tags=None)], "a", mode="upsert")
    with pytest.raises(ArchiveConflict, match="a v1: 2024-02\n"):
        target.import_archive(archive)
    assert target.import_archive(archive, on_conflict="replace").resumed == 5
    assert x_of(target)["u1"] == 10


def test_an_unknown_way_is_refused(target: FeatureStore, archive: Path) -> None:
    way: Any = "replac"
    with pytest.raises(DataError, match="Did you mean 'replace'"):
        target.import_archive(archive, on_conflict=way)


def month(store: FeatureStore) -> None:
    """Rows of January and February around and within days 17 to 28, and one at each bound."""
    store.apply(A)
    hours = {"before": 17 * DAY - 1, "start": 17 * DAY, "in": 20 * DAY, "end": 28 * DAY}
    rows = [row(name, hour, x=-1, tags=None) for name, hour in hours.items()]
    store.write_features(rows, "a")


@pytest.mark.slow
def test_replacing_a_part_of_a_partition_keeps_its_other_rows(
    source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    place = source.export_archive(
        tmp_path / "archive", "a", start_time=at(17 * DAY), end_time=at(28 * DAY)
    ).path
    month(target)
    with pytest.raises(ArchiveConflict, match="a v1: 2024-02\n"):
        target.import_archive(place)
    done = target.import_archive(place, on_conflict="replace")
    assert x_of(target) == {"before": -1, "end": -1, "u1": 10}
    assert done.groups[0].rows == {"2024-02": 2}
    assert target.import_archive(place).resumed == 1
    served = target.get_online_features("a", ["in", "end"], ["x"], at=at(40 * DAY))
    assert served == {"in": {"x": None}, "end": {"x": -1}}


@pytest.mark.slow
def test_archives_of_ranges_that_share_a_partition_are_imported_one_after_the_other(
    source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    cut = at(30 * DAY)
    for name, bounds in {"one": {"end_time": cut}, "two": {"start_time": cut}}.items():
        place = source.export_archive(tmp_path / name, **bounds).path  # type: ignore[arg-type]
        target.import_archive(place)
    assert [stored(target, name) for name in "ab"] == [stored(source, name) for name in "ab"]


def test_kept_rows_of_a_part_stay_with_their_partition(
    source: FeatureStore, target: FeatureStore, tmp_path: Path
) -> None:
    place = source.export_archive(
        tmp_path / "archive", "a", start_time=at(17 * DAY), end_time=at(28 * DAY)
    ).path
    month(target)
    assert target.import_archive(place, on_conflict="keep").groups[0].kept == ("2024-02",)
    assert x_of(target) == dict.fromkeys(("before", "start", "in", "end"), -1)


def test_a_legal_hold_refuses_to_replace_rows(target: FeatureStore, archive: Path) -> None:
    other_rows(target)
    target.hold("group", "a", "case 7")
    before = traces(target)
    with pytest.raises(GroupHeld, match=r"'a' stay as they are, .*\(case 7\)"):
        target.import_archive(archive, on_conflict="replace")
    assert traces(target) == before
    assert target.import_archive(archive, on_conflict="keep").groups[0].kept == ("2024-02",)


def test_an_online_store_that_does_not_answer_refuses_an_import(
    tmp_path: Path, archive: Path
) -> None:
    with new_store(tmp_path / "t", online_store_uri=f"unix://{tmp_path}/none") as store:
        with pytest.raises(OnlineStoreUnavailable):
            store.import_archive(archive)
        assert store.groups() == []


# Declarations


def test_features_that_only_one_side_has_are_kept(target: FeatureStore, archive: Path) -> None:
    """The archive's rows lack what was added here; what it brings is added."""
    entity_id = pushed("a", Feature("x", "int64"), Feature("new", "float64"), description="Here.")
    target.apply(entity_id)
    target.write_features([row("v", 400 * DAY, x=1, new=0.5)], "a")
    target.import_archive(archive)
    group = target.applied.group("a")
    assert (group.feature_names, group.description) == (["x", "new", "tags"], "Here.")
    rows = target.read_features("a").to_polars().sort("entity_id")
    assert rows["new"].to_list() == [None] * 6 + [0.5]
    assert rows["tags"].to_list()[-2:] == [["a", None], None]


@pytest.mark.parametrize(
    ("here", "why"),
    [
        (pushed("a", Feature("x", "float64")), "feature 'x' float64 becomes int64"),
        (pushed("a", Feature("x", "int64"), entity=Entity("user", ["id"])), "join keys"),
        (pushed("a", Feature("x", "int64"), partitions=None), "partitioned otherwise"),
    ],
)
def test_a_group_that_cannot_hold_the_rows_refuses_them(
    target: FeatureStore, archive: Path, here: FeatureGroup, why: str
) -> None:
    target.apply(here)
    before = traces(target)
    with pytest.raises(BreakingChange, match=why):
        target.import_archive(archive, on_conflict="replace")
    assert traces(target) == before


def test_keys_of_another_type_are_refused(target: FeatureStore, archive: Path) -> None:
    """Where no type is declared, the first rows of a table gave it."""
    target.apply(A)
    target.write_features([row(7, 0, x=1, tags=None)], "a")
    with pytest.raises(BreakingChange, match="key 'entity_id' int64 becomes string"):
        target.import_archive(archive)


def test_views_that_are_declared_otherwise_are_conflicts(
    target: FeatureStore, archive: Path
) -> None:
    mine = FeatureView("both", [A["x"]])
    target.apply(A, mine)
    with pytest.raises(ImportConflict, match="view both"):
        target.import_archive(archive)
    target.import_archive(archive, on_conflict="keep")
    assert target.applied.views() == [mine]
    target.import_archive(archive, on_conflict="replace")
    assert target.applied.views() == [BOTH]


def test_names_of_another_kind_are_refused(target: FeatureStore, archive: Path) -> None:
    one = pushed("one", Feature("x", "int64"))
    target.apply(one, FeatureView("a", [one]))
    with pytest.raises(DeclarationError, match="A view is named 'a' here"):
        target.import_archive(archive)


# Going on


def test_an_import_goes_on_where_it_was(
    source: FeatureStore, target: FeatureStore, archive: Path
) -> None:
    with pytest.raises(Stopped):
        target.import_archive(archive, told=stop)
    version = target.table(A).version()
    told: list[str] = []
    done = target.import_archive(archive, told=told.append)
    assert told == ["'b': 2 partitions imported."]
    assert done.resumed == 4
    assert target.table(A).version() == version
    assert [stored(target, name) for name in "ab"] == [stored(source, name) for name in "ab"]
    assert target.get_online_features("a", ["u5"], ["x"], at=at(101 * DAY))["u5"] == {"x": 5}


def test_rows_that_others_write_during_an_import_are_not_overwritten(
    target: FeatureStore, archive: Path
) -> None:
    def meddle(_: str) -> None:
        if not target.table(B).exists or not target.table(B).partitions():
            target.write_features([row("u0", 0, y=5.0)], "b")

    with pytest.raises(ArchiveConflict, match="b v1: 2024-01\n"):
        target.import_archive(archive, told=meddle)
    assert target.read_features("b").to_arrow()["y"].to_pylist() == [5.0]
    assert target.import_archive(archive, on_conflict="keep").resumed == 4
