"""The quality of a group's partitions as one page that opens anywhere, without internet."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final, Literal

from jinja2 import Environment, StrictUndefined, Template

from feature_store_assets.declaration.drift import Drift
from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.quality.charts import distribution_svg, percent, trend_svg
from feature_store_assets.quality.drift import Shift
from feature_store_assets.quality.statistics import Profile
from feature_store_assets.quality.verdicts import Verdict

State = Literal["rejected", "with warnings", "passed", "not checked"]

_STATES: Final[tuple[State, ...]] = ("passed", "with warnings", "rejected", "not checked")
_SEVERITIES: Final = ("critical", "warning", "info")
_FAULTS: Final = 500
_ROWS: Final = 60
_THOUSAND: Final = 1000
_COMMON: Final = "Most common"


@dataclass(frozen=True, slots=True)
class _Fault:
    partition: str
    feature: str
    severity: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Row:
    partition: str
    state: State
    cells: list[str]


@dataclass(frozen=True, slots=True)
class _Section:
    """One feature: its pictures, and its statistics as text, partition by partition."""

    feature: Feature
    missing: str
    mean: str
    faults: int
    shown: str
    trends: list[str]
    partitions: int
    columns: list[str]
    rows: list[_Row]


def html_report(
    group: FeatureGroup,
    verdicts: Mapping[str, Sequence[Verdict]],
    profiles: Mapping[str, Mapping[str, Profile]],
    shifts: Mapping[str, Sequence[Shift]] = {},
    *,
    made_at: datetime,
    run_id: str = "",
) -> str:
    """Return one page of HTML about one partition or many.

    Parameters
    ----------
    group
        Whose partitions they are. Of its personal features only counts are shown.
    verdicts, profiles, shifts
        What the gate said, the profiles by feature, and what drifted, by partition. The
        partitions stand on the page in the order in which they are first named here, the newest
        last.
    made_at
        The page's date.
    run_id
        The Dagster run that the page tells of.

    Returns
    -------
    The page, without scripts and without anything to be fetched.
    """
    keys = list(dict.fromkeys([*profiles, *verdicts, *shifts]))
    states = {key: _state(verdicts.get(key, ()), shifts.get(key, ())) for key in keys}
    faults = sorted(
        (
            fault
            for key in reversed(keys)
            for fault in _faults(group, verdicts.get(key, ()), shifts.get(key, ()))
        ),
        key=lambda fault: _SEVERITIES.index(fault.severity),
    )
    at_fault = Counter(name for fault in faults for name in fault.feature.split(", "))
    counts = Counter(states.values())
    return _page().render(
        group=group,
        keys=keys,
        states=[(state, counts[state]) for state in _STATES if counts[state]],
        rows=f"{sum(_height(profiles.get(key, {})) for key in keys):,}",
        faults=faults[:_FAULTS],
        faults_in_all=len(faults),
        sections=[
            _section(feature, profiles, shifts, states, at_fault[feature.name])
            for feature in group.features
        ],
        wordy=_COMMON,
        made_at=made_at.isoformat(" ", "seconds"),
        run_id=run_id,
    )


@cache
def _page() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(Path(__file__).with_suffix(".html").read_text("utf-8"))


def _state(verdicts: Sequence[Verdict], shifts: Sequence[Shift]) -> State:
    if any(each.blocking for each in verdicts) or any(each.blocking for each in shifts):
        return "rejected"
    drifted = any(shift.outcome == "failed" for shift in shifts)
    if drifted or any(each.outcome != "passed" for each in verdicts):
        return "with warnings"
    return "passed" if verdicts else "not checked"


def _faults(
    group: FeatureGroup, verdicts: Sequence[Verdict], shifts: Sequence[Shift]
) -> Iterator[_Fault]:
    personal = set(group.confidential)
    for each in verdicts:
        if each.outcome != "passed":
            columns, severity = each.expectation.columns, each.expectation.severity
            reason = each.reason
            if personal.intersection(columns) and not _counted(each):
                reason = f"{each.expectation.name.replace('_', ' ')}: of personal data, not shown."
            yield _Fault(each.partition, ", ".join(columns), severity, each.outcome, reason)
    for shift in shifts:
        if shift.outcome == "failed":
            yield _Fault(
                shift.partition, shift.feature, shift.rule.severity, "drifted", shift.reason
            )


def _counted(verdict: Verdict) -> bool:
    """Tell whether the reason gives counts, not a number found: that may be someone's."""
    return verdict.observed is None or verdict.unexpected_count is not None


def _height(profiles: Mapping[str, Profile]) -> int:
    return max((profile.count for profile in profiles.values()), default=0)


# ------------------------------------------------------------------ one feature


def _section(
    feature: Feature,
    profiles: Mapping[str, Mapping[str, Profile]],
    shifts: Mapping[str, Sequence[Shift]],
    states: Mapping[str, State],
    faults: int,
) -> _Section:
    found: dict[str, Profile] = {}
    for key in states:
        if profile := profiles.get(key, {}).get(feature.name):
            found[key] = _counts_only(profile) if feature.pii else profile
    newest = found[list(found)[-1]] if found else None
    columns = _columns(list(found.values()))
    return _Section(
        feature=feature,
        missing="" if newest is None else percent(newest.missing_share),
        mean="" if newest is None else _number(newest.mean),
        faults=faults,
        shown=_first_and_newest(found),
        trends=[*_trends(list(states), found), *_drift(feature, list(states), shifts)],
        partitions=len(found),
        columns=list(columns),
        rows=[
            _Row(key, states[key], [cell(found[key]) for cell in columns.values()])
            for key in _thinned(list(found))
        ],
    )


def _counts_only(profile: Profile) -> Profile:
    return Profile(profile.count, profile.missing, profile.missing_share, profile.distinct)


def _first_and_newest(found: Mapping[str, Profile]) -> str:
    """Draw the newest partition beside the first, whose outline is laid over it."""
    if not found:
        return ""
    keys = list(found)
    first, newest = keys[0], keys[-1]
    pair = {first: found[first], newest: found[newest]}
    return distribution_svg(pair, {newest: found[first]} if len(pair) > 1 else None)


def _trends(keys: Sequence[str], found: Mapping[str, Profile]) -> list[str]:
    if len(found) < 2:  # noqa: PLR2004 - a trend has two ends
        return []
    missing = [(key, found[key].missing_share * 100 if key in found else None) for key in keys]
    mean = [(key, found[key].mean if key in found else None) for key in keys]
    drawn = [trend_svg(missing, limit=None, title="Missing, %")]
    if any(value is not None for _, value in mean):
        drawn.append(trend_svg(mean, limit=None, title="Mean"))
    return drawn


def _drift(
    feature: Feature, keys: Sequence[str], shifts: Mapping[str, Sequence[Shift]]
) -> list[str]:
    by_rule: dict[Drift, dict[str, float | None]] = {}
    for key in keys:
        for shift in shifts.get(key, ()):
            if shift.feature == feature.name:
                by_rule.setdefault(shift.rule, {})[key] = shift.value
    return [
        trend_svg(
            [(key, values.get(key)) for key in keys],
            limit=rule.at_most,
            title=f"{rule.metric} against {rule.reference}",
        )
        for rule, values in by_rule.items()
        if any(value is not None for value in values.values())
    ]


def _columns(profiles: Sequence[Profile]) -> dict[str, Callable[[Profile], str]]:
    """Return the statistics that there is anything of, and how each is written."""
    columns: dict[str, Callable[[Profile], str]] = {
        "Rows": lambda each: _number(each.count),
        "Missing": lambda each: _number(each.missing),
        "Missing, %": lambda each: percent(each.missing_share),
    }
    if any(each.nan for each in profiles):
        columns["NaN"] = lambda each: _number(each.nan)
    columns["Distinct"] = lambda each: _number(each.distinct)
    if any(each.mean is not None for each in profiles):
        columns |= {
            "Mean": lambda each: _number(each.mean),
            "Std. dev.": lambda each: _number(each.stddev),
            "Minimum": lambda each: _number(each.minimum),
            "Median": lambda each: _number(each.quantiles[50] if each.quantiles else None),
            "Maximum": lambda each: _number(each.maximum),
        }
    if any(each.top for each in profiles):
        columns[_COMMON] = _common
    return columns


def _common(profile: Profile) -> str:
    present = profile.count - profile.missing
    return ", ".join(f"{value} ({percent(count / present)})" for value, count in profile.top)


def _thinned(keys: Sequence[str]) -> list[str]:
    """Return the first, the last, and evenly some of those between."""
    if len(keys) <= _ROWS:
        return list(keys)
    return [keys[round(place * (len(keys) - 1) / (_ROWS - 1))] for place in range(_ROWS)]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int) or _THOUSAND <= abs(value) < _THOUSAND**5:
        return f"{value:,.0f}"
    return f"{value:.4g}"
