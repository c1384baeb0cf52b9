"""`feature-store init`: the project that it writes runs by its own README."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from feature_store_assets.cli import main

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder."""
    empty = project / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return empty


@pytest.fixture
def shop(folder: Path) -> Path:
    """A fresh project."""
    result = CliRunner().invoke(main, ["init", "shop"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "cd shop" in result.output
    return folder / "shop"


def shell(command: str, where: Path) -> subprocess.CompletedProcess[str]:
    """A line of the README, typed into a shell with this environment's programs."""
    return subprocess.run(
        command,
        shell=True,
        cwd=where,
        env=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def commands(readme: str) -> list[str]:
    """The lines of its shell blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", readme, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_every_file_is_written_with_the_projects_name(shop: Path) -> None:
    files = {str(path.relative_to(shop)) for path in shop.rglob("*") if path.is_file()}
    assert files == {
        ".dagster_home/dagster.yaml",
        ".gitignore",
        "README.md",
        "dagster.yaml",
        "pyproject.toml",
        "shop/__init__.py",
        "shop/data.py",
        "shop/definitions.py",
        "shop/features.py",
        "tests/test_features.py",
        "train.py",
        "workspace.yaml",
    }
    for path in shop.rglob("*"):
        if path.is_file():
            assert not re.search(r"\$(?!PWD)", path.read_text()), path


def test_its_partitions_are_the_last_thirty_days(shop: Path) -> None:
    today = datetime.now(UTC).date()
    features = (shop / "shop" / "features.py").read_text()
    readme = (shop / "README.md").read_text()
    # Midnight may have passed since it was written.
    days = [today - timedelta(days=late) for late in (0, 1)]
    assert any(f'("{day - timedelta(days=30)}")' in features for day in days)
    assert any(f"--to {day - timedelta(days=1)}\n" in readme for day in days)


@pytest.mark.slow
def test_its_dagster_has_the_settings_of_this_repository(shop: Path) -> None:
    ours = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    assert yaml.safe_load((shop / "dagster.yaml").read_text()) == ours
    home = shop / ".dagster_home"
    assert (home / "dagster.yaml").resolve() == (shop / "dagster.yaml").resolve()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert not instance.telemetry_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure


def test_its_code_keeps_our_own_lint_rules(shop: Path) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", str(REPOSITORY / "pyproject.toml"), "--no-cache"]
    own = "T201,INP001,D100,D103,PLR2004,S101"  # a script that prints, and tests
    checked = subprocess.run(
        [*ruff, "check", *config, "--extend-ignore", own, "."],
        cwd=shop,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    formatted = subprocess.run(
        [*ruff, "format", "--check", "--diff", *config, "."],
        cwd=shop,
        capture_output=True,
        text=True,
        check=False,
    )
    assert formatted.returncode == 0, formatted.stdout


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("my-shop", "letters, digits and '_'"),
        ("7shop", "starting with a letter"),
        ("_shop", "starting with a letter"),
        ("shop_", "letters, digits and '_'"),
        ("../shop", "letters, digits and '_'"),
        ("class", "cannot name a project"),
        ("dagster", "an installed Python module"),
        ("json", "an installed Python module"),
    ],
)
def test_names_that_python_could_not_import_are_refused(
    folder: Path, name: str, reason: str
) -> None:
    result = CliRunner().invoke(main, ["init", name], catch_exceptions=False)
    assert result.exit_code == 1
    assert reason in result.stderr
    assert list(folder.iterdir()) == []


def test_a_folder_in_use_is_left_as_it_is_but_an_empty_one_is_taken(folder: Path) -> None:
    (folder / "shop").mkdir()
    (folder / "shop" / "mine.txt").write_text("mine")
    result = CliRunner().invoke(main, ["init", "shop"], catch_exceptions=False)
    assert result.exit_code == 1
    assert result.stderr == "Error: 'shop' is there already. Take another name, or empty it.\n"
    assert [path.name for path in (folder / "shop").iterdir()] == ["mine.txt"]
    (folder / "empty").mkdir()
    assert CliRunner().invoke(main, ["init", "empty"]).exit_code == 0


@pytest.mark.slow
def test_the_new_project_applies_and_is_read(shop: Path) -> None:
    applied = shell("feature-store apply", shop)
    assert applied.returncode == 0, applied.stderr
    assert re.search(r"added +group +customer_spending", applied.stdout)
    assert (shop / "data" / "feature_store").is_dir()


@pytest.mark.slow
def test_every_command_of_its_readme_works_in_turn(shop: Path) -> None:
    lines = commands((shop / "README.md").read_text())
    assert lines.pop(0) == "pip install feature_store_assets pytest"
    assert lines.pop() == "DAGSTER_HOME=$PWD/.dagster_home dagster dev"  # the browser tests' part
    told = {}
    for line in lines:
        done = shell(line, shop)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        told[" ".join(line.split()[:2])] = done.stdout
    assert list(told) == [
        "feature-store apply",
        "feature-store materialize",
        "feature-store online",
        "feature-store read",
        "python train.py",
        "pytest",
    ]
    assert "null" not in told["feature-store online"]
    error, baseline = re.findall(r"\d+\.\d\d", told["python train.py"])[:2]
    assert float(error) < 0.8 * float(baseline)
    assert "3 passed" in told["pytest"]
    with dg.DagsterInstance.from_config(str(shop / ".dagster_home")) as instance:
        for name in ("orders", "customer_spending", "online/customer_spending"):
            key = dg.AssetKey.from_user_string(name)
            assert len(instance.get_materialized_partitions(key)) == 30


@pytest.mark.slow
def test_dagster_finds_its_definitions_and_its_types_are_sound(shop: Path) -> None:
    found = shell("DAGSTER_HOME=$PWD/.dagster_home dagster definitions validate", shop)
    assert found.returncode == 0, found.stderr
    typed = shell("mypy --strict shop tests train.py", shop)
    assert typed.returncode == 0, typed.stdout
