"""What there is: `list`, `show`, `search`."""

from typing import Any

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import (
    as_json,
    examples,
    print_json,
    print_rows,
    print_table,
    tell,
)

_KINDS = ("groups", "views", "features", "snapshots", "training-sets")


@click.command("list", epilog=examples("feature-store list", "feature-store list features --json"))
@click.argument("kind", type=click.Choice(_KINDS), default="groups")
@as_json
def list_(kind: str, *, as_json: bool) -> None:
    """Show the groups, or everything of another KIND."""
    with fs.FeatureStore.from_env() as store:
        columns, rows = _listed(store, kind)
    print_rows(columns, rows, as_json=as_json)


def _listed(store: "fs.FeatureStore", kind: str) -> tuple[list[str], list[list[Any]]]:
    stage = store.stages.reader()
    if kind == "views":
        return ["view", "features", "stage", "description"], [
            [view.name, len(view.feature_names), stage.view(view), view.description]
            for view in store.applied.views()
        ]
    if kind == "features":
        return ["feature", "type", "stage", "description"], [
            [f"{group.name}.{each.name}", each.dtype, stage.feature(group, each.name),
             each.description]
            for group in store.groups()
            for each in group.features
        ]  # fmt: skip
    if kind == "snapshots":
        return ["snapshot", "group", "version", "table_version", "created"], [
            [pin.snapshot, pin.feature_group, pin.group_version, pin.table_version,
             pin.created_at.isoformat()]
            for pin in store.pins()
            if pin.of_snapshot  # those of training sets
        ]  # fmt: skip
    if kind == "training-sets":
        return ["training set", "rows", "features"], [
            [name, len(kept), len(kept.features)]
            for name in store.training_sets()
            for kept in [store.training_set(name)]
        ]
    return ["group", "version", "entity", "features", "stage", "written by", "description"], [
        [group.name, group.version, group.entity.name, len(group.features), stage.group(group),
         "Dagster" if group.materialized else "pushes", group.description]
        for group in store.groups()
    ]  # fmt: skip


@click.command(
    epilog=examples(
        "feature-store show customer_spending",
        "feature-store show customer_spending.spend_7d --json",
    )
)
@click.argument("name")
@as_json
def show(name: str, *, as_json: bool) -> None:
    """Show what there is to know of NAME.

    That is a group, a feature (GROUP.FEATURE) or a view.
    """
    with fs.FeatureStore.from_env() as store:
        card = store.card(name)
    if as_json:
        print_json(card)
        return
    lists = {key: value for key, value in card.items() if isinstance(value, list) and value}
    shown = [[key, _short(value)] for key, value in card.items()
             if key not in lists and value not in (None, "", [], {})]  # fmt: skip
    print_table(["", card["name"]], shown)
    for title, entries in lists.items():
        if isinstance(entries[0], dict):
            tell(title)
            print_table(list(entries[0]), [list(map(_short, each.values())) for each in entries])
        else:
            print_table([title], [[each] for each in entries])


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {each}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


@click.command(
    epilog=examples(
        "feature-store search delay",
        "feature-store search --owner team:growth --type float64",
        "feature-store search spend --stage active --tag domain:sales --json",
    )
)
@click.argument("words", nargs=-1)
@click.option("--kind", type=click.Choice(["group", "feature", "view"]))
@click.option("--tag", metavar="KEY[:VALUE]", help="Tagged so.")
@click.option("--owner", help="Owned by.")
@click.option("--type", "dtype", help="Features of this type.")
@click.option("--entity", help="About this entity.")
@click.option("--stage", type=click.Choice(["draft", "active", "deprecated", "retired"]))
@click.option(
    "--freshness",
    type=click.Choice(["fresh", "stale", "unknown"]),
    help="Whether the group's newest event is as young as it promises.",
)
@click.option("--limit", default=20, show_default=True)
@as_json
def search(words: tuple[str, ...], *, limit: int, as_json: bool, **filters: Any) -> None:
    """Find groups, features and views.

    All WORDS must fit; the best hits come first.
    """
    if not words and not any(filters.values()):
        raise click.UsageError("Give words to search for, or a filter: see --help.")
    with fs.FeatureStore.from_env() as store:
        hits = store.search(" ".join(words), fs.Filters(**filters), limit=limit)
    print_rows(
        ["kind", "name", "stage", "freshness", "description"],
        [[hit.kind, hit.name, hit.stage, hit.freshness, hit.description] for hit in hits],
        as_json=as_json,
    )
