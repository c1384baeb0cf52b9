"""What the pages of a group, a feature and a view show: all of it read from the registry."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from markupsafe import Markup

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.errors import FeatureNotFound, GroupNotFound, ViewNotFound
from feature_store_assets.lineage.graph import Node
from feature_store_assets.quality.charts import distribution_svg, percent, short, trend_svg
from feature_store_assets.quality.statistics import Profile, sparkline
from feature_store_assets.registry.summaries import GroupSummary, ViewSummary, changes
from feature_store_assets.server.page_lists import Names, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from feature_store_assets.declaration.feature import Feature
    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.registry.summaries import Card, Changed, FeatureSummary
    from feature_store_assets.registry.usage import Reads
    from feature_store_assets.store import FeatureStore

_PARTITIONS: Final = 12
_MEDIAN: Final = 50
_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class _Named(NamedTuple):
    text: str
    page: str | None


# ------------------------------------------------------------------ pages


def group_sheet(store: FeatureStore, name: str, names: Names) -> dict[str, Any]:
    """Return what a group's page shows."""
    group = _group(name, names)
    card = store.card(name)
    assert isinstance(card.summary, GroupSummary)
    kept, newest = store.review.statistics, card.newest_partition
    profiles = kept.of(name, group.version, [newest])[newest] if newest else {}
    profiles = {each.name: _shown(each, profiles[each.name])
                for each in group.features if each.name in profiles}  # fmt: skip
    counted = next(iter(profiles), None)
    heights = kept.of(name, group.version, features=[counted]) if counted else {}
    rows = [(key, each[counted].count) for key, each in heights.items()] if counted else []
    return {
        **_shared(card, names),
        "group": group,
        "notices": notices(store, group, names),
        "facts": _group_facts(card.summary, newest),
        "features": [
            _feature_row(name, each, profiles.get(each.name), names)
            for each in card.summary.features
        ],
        "pictures": [
            (names.page(f"{name}.{each}"), Markup(distribution_svg({each: profile})))  # noqa: S704 - escaped there
            for each, profile in profiles.items()
        ],
        "newest": newest,
        "trends": _drawn([("Rows", rows)]),
    }


def feature_sheet(store: FeatureStore, name: str, names: Names) -> dict[str, Any]:
    """Return what a feature's page shows."""
    owner, _, own = name.rpartition(".")
    if not owner:
        raise FeatureNotFound(name, "group.feature", [])
    group = _group(owner, names)
    feature = group.feature(own)
    card = store.card(name)
    kept = store.profiles(group, [own])
    history = {key: _shown(feature, each[own]) for key, each in kept.items()}
    newest = list(history)[-1] if history else None
    assert card.group is not None
    return {
        **_shared(card, names),
        "group": group,
        "feature": feature,
        "group_page": names.page(owner),
        "notices": notices(store, group, names, own),
        "facts": [
            ("Type", feature.dtype),
            ("Entity", f"{group.entity.name} ({', '.join(group.entity.join_keys)})"),
            ("Computed from", ", ".join(feature.derived_from)),
            ("Personal", "yes: only counts are kept of its values" if feature.pii else ""),
            *_times(card.group),
        ],
        "tiles": _tiles(history[newest]) if newest else [],
        "newest": newest,
        "distribution": Markup(_first_and_newest(history)),  # noqa: S704 - escaped there
        "trends": _drawn(_trends(history)),
        "partitions": [
            (key, _cells(history[key])) for key in list(history)[: -_PARTITIONS - 1 : -1]
        ],
        "in_all": len(history),
        "numbers": any(profile.mean is not None for profile in history.values()),
        "changes": _changes(store, group, own),
    }


def view_sheet(store: FeatureStore, name: str, names: Names) -> dict[str, Any]:
    """Return what a view's page shows."""
    if name not in names.views:
        raise ViewNotFound(name, names.views)
    view = names.views[name]
    card = store.card(name)
    defaults = dict(view.defaults)
    assert isinstance(card.summary, ViewSummary)
    rows = []
    for each in card.summary.features:
        page = names.page(each.source)
        owner, _, stored = each.source.rpartition(".")
        feature = names.groups[owner].feature(stored) if page else None
        rows.append(
            {
                "name": each.name,
                "from": each.source,
                "page": page,
                "type": feature.dtype if feature else _computed_type(view, each.name),
                "description": feature.description if feature else "",
                "default": defaults.get(each.name),
            }
        )
    return {
        **_shared(card, names),
        "view": view,
        "notices": notices(store, view, names),
        "facts": [
            ("Precomputed", "yes: the joined row is kept online" if view.precompute else ""),
            ("With the request", ", ".join(f"{key}: {kind}" for key, kind in view.request)),
        ],
        "features": rows,
    }


def _shared(card: Card, names: Names) -> dict[str, Any]:
    """Return what every page shows."""
    return {
        "card": card,
        "summary": card.summary,
        "used_by": [
            (
                user.kind.replace("_", " "),
                _Named(user.name, names.page(user.name) if user.kind == "view" else None),
            )
            for user in card.used_by
        ],
        "usage": _usage(card.read_by),
        "node": Node(card.kind, card.name),
    }


def _group(name: str, names: Names) -> FeatureGroup:
    if name not in names.groups:
        raise GroupNotFound(name, names.groups)
    return names.groups[name]


def notices(
    store: FeatureStore, what: FeatureGroup | FeatureView, names: Names, feature: str = ""
) -> list[dict[str, Any]]:
    """Return what users of something are told that is deprecated, retired or a draft."""
    moved = store.stages.all()
    if isinstance(what, FeatureGroup):
        places = [("group", what.name, what.version)]
        places += [("feature", f"{what.name}.{feature}", what.version)] if feature else []
    else:
        places = [("view", what.name, 1)]
    return [
        {
            "stage": each.stage,
            "text": f"{each.kind.capitalize()} '{each.name}' is {each.stage}.",
            "successor": _Named(each.successor, names.page(each.successor)),
            "by": each.changed_by,
            "at": each.changed_at,
        }
        for place in places
        if (each := moved.get(place)) is not None and each.stage != "active"
    ]


def _computed_type(view: FeatureView, name: str) -> str:
    return next((each.dtype for each in view.computed if each.name == name), "")


def _changes(store: FeatureStore, group: FeatureGroup, feature: str) -> list[Changed]:
    """Return the changes of a group's version that touched one of its features."""
    found: list[Changed] = []
    before = None
    for edit in store.applied.history(group.name):
        if edit.version != group.version:
            continue
        features = json.loads(edit.definition)["features"]
        now = next((each for each in features if each["name"] == feature), None)
        if now != before:
            action = "added" if before is None else "changed" if now else "removed"
            found += changes([replace(edit, action=action)])
        before = now
    return found


def _usage(read: Iterable[Reads]) -> list[dict[str, Any]]:
    """Return reads and rows by consumer and path, the most reads first."""
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for each in read:
        sums[each.consumer, each.path][0] += each.reads
        sums[each.consumer, each.path][1] += each.rows
    ranked = sorted(sums.items(), key=lambda pair: (-pair[1][0], pair[0]))
    return [
        {"consumer": consumer, "path": path, "reads": reads, "rows": rows}
        for (consumer, path), (reads, rows) in ranked
    ]


# ------------------------------------------------------------------ facts and statistics


def _group_facts(group: GroupSummary, newest: str | None) -> list[tuple[str, str]]:
    keys = (f"{key}: {kind}" if kind else key for key, kind in group.join_keys.items())
    return [
        ("Entity", f"{group.entity} ({', '.join(keys)})"),
        ("Event time", group.timestamp),
        ("Written by", group.written_by),
        ("Computed from", ", ".join(group.reads)),
        ("Partitions", group.partitions),
        ("Newest partition", newest or ""),
        ("Served online", "yes" if group.online else "no"),
        *_times(group),
    ]


def _times(group: GroupSummary) -> list[tuple[str, str]]:
    return [
        ("Time to live", _span(group.ttl_seconds)),
        ("Fresh within", _span(group.freshness_seconds)),
        ("Kept for", _span(group.retention_seconds)),
    ]


def _span(span: float | None) -> str:
    """Return seconds in words: `1 day 2 hours`."""
    if span is None:
        return ""
    left, words = int(span), []
    for seconds, unit in _UNITS:
        number, left = divmod(left, seconds)
        if number:
            words.append(counted(number, unit))
    return " ".join(words) or str(timedelta(seconds=span))


def _shown(feature: Feature, profile: Profile) -> Profile:
    """Return what may be seen: of personal features counts, also where more was kept before."""
    if not feature.pii:
        return profile
    return Profile(profile.count, profile.missing, profile.missing_share, profile.distinct)


def _feature_row(
    group: str, feature: FeatureSummary, profile: Profile | None, names: Names
) -> dict[str, Any]:
    return {
        "name": feature.name,
        "page": names.page(f"{group}.{feature.name}"),
        "type": feature.type,
        "stage": feature.stage,
        "personal": feature.pii,
        "description": feature.description,
        "spark": sparkline(profile.histogram) if profile and any(profile.histogram) else "",
        **(_cells(profile) if profile else dict.fromkeys(_CELLS, "")),
    }


_CELLS: Final = ("rows", "missing", "distinct", "mean", "minimum", "maximum")


def _cells(profile: Profile) -> dict[str, str]:
    return {
        "rows": f"{profile.count:,}",
        "missing": percent(profile.missing_share),
        "distinct": "" if profile.distinct is None else f"{profile.distinct:,}",
        "mean": _number(profile.mean),
        "minimum": _number(profile.minimum),
        "maximum": _number(profile.maximum),
    }


def _tiles(profile: Profile) -> list[tuple[str, str]]:
    cells = _cells(profile)
    median = profile.quantiles[_MEDIAN] if profile.quantiles else None
    told = [
        ("rows", cells["rows"]),
        ("missing", cells["missing"]),
        ("distinct", cells["distinct"]),
        ("mean", cells["mean"]),
        ("std. dev.", _number(profile.stddev)),
        ("minimum", cells["minimum"]),
        ("median", _number(median)),
        ("maximum", cells["maximum"]),
    ]
    return [(name, value) for name, value in told if value]


def _number(value: float | None) -> str:
    return "" if value is None else short(value)


def _first_and_newest(history: Mapping[str, Profile]) -> str:
    """Draw the newest partition beside the first, whose outline is laid over it."""
    if not history:
        return ""
    first, *_, newest = [*history, *history]
    pair = {first: history[first], newest: history[newest]}
    return distribution_svg(pair, {newest: history[first]} if len(pair) > 1 else None)


_Points = list[tuple[str, float | None]]


def _trends(history: Mapping[str, Profile]) -> list[tuple[str, _Points]]:
    return [
        ("Missing, %", [(key, each.missing_share * 100) for key, each in history.items()]),
        ("Mean", [(key, each.mean) for key, each in history.items()]),
        ("Rows", [(key, each.count) for key, each in history.items()]),
    ]


def _drawn(trends: Iterable[tuple[str, Sequence[tuple[str, float | None]]]]) -> list[Markup]:
    """Draw what has two ends and a number."""
    return [
        Markup(trend_svg(points, limit=None, title=title))  # noqa: S704 - escaped there
        for title, points in trends
        if len(points) > 1 and any(value is not None for _, value in points)
    ]
