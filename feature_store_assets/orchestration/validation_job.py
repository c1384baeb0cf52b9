"""Stored partitions judged again by today's expectations, without being written."""

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import add
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from feature_store_assets.dagster_io.names import ALL
from feature_store_assets.dagster_io.partitions import dagster_partitions
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.errors import DataError, GroupNotFound
from feature_store_assets.ingestion.gate import Judged
from feature_store_assets.orchestration.checks import (
    check_specs,
    evaluations,
    report,
    summaries,
    validation_alerts,
)
from feature_store_assets.store import FeatureStore

_NOTHING = Judged(pl.DataFrame(), {}, {})


class ValidateConfig(dg.Config):
    """Which stored partitions to judge again."""

    groups: list[str] = Field(default=[], description="Feature groups; all that hold rows.")
    first: str = Field(default="", description="First partition of a range; the first stored.")
    last: str = Field(default="", description="Last partition of the range; the last stored.")
    sample: float = Field(
        default=1.0, gt=0, le=1, description="Which share of the partitions, drawn at random."
    )


def validate_job(
    groups: Sequence[FeatureGroup], open_store: Callable[[], FeatureStore]
) -> dg.JobDefinition:
    """Return the job that checks what is stored against today's expectations."""
    known = {group.name: group for group in groups}

    @dg.op(name="validate")
    def validate(context: dg.OpExecutionContext, config: ValidateConfig) -> None:
        for name in config.groups:
            if name not in known:
                raise GroupNotFound(name, known)
        failed: dict[str, list[str]] = {}
        with open_store() as store:
            for name in config.groups or known:
                rejected = _validated(context, store, known[name], config)
                if rejected:
                    failed[name] = rejected
        if failed:
            listed = "; ".join(f"{name}: {', '.join(keys[:20])}" for name, keys in failed.items())
            raise dg.Failure(
                f"Stored partitions fail what their groups expect now: {listed}. They were left "
                f"as they are: correct and materialize them again, or change the expectation.",
                allow_retries=False,
            )

    @dg.job(
        name="validate_job",
        description="Judge stored partitions by today's expectations; nothing is rewritten.",
        config=dg.RunConfig(ops={"validate": ValidateConfig()}),
    )
    def job() -> None:
        validate()

    return job


def validate_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Return a weekly validation of everything, off by default."""
    return dg.ScheduleDefinition(
        name="validate_weekly",
        job=job,
        cron_schedule="0 4 * * 0",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        run_config=dg.RunConfig(ops={"validate": ValidateConfig()}),
    )


def pushed_checks(
    group: FeatureGroup, open_store: Callable[[], FeatureStore]
) -> dg.AssetChecksDefinition:
    """Return the checks of a pushed group, which judge all that it stores when they are run."""

    @dg.multi_asset_check(name=f"{group.name}_checks", specs=check_specs(group, None))
    def judge() -> Iterator[dg.AssetCheckResult]:
        with open_store() as store:
            stored = store.validate(group) if store.table(group).exists else ()
            found = [judged.without_rows() for judged in stored]
        yield from summaries(group, reduce(add, found) if found else _NOTHING)

    return judge


def _validated(
    context: dg.OpExecutionContext, store: FeatureStore, group: FeatureGroup, config: ValidateConfig
) -> list[str]:
    """Judge one group; return the partitions that fail."""
    table = store.table(group)
    if not table.exists:
        context.log.info(f"{group.name} holds no rows.")
        return []
    keys = _chosen(group, table.partitions(), config)
    found: Judged | None = None
    for judged in store.validate(group, keys):
        _log(context, group, judged)
        bare = judged.without_rows()
        found = bare if found is None else found + bare
        context.log.info(f"{group.name}: {len(found.keys)} of {len(keys)} partitions judged.")
    if found is None:
        return []
    # Dagster shows what was recorded last: that must not be the state of one partition.
    for result in summaries(group, found):
        _record(
            context,
            group,
            str(result.check_name),
            passed=result.passed,
            severity=result.severity,
            metadata=result.metadata,
        )
    link = report(store, group, found, context.run_id)
    context.log_event(dg.AssetObservation(dg.AssetKey([group.name]), metadata=link))
    store.alerts.add(*validation_alerts(group, found, context.run_id))
    return list(found.rejected)


def _chosen(group: FeatureGroup, stored: Sequence[str], config: ValidateConfig) -> list[str]:
    """Return the stored partitions that were asked for, in the order of time."""
    definition = dagster_partitions(group.partitions)
    known = [] if definition is None else list(definition.get_partition_keys(datetime.now(UTC)))
    order = {key: place for place, key in enumerate(known)}
    keys = sorted(stored, key=lambda key: (order.get(key, len(order)), key))
    for asked in (config.first, config.last):
        if asked and asked not in keys:
            shown = f"{keys[0]} to {keys[-1]}" if keys else "none"
            raise DataError(f"'{group.name}' stores no partition '{asked}'; it stores {shown}.")
    first = keys.index(config.first) if config.first else 0
    last = keys.index(config.last) + 1 if config.last else len(keys)
    if keys and first >= last:
        raise DataError(f"The range of '{group.name}' ends before it begins.")
    keys = keys[first:last]
    if config.sample < 1:
        drawn = set(random.sample(keys, max(1, round(len(keys) * config.sample))))
        keys = [key for key in keys if key in drawn]
    return keys


def _log(context: dg.OpExecutionContext, group: FeatureGroup, judged: Judged) -> None:
    for key in judged.keys:
        for name, given in evaluations(group, judged, key):
            _record(context, group, name, partition=None if key == ALL else key, **given)


def _record(context: dg.OpExecutionContext, group: FeatureGroup, name: str, **given: Any) -> None:
    key = dg.AssetKey([group.name])
    # Dagster takes it, and does not say so in its annotation.
    evaluation: Any = dg.AssetCheckEvaluation(asset_key=key, check_name=name, **given)
    context.log_event(evaluation)
