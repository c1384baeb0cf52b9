"""Statistics of partitions, and of what drift is measured against, over both databases."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from feature_store_assets.quality.statistics import Profile
from feature_store_assets.registry.database import Database, statistics
from feature_store_assets.registry.statistics import Statistics

FULL = Profile(
    count=4,
    missing=1,
    missing_share=0.25,
    distinct=3,
    mean=2.5,
    stddev=1.5,
    minimum=-1.0,
    maximum=4.0,
    edges=(0.0, 1.0),
    histogram=(3,),
    nan=1,
    quantiles=(-1.0, 4.0),
    deciles=(1.0, 2.0),
    decile_counts=(1, 1, 1),
)
WORDS = Profile(2, 0, 0.0, 2, top=(("é\0", 1), ("b", 1)), categories=(("é\0", 1), ("b", 1)))


@pytest.fixture
def kept(database: Database) -> Statistics:
    return Statistics(database)


def counted(number: int) -> dict[str, Profile]:
    return {"x": Profile(number, 0, 0.0)}


def test_before_there_is_a_registry_there_are_none(tmp_path: Path) -> None:
    kept = Statistics(Database(f"sqlite:///{tmp_path / 'registry.db'}"))
    assert kept.of("g", 1) == {}
    assert kept.before("g", 1, "b", 7) == {}
    assert kept.reference("g", 1, "snapshot:s") == {}
    assert list(tmp_path.iterdir()) == []


def test_a_profile_comes_back_as_it_was_put(kept: Statistics) -> None:
    kept.put("g", 1, {"mon": {"x": FULL, "plan": WORDS}}, table_version=3)
    assert kept.of("g", 1) == {"mon": {"x": FULL, "plan": WORDS}}


def test_numbers_stand_in_columns_for_queries(kept: Statistics, database: Database) -> None:
    kept.put("g", 2, {"mon": {"x": FULL}}, table_version=3)
    with database.read() as connection:
        (row,) = connection.execute(sa.select(statistics)).mappings()
    assert (row["feature_group"], row["group_version"], row["table_version"]) == ("g", 2, 3)
    assert (row["rows"], row["missing"], row["distinct"]) == (4, 1, 3)
    assert (row["mean"], row["stddev"]) == (2.5, 1.5)
    assert (row["minimum"], row["maximum"]) == (-1.0, 4.0)
    assert timedelta(0) <= datetime.now(UTC) - row["computed_at"] < timedelta(minutes=1)


def test_a_partition_written_again_has_its_new_statistics_alone(kept: Statistics) -> None:
    kept.put("g", 1, {"mon": {"x": FULL, "gone": WORDS}, "tue": counted(1)}, table_version=1)
    kept.put("g", 1, {"mon": counted(9)}, table_version=2)
    assert kept.of("g", 1) == {"mon": counted(9), "tue": counted(1)}


def test_groups_and_versions_are_kept_apart(kept: Statistics) -> None:
    kept.put("g", 1, {"mon": counted(1)}, table_version=1)
    kept.put("g", 2, {"mon": counted(2)}, table_version=1)
    kept.put("h", 1, {"mon": counted(3)}, table_version=1)
    assert [kept.of(*which)["mon"]["x"].count for which in (("g", 1), ("g", 2), ("h", 1))] == [
        1, 2, 3,
    ]  # fmt: skip


def test_nothing_to_put_changes_nothing(kept: Statistics) -> None:
    kept.put("g", 1, {"mon": counted(1)}, table_version=1)
    kept.put("g", 1, {}, table_version=2)
    assert kept.of("g", 1) == {"mon": counted(1)}


def test_some_partitions_and_features_are_asked_for(kept: Statistics) -> None:
    days = {day: {"x": FULL, "plan": WORDS} for day in ("c", "a", "d", "b")}
    kept.put("g", 1, days, table_version=1)
    assert list(kept.of("g", 1)) == ["a", "b", "c", "d"]
    assert list(kept.of("g", 1, ["d", "a", "never"])) == ["a", "d"]
    assert list(kept.of("g", 1, [])) == []
    assert list(kept.of("g", 1, first="b")) == ["b", "c", "d"]
    assert list(kept.of("g", 1, last="b")) == ["a", "b"]
    assert list(kept.of("g", 1, ["a", "b", "d"], first="b", last="c")) == ["b"]
    assert kept.of("g", 1, ["a"], ["x"]) == {"a": {"x": FULL}}
    assert kept.of("g", 1, features=["y"]) == {}


def test_more_partitions_than_a_statement_takes_values(kept: Statistics) -> None:
    keys = [f"{number:05}" for number in range(1_201)]
    for count in (1, 2):
        kept.put("g", 1, dict.fromkeys(keys, counted(count)), table_version=count)
    found = kept.of("g", 1, keys)
    assert list(found) == keys
    assert {profiles["x"].count for profiles in found.values()} == {2}


def test_the_last_partitions_before_one_come_with_the_newest_last(kept: Statistics) -> None:
    keys = [f"2024-01-{number:02}" for number in range(1, 13)]
    kept.put("g", 1, {key: {"x": FULL, "plan": WORDS} for key in keys}, table_version=1)
    assert list(kept.before("g", 1, "2024-01-05", 2)) == ["2024-01-03", "2024-01-04"]
    assert list(kept.before("g", 1, "2024-01-03", 7)) == ["2024-01-01", "2024-01-02"]
    assert list(kept.before("g", 1, "2024-03-01", 1)) == ["2024-01-12"]
    assert kept.before("g", 1, "2024-01-01", 7) == {}
    assert kept.before("g", 1, "2024-01-02", 1) == {"2024-01-01": {"x": FULL, "plan": WORDS}}


def test_a_reference_is_kept_by_what_it_was_made_of(kept: Statistics) -> None:
    kept.put_reference("g", 1, "snapshot:s", {"x": FULL})
    kept.put_reference("g", 1, "training_set:s", counted(1))
    kept.put_reference("g", 2, "snapshot:s", counted(2))
    assert kept.reference("g", 1, "snapshot:s") == {"x": FULL}
    assert kept.reference("g", 1, "training_set:s") == counted(1)
    assert kept.reference("g", 1, "snapshot:t") == {}
    kept.put_reference("g", 1, "snapshot:s", counted(5))
    assert kept.reference("g", 1, "snapshot:s") == counted(5)
    assert kept.of("g", 1) == {}
