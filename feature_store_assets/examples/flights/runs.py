"""Dagster runs of the example, started from Python on the instance that the UI shows."""

import uuid
from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster import DagsterEventType as Kind
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from feature_store_assets.dagster_io.partitions import as_ranges

_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Runs:
    """Starts runs of one code location and shows how far they are.

    Parameters
    ----------
    definitions, instance
        What to run, and where it is recorded.
    """

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self._definitions = definitions
        self._instance = instance
        self._graph = definitions.resolve_asset_graph()

    def missing(self, name: str) -> list[tuple[str, str]]:
        """Return the ranges of partitions that an asset lacks, first and last key of each."""
        key = dg.AssetKey.from_user_string(name)
        definition: Any = self._graph.get(key).partitions_def
        if definition is None:
            event = self._instance.get_latest_materialization_event(key)
            return [] if event else [("", "")]
        every = definition.get_partition_keys()
        there = self._instance.get_materialized_partitions(key)
        return as_ranges(every, set(every) - there)

    def fill(self, title: str, names: Sequence[str]) -> None:
        """Materialize what is missing of assets that share partitions, as few runs as can be."""
        wanted: dict[tuple[str, str], list[str]] = {}
        for name in names:
            for span in self.missing(name):
                wanted.setdefault(span, []).append(name)
        for span, assets in sorted(wanted.items()):
            self.run(title, assets, span)

    def run(
        self,
        title: str,
        names: Sequence[str],
        span: tuple[str, str] = ("", ""),
        *,
        config: dict[str, Any] | None = None,
    ) -> bool:
        """Run assets for a range of partitions in one Dagster run; tell whether it succeeded."""
        keys = [dg.AssetKey.from_user_string(name) for name in names]
        tags = {_RANGE_START: span[0], _RANGE_END: span[1]} if span[0] else {}
        job = self._definitions.resolve_implicit_global_asset_job_def()
        return self._watched(
            title,
            self._count(keys, span),
            lambda run_id: (
                job.execute_in_process(
                    run_config={**_QUIET, **(config or {})},
                    instance=self._instance,
                    asset_selection=keys,
                    tags=tags,
                    run_id=run_id,
                    raise_on_error=False,
                ).success
            ),
        )

    def job(self, title: str, name: str, config: dict[str, Any]) -> bool:
        """Run a job with a config, as the Launchpad does."""
        job = self._definitions.resolve_job_def(name)
        return self._watched(
            title,
            1,
            lambda run_id: (
                job.execute_in_process(
                    run_config={**_QUIET, **config},
                    instance=self._instance,
                    run_id=run_id,
                    raise_on_error=False,
                ).success
            ),
        )

    def _count(self, keys: Sequence[dg.AssetKey], span: tuple[str, str]) -> int:
        """How many partitions a run makes, over all its assets."""
        total = 0
        for key in keys:
            definition: Any = self._graph.get(key).partitions_def
            if definition is None or not span[0]:
                total += 1
                continue
            every = definition.get_partition_keys()
            total += every.index(span[1]) - every.index(span[0]) + 1
        return total

    def _watched(self, title: str, total: int, start: Any) -> bool:
        """Show a bar that follows the run's own events."""
        bar = Progress(
            TextColumn("  {task.description:<44}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        run_id = str(uuid.uuid4())
        with bar:
            task = bar.add_task(title, total=total)

            def follow(event: Any) -> None:
                if event.dagster_event_type is Kind.ASSET_MATERIALIZATION:
                    bar.advance(task)

            self._instance.add_event_listener(run_id, follow)
            succeeded = bool(start(run_id))
            if succeeded:
                bar.update(task, completed=total)
        return succeeded
