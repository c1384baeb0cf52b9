"""What partitions are compared with: those that stood before them."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from feature_store_assets.quality.statistics import merge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.quality.row_rules import Fences
    from feature_store_assets.quality.statistics import Profile
    from feature_store_assets.registry.statistics import Profiles, Statistics

_PREVIOUS, _TRAILING = "previous", "trailing:"
# Partitions that say what is usual, for outliers by reference.
_LOOK_BACK = 30
# The part of a trailing window that must be there: one in so many partitions.
_ENOUGH = 4


def fences(statistics: Statistics, group: FeatureGroup, keys: Sequence[str]) -> dict[str, Fences]:
    """Return between which numbers features lay in the partitions before."""
    names = [
        str(rule.column) for rule in group.expectations if rule.kwargs.get("method") == "reference"
    ]
    if not names or not keys:
        return {}
    past = (
        statistics.before(group.name, group.version, keys[0], _LOOK_BACK)
        if _in_order(group)
        else statistics.of(group.name, group.version, keys)
    )
    found = {}
    for name in names:
        kept = [profiles[name] for profiles in past.values() if name in profiles]
        quantiles = merge(kept).quantiles if kept else ()
        if quantiles and (reach := quantiles[99] - quantiles[1]) > 0:
            found[name] = (quantiles[1] - reach, quantiles[99] + reach)
    return found


def _in_order(group: FeatureGroup) -> bool:
    """Whether a partition has others before it: their keys are in the order of time."""
    kind = group.partitions
    return kind is not None and (kind.is_time or kind.kind == "calendar")


class Past:
    """The partitions before each: those of the same call, else what is kept of stored ones.

    A group that is not cut by time has no partition before: there a partition is compared with
    what it held itself.
    """

    def __init__(
        self, statistics: Statistics, group: FeatureGroup, judged: Profiles, against: Sequence[str]
    ) -> None:
        self._reach = {
            name: 1 if name == _PREVIOUS else int(name.removeprefix(_TRAILING))
            for name in against
            if name == _PREVIOUS or name.startswith(_TRAILING)
        }
        self._in_order = _in_order(group)
        self._judged = judged
        self._known: dict[str, dict[str, Profile]] = {}
        keys, this = tuple(judged), (group.name, group.version)
        if self._reach and keys and self._in_order:
            # Those asked for may have gaps, which stored ones fill.
            stored = {
                **statistics.before(*this, keys[0], max(self._reach.values())),
                **statistics.of(*this, first=keys[0], last=keys[-1]),
            }
            self._known = {key: kept for key, kept in stored.items() if key not in judged}
        elif self._reach and keys:
            self._known = statistics.of(*this, keys)
        self._line = sorted(self._known)

    @property
    def names(self) -> list[str]:
        return list(self._reach)

    def add(self, key: str) -> None:
        """Let a partition that was judged good stand before the following ones."""
        if self._in_order:
            self._known[key] = self._judged[key]
            insort(self._line, key)

    def of(self, name: str, key: str) -> dict[str, Profile]:
        """Return the values before a partition, by feature; empty where there were none."""
        if not self._in_order:
            return self._known.get(key, {})
        end = bisect_left(self._line, key)
        chosen = [self._known[each] for each in self._line[max(0, end - self._reach[name]) : end]]
        # The first days of a group are no month yet.
        if len(chosen) < max(1, self._reach[name] // _ENOUGH):
            return {}
        if len(chosen) == 1:
            return chosen[0]
        names = dict.fromkeys(feature for each in chosen for feature in each)
        return {
            feature: merge([each[feature] for each in chosen if feature in each])
            for feature in names
        }
