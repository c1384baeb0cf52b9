"""The group of commands: its help, its script, its errors."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

import click
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


@pytest.mark.parametrize(
    "group",
    [
        (),
        ("audit",),
        ("backup",),
        ("hold",),
        ("quarantine",),
        ("registry",),
        ("snapshot",),
        ("token",),
    ],
)
def test_a_group_tells_what_each_of_its_commands_does_in_a_line(group: tuple[str, ...]) -> None:
    assert "..." not in run(*group, "--help").stdout.partition("Commands:")[2]


def test_the_script_of_the_wheel_is_this_group() -> None:
    child = subprocess.run([SCRIPT, "--version"], capture_output=True, text=True, check=True)
    assert child.stdout == f"feature-store, version {version('feature_store_assets')}\n"


# They talk, or their answer is JSON already.
ALWAYS_TEXT = {"init", "serve", "snapshot show"}


def leaves(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        whole = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            yield from leaves(command, whole)
        else:
            yield whole, command


def test_every_command_answers_machines() -> None:
    without = {
        path
        for path, command in leaves(main)
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without == ALWAYS_TEXT


def test_the_shell_completes_commands_and_options() -> None:
    asked = {**os.environ, "_FEATURE_STORE_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
    done = subprocess.run(
        [SCRIPT],
        env={**asked, "COMP_WORDS": "feature-store mat"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "plain,materialize\n"
