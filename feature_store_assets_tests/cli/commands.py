"""Commands as a person types them, and what is seen of their answers."""

import re
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from feature_store_assets.cli import main
from feature_store_assets_tests import bakery

BAKERY = Path(bakery.__file__)
SCRIPT = Path(sys.executable).with_name("feature-store")


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
