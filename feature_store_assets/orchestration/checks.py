"""Check results: one per partition with all numbers, one per feature and run.

Each event costs Dagster 10 to 30 ms, so details are tables and numbers inside few events.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.orchestration.materialize import Outcome
from feature_store_assets.orchestration.metadata import failures_table
from feature_store_assets.quality.expectations import Verdict
from feature_store_assets.quality.statistics import Profile

QUALITY = "quality"
_LISTED = 20


def check_specs(group: FeatureGroup, definition: Any) -> list[dg.AssetCheckSpec]:
    """Return the checks of a group: `quality` by partition, and one for each checked feature."""
    whole = dg.AssetCheckSpec(
        QUALITY,
        asset=group.name,
        partitions_def=definition,
        description="Every expectation of the group, partition by partition.",
    )
    return [
        whole,
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
    context: dg.AssetExecutionContext, group: FeatureGroup, outcome: Outcome
) -> Iterator[dg.AssetCheckResult]:
    """Record the checks of a run.

    In a run of one partition Dagster dates the result itself. In a range the partitions' results
    are logged one by one, or they would stay planned for ever, and the run gets a summary.
    """
    if context.has_partition_key or group.partitions is None:
        (key,) = outcome.keys
        yield dg.AssetCheckResult(
            check_name=QUALITY,
            passed=_passed(outcome.verdicts[key]),
            severity=_severity(outcome.verdicts[key]),
            metadata=_numbers(outcome.verdicts[key], outcome.profiles[key]),
        )
    else:
        for key, verdicts in outcome.verdicts.items():
            context.log_event(
                dg.AssetCheckEvaluation(
                    asset_key=context.asset_key,
                    check_name=QUALITY,
                    partition=key,
                    passed=_passed(verdicts),
                    severity=_severity(verdicts),
                    metadata=_numbers(verdicts, outcome.profiles[key]),
                )
            )
        yield _summary(QUALITY, list(outcome.verdicts), outcome.verdicts)
    for name in _checked(group):
        about = {
            key: [each for each in verdicts if name in each.expectation.columns]
            for key, verdicts in outcome.verdicts.items()
        }
        yield _summary(name, list(outcome.verdicts), about)


def _summary(
    name: str, keys: Sequence[str], verdicts: dict[str, list[Verdict]]
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


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return ", ".join(keys[:_LISTED]) + more


def _passed(verdicts: Sequence[Verdict]) -> bool:
    return all(verdict.outcome == "passed" for verdict in verdicts)


def _severity(verdicts: Sequence[Verdict]) -> dg.AssetCheckSeverity:
    blocking = any(verdict.blocking for verdict in verdicts)
    return dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN


def _numbers(verdicts: Sequence[Verdict], profiles: dict[str, Profile]) -> dict[str, Any]:
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
