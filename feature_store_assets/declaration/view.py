"""Feature views: features of several groups, joined under one name for a model."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from feature_store_assets.declaration.canonical import content_hash
from feature_store_assets.declaration.feature import checked_name, checked_owners, checked_tags
from feature_store_assets.declaration.group import FeatureGroup, Selection
from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.declaration.rowwise import check_function
from feature_store_assets.declaration.types import holds, type_name
from feature_store_assets.errors import DeclarationError, FeatureNotFound, suggestion


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
    request
        Values that come with each request, name -> type: columns of the spine in training.
    computed
        Features that functions compute from the view's features and its request values.
    defaults
        Values in place of null, by the feature's name in the view: numbers, strings, bools. The
        same in training and serving; functions see them, too.
    precompute
        Keep the joined row of each entity online beside the groups' own: one look-up instead of
        one per group, for twice the memory. The groups must share their join keys.
    """

    name: str
    selections: tuple[Selection, ...]
    description: str
    request: tuple[tuple[str, str], ...]
    computed: tuple[RequestFeature, ...]
    defaults: tuple[tuple[str, Any], ...]
    precompute: bool
    owners: tuple[str, ...]
    tags: tuple[tuple[str, str], ...]

    def __init__(
        self,
        name: str,
        groups: Sequence[FeatureGroup | Selection],
        description: str = "",
        *,
        request: Mapping[str, object] | None = None,
        computed: Sequence[RequestFeature] = (),
        defaults: Mapping[str, Any] | None = None,
        precompute: bool = False,
        owners: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        chosen = tuple(
            group[tuple(group.feature_names)] if isinstance(group, FeatureGroup) else group
            for group in groups
        )
        _check_stored(name, chosen)
        freeze = object.__setattr__
        freeze(self, "name", checked_name(name, "feature view"))
        freeze(self, "selections", chosen)
        freeze(self, "description", description)
        freeze(self, "request", _checked_request(name, chosen, request or {}))
        freeze(self, "computed", tuple(computed))
        freeze(self, "defaults", _checked_defaults(name, chosen, defaults or {}))
        freeze(self, "precompute", precompute)
        freeze(self, "owners", checked_owners(owners, name))
        freeze(self, "tags", checked_tags(tags or {}, name))
        _check_computed(self)
        _try_computed(self)

    @property
    def feature_names(self) -> list[str]:
        """The features' names in the view, in order: stored ones, then computed ones."""
        return [*_stored(self.selections), *(feature.name for feature in self.computed)]

    def to_json(self) -> dict[str, Any]:
        full: dict[str, Any] = {
            "name": self.name,
            "groups": [
                [selection.group, selection.version, [list(pair) for pair in selection.features]]
                for selection in self.selections
            ],
            "description": self.description,
            "request": dict(self.request) or None,
            "computed": [feature.to_json() for feature in self.computed] or None,
            "defaults": dict(self.defaults) or None,
            "precompute": self.precompute or None,
            "owners": list(self.owners) or None,
            "tags": dict(self.tags) or None,
        }
        return {key: value for key, value in full.items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what was declared. Functions are not imported, not tried again, not trusted."""
        selections = [
            Selection(group, version, tuple((stored, shown) for stored, shown in features))
            for group, version, features in value["groups"]
        ]
        view = cls(
            value["name"],
            selections,
            value["description"],
            request=value.get("request"),
            defaults=value.get("defaults"),
            precompute=value.get("precompute", False),
            owners=value.get("owners", ()),
            tags=value.get("tags"),
        )
        computed = tuple(RequestFeature.from_json(each) for each in value.get("computed", ()))
        object.__setattr__(view, "computed", computed)
        _check_computed(view)
        return view

    def as_trusted(self) -> Self:
        """Return the view with leave to import the functions that it names."""
        view = copy.copy(self)
        object.__setattr__(view, "computed", tuple(each.as_trusted() for each in self.computed))
        return view

    @property
    def hash(self) -> str:
        """32 hex digits that name the declared content."""
        return content_hash(self.to_json())


def _stored(selections: Sequence[Selection]) -> list[str]:
    return [shown for selection in selections for _, shown in selection.features]


def _check_stored(name: str, selections: Sequence[Selection]) -> None:
    if not selections:
        raise DeclarationError(f"View '{name}' names no features.")
    seen: dict[str, str] = {}
    for selection in selections:
        for stored, shown in selection.features:
            if shown in seen:
                raise DeclarationError(
                    f"View '{name}' has two features named '{shown}', of '{seen[shown]}' and "
                    f"'{selection.group}'. Rename one: "
                    f"{selection.group}['{stored}'].rename({{'{stored}': '...'}})."
                )
            seen[shown] = selection.group
    names = [selection.group for selection in selections]
    for group_name in names:
        if names.count(group_name) > 1:
            raise DeclarationError(f"View '{name}' names '{group_name}' twice: list it once.")


def _checked_request(
    name: str, selections: Sequence[Selection], request: Mapping[str, object]
) -> tuple[tuple[str, str], ...]:
    stored = _stored(selections)
    for each in request:
        if checked_name(each, "request value") in stored:
            raise DeclarationError(
                f"'{each}' of view '{name}' is a stored feature and a request value: rename one."
            )
    return tuple(sorted((each, type_name(kind)) for each, kind in request.items()))


def _checked_defaults(
    name: str, selections: Sequence[Selection], defaults: Mapping[str, Any]
) -> tuple[tuple[str, Any], ...]:
    types: dict[str, str | None] = dict.fromkeys(_stored(selections))
    for selection in selections:
        shown = [each for _, each in selection.features]
        types |= zip(shown, selection.types, strict=False)  # read from JSON it has none
    for each, value in defaults.items():
        if each not in types:
            raise FeatureNotFound(each, name, types)
        if not isinstance(value, bool | int | float | str) or value != value:  # noqa: PLR0124 - NaN
            raise DeclarationError(
                f"The default of '{each}' in view '{name}' is a number, a string or a bool, not "
                f"{value!r}."
            )
        kind = types[each]
        if kind is not None and not holds(kind, value):
            raise DeclarationError(
                f"'{each}' of view '{name}' is {kind}; its default {value!r} is not."
            )
    return tuple(sorted(defaults.items()))


def _check_computed(view: FeatureView) -> None:
    """Refuse computed features whose names or inputs the view does not allow."""
    names = [feature.name for feature in view.computed]
    for name in names:
        if name in _stored(view.selections) or name in dict(view.request):
            raise DeclarationError(
                f"'{name}' of view '{view.name}' is computed, but a stored feature or a request "
                f"value has that name: rename one."
            )
        if names.count(name) > 1:
            raise DeclarationError(f"View '{view.name}' computes '{name}' twice.")
    known = [*_stored(view.selections), *dict(view.request)]
    for feature in view.computed:
        for given in feature.inputs:
            if given in names:
                raise DeclarationError(
                    f"'{feature.name}' takes '{given}', which view '{view.name}' computes itself: "
                    f"a function takes stored features and request values. Call the other "
                    f"function in it."
                )
            if given not in known:
                raise DeclarationError(
                    f"'{feature.function}', the function of '{feature.name}', takes '{given}', "
                    f"which is neither a feature nor a request value of view '{view.name}'."
                    + suggestion(given, known)
                )


def _try_computed(view: FeatureView) -> None:
    """Run the functions on made-up rows."""
    kinds = _kinds(view) if view.computed else {}
    for feature in view.computed:
        check_function(feature, [kinds[given] for given in feature.inputs])


def _kinds(view: FeatureView) -> dict[str, str]:
    """The types of what functions may take, by its name in the view."""
    found = dict(view.request)
    for selection in view.selections:
        if len(selection.types) < len(selection.features):
            raise DeclarationError(
                f"View '{view.name}' computes from features of '{selection.group}', whose types "
                f"are not known here: take them from the group, {selection.group}['...']."
            )
        shown = [name for _, name in selection.features]
        found |= zip(shown, selection.types, strict=True)
    return found
