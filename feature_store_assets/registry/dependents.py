"""Who uses features: views, snapshots, training sets and models that the registry knows.

`plan`, `show`, the pages and `impact` all ask here. Impact first follows columns through Dagster's
graph, then asks for the users of all the features that it reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.registry.models import Model
    from feature_store_assets.registry.pins import Pin

UserKind = Literal["view", "snapshot", "training_set", "model"]


@dataclass(frozen=True, order=True)
class User:
    """Something that uses a feature, a group or a view; as text `training set churn-2024`."""

    kind: UserKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.name}"


@dataclass(frozen=True)
class TrainingSetFeatures:
    """A training set: the ids of its features, and the snapshot that it was read from."""

    name: str
    created_by: str
    features: tuple[str, ...]
    snapshot: str | None = None


@dataclass(frozen=True)
class Dependents:
    """What may use groups and views, at one moment.

    A version of a group is a table of its own: what reads or pins another version is no user of
    this one.
    """

    groups: Sequence[FeatureGroup] = ()
    views: Sequence[FeatureView] = ()
    pins: Sequence[Pin] = ()
    training_sets: Sequence[TrainingSetFeatures] = ()
    models: Sequence[Model] = ()

    def of_view(self, name: str) -> tuple[User, ...]:
        """Return the models that were trained on a view."""
        return tuple(User("model", model.name) for model in self.models if model.view == name)

    def of_group(self, name: str, version: int, feature: str | None = None) -> tuple[User, ...]:
        """Return the users of a version of a group, or of one of its features."""

        def takes(feature_id: str) -> bool:
            owner, _, own = feature_id.rpartition(".")
            return owner == name and feature in {None, own}

        return self._using({(name, version)}, takes)

    def of_features(self, ids: Collection[str]) -> tuple[User, ...]:
        """Return the users of features in the newest versions of their groups.

        Parameters
        ----------
        ids
            `"group.feature"`, or `"view.feature"` of what a view computes at request time.
        """
        owners = {each.rpartition(".")[0] for each in ids}
        tables = {(group.name, group.version) for group in self.groups if group.name in owners}
        return self._using(tables, ids.__contains__)

    def _using(
        self, tables: Collection[tuple[str, int]], takes: Callable[[str], bool]
    ) -> tuple[User, ...]:
        """Return what reads or pins these tables, and takes one of the features."""
        views = [view.name for view in self.views if any(map(takes, features_of(view, tables)))]
        pins = [pin for pin in self.pins if (pin.feature_group, pin.group_version) in tables]
        # A table is pinned as a whole.
        snapshots = [pin.owner for pin in pins if pin.of_snapshot]
        held, pinned = _training_sets(pins), _training_sets(self.pins)
        sets = [
            each.name
            for each in self.training_sets
            # What was imported from another registry may lack its pins.
            if (each.name in held or each.name not in pinned) and any(map(takes, each.features))
        ]
        known = {each.name for each in self.training_sets}
        models = [
            each.name
            for each in self.models
            if each.training_set in sets
            or (
                each.training_set not in known
                and (each.view in views or any(map(takes, each.features)))
            )
        ]
        found: Mapping[UserKind, list[str]] = {
            "view": views,
            "snapshot": snapshots,
            "training_set": sets,
            "model": models,
        }
        return tuple(dict.fromkeys(User(kind, name) for kind in found for name in found[kind]))


def features_of(view: FeatureView, tables: Collection[tuple[str, int]] | None = None) -> list[str]:
    """Return the ids of a view's features: stored ones, then those that it computes.

    Parameters
    ----------
    tables
        Of the stored ones only those of these groups and versions.
    """
    stored = [
        f"{selection.group}.{name}"
        for selection in view.selections
        if tables is None or (selection.group, selection.version) in tables
        for name, _ in selection.features
    ]
    return [*stored, *(f"{view.name}.{each.name}" for each in view.computed)]


def _training_sets(pins: Iterable[Pin]) -> set[str]:
    return {pin.owner for pin in pins if pin.owner_kind == "training_set"}
