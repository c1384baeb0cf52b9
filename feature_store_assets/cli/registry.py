"""What the registry knows beside declarations: `usage`, and its whole state as a file."""

from pathlib import Path
from typing import Literal

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import (
    as_json,
    asking,
    examples,
    json_text,
    print_rows,
    say,
    trust_code,
)
from feature_store_assets.errors import DataError
from feature_store_assets.storage.untrusted import read_file


@click.command(
    epilog=examples("feature-store usage", "feature-store usage customer_spending --json")
)
@click.argument("group", required=False)
@click.option("--days", type=click.IntRange(min=1), default=30, show_default=True)
@as_json
def usage(group: str | None, days: int, *, as_json: bool) -> None:
    """Show who reads which features, how often."""
    with fs.FeatureStore.from_env() as store:
        if group is not None:
            store.applied.group(group)
        found = store.usage_statistics(group, days=days)
    columns = ["feature", "consumer", "path", "reads", "rows", "last_day"]
    print_rows(columns, [[each[name] for name in columns] for each in found], as_json=as_json)


@click.group(
    short_help="Take the registry's state out, or bring one in.",
    epilog=examples(
        "feature-store registry export registry.json",
        "feature-store registry import registry.json --on-conflict keep",
    ),
)
def registry() -> None:
    """Take the registry's state out as a file, or bring one in.

    Declarations with their history, stages, snapshots, training sets, models, statistics and
    usage; no tokens, and no rows: see `export` for these.
    """


@registry.command("export", epilog=examples("feature-store registry export registry.json"))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@as_json
def export(target: Path, *, as_json: bool) -> None:
    """Write the registry's state to a file."""
    with fs.FeatureStore.from_env() as store:
        state = store.export_registry()
    target.write_text(json_text(state), "utf-8")
    counts = {name: len(rows) for name, rows in state["parts"].items()}
    say(f"The registry's state is in {target}.", {"path": str(target), **counts}, as_json=as_json)


@registry.command("import", epilog=examples("feature-store registry import registry.json"))
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--on-conflict",
    type=click.Choice(["refuse", "keep", "replace"]),
    default="refuse",
    show_default=True,
    help="Whether what is here already stays.",
)
@trust_code
@as_json
def import_(
    source: Path,
    on_conflict: Literal["refuse", "keep", "replace"],
    *,
    trust_code: bool,
    as_json: bool,
) -> None:
    """Bring an exported state in, all of it or nothing."""
    try:
        state = read_file(source)
    except ValueError as error:
        raise DataError(
            f"{source} is no JSON that `registry export` wrote: {error}. Give one that it wrote."
        ) from None
    with fs.FeatureStore.from_env() as store:
        done = asking(
            lambda trusted: store.import_registry(
                state, on_conflict=on_conflict, trust_code=trusted
            ),
            trust_code=trust_code,
        )
    say(f"{source} is imported.", vars(done), as_json=as_json)
