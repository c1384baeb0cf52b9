"""What there is in the catalogue: names with their pages, and what is listed of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from feature_store_assets.registry.summaries import FeatureSummary, GroupSummary, ViewSummary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.lineage.graph import Node
    from feature_store_assets.registry.lifecycle import Standings
    from feature_store_assets.registry.search import Hit

_NEAR: Final = 6
_LONGEST: Final = 260


class Names:
    """The pages that there are.

    Parameters
    ----------
    base
        What every path begins with: where the app is mounted.
    """

    def __init__(
        self, groups: Sequence[FeatureGroup], views: Sequence[FeatureView], base: str
    ) -> None:
        self.groups = {each.name: each for each in groups}
        self.views = {each.name: each for each in views}
        self._base = base

    def page(self, name: str) -> str | None:
        """Return the address of a group, a view or a feature (`group.feature`), if it has one."""
        if name in self.groups:
            return f"{self._base}/groups/{name}"
        if name in self.views:
            return f"{self._base}/views/{name}"
        owner, _, feature = name.rpartition(".")
        if owner in self.groups and feature in self.groups[owner].feature_names:
            return f"{self._base}/features/{name}"
        return None

    def of_node(self, node: Node) -> str | None:
        """Return the page of what a node of lineage stands for; of a key, its group's."""
        if node.kind in {"group", "view"}:
            return self.page(node.id)
        if node.kind in {"feature", "column"}:
            return self.page(node.id) or self.page(node.table)
        return None

    def near(self, name: str) -> list[tuple[str, str | None]]:
        """Return what has a name much like one that nothing has, with its page."""
        owner, _, own = name[-_LONGEST:].rpartition(".")
        found = _like(owner or own, [*self.groups, *self.views])
        features = [
            f"{group}.{feature}"
            for group in ([each for each in found if each in self.groups] if owner else [])
            for feature in _like(own, self.groups[group].feature_names)
        ]
        features += [f"{g.name}.{own}" for g in self.groups.values() if own in g.feature_names]
        shown = [*features, *found] if owner else [*found, *features]
        return [(each, self.page(each)) for each in list(dict.fromkeys(shown))[:_NEAR]]


def _like(name: str, known: Iterable[str]) -> list[str]:
    return get_close_matches(name, list(known), n=_NEAR, cutoff=0.5)


@dataclass(frozen=True)
class Item:
    """One line of a list: a group, a feature or a view."""

    kind: str
    name: str
    page: str | None
    description: str
    stage: str
    facts: Sequence[str]
    owners: Sequence[str]
    tags: Mapping[str, str]


def overview(names: Names, stages: Standings) -> dict[str, list[Item]]:
    """Return all groups and views."""
    groups = (GroupSummary.of(each, stages) for each in names.groups.values())
    views = (ViewSummary.of(each, stages) for each in names.views.values())
    return {
        "groups": [_group_item(each, names) for each in groups],
        "views": [_view_item(each, names) for each in views],
    }


def found(hits: Iterable[Hit], names: Names, stages: Standings) -> list[Item]:
    """Return what was found, as lines."""
    items = []
    for hit in hits:
        owner, _, name = hit.name.rpartition(".")
        if group := names.groups.get(owner or hit.name):
            summary = GroupSummary.of(group, stages)
            own = next((each for each in summary.features if owner and each.name == name), None)
            item = _feature_item(summary, own, names) if own else _group_item(summary, names)
            # Whether it is fresh or stale, where that is known.
            known = [hit.freshness] if hit.freshness != "unknown" else []
            items.append(replace(item, facts=[*item.facts, *known]))
        elif hit.name in names.views:
            items.append(_view_item(ViewSummary.of(names.views[hit.name], stages), names))
    return items


def choices(names: Names) -> dict[str, list[str]]:
    """Return what there is to filter by."""
    groups, views = [*names.groups.values()], [*names.views.values()]
    declared: list[FeatureGroup | FeatureView] = [*groups, *views]
    features = [feature for group in groups for feature in group.features]
    owners = {owner for each in declared for owner in each.owners}
    tags = {pair for each in (*declared, *features) for pair in each.tags}
    return {
        "entities": sorted({group.entity.name for group in groups}),
        "types": sorted({feature.dtype for feature in features}),
        "owners": sorted(owners | {feature.owner for feature in features if feature.owner}),
        "tags": sorted(f"{key}:{value}" if value else key for key, value in tags),
    }


def _group_item(group: GroupSummary, names: Names) -> Item:
    facts = [f"entity {group.entity}", counted(len(group.features), "feature")]
    facts += ["online"] if group.online else []
    return _item("group", group, group.name, names, facts)


def _feature_item(group: GroupSummary, feature: FeatureSummary, names: Names) -> Item:
    facts = [feature.type, f"entity {group.entity}", *(["personal"] if feature.pii else [])]
    return _item("feature", feature, f"{group.name}.{feature.name}", names, facts)


def _view_item(view: ViewSummary, names: Names) -> Item:
    groups = len(names.views[view.name].selections)
    facts = [counted(len(view.features), "feature"), f"of {counted(groups, 'group')}"]
    return _item("view", view, view.name, names, facts)


def _item(
    kind: str,
    summary: GroupSummary | FeatureSummary | ViewSummary,
    name: str,
    names: Names,
    facts: Sequence[str],
) -> Item:
    return Item(
        kind,
        name,
        names.page(name),
        summary.description,
        summary.stage,
        facts,
        summary.owners,
        summary.tags,
    )


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
