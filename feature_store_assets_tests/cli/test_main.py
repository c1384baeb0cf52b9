"""The group of commands: its help, its script, its errors."""

import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from feature_store_assets.cli import main
from feature_store_assets_tests.cli.commands import SCRIPT, run


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


@pytest.mark.parametrize(
    "command",
    [
        *main.commands,
        *("audit checkpoint", "audit list", "audit verify"),
        *("quarantine list", "quarantine release", "quarantine show"),
        *("token create", "token list", "token revoke"),
    ],
)
def test_each_command_explains_itself_with_examples(command: str) -> None:
    text = run(*command.split(), "--help").stdout
    assert re.search(rf"^  Examples:\n    feature-store {command}\b", text, re.MULTILINE)


@pytest.mark.parametrize("group", [(), ("audit",), ("quarantine",), ("token",)])
def test_a_group_tells_what_each_of_its_commands_does_in_a_line(group: tuple[str, ...]) -> None:
    assert "..." not in run(*group, "--help").stdout.partition("Commands:")[2]


def test_the_script_of_the_wheel_is_this_group() -> None:
    child = subprocess.run([SCRIPT, "--version"], capture_output=True, text=True, check=True)
    assert child.stdout == f"feature-store, version {version('feature_store_assets')}\n"
