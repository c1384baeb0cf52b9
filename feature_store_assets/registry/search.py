"""Finding groups, views and features by words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.view import FeatureView

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
    """

    kind: str
    name: str
    description: str
    score: int


def search(text: str, groups: Iterable[FeatureGroup], views: Iterable[FeatureView]) -> list[Hit]:
    """Return what every word of the text is found in, the best first.

    Words are compared without case with names, tags, owners and descriptions.
    """
    words = text.lower().split()
    found = []
    for group in groups:
        labels = _labels(group.tags, group.owners)
        found.append(("group", group.name, group.name, labels, group.description))
        for feature in group.features:
            shown, about = f"{group.name}.{feature.name}", feature.description
            found.append(("feature", shown, feature.name, _labels(feature.tags, ()), about))
    for view in views:
        labels = _labels(view.tags, view.owners)
        found.append(("view", view.name, view.name, labels, view.description))
    hits = []
    for kind, shown, name, labels, about in found:
        scores = [
            _score(word, name.lower(), shown.lower(), labels, about.lower()) for word in words
        ]
        if scores and all(scores):
            hits.append(Hit(kind, shown, about, sum(scores)))
    return sorted(hits, key=lambda hit: (-hit.score, hit.name))


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
