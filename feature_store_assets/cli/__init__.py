"""The command line, `feature-store`: one command per verb of the store, in the store's words.

What is heavy loads inside the commands, so `--help` answers at once: the store by the package's
own lazy names, the Dagster side by `running`.
"""

from typing import Any

import click

from feature_store_assets.cli.apply import apply, materialize
from feature_store_assets.cli.archive import export, import_
from feature_store_assets.cli.backup import backup, restore
from feature_store_assets.cli.catalogue import list_, search, show
from feature_store_assets.cli.lifecycle import audit, drop, history, plan, stage
from feature_store_assets.cli.lineage import impact, lineage
from feature_store_assets.cli.maintenance import compact, hold, retain, snapshot
from feature_store_assets.cli.output import examples
from feature_store_assets.cli.project import init
from feature_store_assets.cli.quarantine import quarantine
from feature_store_assets.cli.read import online, read
from feature_store_assets.cli.rebuild import rebuild
from feature_store_assets.cli.registry import registry, usage
from feature_store_assets.cli.serve import serve
from feature_store_assets.cli.statistics import report, stats
from feature_store_assets.cli.tokens import token
from feature_store_assets.errors import FeatureStoreError


class _Commands(click.Group):
    """The one place where an error of ours becomes a line for people."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FeatureStoreError as error:
            raise click.ClickException(str(error)) from error


@click.group(
    cls=_Commands,
    commands=[
        apply,
        audit,
        backup,
        compact,
        drop,
        export,
        history,
        hold,
        impact,
        import_,
        init,
        lineage,
        list_,
        materialize,
        online,
        plan,
        quarantine,
        read,
        rebuild,
        registry,
        report,
        restore,
        retain,
        search,
        serve,
        show,
        snapshot,
        stage,
        stats,
        token,
        usage,
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
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
