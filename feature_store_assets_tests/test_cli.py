import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner, Result

from feature_store_assets import (
    Entity,
    Feature,
    FeatureGroup,
    FeatureStore,
    FeatureStoreConfig,
    FeatureView,
)
from feature_store_assets.cli import main
from feature_store_assets.errors import FeatureStoreError, NotFound
from feature_store_assets.orchestration.launch import Asked, plan
from feature_store_assets_tests import bakery
from feature_store_assets_tests.stores import T0, at, pushed, row

BAKERY = Path(bakery.__file__)
NOON = T0.isoformat()


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, as a project's root."""
    (tmp_path / "workspace.yaml").write_text(f"load_from:\n  - python_file: {BAKERY}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setattr(sys, "path", sys.path.copy())  # loading definitions adds folders
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def refused(*arguments: str) -> str:
    """The one line that a refused command says."""
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    return result.stderr.removeprefix("Error: ").strip()


def cells(result: Result) -> list[list[str]]:
    """The table that was printed."""
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line.strip(" ─")]
    return [re.split(r"\s{2,}", line.strip()) for line in lines]


# The group, its help and its errors


def test_help_loads_neither_dagster_nor_an_engine() -> None:
    code = (
        "import sys\n"
        "from feature_store_assets.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'dagster', 'polars', 'pyarrow', 'sqlalchemy', 'rich'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert "feature-store init shop" in child.stdout


@pytest.mark.parametrize("command", ["apply", "init", "materialize", "online", "read"])
def test_each_command_explains_itself_with_examples(command: str) -> None:
    text = run(command, "--help").stdout
    assert f"  Examples:\n    feature-store {command} " in text.replace("apply\n", "apply \n")
    assert "..." not in run("--help").stdout.partition("Commands:")[2]


def test_the_script_of_the_wheel_is_this_group() -> None:
    script = Path(sys.executable).with_name("feature-store")
    child = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert child.stdout == f"feature-store, version {version('feature_store_assets')}\n"


# apply


def test_apply_shows_what_changed_and_then_nothing() -> None:
    first = cells(run("apply"))
    assert first == [
        ["change", "kind", "name", "version"],
        ["added", "group", "takings", "1"],
        ["added", "group", "counters", "1"],
        ["added", "view", "whole", "1"],
    ]
    again = run("apply", "--file", str(BAKERY))
    assert {line[0] for line in cells(again)[1:]} == {"unchanged"}
    assert again.stderr.startswith("3 unchanged in /")
    with FeatureStore.from_env() as store:
        assert [group.name for group in store.groups()] == ["counters", "takings"]


def test_apply_outside_of_a_project_says_where_to_go(project: Path) -> None:
    (project / "workspace.yaml").unlink()
    message = refused("apply")
    assert "no workspace.yaml here" in message
    assert "--module or --file" in message


def test_apply_of_definitions_without_groups_says_how_to_make_them(project: Path) -> None:
    (project / "own.py").write_text("import dagster as dg\ndefs = dg.Definitions()\n")
    assert "build_definitions([...])" in refused("apply", "--file", "own.py")


def test_modules_beside_the_working_directory_are_found(project: Path) -> None:
    (project / "beside_me.py").write_text(BAKERY.read_text())
    assert len(cells(run("apply", "--module", "beside_me"))) == 4


def test_a_breaking_change_is_refused_as_one_line() -> None:
    with FeatureStore.from_env() as store:
        store.apply(FeatureGroup("takings", entity=bakery.shop, features=[Feature("taken", "str")]))
    message = refused("apply")
    assert "feature 'taken' string becomes float64" in message
    assert "Declare version=2" in message


# materialize


def planned(*names: str, online: bool = True, **asked: str | bool) -> list[str]:
    runs = plan(names, Asked(**asked), with_online=online, file=BAKERY)  # type: ignore[arg-type]  # short
    return [str(each) for each in runs]


def test_a_range_of_a_group_is_one_run_that_publishes_too() -> None:
    assert planned("takings", first="2024-01-02", last="2024-01-04") == [
        "takings, online/takings for 2024-01-02 to 2024-01-04"
    ]
    assert planned("takings", every=True, online=False) == ["takings for 2024-01-01 to 2024-01-05"]


def test_a_range_may_be_open_at_either_end() -> None:
    assert planned("takings", first="2024-01-04", online=False)[0].endswith("04 to 2024-01-05")
    assert planned("takings", last="2024-01-01", online=False) == ["takings for 2024-01-01"]


def test_assets_that_run_day_by_day_come_first_then_the_range_that_reads_them() -> None:
    assert planned("takings", "sales", first="2024-01-04") == [
        "sales for 2024-01-04",
        "sales for 2024-01-05",
        "takings, online/takings for 2024-01-04 to 2024-01-05",
    ]


def test_groups_without_partitions_run_apart_and_take_no_partition() -> None:
    assert planned("counters") == ["counters, online/counters"]
    assert planned("counters", "takings", every=True, online=False) == [
        "counters",
        "takings for 2024-01-01 to 2024-01-05",
    ]
    with pytest.raises(FeatureStoreError, match="counters has no partitions: leave the option"):
        planned("counters", first="2024-01-01")


def test_what_dagster_is_given() -> None:
    (single,) = plan(["counters"], Asked(), file=BAKERY)
    assert single.arguments == ["--select", "counters,online/counters"]
    (day,) = plan(["takings"], Asked("2024-01-02", "2024-01-02"), file=BAKERY)
    assert day.arguments == ["--select", "takings,online/takings", "--partition", "2024-01-02"]
    (days,) = plan(["takings"], Asked(every=True), with_online=False, file=BAKERY)
    assert days.arguments[2:] == ["--partition-range", "2024-01-01...2024-01-05"]


def test_unknown_names_are_refused_before_anything_starts() -> None:
    assert refused("materialize", "takins", "--all").endswith("Did you mean 'takings'?")
    with pytest.raises(NotFound, match="its 5 go from '2024-01-01' to '2024-01-05'"):
        planned("takings", first="2023-12-31", last="2024-01-02")
    with pytest.raises(FeatureStoreError, match="'takings' is partitioned: give --partition KEY"):
        planned("takings")
    with pytest.raises(FeatureStoreError, match="comes after --to 2024-01-02"):
        planned("takings", first="2024-01-03", last="2024-01-02")


def test_options_that_exclude_each_other_are_told() -> None:
    result = run("materialize", "takings", "--all", "--partition", "2024-01-01")
    assert result.exit_code == 2
    assert "Give --partition, or --from and --to, or --all." in result.stderr


def child(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own: Dagster's output goes past a runner in this one."""
    return subprocess.run(
        [Path(sys.executable).with_name("feature-store"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def test_a_run_fills_the_table_serves_it_and_is_recorded(project: Path) -> None:
    home = project / ".dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    done = child("materialize", "counters")
    assert done.returncode == 0, done.stderr
    assert "RUN_SUCCESS" in done.stderr  # Dagster's own log passes through
    assert "Warning" not in done.stderr
    assert "Run 1 of 1: counters, online/counters\n" in done.stderr
    assert "Run 1 of 1 succeeded after " in done.stderr
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert not instance.telemetry_enabled
        for name in ("counters", "online/counters"):
            assert instance.get_latest_materialization_event(dg.AssetKey.from_user_string(name))
    answer = cells(run("online", "counters", "7,2020-02-01"))
    assert answer == [["shop_id", "opened", "seats"], ["7", "2020-02-01", "3"]]


@pytest.mark.slow
def test_a_failed_run_ends_the_command_with_its_exit_code() -> None:
    days = ("--from", "2024-01-01", "--to", "2024-01-02")
    done = child("materialize", "sales", "takings", *days, BAD_DAY="2024-01-02")
    assert done.returncode == 1
    assert "UI will not show the run" in done.stderr
    assert "1 partition(s) of 'takings' failed their checks" in done.stderr
    assert "Run 3 of 3 failed after" in done.stderr
    assert cells(run("read", "takings"))[1:] == [["7", "2024-01-01 12:00:00+00:00", "2.5"]]


# read


@pytest.fixture
def stocked(project: Path) -> Iterator[FeatureStore]:
    """A project with rows: 25 users, and one of each kind of key."""
    with FeatureStore(FeatureStoreConfig()) as store:
        spend = pushed("spend", Feature("x", "float64"), Feature("tags", "list<string>"))
        route = pushed(
            "route",
            Feature("delay", "int64"),
            entity=Entity("route", {"origin": "string", "dest": "string"}),
        )
        visit = pushed(
            "visit",
            Feature("pages", "int64"),
            entity=Entity(
                "visit",
                {"member": "bool", "day": "date32", "since": "datetime", "shop_id": "int64"},
            ),
            ttl=timedelta(days=1),
        )
        store.apply(spend, route, visit, FeatureView("trip", [spend["x"], route]))
        rows = [row(f"u{n:02}", n, x=n / 3, tags=["a", "b"]) for n in range(25)]
        store.write_features([*rows, row("u00", 30, x=None, tags=None)], "spend")
        store.write_features(
            [
                {"origin": "JFK", "dest": "LAX", "event_timestamp": T0, "delay": 9},
                {"origin": "A,B", "dest": "C=D", "event_timestamp": T0, "delay": 1},
            ],
            "route",
        )
        key = {"member": True, "day": date(2024, 1, 2), "since": T0, "shop_id": 7}
        store.write_features([{**key, "event_timestamp": T0, "pages": 3}], "visit")
        store.create_snapshot("spend", "before")
        store.write_features([row("late", 40, x=1.0, tags=[])], "spend")
        yield store


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
        (["--out", "rows.txt"], "give --format csv|parquet"),
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
@pytest.mark.parametrize("entity", ["JFK,LAX", "origin=JFK,dest=LAX", "dest=LAX,origin=JFK"])
def test_several_keys_are_written_in_order_or_by_name(entity: str) -> None:
    assert cells(run("online", "route", entity))[1] == ["JFK", "LAX", "9"]


@pytest.mark.usefixtures("stocked")
def test_quotes_keep_a_comma_and_an_unknown_name_before_an_equals_sign_is_told() -> None:
    assert cells(run("online", "route", '"origin=A,B",dest=C=D'))[1] == ["A,B", "C=D", "1"]
    assert refused("online", "route", "orign=JFK,dest=LAX").endswith("Did you mean 'origin'?")
    assert refused("online", "route", "origin=JFK").endswith("lacks its join key 'dest'.")
    assert "write origin=...,dest=..." in refused("online", "route", "JFK")


@pytest.mark.usefixtures("stocked")
def test_keys_are_read_by_their_types() -> None:
    entity = f"true,2024-01-02,{NOON},7"
    answer = run("online", "visit", entity, "--at", NOON, "--json")
    assert json.loads(answer.stdout) == [
        {
            "entity": {"member": True, "day": "2024-01-02", "since": NOON, "shop_id": 7},
            "values": {"pages": 3},
            "status": "present",
            "event_timestamp": NOON,
        }
    ]
    assert "'shop_id' is int64: write a whole number" in refused(
        "online", "visit", entity.replace("7", "seven")
    )
    assert "'member' is bool: write true or false" in refused("online", "visit", f"yes{entity[4:]}")


@pytest.mark.usefixtures("stocked")
def test_the_status_tells_what_is_too_old() -> None:
    entity = f"true,2024-01-02,{NOON},7"
    header, line = cells(run("online", "visit", entity, "--status"))
    assert header[-3:] == ["pages", "status", "event_timestamp"]
    assert line[-3:] == ["null", "expired", "2024-01-15 12:00:00+00:00"]


@pytest.mark.usefixtures("stocked")
def test_a_view_takes_the_keys_of_all_its_groups() -> None:
    table = cells(run("online", "trip", "entity_id=u01,origin=JFK,dest=LAX"))
    assert table == [
        ["entity_id", "origin", "dest", "x", "delay"],
        ["u01", "JFK", "LAX", "0.3333333333", "9"],
    ]


def test_online_before_anything_is_applied_says_what_to_run() -> None:
    assert refused("online", "spend", "u01").endswith("run `feature-store apply`.")
