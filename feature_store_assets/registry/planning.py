"""What applying declarations would change, and what that touches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.registry.changes import breaking, differences

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.registry.applied import Applied, Declared
    from feature_store_assets.registry.models import Model
    from feature_store_assets.registry.pins import Pin


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
        The views, snapshots, training sets and models that use it: `view churn`.
    """

    kind: str
    name: str
    version: int
    action: str
    details: tuple[str, ...] = ()
    touches: tuple[str, ...] = ()


def plan(
    applied: Applied,
    declarations: Sequence[Declared],
    *,
    pins: Sequence[Pin] = (),
    models: Sequence[Model] = (),
) -> list[Planned]:
    """Compare declarations with what is applied, writing nothing.

    Parameters
    ----------
    pins, models
        The pinned tables and logged models that a change may touch.
    """
    views = {view.name: view for view in applied.views()}
    users = Users(list(views.values()), pins, models)
    found: list[Planned] = []
    for declared in declarations:
        version = declared.version if isinstance(declared, FeatureGroup) else 1
        kind = "group" if isinstance(declared, FeatureGroup) else "view"
        old = applied.find(declared.name, version) if kind == "group" else views.get(declared.name)
        free = applied.droppable(old) if isinstance(old, FeatureGroup) else set[str]()
        action, details = _compared(old, declared, free)
        same = action in {"added", "unchanged"}
        touched = () if same else users.of(kind, declared.name, version)
        found.append(Planned(kind, declared.name, version, action, tuple(details), touched))
    named = {(each.kind, each.name) for each in found}
    gone = [("group", each.name, each.version) for each in applied.groups() if each.materialized]
    gone += [("view", name, 1) for name in views]
    found += [
        Planned(kind, name, version, "missing", (), users.of(kind, name, version))
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


class Users:
    """Who uses groups and views: other views, pins of tables, models."""

    def __init__(
        self, views: Sequence[FeatureView], pins: Sequence[Pin], models: Sequence[Model]
    ) -> None:
        self._views, self._pins, self._models = views, pins, models

    def of(self, kind: str, name: str, version: int, feature: str | None = None) -> tuple[str, ...]:
        """Return the users of a group or view: `view churn`, `model delay-v3`.

        Parameters
        ----------
        feature
            Only those that take this feature of the group; a table is pinned as a whole.
        """
        views = [name]
        found = []
        if kind == "group":
            views = [
                view.name
                for view in self._views
                if any(
                    (each.group, each.version) == (name, version)
                    and (feature is None or feature in dict(each.features))
                    for each in view.selections
                )
            ]
            found = [f"view {each}" for each in views]
            for pin in self._pins:
                if (pin.feature_group, pin.group_version) == (name, version) and pin.lasting:
                    found.append(f"{pin.owner_kind.replace('_', ' ')} {pin.owner}")
        found += [
            f"model {model.name}"
            for model in self._models
            if (feature is None and model.view in views)
            or (kind == "group" and any(_is_of(each, name, feature) for each in model.features))
        ]
        return tuple(dict.fromkeys(found))


def _is_of(feature_id: str, group: str, feature: str | None) -> bool:
    return (
        feature_id.startswith(f"{group}.")
        if feature is None
        else (feature_id == f"{group}.{feature}")
    )
