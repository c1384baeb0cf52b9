"""What there is in the catalogue: names with their pages, and what is listed of them."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from feature_store_assets.declaration.feature import Feature
    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.lineage.graph import Node
    from feature_store_assets.registry.search import Hit
    from feature_store_assets.registry.stages import Standings

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
    return {
        "groups": [_group_item(each, names, stages) for each in names.groups.values()],
        "views": [_view_item(each, names, stages) for each in names.views.values()],
    }


def found(hits: Iterable[Hit], names: Names, stages: Standings) -> list[Item]:
    """Return what was found, as lines."""
    items = []
    for hit in hits:
        owner, _, name = hit.name.rpartition(".")
        if owner in names.groups:
            group = names.groups[owner]
            items.append(_feature_item(group, group.feature(name), names, hit))
        elif hit.name in names.groups:
            items.append(_group_item(names.groups[hit.name], names, stages, hit))
        elif hit.name in names.views:
            items.append(_view_item(names.views[hit.name], names, stages))
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


def _group_item(
    group: FeatureGroup, names: Names, stages: Standings, hit: Hit | None = None
) -> Item:
    facts = [f"entity {group.entity.name}", counted(len(group.features), "feature")]
    facts += ["online"] if group.online else []
    facts += _freshness(hit)
    page, stage = names.page(group.name), stages.group(group)
    return Item(
        "group", group.name, page, group.description, stage, facts, group.owners, dict(group.tags)
    )


def _freshness(hit: Hit | None) -> list[str]:
    """Return whether a hit is fresh or stale, where that is known."""
    return [hit.freshness] if hit and hit.freshness not in {"", "unknown"} else []


def _feature_item(group: FeatureGroup, feature: Feature, names: Names, hit: Hit) -> Item:
    name, facts = f"{group.name}.{feature.name}", [feature.dtype, f"entity {group.entity.name}"]
    facts += [*(["personal"] if feature.pii else []), *_freshness(hit)]
    owners = [feature.owner] if feature.owner else group.owners
    page = names.page(name)
    return Item(
        "feature", name, page, feature.description, hit.stage, facts, owners, dict(feature.tags)
    )


def _view_item(view: FeatureView, names: Names, stages: Standings) -> Item:
    facts = [
        counted(len(view.feature_names), "feature"),
        f"of {counted(len(view.selections), 'group')}",
    ]
    page, stage = names.page(view.name), stages.view(view)
    return Item(
        "view", view.name, page, view.description, stage, facts, view.owners, dict(view.tags)
    )


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
