"""`feature-store quarantine`: what was kept out, why, and how it comes in after all."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from feature_store_assets import FeatureStore, expect
from feature_store_assets_tests.cli.commands import cells, refused, run
from feature_store_assets_tests.meters import NAME, START, day, fill, meters, stored

LOW = meters(expectations=[expect.column_max_to_be_between("usage", max_value=10)], online=True)
HIGH = meters(expectations=[expect.column_max_to_be_between("usage", max_value=99)], online=True)


@pytest.fixture
def store(project: Path) -> Iterator[FeatureStore]:
    """Day 0 is good, day 1 is too high, day 2 has a value below nothing."""
    del project
    with FeatureStore.from_env() as store:
        fill(store, LOW, {0: [1.0], 1: [5.0, 50.0], 2: [1.0, -1.0, 2.0]}, "the-run")
        yield store


def test_list_shows_what_was_rejected_when_and_why(store: FeatureStore) -> None:
    header, *lines = cells(run("quarantine", "list"))
    assert header == ["group", "partition", "rejected", "rows", "run", "reasons"]
    assert [line[:2] for line in lines] == [["meters", day(1)], ["meters", day(2)]]
    (entry, _) = store.review.quarantine.entries()
    assert lines[0][2] == f"{entry.rejected_at:%Y-%m-%d %H:%M}"
    assert lines[0][3:5] == ["2", "the-run"]
    assert lines[0][5].endswith("(max_value=10): found 50.")
    assert cells(run("quarantine", "list", "meters")) == [header, *lines]


def test_list_of_nothing_is_a_table_without_lines() -> None:
    assert len(cells(run("quarantine", "list"))) == 1


@pytest.mark.usefixtures("store")
def test_list_of_an_unknown_group_is_refused() -> None:
    assert "Did you mean 'meters'" in refused("quarantine", "list", "metres")


@pytest.mark.usefixtures("store")
def test_show_prints_the_rows_at_fault_as_csv_and_why_beside_it() -> None:
    answer = run("quarantine", "show", "meters", day(2))
    rows = pl.read_csv(answer.stdout.encode())
    assert rows["usage"].to_list() == [-1.0]
    assert rows["meter_id"].to_list() == [2]
    assert "expected values to be between (min_value=0)" in rows["reasons"][0]
    assert "1 of 3 rows are at fault" in answer.stderr
    assert NAME not in answer.output


@pytest.mark.usefixtures("store")
def test_show_prints_the_first_rows_where_the_whole_is_at_fault() -> None:
    answer = run("quarantine", "show", "meters", day(1), "--limit", "1")
    assert pl.read_csv(answer.stdout.encode())["usage"].to_list() == [5.0]
    assert "found 50" in answer.stderr


@pytest.mark.usefixtures("store")
def test_a_partition_that_is_not_there_is_told_what_is() -> None:
    for command in ("show", "release"):
        message = refused("quarantine", command, "meters", "2024-01-04")
        assert message.startswith("Nothing of partition '2024-01-04' of 'meters' lies in quarant")
        assert f"Did you mean '{day(2)}'" in message


def test_release_stores_publishes_and_tells_dagster(
    store: FeatureStore, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = project / "home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    store.apply(HIGH)
    answer = run("quarantine", "release", "meters", day(1))
    assert answer.exit_code == 0, answer.output
    version = store.table(HIGH).version()
    assert answer.stderr == (
        f"Released {day(1)} of meters: 2 row(s) are stored, at version {version}.\n"
    )
    assert stored(store) == {day(0): [1.0], day(1): [5.0, 50.0]}
    served = store.get_online_features("meters", [2], at=START)
    assert served[2]["usage"] == 50.0
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey(["meters"])) == {day(1)}
    assert [line[1] for line in cells(run("quarantine", "list"))[1:]] == [day(2)]


def test_release_of_rows_that_fail_still_changes_nothing(store: FeatureStore) -> None:
    before = store.review.quarantine.entries()
    message = refused("quarantine", "release", "meters", day(1))
    assert "was not released, it fails its checks still" in message
    assert "found 50" in message
    assert stored(store) == {day(0): [1.0]}
    assert store.review.quarantine.entries() == before
