"""A project of one's own: `init`."""

import keyword
import re
import shutil
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from string import Template

import click

from feature_store_assets.cli.output import examples
from feature_store_assets.errors import DeclarationError, FeatureStoreError

_TEMPLATE = Path(__file__).parents[1] / "templates" / "project"
_SUFFIX = ".template"
_DAYS_OF_ORDERS = 30


@click.command(
    short_help="Make a small project of your own.", epilog=examples("feature-store init shop")
)
@click.argument("name")
def init(name: str) -> None:
    """Make a small project of your own in the folder NAME.

    It holds a source asset, a feature group, a view, a training script and tests, and runs as it
    is; its README says how.
    """
    folder = Path(name)
    _check_project(name, folder)
    today = datetime.now(UTC).date()
    values = {
        "name": name,
        "first_day": str(today - timedelta(days=_DAYS_OF_ORDERS)),
        "last_day": str(today - timedelta(days=1)),
        "end_day": str(today),
    }
    for source in sorted(_TEMPLATE.rglob(f"*{_SUFFIX}")):
        inside = source.relative_to(_TEMPLATE)
        parts = [name if part == "package" else part for part in inside.parent.parts]
        target = folder.joinpath(*parts, inside.name.removesuffix(_SUFFIX))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(source.read_text("utf-8")).substitute(values), "utf-8")
    home = folder / ".dagster_home"
    home.mkdir()
    try:
        (home / "dagster.yaml").symlink_to(Path("..", "dagster.yaml"))
    except OSError:  # file systems without links
        shutil.copyfile(folder / "dagster.yaml", home / "dagster.yaml")
    click.echo(
        f"Made {folder}. Next:\n"
        f"  cd {folder}\n"
        f"  feature-store apply\n"
        f"  feature-store materialize orders customer_spending --all\n"
        f"  feature-store online customer_spending 7\n"
        f"README.md goes on from there."
    )


def _check_project(name: str, folder: Path) -> None:
    """Refuse names that pip or Python could not take, and folders in use."""
    if not re.fullmatch(r"[A-Za-z](\w*[A-Za-z0-9])?", name, re.ASCII) or keyword.iskeyword(name):
        raise DeclarationError(
            f"'{name}' cannot name a project: use letters, digits and '_', starting with a letter."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FeatureStoreError(f"'{folder}' is there already. Take another name, or empty it.")
    spec = find_spec(name)
    if spec is not None and spec.origin is not None:
        raise DeclarationError(
            f"'{name}' is an installed Python module, which the project would hide. Take another "
            f"name."
        )
