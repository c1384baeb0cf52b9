"""`rebuild`: the online rows of a group, written anew."""

import click

import feature_store_assets as fs
from feature_store_assets.cli.output import as_json, examples, say


@click.command(epilog=examples("feature-store rebuild customer_spending"))
@click.argument("group")
@as_json
def rebuild(group: str, *, as_json: bool) -> None:
    """Write a group's online rows anew.

    For an online store that lost rows, or holds some that it should not. Readers switch to the new
    rows at once; until then the old ones are served, and they are removed half a minute after it,
    when nobody reads them any more. If it fails, or is killed, run it again.
    """
    with fs.FeatureStore.from_env() as store:
        done = store.rebuild_online(group)
    say(
        f"{group} is read in generation {done.generation}: {done.published.written} row(s) "
        f"written, {done.removed} old one(s) removed.",
        {
            "group": group,
            "generation": done.generation,
            "written": done.published.written,
            "removed": done.removed,
        },
        as_json=as_json,
    )
