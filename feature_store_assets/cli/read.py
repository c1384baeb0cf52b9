"""What reads: `read` from the offline store, `online` from the online store."""

from datetime import datetime
from pathlib import Path

import click

import feature_store_assets as fs
from feature_store_assets.cli.entities import key_types, read_entity
from feature_store_assets.cli.output import (
    as_json,
    csv_text,
    examples,
    json_text,
    print_json,
    print_table,
    tell,
)

_ROWS_SHOWN = 20
_FILES = ("csv", "json", "parquet")


def instant(text: str) -> datetime:
    """Read an ISO date or time; without a zone it means local time, as in Python."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"'{text}' is no ISO date or time, such as 2024-01-31 or 2024-01-31T12:00+00:00."
        ) from None


def _name_or_instant(text: str) -> str | datetime:
    """Tell a snapshot's name, which starts with a letter, from an instant."""
    return instant(text) if text[:1].isdigit() else text


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    """Split `a,b`."""
    del ctx, param
    return None if value is None else [name.strip() for name in value.split(",") if name.strip()]


_features = click.option(
    "--features", callback=_names, metavar="A,B", help="Only these features.  [default: all]"
)


@click.command(
    epilog=examples(
        "feature-store read customer_spending --features spend_7d --partition 2024-01-31",
        "feature-store read customer_spending --start 2024-01-01 --end 2024-02-01 --out jan.csv",
        "feature-store read customer_spending --as-of churn-2024-06 --out pinned.parquet",
    ),
)
@click.argument("group")
@_features
@click.option("--start", type=instant, metavar="TIME", help="Event times from this ISO time on.")
@click.option("--end", type=instant, metavar="TIME", help="Event times before this.")
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
    type=click.Choice(["table", "csv", "json", "parquet"]),
    help="[default: by the ending of --out, else table]",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@as_json
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
    as_json: bool,
) -> None:
    """Read stored rows of a group: keys, event time, features."""
    ending = "" if out is None else out.suffix.removeprefix(".")
    form = "json" if as_json else form or (ending if ending in _FILES else "table")
    if form == "table" and out is not None:
        raise click.UsageError("A table is for the screen: with --out give --format, too.")
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
        print_table(rows.columns, rows.head(shown).rows())
        more = " There are more: see --limit." if len(rows) > shown else ""
        tell(f"{min(len(rows), shown)} row(s).{more}")
        return
    if form == "parquet" and out is not None:
        rows.write_parquet(out)
    else:
        text = csv_text(rows) if form == "csv" else json_text(rows.to_dicts())
        click.echo(text, nl=False) if out is None else out.write_text(text, "utf-8")
    if out is not None:
        tell(f"{len(rows)} row(s) in {out}")


@click.command(
    epilog=examples(
        "feature-store online customer_spending 7 8",
        "feature-store online route_delays JFK,LAX --at 2013-07-01T12:00+00:00 --status",
        "feature-store online arrival_delay origin=JFK,dest=LAX,carrier=AA,tailnum=N328AA --json",
    ),
)
@click.argument("name", metavar="GROUP_OR_VIEW")
@click.argument("entities", nargs=-1, required=True, metavar="ENTITY...")
@_features
@click.option(
    "--at", type=instant, metavar="TIME", help="Count ages from this instant instead of now."
)
@click.option("--status", is_flag=True, help="Show present, missing or expired, and event times.")
@as_json
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
        keys = key_types(store, name, features)
        asked = [read_entity(text, keys, name) for text in entities]
        found = store.get_online_features(name, asked, features, at=at, include_status=True)
    if as_json:
        answers = [{"entity": key, **row} for key, row in zip(asked, found, strict=True)]
        print_json(answers)
        return
    about = ["status", "event_timestamp"] if status else []
    print_table(
        [*keys, *found[0]["values"], *about],
        [
            [*key.values(), *row["values"].values(), *(row[each] for each in about)]
            for key, row in zip(asked, found, strict=True)
        ],
    )
