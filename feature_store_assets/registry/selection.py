"""What a read asks for, resolved: stored features, request values, and what is computed of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.request import RequestFeature
    from feature_store_assets.declaration.view import FeatureView


@dataclass(frozen=True)
class Chosen:
    """Features of one group that a read asks for: stored name -> name in the answer."""

    group: FeatureGroup
    features: dict[str, str]


@dataclass(frozen=True)
class Asked:
    """What a read asks for.

    Parameters
    ----------
    owner
        The view's or group's name, for messages.
    parts
        Stored features by group, with those that only computed ones need.
    shown
        The names in the answer, in the view's order.
    request
        Request values that the computed features need, with their types.
    computed
        The computed features.
    view
        The view that they are of, if it is one.
    defaults
        What stands in place of null, by name in the answer.
    """

    owner: str
    parts: list[Chosen]
    shown: tuple[str, ...]
    request: dict[str, str]
    computed: tuple[RequestFeature, ...]
    view: FeatureView | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def columns(self, *, full_names: bool) -> dict[str, str]:
        """Return the columns of a training set by the names in the answer, hidden inputs too."""
        stored = [
            (shown, f"{part.group.name}__{shown}")
            for part in self.parts
            for shown in part.features.values()
        ]
        computed = [(each.name, f"{self.owner}__{each.name}") for each in self.computed]
        return {name: full if full_names else name for name, full in stored + computed}
