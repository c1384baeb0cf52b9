"""The command line, `feature-store`: one command per verb of the store, in the store's words.

What is heavy loads inside the commands, so `--help` answers at once: the store by the package's
own lazy names, the Dagster side by `_launch`.
"""

import csv
import json
import keyword
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from operator import methodcaller
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import click

import feature_store_assets as fs
from feature_store_assets.errors import (
    DataError,
    DeclarationError,
    FeatureStoreError,
    suggestion,
)

if TYPE_CHECKING:
    import polars as pl

_TEMPLATE = Path(__file__).parent / "templates" / "project"
_SUFFIX = ".template"
_ROWS_SHOWN = 20
_DAYS_OF_ORDERS = 30


class _Commands(click.Group):
    """The one place where an error of ours becomes a line for people."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FeatureStoreError as error:
            raise click.ClickException(str(error)) from error


def _instant(text: str) -> datetime:
    """Read an ISO date or time; without a zone it means local time, as in Python."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise click.BadParameter(
            f"'{text}' is no ISO date or time, such as 2024-01-31 or 2024-01-31T12:00+00:00."
        ) from None


def _name_or_instant(text: str) -> str | datetime:
    """Tell a snapshot's name, which starts with a letter, from an instant."""
    return _instant(text) if text[:1].isdigit() else text


def _examples(*lines: str) -> str:
    """The end of a help page; the mark keeps click from filling the lines up."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    """Split `a,b`."""
    del ctx, param
    return None if value is None else [name.strip() for name in value.split(",") if name.strip()]


_features = click.option(
    "--features", callback=_names, metavar="A,B", help="Only these features.  [default: all]"
)
_module = click.option("-m", "--module", help="Module that holds the Dagster definitions.")
_file = click.option(
    "-f",
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Python file that holds them.  [default: what workspace.yaml names]",
)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_examples(
        "feature-store init shop",
        "cd shop",
        "feature-store apply",
        "feature-store materialize orders customer_spending --all",
        "feature-store online customer_spending 7",
    ),
)
@click.version_option(package_name="feature_store_assets")
def main() -> None:
    """Declare features, compute them with Dagster, read them anywhere.

    Run it in a project's folder: the one with workspace.yaml. Settings are FEATURE_STORE_*
    variables, such as FEATURE_STORE_STORAGE_PATH.
    """


@main.command(
    epilog=_examples("feature-store apply", "feature-store apply --module shop.definitions")
)
@_module
@_file
def apply(module: str | None, file: Path | None) -> None:
    """Make the declared groups and views known to the store.

    Tables are created, or extended by added features. A change that stored rows cannot follow is
    refused, and then nothing is applied.
    """
    declared = _launch().declared(module, file)
    with fs.FeatureStore.from_env() as store:
        changes = store.apply(*declared)
        where = store.config.root
    _print_table(
        ["change", "kind", "name", "version"],
        [[change.action, change.kind, change.name, change.version] for change in changes],
    )
    counts = [
        f"{number} {action}"
        for action in ("added", "changed", "unchanged")
        if (number := sum(change.action == action for change in changes))
    ]
    click.echo(f"{', '.join(counts)} in {where}", err=True)


@main.command(
    short_help="Compute groups in a Dagster run.",
    epilog=_examples(
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
) -> None:
    """Compute groups, or the source assets that they read, in a Dagster run.

    A range is one run, or one after the other where assets need that. Groups without partitions
    take no partition options. The Dagster UI shows the run where DAGSTER_HOME is set, or the
    folder has a .dagster_home.
    """
    if sum((partition is not None, first is not None or last is not None, every)) > 1:
        raise click.UsageError("Give --partition, or --from and --to, or --all.")
    launch = _launch()
    asked = launch.Asked(partition or first, partition or last, every)
    runs = launch.plan(groups, asked, with_online=with_online, module=module, file=file)
    sys.exit(launch.execute(runs, _tell, module, file))


@main.command(
    epilog=_examples(
        "feature-store read customer_spending --features spend_7d --partition 2024-01-31",
        "feature-store read customer_spending --start 2024-01-01 --end 2024-02-01 --out jan.csv",
        "feature-store read customer_spending --as-of churn-2024-06 --out pinned.parquet",
    ),
)
@click.argument("group")
@_features
@click.option("--start", type=_instant, metavar="TIME", help="Event times from this ISO time on.")
@click.option("--end", type=_instant, metavar="TIME", help="Event times before this.")
@click.option("--partition", "partitions", multiple=True, metavar="KEY", help="May be repeated.")
@click.option(
    "--as-of",
    type=_name_or_instant,
    metavar="NAME|TIME",
    help="The table as a snapshot pinned it, or as it was then.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"At most so many rows.  [default: {_ROWS_SHOWN} on the screen, all in a file]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "parquet"]),
    help="[default: by the ending of --out, else table]",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
def read(
    group: str,
    *,
    features: list[str] | None,
    start: datetime | None,
    end: datetime | None,
    partitions: tuple[str, ...],
    as_of: str | datetime | None,
    limit: int | None,
    form: str | None,
    out: Path | None,
) -> None:
    """Read stored rows of a group: keys, event time, features."""
    ending = "" if out is None else out.suffix.removeprefix(".")
    form = form or (ending if ending in ("csv", "parquet") else "table")
    if form == "table" and out is not None:
        raise click.UsageError("A table is for the screen: with --out give --format csv|parquet.")
    if form == "parquet" and out is None:
        raise click.UsageError("Parquet is not for the screen: give --out PATH.")
    shown = limit or _ROWS_SHOWN
    with fs.FeatureStore.from_env() as store:
        rows = store.read_features(
            group,
            features,
            start_time=start,
            end_time=end,
            partitions=partitions or None,
            as_of=as_of,
            limit=shown + 1 if form == "table" else limit,
        ).to_polars()
    if form == "table":
        _print_table(rows.columns, rows.head(shown).rows())
        more = " There are more: see --limit." if len(rows) > shown else ""
        _tell(f"{min(len(rows), shown)} row(s).{more}")
    elif out is None:
        click.echo(_csv(rows), nl=False)
    else:
        if form == "csv":
            out.write_text(_csv(rows), "utf-8")
        else:
            rows.write_parquet(out)
        _tell(f"{len(rows)} row(s) in {out}")


@main.command(
    epilog=_examples(
        "feature-store online customer_spending 7 8",
        "feature-store online route_delays JFK,LAX --at 2013-07-01T12:00+00:00 --status",
        "feature-store online arrival_delay origin=JFK,dest=LAX,carrier=AA,tailnum=N328AA --json",
    ),
)
@click.argument("name", metavar="GROUP_OR_VIEW")
@click.argument("entities", nargs=-1, required=True, metavar="ENTITY...")
@_features
@click.option(
    "--at", type=_instant, metavar="TIME", help="Count ages from this instant instead of now."
)
@click.option("--status", is_flag=True, help="Show present, missing or expired, and event times.")
@click.option("--json", "as_json", is_flag=True, help="For machines: a list, in the order asked.")
def online(
    name: str,
    entities: tuple[str, ...],
    *,
    features: list[str] | None,
    at: datetime | None,
    status: bool,
    as_json: bool,
) -> None:
    """Read the newest features of entities, as a service does.

    An entity is the value of its join key; several keys are written JFK,LAX or
    origin=JFK,dest=LAX.
    """
    with fs.FeatureStore.from_env() as store:
        keys = _key_types(store, name, features)
        asked = [_entity(text, keys, name) for text in entities]
        found = store.get_online_features(name, asked, features, at=at, include_status=True)
    if as_json:
        answers = [{"entity": key, **row} for key, row in zip(asked, found, strict=True)]
        click.echo(json.dumps(answers, default=_iso, indent=2))
        return
    about = ["status", "event_timestamp"] if status else []
    _print_table(
        [*keys, *found[0]["values"], *about],
        [
            [*key.values(), *row["values"].values(), *(row[each] for each in about)]
            for key, row in zip(asked, found, strict=True)
        ],
    )


@main.command(
    short_help="Make a small project of your own.", epilog=_examples("feature-store init shop")
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


def _launch() -> Any:
    """Load what needs Dagster: it takes two seconds, which `--help` and reads do not spend."""
    return import_module("feature_store_assets.orchestration.launch")


# Entities


def _key_types(
    store: "fs.FeatureStore", name: str, features: Sequence[str] | None
) -> dict[str, str]:
    """Return the join keys of a group or view, with their types."""
    types: dict[str, str] = {}
    for chosen in store.applied.resolve(name, features).parts:
        table, entity = store.table(chosen.group), chosen.group.entity
        stored = dict(table.schema.keys) if table.exists else {}
        for key, kind in zip(entity.join_keys, entity.key_types, strict=True):
            types[key] = kind or stored.get(key) or "string"
    return types


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


_VALUES: dict[str, tuple[Callable[[str], Any], str]] = {
    "int64": (int, "a whole number"),
    "bool": (_truth, "true or false"),
    "date32": (date.fromisoformat, "a date such as 2024-01-31"),
    "timestamp[us, UTC]": (_utc, "a time such as 2024-01-31T12:00+00:00"),
    "string": (str, "text"),
}


def _entity(text: str, keys: Mapping[str, str], owner: str) -> dict[str, Any]:
    """Read one entity, `7`, `JFK,LAX` or `origin=JFK,dest=LAX`; quotes keep a comma.

    Values are not repeated in errors: they may be personal.
    """
    parts = next(csv.reader([text]), [""]) if len(keys) > 1 else [text]
    pairs = [part.partition("=") for part in parts]
    named = {key.strip(): value for key, equals, value in pairs if equals}
    if len(named) < len(parts) or (len(keys) == 1 and not named.keys() & keys.keys()):
        if len(parts) != len(keys):
            raise DataError(
                f"An entity of '{owner}' has the join keys {', '.join(keys)}: write "
                f"{','.join(f'{key}=...' for key in keys)}, or the values alone in this order."
            )
        named = dict(zip(keys, parts, strict=True))
    for key in named:
        if key not in keys:
            raise DataError(f"'{owner}' has no join key '{key}'." + suggestion(key, keys))
    for key in keys:
        if key not in named:
            raise DataError(f"An entity of '{owner}' lacks its join key '{key}'.")
    return {key: _value(key, named[key], kind) for key, kind in keys.items()}


def _value(key: str, text: str, kind: str) -> Any:
    reader, wanted = _VALUES[kind]
    try:
        return reader(text)
    except (ValueError, KeyError):
        raise DataError(f"Join key '{key}' is {kind}: write {wanted}.") from None


# Output


def _tell(text: str) -> None:
    """Say how it goes; only answers go to standard output."""
    click.echo(text, err=True)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        numeric = any(type(row[number]) in (int, float) for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(value), "dim" if value is None else "") for value in row))
    # As wide as the screen, and as it needs in a file or a pipe.
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


# Dates and times in JSON.
_iso = methodcaller("isoformat")


def _csv(rows: "pl.DataFrame") -> str:
    """Return CSV, times in ISO form; a list is written as JSON, for which CSV has no form."""
    import polars as pl

    lists = [
        pl.Series(
            column.name,
            [None if each is None else json.dumps(list(each), default=_iso) for each in column],
            pl.String,
        )
        for column in rows
        if isinstance(column.dtype, pl.List)
    ]
    return rows.with_columns(lists).write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.6f%:z")
