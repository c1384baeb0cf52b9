"""Rejected partitions: `quarantine list`, `quarantine show`, `quarantine release`."""

from importlib import import_module
from typing import Any

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import csv_text, examples, print_table, tell


@click.group(
    short_help="See and release what the quality gate kept out.",
    epilog=examples(
        "feature-store quarantine list",
        "feature-store quarantine show customer_spending 2024-01-31",
        "feature-store quarantine release customer_spending 2024-01-31",
    ),
)
def quarantine() -> None:
    """See and release partitions that the quality gate kept out.

    A partition leaves quarantine when a run brings good rows for it, or when it is released.
    """


@quarantine.command("list", epilog=examples("feature-store quarantine list customer_spending"))
@click.argument("group", required=False)
def list_(group: str | None) -> None:
    """Show what lies in quarantine, of GROUP or of all."""
    with fs.FeatureStore.from_env() as store:
        if group is not None:
            store.applied.group(group)
        entries = store.review.quarantine.entries(group)
    print_table(
        ["group", "partition", "rejected", "rows", "run", "reasons"],
        [
            [
                entry.feature_group,
                entry.partition,
                f"{entry.rejected_at:%Y-%m-%d %H:%M}",
                entry.rows,
                entry.run_id,
                "; ".join(entry.reasons),
            ]
            for entry in entries
        ],
    )


@quarantine.command(
    epilog=examples("feature-store quarantine show customer_spending 2024-01-31 > rows.csv")
)
@click.argument("group")
@click.argument("partition")
@click.option("--limit", default=20, show_default=True, help="At most so many rows at fault.")
def show(group: str, partition: str, limit: int) -> None:
    """Print the rows at fault of PARTITION, as CSV.

    They are those of what was rejected last. Personal features are masked as they are declared.
    """
    with fs.FeatureStore.from_env() as store:
        declared = store.applied.group(group)
        entry = store.review.quarantine.newest(group, partition, version=declared.version)
        rows = store.review.shown(declared, entry, limit)
    for reason in entry.reasons:
        tell(reason)
    click.echo(csv_text(rows), nl=False)


@quarantine.command(epilog=examples("feature-store quarantine release spending 2024-01-31"))
@click.argument("group")
@click.argument("partition")
def release(group: str, partition: str) -> None:
    """Store PARTITION of GROUP, if it passes now.

    It is judged again by what is expected now. For rows that were right after all: change what the
    group expects, apply that, release them. A Dagster instance is told, where DAGSTER_HOME is
    set or the folder has a .dagster_home.
    """
    releasing: Any = import_module("feature_store_assets.orchestration.releasing")
    with fs.FeatureStore.from_env() as store:
        done = releasing.release(store, group, partition)
        rows = done.judged.rows.height
        declared = store.applied.group(group)
        if declared.online:
            store.publish(declared, [partition])
    tell(f"Released {partition} of {group}: {rows} row(s) are stored, at version {done.version}.")
