"""`feature-store apply` and `feature-store materialize`."""

import os
import subprocess
from pathlib import Path

import dagster as dg
import pytest

from feature_store_assets import Feature, FeatureGroup, FeatureStore
from feature_store_assets.errors import FeatureStoreError, NotFound
from feature_store_assets.orchestration.launch import Asked, plan
from feature_store_assets_tests import bakery
from feature_store_assets_tests.cli.commands import BAKERY, SCRIPT, cells, refused, run

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
        [SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.slow
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
