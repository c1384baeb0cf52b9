"""Rejected partitions: `quarantine list`, `quarantine show`, `quarantine release`."""

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import (
    as_json,
    csv_text,
    examples,
    print_json,
    print_rows,
    say,
    tell,
)


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
@as_json
def list_(group: str | None, *, as_json: bool) -> None:
    """Show what lies in quarantine, of GROUP or of all."""
    with fs.FeatureStore.from_env() as store:
        if group is not None:
            store.applied.group(group)
        entries = store.quarantined(group)
    print_rows(
        ["group", "partition", "rejected", "rows", "run", "reasons"],
        [
            [
                entry.feature_group,
                entry.partition,
                f"{entry.rejected_at:%Y-%m-%d %H:%M}",
                entry.rows,
                entry.run_id,
                list(entry.reasons) if as_json else "; ".join(entry.reasons),
            ]
            for entry in entries
        ],
        as_json=as_json,
    )


@quarantine.command(
    epilog=examples("feature-store quarantine show customer_spending 2024-01-31 > rows.csv")
)
@click.argument("group")
@click.argument("partition")
@click.option("--limit", default=20, show_default=True, help="At most so many rows at fault.")
@as_json
def show(group: str, partition: str, limit: int, *, as_json: bool) -> None:
    """Print the rows at fault of PARTITION, as CSV.

    They are those of what was rejected last. Personal features are masked as they are declared.
    """
    with fs.FeatureStore.from_env() as store:
        declared = store.applied.group(group)
        entry = store.rejected(declared, partition)
        rows = store.review.shown(declared, entry, limit)
    if as_json:
        print_json({"reasons": list(entry.reasons), "rows": rows.to_dicts()})
        return
    for reason in entry.reasons:
        tell(reason)
    click.echo(csv_text(rows), nl=False)


@quarantine.command(epilog=examples("feature-store quarantine release spending 2024-01-31"))
@click.argument("group")
@click.argument("partition")
@as_json
def release(group: str, partition: str, *, as_json: bool) -> None:
    """Store PARTITION of GROUP, if it passes now.

    It is judged again by what is expected now. For rows that were right after all: change what the
    group expects, apply that, release them. A Dagster instance is told, where DAGSTER_HOME is
    set or the folder has a .dagster_home.
    """
    from feature_store_assets.orchestration import quarantine_release

    with fs.FeatureStore.from_env() as store:
        done = quarantine_release.release(store, group, partition)
        rows = done.judged.rows.height
    say(
        f"Released {partition} of {group}: {rows} row(s) are stored, at version {done.version}.",
        {"group": group, "partition": partition, "rows": rows, "table_version": done.version},
        as_json=as_json,
    )
