"""Archives: `export` rows into a folder that any tool reads, `import` them into a store."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import (
    as_json,
    asking,
    examples,
    print_json,
    print_rows,
    tell,
    trust_code,
)
from feature_store_assets.cli.read import instant


@click.command(
    short_help="Write groups into a folder that any tool reads.",
    epilog=examples(
        "feature-store export backup/2024-06-30",
        "feature-store export spending --group customer_spending --start 2024-01-01",
        "feature-store export june --snapshot churn-2024-06",
    ),
)
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@click.option("--group", "groups", multiple=True, help="May be repeated.  [default: all there is]")
@click.option("--view", "views", multiple=True, help="Its groups and itself; may be repeated.")
@click.option("--snapshot", help="Groups as a snapshot holds them.")
@click.option("--start", type=instant, metavar="TIME", help="Event times from this ISO time on.")
@click.option("--end", type=instant, metavar="TIME", help="Event times before this.")
@as_json
def export(
    target: Path,
    *,
    groups: tuple[str, ...],
    views: tuple[str, ...],
    snapshot: str | None,
    start: datetime | None,
    end: datetime | None,
    as_json: bool,
) -> None:
    """Write groups into the new folder TARGET: Parquet files, and JSON that says what they are.

    If it is killed, the same command goes on where it was.
    """
    with fs.FeatureStore.from_env() as store:
        named = [store.applied.group(name).name for name in groups]
        done = store.export_archive(
            target,
            [*named, *views] or None,
            snapshot=snapshot,
            start_time=start,
            end_time=end,
            told=tell,
        )
    if as_json:
        print_json({"digest": done.digest, "groups": [vars(each) for each in done.groups]})
    else:
        print_rows(
            ["group", "version", "partitions", "rows", "bytes"],
            [list(vars(each).values()) for each in done.groups],
        )
    tell(f"{target} is archive {done.digest}.")


@click.command(
    "import",
    short_help="Bring an archive into the store.",
    epilog=examples(
        "feature-store import backup/2024-06-30",
        "feature-store import june --on-conflict keep",
    ),
)
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--on-conflict",
    type=click.Choice(["refuse", "keep", "replace"]),
    default="refuse",
    show_default=True,
    help="What happens where partitions hold rows already.",
)
@trust_code
@as_json
def import_(source: Path, *, on_conflict: Any, trust_code: bool, as_json: bool) -> None:
    """Bring the archive in the folder SOURCE into the store.

    All of it is verified before anything is written. If it is killed, the same command goes on
    where it was.
    """
    with fs.FeatureStore.from_env() as store:
        done = asking(
            lambda trusted: store.import_archive(
                source, on_conflict=on_conflict, trust_code=trusted, told=tell
            ),
            trust_code=trust_code,
        )
    if as_json:
        print_json({**vars(done), "groups": [vars(each) for each in done.groups]})
    else:
        print_rows(
            ["group", "version", "partitions", "rows", "kept"],
            [
                [each.feature_group, each.version, len(each.rows), sum(each.rows.values()),
                 ", ".join(each.kept)]
                for each in done.groups
            ],
        )  # fmt: skip
    for note in done.notes:
        tell(note)
    if done.snapshot:
        tell(f"Snapshot '{done.snapshot}' holds what it held.")
