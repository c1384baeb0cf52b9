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
from feature_store_assets.registry.summaries import GroupSummary

_EMPTY: tuple[Any, ...] = (None, "", (), [], {})
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
            [pin.owner, pin.feature_group, pin.group_version, pin.table_version,
             pin.created_at.isoformat()]
            for pin in store.pins()
            if pin.of_snapshot
        ]  # fmt: skip
    if kind == "training-sets":
        return ["training set", "rows", "features"], [
            [name, len(kept), len(kept.features)]
            for name in store.training_sets()
            for kept in [store.training_set(name)]
        ]
    return ["group", "version", "entity", "features", "stage", "written by", "description"], [
        [each.name, each.version, each.entity, len(each.features), each.stage, each.written_by,
         each.description]
        for each in (GroupSummary.of(group, stage) for group in store.groups())
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
        card = store.card(name).to_json()
    if as_json:
        print_json(card)
        return
    lists = {key: list(value) for key, value in card.items()
             if isinstance(value, list | tuple) and value}  # fmt: skip
    shown = [[key, _short(value)] for key, value in card.items()
             if key not in lists and value not in _EMPTY]  # fmt: skip
    print_table(["", card["name"]], shown)
    for title, entries in lists.items():
        if isinstance(entries[0], dict):
            tell(title)
            filled = {key for each in entries for key in each if each[key] not in _EMPTY}
            columns = [key for key in entries[0] if key in filled]
            print_table(columns, [[_short(each[key]) for key in columns] for each in entries])
        else:
            print_table([title], [[each] for each in entries])


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {each}" if each else key for key, each in value.items())
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
    help="Whether the group is as young as it promises.",
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
