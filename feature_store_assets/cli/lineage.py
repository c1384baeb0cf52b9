"""`lineage` and `impact`: what a feature comes from, and what a change touches."""

from typing import Any

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import as_json, examples, print_json, print_table, tell

_CHANGES = ["schema_change", "rename", "type_change", "removal", "delay", "values"]
_HITS = ("features", "views", "snapshots", "training_sets", "models", "endpoints")


@click.command(
    short_help="Show what a feature comes from, and what comes from it.",
    epilog=examples(
        "feature-store lineage customer_spending.spend_7d",
        "feature-store lineage spend_7d --direction upstream --depth 2",
        "feature-store lineage spend_7d --format mermaid > lineage.mmd",
    ),
)
@click.argument("feature")
@click.option(
    "--direction",
    type=click.Choice(["upstream", "downstream", "both"]),
    default="both",
    show_default=True,
)
@click.option("--depth", type=click.IntRange(min=1), help="At most so many steps.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "mermaid", "dot"]),
    default="text",
    show_default=True,
)
@as_json
def lineage(feature: str, direction: Any, depth: int | None, form: str, *, as_json: bool) -> None:
    """Show what FEATURE, or a source column such as orders.amount, comes from and feeds.

    Read from the definitions that workspace.yaml or FEATURE_STORE_DEFINITIONS names, else from
    what is applied.
    """
    with fs.FeatureStore.from_env() as store:
        if form in {"mermaid", "dot"}:
            from feature_store_assets.lineage import exports

            write = exports.mermaid if form == "mermaid" else exports.dot
            click.echo(write(store.lineage.part(feature, direction, depth)))
            return
        found = store.get_feature_lineage(feature, direction, depth)
    if as_json:
        print_json(found)
        return
    rows = [
        [-each["depth"] if side == "upstream" else each["depth"], each["kind"], each["id"],
         ", ".join(each["owners"])]
        for side in ("upstream", "downstream")
        for each in found[side]
    ]  # fmt: skip
    own = [0, found["kind"], found["feature_id"], ", ".join(found["owners"])]
    print_table(["step", "kind", "name", "owners"], sorted([*rows, own]))
    _tell_source(found["source"])


@click.command(
    short_help="Show what a change would touch.",
    epilog=examples(
        "feature-store impact orders.amount --change rename",
        "feature-store impact customer_spending.spend_7d --json",
    ),
)
@click.argument("subject", metavar="FEATURE_OR_SOURCE_COLUMN")
@click.option("--change", type=click.Choice(_CHANGES), default="schema_change", show_default=True)
@as_json
def impact(subject: str, change: Any, *, as_json: bool) -> None:
    """Show which features, views, snapshots, training sets, models and endpoints depend on it."""
    with fs.FeatureStore.from_env() as store:
        found = store.analyze_impact(subject, change)
    if as_json:
        print_json(found)
        return
    rows = [
        [plural.removesuffix("s").replace("_", " "), hit["id"], hit["effect"],
         ", ".join(hit["owners"])]
        for plural in _HITS
        for hit in found[plural]
    ]  # fmt: skip
    if rows:
        print_table(["kind", "name", "effect", "owners"], rows)
    tell(f"{len(rows)} thing(s) depend on {found['feature_id']}.")
    if found["undeclared"]:
        listed = ", ".join(found["undeclared"])
        tell(f"These read it without saying which columns (derived_from): {listed}.")
    _tell_source(found["source"])


def _tell_source(source: str) -> None:
    if source == "applied":
        tell("No definitions are at hand: this is what is applied.")
