"""Killing a Dagster process in the middle of a materialization."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from feature_store_assets_tests.orchestration.shop import Shop, day

KILLS = int(os.environ.get("DAGSTER_KILLS", "1"))
DAYS = 6

RUNNER = """
import sys, warnings
from pathlib import Path
import dagster as dg
warnings.simplefilter("ignore")
from feature_store_assets_tests.orchestration.shop import Shop, day
with dg.DagsterInstance.get() as instance:
    shop = Shop(Path(sys.argv[1]), instance)
    for turn in range(int(sys.argv[2]), 10**6):
        shop.deliver(0, 5, factor=float(turn))
        assert shop.run("spending", "online/spending", keys=(day(0), day(5))).success
        print(turn, flush=True)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return home


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_run_loses_nothing_and_a_rerun_converges(tmp_path: Path, home: Path) -> None:
    """Kill while a new data file of the group appears; days keep one run's values, whole."""
    root = tmp_path / "store"
    table = root / "offline" / "spending" / "v1"
    acknowledged = 0
    for _ in range(KILLS):
        runner = subprocess.Popen(
            [sys.executable, "-c", RUNNER, str(root), str(acknowledged + 1)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "DAGSTER_HOME": str(home)},
        )
        assert runner.stdout is not None
        acknowledged = int(runner.stdout.readline())
        before = set(table.rglob("*.parquet"))
        while set(table.rglob("*.parquet")) == before:
            assert runner.poll() is None
        runner.send_signal(signal.SIGKILL)
        rest, _ = runner.communicate()
        acknowledged = max([acknowledged, *map(int, rest.split())])
        with dg.DagsterInstance.from_config(str(home)) as instance:
            stored = Shop(root, instance).stored()
        assert set(stored) == {day(number) for number in range(DAYS)}
        (value,) = {each for values in stored.values() for each in values}
        assert value in {float(acknowledged), float(acknowledged + 1)}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        shop = Shop(root, instance)
        shop.deliver(0, DAYS - 1, factor=1000.0)
        assert shop.run("spending", "online/spending", keys=(day(0), day(DAYS - 1))).success
        assert shop.stored() == {day(number): [1000.0] for number in range(DAYS)}
        assert shop.committed("online/spending") == {day(number) for number in range(DAYS)}
