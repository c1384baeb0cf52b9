"""Changes and who made them: `plan`, `stage`, `history`, `audit`."""

from pathlib import Path
from typing import Any

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import as_json, examples, print_rows, say, tell

_checkpoint = click.Path(dir_okay=False, path_type=Path)


@click.command(epilog=examples("feature-store plan", "feature-store plan --json"))
@click.option("-m", "--module", help="Module that holds the Dagster definitions.")
@click.option(
    "-f",
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Python file that holds them.  [default: what workspace.yaml names]",
)
@as_json
def plan(module: str | None, file: Path | None, *, as_json: bool) -> None:
    """Show what `apply` would change, and what that touches.

    That are views, snapshots, training sets and models. Nothing is written. The exit code is 2 if
    `apply` would refuse.
    """
    from feature_store_assets.orchestration import launch

    with fs.FeatureStore.from_env() as store:
        planned = store.plan(*launch.declared(module, file))
    print_rows(
        ["change", "kind", "name", "version", "details", "touches"],
        [
            [each.action, each.kind, each.name, each.version, "; ".join(each.details),
             ", ".join(map(str, each.touches))]
            for each in planned
            if as_json or each.action != "unchanged"
        ],
        as_json=as_json,
    )  # fmt: skip
    tell(_summary(planned))
    if any(each.action == "breaking" for each in planned):
        raise SystemExit(2)


def _summary(planned: list[Any]) -> str:
    actions = [each.action for each in planned]
    counts = [f"{actions.count(action)} {action}" for action in dict.fromkeys(actions)]
    return ", ".join(counts) or "Nothing is declared."


@click.command(
    epilog=examples(
        "feature-store stage customer_spending deprecated --successor customer_value",
        "feature-store stage people.mood active",
    )
)
@click.argument("name")
@click.argument("stage", type=click.Choice(["active", "deprecated", "retired"]))
@click.option("--successor", default="", help="What to use instead.")
@as_json
def stage(name: str, stage: Any, successor: str, *, as_json: bool) -> None:
    """Move a group, a feature or a view on to STAGE.

    A feature is named GROUP.FEATURE. A draft is served online only where it is named; what is
    deprecated is served with a warning; what is retired is not served, and its rows are kept until
    retention.
    """
    with fs.FeatureStore.from_env() as store:
        moved = store.set_stage(name, stage, successor=successor)
    say(moved.notice, vars(moved), as_json=as_json)


@click.command(
    short_help="Take a draft or retired feature out of a pushed group.",
    epilog=examples("feature-store drop people.height"),
)
@click.argument("feature")
@as_json
def drop(feature: str, *, as_json: bool) -> None:
    """Take a draft or retired FEATURE, named GROUP.FEATURE, out of a pushed group for good.

    Its values cannot be read any more. Its name is free for another feature, also of another type.
    For a group that a Dagster asset computes, take the feature out of the code and run `apply`.
    """
    with fs.FeatureStore.from_env() as store:
        group = store.drop_feature(feature)
    left = ", ".join(group.feature_names) or "none"
    answer = {"feature": feature, "features": group.feature_names}
    say(f"'{feature}' is dropped. Features left: {left}.", answer, as_json=as_json)


@click.command(epilog=examples("feature-store history customer_spending"))
@click.argument("name")
@as_json
def history(name: str, *, as_json: bool) -> None:
    """Show every change of a group or view that was applied."""
    with fs.FeatureStore.from_env() as store:
        store.standing(name)
        edits = store.applied.history(name)
    print_rows(
        ["when", "who", "change", "version", "hash"],
        [
            [each.changed_at.isoformat(), each.changed_by, each.action, each.version, each.hash]
            for each in edits
        ],
        as_json=as_json,
    )


@click.group(
    short_help="Read and verify the audit log.",
    epilog=examples(
        "feature-store audit list --limit 50",
        "feature-store audit checkpoint /elsewhere/audit.json",
        "feature-store audit verify --checkpoint /elsewhere/audit.json",
    ),
)
def audit() -> None:
    """Read and verify the log of who did what."""


@audit.command("list", epilog=examples("feature-store audit list --limit 50 --json"))
@click.option("--limit", default=20, show_default=True, help="The last so many entries.")
@as_json
def list_(limit: int, *, as_json: bool) -> None:
    """Show the last entries."""
    with fs.FeatureStore.from_env() as store:
        entries = store.audit.newest(limit)
    print_rows(
        ["sequence", "at", "actor", "action", "subject", "detail", "source"],
        [
            [each.sequence, each.at, each.actor, each.action, each.subject,
             dict(each.detail) if as_json else _words(each.detail), each.source]
            for each in entries
        ],
        as_json=as_json,
    )  # fmt: skip


def _words(detail: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in detail.items())


@audit.command(epilog=examples("feature-store audit checkpoint /elsewhere/audit.json"))
@click.argument("path", type=_checkpoint)
@as_json
def checkpoint(path: Path, *, as_json: bool) -> None:
    """Write where the log ends to PATH.

    Keep that file where nobody who can write to the registry can reach it.
    """
    with fs.FeatureStore.from_env() as store:
        entry = store.audit.checkpoint(path)
    answer = {"sequence": entry.sequence, "path": str(path)}
    say(f"The log ends with entry {entry.sequence}; {path} says so.", answer, as_json=as_json)


@audit.command(epilog=examples("feature-store audit verify"))
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Written by `audit checkpoint`: shows whether the end was cut off, too.",
)
@as_json
def verify(checkpoint: Path | None, *, as_json: bool) -> None:
    """Check that no entry was edited, removed or moved."""
    with fs.FeatureStore.from_env() as store:
        count = store.audit.verify(checkpoint)
    say(f"{count} entries, all as they were written.", {"entries": count}, as_json=as_json)
