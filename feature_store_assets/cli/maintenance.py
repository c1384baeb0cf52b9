"""What is kept and what goes: `snapshot`, `hold`, `retain`, `compact`."""

from dataclasses import asdict
from typing import Any, Literal

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import as_json, examples, print_json, print_rows, say, tell

_KIND = click.argument("kind", type=click.Choice(["group", "snapshot"]))


@click.group(
    short_help="Pin tables under a name, for ever.",
    epilog=examples(
        "feature-store snapshot create churn-2024-06 churn --description 'The June model'",
        "feature-store snapshot list",
        "feature-store snapshot diff churn-2024-05 churn-2024-06",
    ),
)
def snapshot() -> None:
    """Pin tables under a name, readable for ever with --as-of NAME."""


def _tags(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    del ctx, param
    return {name: text for name, _, text in (each.partition("=") for each in value)}


@snapshot.command(epilog=examples("feature-store snapshot create june customer_spending orders"))
@click.argument("name")
@click.argument("features", nargs=-1, required=True, metavar="GROUP_OR_VIEW...")
@click.option("--description", default="")
@click.option(
    "--tag",
    "tags",
    multiple=True,
    callback=_tags,
    metavar="KEY=VALUE",
    help="May be repeated. One named `keep` keeps it from retention.",
)
@as_json
def create(
    name: str,
    features: tuple[str, ...],
    *,
    description: str,
    tags: dict[str, str],
    as_json: bool,
) -> None:
    """Pin groups at their newest versions; nothing is copied."""
    with fs.FeatureStore.from_env() as store:
        store.create_snapshot(list(features), name, description=description, tags=tags)
        held = store.snapshot_manifest(name)["groups"]
    rows = sum(each["rows"] for each in held)
    groups = [each["group"] for each in held]
    answer = {"name": name, "groups": groups, "rows": rows}
    say(f"'{name}' pins {rows} rows of {', '.join(groups)}.", answer, as_json=as_json)


@snapshot.command("list", epilog=examples("feature-store snapshot list --json"))
@as_json
def list_(*, as_json: bool) -> None:
    """Show the snapshots, the oldest first."""
    with fs.FeatureStore.from_env() as store:
        pins = store.pins()
        rows = [
            [
                each.name,
                each.created_at.isoformat(timespec="seconds"),
                each.created_by,
                [pin.feature_group for pin in pins if pin.of_snapshot and pin.owner == each.name],
                each.tags,
                each.description,
            ]
            for each in store.list_snapshots()
        ]
    columns = ["name", "created", "by", "groups", "tags", "description"]
    if not as_json:
        rows = [[_words(value) for value in row] for row in rows]
    print_rows(columns, rows, as_json=as_json)


def _words(value: Any) -> Any:
    if isinstance(value, dict):
        value = [f"{name}={text}" for name, text in value.items()]
    return ", ".join(value) if isinstance(value, list) else value


@snapshot.command(epilog=examples("feature-store snapshot show churn-2024-06"))
@click.argument("name")
def show(name: str) -> None:
    """Show the manifest as JSON: definitions, statistics, files."""
    with fs.FeatureStore.from_env() as store:
        print_json(store.snapshot_manifest(name))


@snapshot.command(epilog=examples("feature-store snapshot verify churn-2024-06"))
@click.argument("name")
@as_json
def verify(name: str, *, as_json: bool) -> None:
    """Check that its files are what they were."""
    with fs.FeatureStore.from_env() as store:
        count = store.verify_snapshot(name)
    say(f"{count} files, all as they were pinned.", {"files": count}, as_json=as_json)


@snapshot.command(epilog=examples("feature-store snapshot diff churn-2024-05 churn-2024-06"))
@click.argument("before")
@click.argument("after")
@as_json
def diff(before: str, after: str, *, as_json: bool) -> None:
    """Show how two snapshots differ in rows and values."""
    with fs.FeatureStore.from_env() as store:
        found = store.compare_snapshots(before, after)
    if as_json:
        print_json(found)
        return
    print_rows(
        ["group", "version", "before", "after", "added", "removed", "changed"],
        [[each["group"], each["version"], *each["rows"].values()] for each in found["groups"]],
    )
    shifts = [
        [each["group"], feature, each["changed"].get(feature, 0), values.get("psi"),
         values.get("ks"), values.get("missing")]
        for each in found["groups"]
        for feature, values in each["shift"].items()
    ]  # fmt: skip
    if shifts:
        print_rows(["group", "feature", "changed", "psi", "ks", "missing"], shifts)
    for side in ("only_before", "only_after"):
        if found[side]:
            tell(f"{side.replace('_', ' ').capitalize()}: {', '.join(found[side])}")


@snapshot.command(epilog=examples("feature-store snapshot delete churn-2024-05"))
@click.argument("name")
@as_json
def delete(name: str, *, as_json: bool) -> None:
    """Forget a snapshot.

    Retention removes the files that nothing else needs.
    """
    with fs.FeatureStore.from_env() as store:
        store.delete_snapshot(name)
    say(f"'{name}' is deleted.", {"deleted": name}, as_json=as_json)


@click.group(
    short_help="Keep groups and snapshots from removal.",
    epilog=examples(
        "feature-store hold place group customer_spending 'case 2024/17'",
        "feature-store hold list",
        "feature-store hold lift group customer_spending",
    ),
)
def hold() -> None:
    """Legal holds: what nobody may remove until they are lifted."""


@hold.command(epilog=examples("feature-store hold place snapshot churn-2024-06 'case 2024/17'"))
@_KIND
@click.argument("name")
@click.argument("reason")
@as_json
def place(kind: Literal["group", "snapshot"], name: str, reason: str, *, as_json: bool) -> None:
    """Hold a group or a snapshot.

    REASON is told to whoever would remove it.
    """
    with fs.FeatureStore.from_env() as store:
        store.hold(kind, name, reason)
    answer = {"kind": kind, "name": name, "held": True}
    say(f"The {kind} '{name}' is held.", answer, as_json=as_json)


@hold.command(epilog=examples("feature-store hold lift group customer_spending"))
@_KIND
@click.argument("name")
@as_json
def lift(kind: Literal["group", "snapshot"], name: str, *, as_json: bool) -> None:
    """Lift a hold."""
    with fs.FeatureStore.from_env() as store:
        store.lift_hold(kind, name)
    answer = {"kind": kind, "name": name, "held": False}
    say(f"The {kind} '{name}' is held no more.", answer, as_json=as_json)


@hold.command("list", epilog=examples("feature-store hold list --json"))
@as_json
def holds(*, as_json: bool) -> None:
    """Show what is held, and why."""
    with fs.FeatureStore.from_env() as store:
        found = store.holds.all()
    print_rows(
        ["kind", "name", "reason", "by", "since"],
        [
            [each.kind, each.name, each.reason, each.placed_by, each.placed_at.isoformat()]
            for each in found
        ],
        as_json=as_json,
    )


@click.command(
    epilog=examples(
        "feature-store retain",
        "feature-store retain customer_spending --apply",
    )
)
@click.argument("groups", nargs=-1, metavar="[GROUP...]")
@click.option(
    "--apply", "applied", is_flag=True, help="Remove it. Without, only say what would go."
)
@as_json
def retain(groups: tuple[str, ...], *, applied: bool, as_json: bool) -> None:
    """Remove what is older than its group keeps.

    Without --apply it only shows what would go. Whole partitions, by event time; never the newest
    row of an entity that is still served, nor what a snapshot or legal hold pins. Online rows that
    are older than their ttl by a day go with --apply. For all groups,
    snapshots, quarantine, statistics and usage go, too, as the settings say.
    """
    with fs.FeatureStore.from_env() as store:
        outdated = None if groups else store.forget_outdated(dry_run=not applied)
        found = store.retain(list(groups) or None, dry_run=not applied)
    if as_json:
        answer = {"groups": [asdict(each) for each in found]}
        print_json(answer if outdated is None else {**answer, "outdated": asdict(outdated)})
        return
    print_rows(
        ["group", "partitions", "rows", "bytes", "files freed", "bytes freed", "online expired",
         "stays because"],
        [
            [each.feature_group, len(each.partitions), each.rows, each.bytes, each.files,
             each.bytes_freed, each.online_rows_expired, _why(each)]
            for each in found
        ],
    )  # fmt: skip
    if outdated is not None:
        counted = {**asdict(outdated), "snapshots": len(outdated.snapshots)}
        tell("By age: " + ", ".join(f"{count} {name}" for name, count in counted.items()) + ".")
    if not applied:
        tell("Nothing was removed: this was a dry run. Remove it with --apply.")


def _why(done: Any) -> str:
    reasons = [f"legal hold ({done.hold})"] if done.hold else []
    reasons += [
        f"{key} is served for {count} entities" for key, count in done.needed_online.items()
    ]
    return "; ".join(reasons)


@click.command(
    epilog=examples("feature-store compact", "feature-store compact clicks --at-least 4")
)
@click.argument("groups", nargs=-1, metavar="[GROUP...]")
@click.option(
    "--at-least",
    type=click.IntRange(min=2),
    default=8,
    show_default=True,
    help="How many small files a partition has to have.",
)
@as_json
def compact(groups: tuple[str, ...], at_least: int, *, as_json: bool) -> None:
    """Write many small files into one, with equal rows."""
    with fs.FeatureStore.from_env() as store:
        done = store.compact(list(groups) or None, at_least=at_least, told=tell)
    print_rows(
        ["group", "partitions", "files before", "after", "bytes before", "bytes after"],
        [[each.feature_group, len(each.partitions), *each.files, *each.bytes] for each in done],
        as_json=as_json,
    )
