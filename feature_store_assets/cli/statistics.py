"""What stored partitions hold: `stats`, a table, and `report`, a page about their quality."""

from datetime import UTC, datetime
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import as_json, examples, print_rows, say
from feature_store_assets.errors import DataError

_first = click.option("--from", "first", metavar="KEY", help="First partition.")
_last = click.option("--to", "last", metavar="KEY", help="Last partition, itself included.")
_COLUMNS = (
    "partition",
    "feature",
    "rows",
    "missing %",
    "distinct",
    "mean",
    "stddev",
    "min",
    "median",
    "max",
)


@click.command(
    short_help="Show what the features of stored partitions look like.",
    epilog=examples(
        "feature-store stats customer_spending",
        "feature-store stats customer_spending --feature spend_7d --from 2024-01-01",
    ),
)
@click.argument("group")
@click.option("--feature", "features", multiple=True, metavar="F", help="May be repeated.")
@_first
@_last
@as_json
def stats(
    group: str, features: tuple[str, ...], first: str | None, last: str | None, *, as_json: bool
) -> None:
    """Show the statistics of GROUP by partition and feature, as they were committed.

    Of personal features values are only counted.
    """
    with fs.FeatureStore.from_env() as store:
        declared = store.applied.group(group)
        names = [declared.feature(name).name for name in features] or declared.feature_names
        found = store.profiles(declared, names, first=first, last=last)
    if not found:
        raise DataError(
            f"There are no statistics of '{group}' here. They are kept as partitions are "
            f"materialized; `feature-store report {group}` makes those of stored ones."
        )
    print_rows(
        _COLUMNS,
        [
            [key, name, *_numbers(profiles[name])]
            for key, profiles in found.items()
            for name in names
            if name in profiles
        ],
        as_json=as_json,
    )


def _numbers(profile: Any) -> list[Any]:
    return [
        profile.count,
        round(profile.missing_share * 100, 2),
        profile.distinct,
        profile.mean,
        profile.stddev,
        profile.minimum,
        profile.quantiles[50] if profile.quantiles else None,
        profile.maximum,
    ]


@click.command(
    short_help="Judge stored partitions and write a page about them.",
    epilog=examples(
        "feature-store report customer_spending",
        "feature-store report customer_spending --from 2024-01-01 --out january.html",
    ),
)
@click.argument("group")
@_first
@_last
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file.  [default: GROUP.html]",
)
@as_json
def report(
    group: str, first: str | None, last: str | None, out: Path | None, *, as_json: bool
) -> None:
    """Judge the stored partitions of GROUP by what it expects now, as one page of HTML.

    Nothing is rewritten; their statistics are brought up to date.
    """
    with fs.FeatureStore.from_env() as store:
        declared = store.applied.group(group)
        keys = [
            key
            for key in store.table(declared).partitions()
            if (first or key) <= key <= (last or key)
        ]
        found = [judged.without_rows() for judged in store.validate(declared, keys)]
    if not found:
        where = " in that range" if first or last else ""
        raise DataError(f"'{group}' stores no partition{where}.")
    judged = reduce(add, found)
    from feature_store_assets.quality.report import html_report

    page = html_report(
        declared, judged.verdicts, judged.profiles, judged.shifts, made_at=datetime.now(UTC)
    )
    out = out or Path(f"{group}.html")
    out.write_text(page, "utf-8")
    say(
        f"{len(judged.keys)} partition(s), {len(judged.rejected)} at fault: see {out}.",
        {"partitions": list(judged.keys), "at_fault": list(judged.rejected), "page": str(out)},
        as_json=as_json,
    )
