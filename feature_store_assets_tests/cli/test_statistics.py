"""`feature-store stats` and `feature-store report`: what stored partitions hold."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_store_assets import Entity, FeatureStore, expect
from feature_store_assets_tests.cli.commands import cells, refused, run
from feature_store_assets_tests.meters import NAME, day, fill, meters

GROUP = meters()
STRICTER = meters(expectations=[expect.column_max_to_be_between("usage", max_value=10)])


@pytest.fixture
def store(project: Path) -> Iterator[FeatureStore]:
    del project
    with FeatureStore.from_env() as store:
        fill(store, GROUP, {0: [1.0, 2.0, 6.0, None], 1: [4.0], 2: [50.0]})
        yield store


@pytest.mark.usefixtures("store")
def test_stats_shows_each_feature_of_each_partition() -> None:
    header, *lines = cells(run("stats", "meters"))
    assert header == [
        "partition", "feature", "rows", "missing %", "distinct", "mean", "stddev", "min",
        "median", "max",
    ]  # fmt: skip
    assert [line[:2] for line in lines] == [
        [day(number), name] for number in range(3) for name in ("usage", "tariff", "payer")
    ]
    assert lines[0][2:] == ["4", "25", "3", "3", "2.645751311", "1", "2", "6"]
    assert lines[1][2:] == ["4", "0", "2", *["null"] * 5]
    assert NAME not in str(lines)


@pytest.mark.usefixtures("store")
def test_stats_of_some_features_and_partitions() -> None:
    lines = cells(run("stats", "meters", "--feature", "tariff", "--from", day(1)))[1:]
    assert [line[:2] for line in lines] == [[day(1), "tariff"], [day(2), "tariff"]]
    lines = cells(run("stats", "meters", "--feature", "usage", "--to", day(0)))[1:]
    assert [line[:2] for line in lines] == [[day(0), "usage"]]
    assert len(cells(run("stats", "meters", "--feature", "usage", "--feature", "payer"))) == 7


@pytest.mark.usefixtures("store")
def test_stats_of_what_is_not_there_says_so() -> None:
    assert "Did you mean 'meters'" in refused("stats", "metres")
    assert "Did you mean 'usage'" in refused("stats", "meters", "--feature", "usag")
    message = refused("stats", "meters", "--from", "2025-01-01")
    assert message.startswith("There are no statistics of 'meters' here.")
    assert "`feature-store report meters`" in message


@pytest.mark.usefixtures("store")
def test_report_judges_what_is_stored_and_writes_a_page(project: Path) -> None:
    answer = run("report", "meters")
    assert answer.stderr == "3 partition(s), 0 at fault: see meters.html.\n"
    page = (project / "meters.html").read_text()
    assert page.startswith("<!doctype html>")
    assert all(day(number) in page for number in range(3))
    assert NAME not in page


def test_report_of_a_range_by_what_is_expected_now(store: FeatureStore, project: Path) -> None:
    store.apply(STRICTER)
    version = store.table(STRICTER).version()
    answer = run("report", "meters", "--from", day(1), "--to", day(2), "--out", "late.html")
    assert answer.stderr == "2 partition(s), 1 at fault: see late.html.\n"
    page = (project / "late.html").read_text()
    assert "found 50" in page
    assert day(0) not in page
    assert store.table(STRICTER).version() == version


def test_report_makes_statistics_where_there_were_none(store: FeatureStore) -> None:
    store.apply(meters(version=2))
    fill(store, meters(version=2), {0: [1.0]})
    run("report", "meters")
    assert [line[0] for line in cells(run("stats", "meters", "--feature", "usage"))[1:]] == [day(0)]


@pytest.mark.usefixtures("store")
def test_report_of_nothing_says_so() -> None:
    assert "stores no partition in that range" in refused("report", "meters", "--from", "2025")
    assert "Did you mean 'meters'" in refused("report", "metres")


def test_report_of_a_group_that_was_never_filled_says_how_to() -> None:
    with FeatureStore.from_env() as store:
        store.apply(GROUP)
    assert refused("report", "meters") == "'meters' stores no partition."
    with FeatureStore.from_env() as store:
        store.apply(meters(name="untyped", entity=Entity("meter", ["meter_id"])))
    assert "feature-store materialize untyped" in refused("report", "untyped")
