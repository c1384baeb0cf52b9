"""`feature-store read` and `feature-store online`."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from feature_store_assets import FeatureStore
from feature_store_assets_tests.cli.commands import cells, refused, run
from feature_store_assets_tests.stores import T0, at

# read


@pytest.mark.usefixtures("stocked")
def test_read_shows_twenty_rows_and_says_that_there_are_more() -> None:
    result = run("read", "spend")
    table = cells(result)
    assert table[0] == ["entity_id", "event_timestamp", "x", "tags"]
    assert len(table) == 21
    assert table[2] == ["u01", "2024-01-15 13:00:00+00:00", "0.3333333333", "['a', 'b']"]
    assert "20 row(s). There are more: see --limit." in result.stderr
    assert run("read", "spend", "--limit", "27").stderr == "27 row(s).\n"


@pytest.mark.usefixtures("stocked")
def test_read_takes_columns_times_partitions_and_snapshots() -> None:
    hours = ("--start", at(1).isoformat(), "--end", at(3).isoformat())
    assert [line[0] for line in cells(run("read", "spend", *hours))[1:]] == ["u01", "u02"]
    late = cells(run("read", "spend", "--features", "x", "--start", at(29).isoformat()))
    assert late[1][2:] == ["null"]
    assert late[2][0] == "late"
    pinned = cells(run("read", "spend", "--as-of", "before", "--limit", "50"))
    assert "late" not in [line[0] for line in pinned]
    now = run("read", "spend", "--as-of", datetime.now(UTC).isoformat(), "--limit", "50")
    assert "late" in [line[0] for line in cells(now)]
    assert run("read", "spend", "--partition", "2023-12").stderr == "0 row(s).\n"


@pytest.mark.usefixtures("stocked")
def test_a_time_without_a_zone_means_local_time() -> None:
    local = at(1).astimezone().replace(tzinfo=None).isoformat()
    assert cells(run("read", "spend", "--start", local))[1][0] == "u01"


def test_read_writes_csv_and_parquet_with_all_rows(stocked: FeatureStore, project: Path) -> None:
    assert run("read", "spend", "--out", "rows.parquet").stderr == "27 row(s) in rows.parquet\n"
    expected = stocked.read_features("spend").to_polars()
    assert pl.read_parquet(project / "rows.parquet").equals(expected)
    assert run("read", "spend", "--out", "rows.csv").exit_code == 0
    text = (project / "rows.csv").read_text()
    assert text == run("read", "spend", "--format", "csv").stdout
    assert len(text.splitlines()) == 28
    assert text.splitlines()[2] == (
        'u01,2024-01-15T13:00:00.000000+00:00,0.3333333333333333,"[""a"", ""b""]"'
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--start", "yesterday"], "'yesterday' is no ISO date or time, such as 2024-01-31"),
        (["--format", "parquet"], "give --out PATH"),
        (["--out", "rows.txt"], "give --format, too"),
    ],
)
def test_read_tells_what_an_option_lacks(arguments: list[str], message: str) -> None:
    result = run("read", "spend", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.usefixtures("stocked")
def test_read_of_unknown_names_suggests_known_ones() -> None:
    assert refused("read", "spent") == "No feature group is named 'spent'. Did you mean 'spend'?"
    assert refused("read", "spend", "--features", "y").startswith("No feature is named 'y'")
    assert refused("read", "spend", "--as-of", "befor").endswith("Did you mean 'before'?")


# online


@pytest.mark.usefixtures("stocked")
def test_online_shows_entities_in_the_order_asked() -> None:
    table = cells(run("online", "spend", "u02", "nobody", "u01", "--features", "x"))
    assert table == [["entity_id", "x"], ["u02", "0.6666666667"], ["nobody", "null"],
                     ["u01", "0.3333333333"]]  # fmt: skip


@pytest.mark.usefixtures("stocked")
def test_the_status_tells_what_is_too_old() -> None:
    entity = f"true,2024-01-02,{T0.isoformat()},7"
    header, line = cells(run("online", "visit", entity, "--status"))
    assert header[-3:] == ["pages", "status", "event_timestamp"]
    assert line[-3:] == ["null", "expired", "2024-01-15 12:00:00+00:00"]


def test_online_before_anything_is_applied_says_what_to_run() -> None:
    assert refused("online", "spend", "u01").endswith("run `feature-store apply`.")
