"""What runs the project's definitions: `apply` and `materialize`."""

import sys
from pathlib import Path

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import as_json, examples, print_json, print_rows, tell

_module = click.option("-m", "--module", help="Module that holds the Dagster definitions.")
_file = click.option(
    "-f",
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Python file that holds them.  [default: what workspace.yaml names]",
)


@click.command(
    epilog=examples("feature-store apply", "feature-store apply --module shop.definitions")
)
@_module
@_file
@as_json
def apply(module: str | None, file: Path | None, *, as_json: bool) -> None:
    """Make the declared groups and views known to the store.

    Tables are created, or extended by added features. A change that stored rows cannot follow is
    refused, and then nothing is applied.
    """
    from feature_store_assets.orchestration.launch import declared as read_declared

    declared = read_declared(module, file)
    with fs.FeatureStore.from_env() as store:
        changes = store.apply(*declared)
        where = store.config.root
    print_rows(
        ["change", "kind", "name", "version"],
        [[change.action, change.kind, change.name, change.version] for change in changes],
        as_json=as_json,
    )
    counts = [
        f"{number} {action}"
        for action in ("added", "changed", "unchanged")
        if (number := sum(change.action == action for change in changes))
    ]
    tell(f"{', '.join(counts)} in {where}")


@click.command(
    short_help="Compute groups in a Dagster run.",
    epilog=examples(
        "feature-store materialize customer_spending --partition 2024-01-31",
        "feature-store materialize orders customer_spending --from 2024-01-01 --to 2024-01-31",
        "feature-store materialize carrier_delays --all --no-online",
    ),
)
@click.argument("groups", nargs=-1, required=True, metavar="GROUP...")
@click.option("--partition", metavar="KEY", help="One partition.")
@click.option("--from", "first", metavar="KEY", help="First partition of a range.")
@click.option("--to", "last", metavar="KEY", help="Last partition of a range, itself included.")
@click.option("--all", "every", is_flag=True, help="All partitions up to now.")
@click.option(
    "--with-online/--no-online",
    default=True,
    help="Publish what was committed to the online store, too.  [default: with]",
)
@_module
@_file
@as_json
def materialize(
    groups: tuple[str, ...],
    *,
    partition: str | None,
    first: str | None,
    last: str | None,
    every: bool,
    with_online: bool,
    module: str | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Compute groups, or the source assets that they read, in a Dagster run.

    A range is one run, or one after the other where assets need that. Groups without partitions
    take no partition options. The Dagster UI shows the run where DAGSTER_HOME is set, or the
    folder has a .dagster_home. What the runs themselves print goes to standard error with --json.
    """
    if sum((partition is not None, first is not None or last is not None, every)) > 1:
        raise click.UsageError("Give --partition, or --from and --to, or --all.")
    from feature_store_assets.orchestration import launch

    asked = launch.Asked(partition or first, partition or last, every)
    runs = launch.plan(groups, asked, with_online=with_online, module=module, file=file)
    code = launch.execute(runs, tell, module, file, apart=as_json)
    done = {"runs": [str(run) for run in runs], "succeeded": code == 0}
    if as_json:
        print_json(done)
    sys.exit(code)
