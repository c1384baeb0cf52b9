"""The sensor that tells people: what became stale, which runs failed, what others found."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, get_args

import dagster as dg
from dagster import DagsterEventType

from feature_store_assets import errors
from feature_store_assets.alerts import Delivery, deliver
from feature_store_assets.config import Severity
from feature_store_assets.dagster_io.freshness import Freshness, State
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.orchestration.freshness import materialized_freshness
from feature_store_assets.registry.alerts import Alert
from feature_store_assets.store import FeatureStore

_SECONDS = 30
_RUNS = 100
_WILL_RETRY = "dagster/will_retry"
_PUBLISHING = "online__"
_STATES: tuple[State, ...] = get_args(State)  # the worst last
_SEVERITY: Mapping[State, Severity] = {"fresh": "info", "warning": "warning", "stale": "critical"}


def alert_sensor(
    groups: Sequence[FeatureGroup],
    open_store: Callable[[], FeatureStore],
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dg.SensorDefinition:
    """Return the sensor that fills the outbox of alerts and sends what is in there.

    Its cursor holds each group's state and the last failure that was seen, so nothing is lost or
    told twice over a restart of the daemon. Failures before its first tick are not told.
    """
    by_name = {group.name: group for group in groups}

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells of stale groups, failed runs, and what else waits in the outbox.",
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        seen = json.loads(context.cursor or "{}")
        moment = now()
        states = {
            name: found
            for name, group in by_name.items()
            if (found := materialized_freshness(context.instance, group, moment)) is not None
        }
        before = seen.get("freshness", {})
        news = [
            _changed(by_name[name], before.get(name, "fresh"), found)
            for name, found in states.items()
            if found.state != before.get(name, "fresh")
        ]
        failed, last = _failures(context, by_name, seen.get("failure"))
        with open_store() as store:
            store.alerts.add(*news, *failed)
            cursor = {"freshness": {name: each.state for name, each in states.items()}}
            context.update_cursor(json.dumps({**cursor, "failure": last}))
            with _shown(context.log):
                sent = deliver(store.alerts, store.config.notify, now=moment)
        return dg.SkipReason(_said([*news, *failed], sent))

    return watch


def _changed(group: FeatureGroup, before: State, found: Freshness) -> Alert:
    """The alert of a change; whoever heard that it got worse hears that it got better."""
    titles = {
        "fresh": f"{group.name} is fresh again",
        "warning": f"{group.name} will be stale soon",
        "stale": f"{group.name} is stale",
    }
    due = "" if found.deadline is None else found.deadline.isoformat()
    bodies = {
        "fresh": f"It is complete enough until {due}.",
        "warning": f"It turns stale at {due}: {found.reason}.",
        "stale": f"{f'It was due by {due}' if due else 'It holds nothing'}: {found.reason}.",
    }
    return Alert(
        "freshness",
        _SEVERITY[max(before, found.state, key=_STATES.index)],
        titles[found.state],
        bodies[found.state],
        f"freshness:{group.name}:{found.state}:{due}",
        group.name,
        group.owners,
    )


def _failures(
    context: dg.SensorEvaluationContext, by_name: Mapping[str, FeatureGroup], after: int | None
) -> tuple[list[Alert], int]:
    """Return alerts of runs that failed since, and the newest failure that was looked at."""
    instance = context.instance
    if after is None:
        newest = instance.fetch_run_status_changes(DagsterEventType.RUN_FAILURE, limit=1).records
        return [], newest[0].storage_id if newest else -1
    since = dg.RunStatusChangeRecordsFilter(DagsterEventType.RUN_FAILURE, after_storage_id=after)
    records = instance.fetch_run_status_changes(since, limit=_RUNS, ascending=True).records
    found: list[Alert] = []
    for record in records:
        after = record.storage_id
        run = instance.get_run_by_id(record.run_id)
        # Other code locations on this instance have their own sensor.
        if run and run.tags.get(_WILL_RETRY) != "true" and _is_ours(context, run):
            found += _failure(instance, run, by_name)
    return found, after


def _is_ours(context: dg.SensorEvaluationContext, run: dg.DagsterRun) -> bool:
    origin = run.remote_job_origin
    if origin is None:
        return True
    repository, here = origin.repository_origin, context.code_location_origin
    return (
        repository.repository_name == context.repository_name
        and here is not None
        and repository.code_location_origin.location_name == here.location_name
    )


def _failure(
    instance: dg.DagsterInstance, run: dg.DagsterRun, by_name: Mapping[str, FeatureGroup]
) -> list[Alert]:
    """Return an alert for each step that failed in a run, or one for a run without any."""
    tags = run.tags
    partition = tags.get("dagster/partition") or "...".join(
        tags[f"dagster/asset_partition_range_{side}"]
        for side in ("start", "end")
        if f"dagster/asset_partition_range_{side}" in tags
    )
    where = f"Run {run.run_id[:8]}{partition and f', partition {partition}'}"
    entries = instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_FAILURE)
    steps = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
    if not steps:
        title = f"Run of {run.job_name} failed"
        body = f"{where} ended outside of its steps; Dagster's log tells why."
        return [Alert("run", "critical", title, body, f"run:{run.run_id}")]
    return [_step(event, run, where, by_name) for event in steps]


def _step(
    event: dg.DagsterEvent, run: dg.DagsterRun, where: str, by_name: Mapping[str, FeatureGroup]
) -> Alert:
    step, data = event.step_key or "", event.step_failure_data
    group = by_name.get(step.removeprefix(_PUBLISHING))
    name, owners = (group.name, group.owners) if group else (None, ())
    key = f"run:{run.run_id}:{step}"[:255]
    told = data.user_failure_data
    if told is not None and "quarantined" in told.metadata:
        title, body = f"{step} failed its checks", f"{where}: {told.description}"
        return Alert("quality", "critical", title, body, key, name, owners)
    what = f"Publishing of {name}" if name and name != step else f"Run of {step}"
    body = f"{where}: {_reason(data.error)}"
    return Alert("run", "critical", f"{what} failed", body, key, name, owners)


def _reason(error: Any) -> str:
    """What may be said of an error: only our own messages are free of personal values."""
    while error is not None and error.cause is not None:
        error = error.cause
    name = (error and error.cls_name) or "an error"
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.FeatureStoreError):
        return str(error.message).partition(": ")[2].strip()
    return f"{name}; Dagster's log tells more."


@contextmanager
def _shown(log: logging.Logger) -> Iterator[None]:
    """Let what is logged of alerts, a dry run above all, be seen beside the tick."""
    source = logging.getLogger(deliver.__module__)
    level, handlers = source.level, list(log.handlers)
    source.setLevel(logging.INFO)
    for handler in handlers:
        source.addHandler(handler)
    try:
        yield
    finally:
        source.setLevel(level)
        for handler in handlers:
            source.removeHandler(handler)


def _said(new: Sequence[Alert], sent: Delivery) -> str:
    if not new and sent == Delivery():
        return "Nothing new."
    parts = [f"New: {len(new)}"] if new else []
    parts += [alert.title for alert in new[:3]]
    parts.append(f"done with {sent.done}")
    if sent.told:
        parts.append(f"told {', '.join(sent.told)}")
    if sent.failed:
        parts.append(f"failed {', '.join(sent.failed)}")
    return "; ".join(parts) + "."
