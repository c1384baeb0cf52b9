"""What applying declarations would change, and what that touches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.registry.compatibility import breaking, differences

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from feature_store_assets.registry.declarations import Applied, Declared
    from feature_store_assets.registry.dependents import Dependents, User


@dataclass(frozen=True)
class Planned:
    """What applying would do to one declaration.

    Attributes
    ----------
    action
        `added`, `changed`, `breaking` (refused: it needs a new version), `unchanged`, or `missing`
        (applied, but declared no more: it stays until somebody retires it).
    details
        What differs, in words.
    touches
        The views, snapshots, training sets and models that use it.
    """

    kind: str
    name: str
    version: int
    action: str
    details: tuple[str, ...] = ()
    touches: tuple[User, ...] = ()


def plan(
    applied: Applied, declarations: Sequence[Declared], dependents: Dependents
) -> list[Planned]:
    """Compare declarations with what is applied, writing nothing.

    Parameters
    ----------
    dependents
        What a change may touch.
    """
    views = {view.name: view for view in applied.views()}

    def users(kind: str, name: str, version: int) -> tuple[User, ...]:
        return dependents.of_view(name) if kind == "view" else dependents.of_group(name, version)

    found: list[Planned] = []
    for declared in declarations:
        version = declared.version if isinstance(declared, FeatureGroup) else 1
        kind = "group" if isinstance(declared, FeatureGroup) else "view"
        old = applied.find(declared.name, version) if kind == "group" else views.get(declared.name)
        free = applied.droppable(old) if isinstance(old, FeatureGroup) else set[str]()
        action, details = _compared(old, declared, free)
        same = action in {"added", "unchanged"}
        touched = () if same else users(kind, declared.name, version)
        found.append(Planned(kind, declared.name, version, action, tuple(details), touched))
    named = {(each.kind, each.name) for each in found}
    gone = [("group", each.name, each.version) for each in applied.groups() if each.materialized]
    gone += [("view", name, 1) for name in views]
    found += [
        Planned(kind, name, version, "missing", (), users(kind, name, version))
        for kind, name, version in gone
        if (kind, name) not in named
    ]
    return found


def _compared(
    old: Declared | None, new: Declared, droppable: Collection[str]
) -> tuple[str, list[str]]:
    if old is None:
        return "added", []
    if old.hash == new.hash:
        return "unchanged", []
    if isinstance(old, FeatureGroup) and isinstance(new, FeatureGroup):
        if broken := breaking(old, new, droppable):
            return "breaking", broken
        return "changed", differences(old, new)
    was, becomes = (each.to_json() for each in (old, new))
    fields = sorted({*was, *becomes})
    return "changed", [
        f"{field}: {json.dumps(was.get(field))} becomes {json.dumps(becomes.get(field))}"
        for field in fields
        if was.get(field) != becomes.get(field)
    ]
