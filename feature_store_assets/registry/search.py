"""Finding groups, views and features by words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.registry.stages import Standings

# What a word is worth where it is found: as the name, at its start or in it, in a tag or owner, in
# the description.
_NAME, _START, _INSIDE, _LABEL, _TEXT = 100, 50, 30, 20, 10


@dataclass(frozen=True)
class Hit:
    """Something that was found.

    Attributes
    ----------
    kind, name
        `group`, `view` or `feature`, and its name; a feature's is `group.feature`.
    description
        What its author says of it.
    score
        How well it fits; greater is better.
    stage
        `draft`, `active`, `deprecated` or `retired`.
    """

    kind: str
    name: str
    description: str
    score: int
    stage: str = "active"


@dataclass(frozen=True)
class Filters:
    """What is looked for beside words; None takes all.

    Attributes
    ----------
    kind
        `group`, `feature` or `view`.
    tag
        `key` or `key:value`.
    owner, dtype, entity, stage
        An owner; a feature's type; the entity's name; a stage.
    """

    kind: str | None = None
    tag: str | None = None
    owner: str | None = None
    dtype: str | None = None
    entity: str | None = None
    stage: str | None = None


@dataclass(frozen=True)
class _Thing:
    kind: str
    name: str
    own: str
    about: str
    stage: str
    tags: dict[str, str]
    owners: tuple[str, ...]
    dtype: str = ""
    entity: str = ""

    def fits(self, filters: Filters) -> bool:
        key, _, value = (filters.tag or "").partition(":")
        return (
            filters.kind in (None, self.kind)
            and (not key or (key in self.tags and value in ("", self.tags[key])))
            and (filters.owner is None or filters.owner in self.owners)
            and filters.dtype in (None, self.dtype)
            and filters.entity in (None, self.entity)
            and filters.stage in (None, self.stage)
        )


def search(
    text: str,
    groups: Iterable[FeatureGroup],
    views: Iterable[FeatureView],
    stages: Standings,
    filters: Filters = Filters(),  # frozen
) -> list[Hit]:
    """Return what every word of the text is found in, the best first.

    Words are compared without case with names, tags, owners and descriptions; without any, all
    that the filters let through is found.
    """
    words = text.lower().split()
    hits = []
    for thing in _things(groups, views, stages):
        if not thing.fits(filters):
            continue
        labels = _labels(thing.tags, thing.owners)
        name, own, about = thing.name.lower(), thing.own.lower(), thing.about.lower()
        scores = [_score(word, own, name, labels, about) for word in words]
        if all(scores):
            hits.append(Hit(thing.kind, thing.name, thing.about, sum(scores), thing.stage))
    return sorted(hits, key=lambda hit: (-hit.score, hit.name))


def _things(
    groups: Iterable[FeatureGroup], views: Iterable[FeatureView], stages: Standings
) -> Iterator[_Thing]:
    for group in groups:
        entity, owners = group.entity.name, group.owners
        yield _Thing(
            "group", group.name, group.name, group.description, stages.group(group),
            dict(group.tags), owners, entity=entity,
        )  # fmt: skip
        for each in group.features:
            yield _Thing(
                "feature", f"{group.name}.{each.name}", each.name, each.description,
                stages.feature(group, each.name), dict(each.tags),
                (each.owner,) if each.owner else owners, each.dtype, entity,
            )  # fmt: skip
    for view in views:
        yield _Thing(
            "view", view.name, view.name, view.description, stages.view(view),
            dict(view.tags), view.owners,
        )  # fmt: skip


def _labels(tags: Iterable[tuple[str, str]] | Mapping[str, str], owners: Iterable[str]) -> str:
    return " ".join([*(f"{key}:{value}" for key, value in dict(tags).items()), *owners]).lower()


def _score(word: str, name: str, shown: str, labels: str, about: str) -> int:
    if word in {name, shown}:
        return _NAME
    if name.startswith(word):
        return _START
    if word in shown:
        return _INSIDE
    if word in labels:
        return _LABEL
    return _TEXT if word in about else 0
