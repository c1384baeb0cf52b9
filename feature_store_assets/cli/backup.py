"""Backups of a whole store: `backup`, `restore`."""

from dataclasses import asdict

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import as_json, examples, print_rows, say, tell, trust_code

_TARGET = click.argument("target")


@click.group(
    short_help="Copy the whole store to another place.",
    epilog=examples(
        "feature-store backup create /mnt/backups/features --keep 14",
        "feature-store backup list /mnt/backups/features",
        "feature-store backup verify s3://bucket/features",
    ),
)
def backup() -> None:
    """Copy the whole store to another place, while everybody goes on.

    TARGET is a folder, or a URL such as s3://bucket/folder. Only what is new is copied; `restore`
    makes a store of it again.
    """


@backup.command(
    epilog=examples(
        "feature-store backup create /mnt/backups/features",
        "feature-store backup create s3://bucket/features --keep 14",
    )
)
@_TARGET
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Remove older backups than the newest N; one of which nothing was lost always stays.",
)
@as_json
def create(target: str, keep: int | None, *, as_json: bool) -> None:
    """Make a backup; it may be killed at any time.

    TARGET belongs to one store. A folder with other things in it is refused, and so is a store
    that lost its registry or a table since the last backup: that would push the good ones out.
    """
    with fs.FeatureStore.from_env() as store:
        done = store.backup(target, keep=keep, told=tell)
    for file in done.lost:
        tell(f"The store itself is damaged: {file}.")
    for file in done.mended:
        tell(f"It was damaged at the target and is copied again: {file}.")
    say(
        f"Backup {done.id}: {done.files} files of {done.bytes} bytes, {done.copied} of them new, "
        f"{done.bytes_copied} bytes.",
        asdict(done),
        as_json=as_json,
    )


@backup.command("list", epilog=examples("feature-store backup list /mnt/backups/features --json"))
@_TARGET
@as_json
def list_(target: str, *, as_json: bool) -> None:
    """Show the backups, the oldest first."""
    print_rows(
        ["id", "created", "tables", "files", "bytes", "lost"],
        [
            [
                each.id,
                each.created_at.isoformat(timespec="seconds"),
                each.tables,
                each.files,
                each.bytes,
                len(each.lost),
            ]
            for each in fs.FeatureStore.list_backups(target)
        ],
        as_json=as_json,
    )


@backup.command(epilog=examples("feature-store backup verify /mnt/backups/features"))
@_TARGET
@click.argument("id", required=False)
@as_json
def verify(target: str, id: str | None, *, as_json: bool) -> None:  # noqa: A002 - as people say it
    """Read all of a backup, the newest by default.

    What is damaged is noted at TARGET; the next `backup create` copies it again.
    """
    found = fs.FeatureStore.verify_backup(target, id, told=tell)
    text = f"Backup {found.id}: {found.files} files, all as they were written."
    say(text, asdict(found), as_json=as_json)


@click.command(
    epilog=examples(
        "feature-store restore /mnt/backups/features",
        "FEATURE_STORE_STORAGE_PATH=/data/drill feature-store restore s3://bucket/features",
    )
)
@click.argument("source")
@click.option("--backup", metavar="ID", help="Which; by default the newest.")
@trust_code
@as_json
def restore(source: str, backup: str | None, *, trust_code: bool, as_json: bool) -> None:
    """Make a backup a store again, where nothing is.

    The data root that FEATURE_STORE_STORAGE_PATH names has to be empty or not there yet, and the
    registry empty. Registry and online store may be of other kinds than those that were backed
    up. A restore that was killed leaves nothing that looks done: run it again.
    """
    done = fs.FeatureStore.restore(source, backup=backup, trust_code=trust_code, told=tell)
    for file in done.lost:
        tell(f"The backup lacks what the store had lost: {file}.")
    answer = {**asdict(done), "root": str(done.root)}
    say(f"Backup {done.backup} is restored to {done.root}.", answer, as_json=as_json)
    if done.untrusted:
        tell("Views compute features by these functions, which may not run here yet:")
        for name in done.untrusted:
            tell(f"  {name}")
        tell("Run `feature-store apply` in the project that declares the views.")
    if done.rebuild:
        tell("Its online rows are still to be made:")
        for name in done.rebuild:
            tell(f"  feature-store rebuild {name}")
