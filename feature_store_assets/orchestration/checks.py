"""Check results: one per partition with all numbers, one per feature and run.

Each event costs Dagster 10 to 30 ms, so details are tables and numbers inside few events.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from feature_store_assets.dagster_io.names import DRIFT, QUALITY
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.ingestion.gate import Judged
from feature_store_assets.orchestration.metadata import failures_table, shifts_table
from feature_store_assets.quality.drift import Shift
from feature_store_assets.quality.report import html_report
from feature_store_assets.quality.statistics import Profile
from feature_store_assets.quality.verdicts import Verdict
from feature_store_assets.registry.alerts import Alert
from feature_store_assets.store import FeatureStore

_LISTED = 20
_TOLD = 5


def check_specs(group: FeatureGroup, definition: Any) -> list[dg.AssetCheckSpec]:
    """Return the checks of a group.

    By partition `quality` and, where there are rules, `drift`; by run one of each checked feature.
    """
    by_partition = {QUALITY: "Every expectation of the group, partition by partition."}
    if group.drift:
        by_partition[DRIFT] = "How far the values are from those before, partition by partition."
    return [
        *(
            dg.AssetCheckSpec(name, asset=group.name, partitions_def=definition, description=about)
            for name, about in by_partition.items()
        ),
        *(
            dg.AssetCheckSpec(
                name, asset=group.name, description=f"Expectations about {name}, over the run."
            )
            for name in _checked(group)
        ),
    ]


def _checked(group: FeatureGroup) -> list[str]:
    about = {column for rule in group.all_expectations for column in rule.columns}
    return [name for name in group.feature_names if name in about]


def results(
    context: dg.AssetExecutionContext, group: FeatureGroup, judged: Judged
) -> Iterator[dg.AssetCheckResult]:
    """Record the checks of a run.

    In a run of one partition Dagster dates the result itself. In a range the partitions' results
    are logged one by one, or they would stay planned for ever, and the run gets a summary.
    """
    if context.has_partition_key or group.partitions is None:
        (key,) = judged.keys
        for name, given in evaluations(group, judged, key):
            yield dg.AssetCheckResult(check_name=name, **given)
    else:
        for key in judged.keys:
            for name, given in evaluations(group, judged, key):
                context.log_event(
                    dg.AssetCheckEvaluation(
                        asset_key=context.asset_key, check_name=name, partition=key, **given
                    )
                )
        yield from _over_all(group, judged)
    yield from _by_feature(group, judged)


def summaries(group: FeatureGroup, judged: Judged) -> Iterator[dg.AssetCheckResult]:
    """Give the checks of many partitions as one result each."""
    if group.partitions is not None:
        yield from _over_all(group, judged)
    yield from _by_feature(group, judged)


def _over_all(group: FeatureGroup, judged: Judged) -> Iterator[dg.AssetCheckResult]:
    yield _summary(QUALITY, judged.keys, judged.verdicts)
    if group.drift:
        yield _drift_summary(judged)


def _by_feature(group: FeatureGroup, judged: Judged) -> Iterator[dg.AssetCheckResult]:
    for name in _checked(group):
        about = {
            key: [each for each in verdicts if name in each.expectation.columns]
            for key, verdicts in judged.verdicts.items()
        }
        yield _summary(name, judged.keys, about)


def evaluations(
    group: FeatureGroup, judged: Judged, key: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the checks of one partition: name, and passed, severity and metadata."""
    verdicts = judged.verdicts[key]
    yield (
        QUALITY,
        {
            "passed": _passed(verdicts),
            "severity": _severity(verdicts),
            "metadata": _numbers(verdicts, judged.profiles[key]),
        },
    )
    if group.drift:
        shifts = judged.shifts[key]
        yield (
            DRIFT,
            {
                "passed": not _drifted(shifts),
                "severity": _severity(shifts),
                "metadata": _distances(shifts),
            },
        )


def _summary(
    name: str, keys: Sequence[str], verdicts: Mapping[str, Sequence[Verdict]]
) -> dg.AssetCheckResult:
    failed = [key for key in keys if not _passed(verdicts[key])]
    every = [each for key in failed for each in verdicts[key] if each.outcome != "passed"]
    metadata: dict[str, Any] = {
        "partitions": len(keys),
        "failed": len(failed),
        "failed_share": len(failed) / max(len(keys), 1),
    }
    if failed:
        metadata["failed_partitions"] = _listed(failed)
        metadata["reasons"] = failures_table(every[:_LISTED])
    return dg.AssetCheckResult(
        check_name=name, passed=not failed, severity=_severity(every), metadata=metadata
    )


def _drift_summary(judged: Judged) -> dg.AssetCheckResult:
    drifted = {key: _drifted(shifts) for key, shifts in judged.shifts.items()}
    failed = [key for key, shifts in drifted.items() if shifts]
    every = [shift for key in failed for shift in drifted[key]]
    metadata: dict[str, Any] = {"partitions": len(drifted), "failed": len(failed)}
    if failed:
        metadata["failed_partitions"] = _listed(failed)
        metadata["reasons"] = shifts_table(every[:_LISTED])
    return dg.AssetCheckResult(
        check_name=DRIFT, passed=not failed, severity=_severity(every), metadata=metadata
    )


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return ", ".join(keys[:_LISTED]) + more


def _passed(verdicts: Sequence[Verdict]) -> bool:
    return all(verdict.outcome == "passed" for verdict in verdicts)


def _drifted(shifts: Sequence[Shift]) -> list[Shift]:
    return [shift for shift in shifts if shift.outcome == "failed"]


def _severity(found: Sequence[Verdict | Shift]) -> dg.AssetCheckSeverity:
    blocking = any(each.blocking for each in found)
    return dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN


def _numbers(verdicts: Sequence[Verdict], profiles: Mapping[str, Profile]) -> dict[str, Any]:
    """Return floats, which Dagster draws over time, and the reasons of what failed."""
    shown: dict[str, Any] = {}
    for name, profile in profiles.items():
        shown[f"{name} missing"] = float(profile.missing_share)
        if profile.mean is not None:
            shown[f"{name} mean"] = float(profile.mean)
    bad = [verdict for verdict in verdicts if verdict.outcome != "passed"]
    if bad:
        shown["reasons"] = failures_table(bad)
    return shown


def _distances(shifts: Sequence[Shift]) -> dict[str, Any]:
    """Return the distances as floats, which Dagster draws over time, and what stands out."""
    shown: dict[str, Any] = {
        f"{shift.feature} {shift.rule.metric}": float(shift.value)
        for shift in shifts
        if shift.value is not None
    }
    told = [shift for shift in shifts if shift.outcome != "passed"]
    if told:
        shown["reasons"] = shifts_table(told[:_LISTED])
    return shown


def report(
    store: FeatureStore, group: FeatureGroup, judged: Judged, run_id: str
) -> dict[str, dg.PathMetadataValue]:
    """Write the quality report of a run and return the link to it."""
    page = html_report(
        group,
        judged.verdicts,
        judged.profiles,
        judged.shifts,
        made_at=datetime.now(UTC),
        run_id=run_id,
    )
    path = f"reports/{group.name}/v{group.version}/{run_id}.html"
    store.location.write(path, page.encode())
    return {"quality_report": dg.MetadataValue.path(f"{store.location.uri}/{path}")}


def warnings_of(group: FeatureGroup, judged: Judged, run_id: str) -> list[Alert]:
    """Return an alert each for warnings and for drift; what was rejected fails its run."""
    return _alerts(group, judged, run_id, blocking=False)


def validation_alerts(group: FeatureGroup, judged: Judged, run_id: str) -> list[Alert]:
    """Return an alert each for what stored partitions fail, and for drift."""
    return _alerts(group, judged, run_id, blocking=True)


def _alerts(group: FeatureGroup, judged: Judged, run_id: str, *, blocking: bool) -> list[Alert]:
    found: dict[str, list[Verdict] | list[Shift]] = {
        "quality": [
            each
            for verdicts in judged.verdicts.values()
            for each in verdicts
            if each.outcome != "passed" and (blocking or not each.blocking)
        ],
        "drift": [each for shifts in judged.shifts.values() for each in _drifted(shifts)],
    }
    return [
        Alert(
            kind="quality" if kind == "quality" else "drift",
            severity="critical" if any(one.blocking for one in each) else "warning",
            title=f"{group.name}: {len(each)} {_WORDS[kind]}",
            body="\n".join(f"{one.partition}: {one.reason}" for one in each[:_TOLD]),
            key=f"{kind}:{group.name}:{run_id}",
            group=group.name,
            owners=group.owners,
        )
        for kind, each in found.items()
        if each
    ]


_WORDS = {"quality": "quality finding(s)", "drift": "drifted feature(s)"}
