"""How fresh a group is: one rule, whether Dagster says what was written or the table does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from feature_store_assets.declaration.group import FeatureGroup

State = Literal["fresh", "warning", "stale"]


@dataclass(frozen=True)
class Freshness:
    """How fresh a group is, why, and when it turns stale (or did); None if it never had rows."""

    state: State
    reason: str
    deadline: datetime | None


def ended(group: FeatureGroup, now: datetime) -> bool:
    """Tell whether the group's partitions have come to their end."""
    partitions = group.partitions
    return partitions is not None and partitions.end is not None and partitions.end <= now


def freshness(
    group: FeatureGroup,
    now: datetime,
    present: Callable[[], Collection[str]],
    written: Callable[[], datetime | None],
) -> Freshness | None:
    """Return how fresh a group is; None if it declares nothing, or nothing new is due any more.

    Dagster's policy is content with any recent materialization, a backfill of an old day too: so
    here age counts from the end of the newest partition before which none is missing. A group that
    is not partitioned by time ages from its last write.

    Parameters
    ----------
    present
        Returns the keys of the partitions that were written; asked of groups partitioned by time.
    written
        Returns when rows were last written, if ever; asked of the others.
    """
    if group.freshness is None or ended(group, now):
        return None
    newest, reason = _newest(group, now, present, written)
    if newest is None:
        return Freshness("stale", reason, None)
    age, warning = now - newest, group.freshness_warning
    state: State = "fresh"
    if age > group.freshness:
        state = "stale"
    elif warning is not None and age > warning:
        state = "warning"
    return Freshness(state, reason, newest + group.freshness)


def _newest(
    group: FeatureGroup,
    now: datetime,
    present: Callable[[], Collection[str]],
    written: Callable[[], datetime | None],
) -> tuple[datetime | None, str]:
    """Return up to when a group is complete, and what to say of it."""
    if group.partitions is not None and group.partitions.is_time:
        from feature_store_assets.dagster_io.partitions import complete_until

        newest, begun = complete_until(group.partitions, present(), now)
        if not begun:
            return newest, "its first partition is missing"
        return newest, f"no partition after {newest.isoformat()} is complete"
    last = written()
    if last is None:
        return None, "it was never materialized"
    return last, f"it was last written {last.isoformat()}"
