"""Feature views: features of several groups, joined under one name for a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from feature_store_assets.declaration.canonical import content_hash
from feature_store_assets.declaration.feature import checked_name, checked_owners, checked_tags
from feature_store_assets.declaration.group import FeatureGroup, Selection
from feature_store_assets.errors import DeclarationError


@dataclass(frozen=True, init=False)
class FeatureView:
    """What one model reads.

    Parameters
    ----------
    name
        The view's name.
    groups
        Whole groups, or features of them: `group["a", "b"]`, `group["a"].rename({"a": "b"})`.
    description, owners, tags
        As on a group.
    """

    name: str
    selections: tuple[Selection, ...]
    description: str
    owners: tuple[str, ...]
    tags: tuple[tuple[str, str], ...]

    def __init__(
        self,
        name: str,
        groups: Sequence[FeatureGroup | Selection],
        description: str = "",
        *,
        owners: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        if not groups:
            raise DeclarationError(f"View '{name}' names no features.")
        chosen = tuple(
            group[tuple(group.feature_names)] if isinstance(group, FeatureGroup) else group
            for group in groups
        )
        seen: dict[str, str] = {}
        for selection in chosen:
            for stored, shown in selection.features:
                if shown in seen:
                    raise DeclarationError(
                        f"View '{name}' has two features named '{shown}', of '{seen[shown]}' and "
                        f"'{selection.group}'. Rename one: "
                        f"{selection.group}['{stored}'].rename({{'{stored}': '...'}})."
                    )
                seen[shown] = selection.group
        names = [selection.group for selection in chosen]
        for group_name in names:
            if names.count(group_name) > 1:
                raise DeclarationError(f"View '{name}' names '{group_name}' twice: list it once.")
        object.__setattr__(self, "name", checked_name(name, "feature view"))
        object.__setattr__(self, "selections", chosen)
        object.__setattr__(self, "description", description)
        object.__setattr__(self, "owners", checked_owners(owners, name))
        object.__setattr__(self, "tags", checked_tags(tags or {}, name))

    @property
    def feature_names(self) -> list[str]:
        """The features' names in the view, in order."""
        return [shown for selection in self.selections for _, shown in selection.features]

    def to_json(self) -> dict[str, Any]:
        full: dict[str, Any] = {
            "name": self.name,
            "groups": [
                [selection.group, selection.version, [list(pair) for pair in selection.features]]
                for selection in self.selections
            ],
            "description": self.description,
            "owners": list(self.owners) or None,
            "tags": dict(self.tags) or None,
        }
        return {key: value for key, value in full.items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        selections = [
            Selection(group, version, tuple((stored, shown) for stored, shown in features))
            for group, version, features in value["groups"]
        ]
        return cls(
            value["name"],
            selections,
            value["description"],
            owners=value.get("owners", ()),
            tags=value.get("tags"),
        )

    @property
    def hash(self) -> str:
        """32 hex digits that name the declared content."""
        return content_hash(self.to_json())
