"""What differs between two definitions of a group, and which differences old rows survive."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.partitions import Partitions


def breaking(old: FeatureGroup, new: FeatureGroup, droppable: Collection[str] = ()) -> list[str]:
    """Return the changes that stored rows cannot follow; each needs a new version.

    `droppable` names features that may be dropped: drafts and retired ones.
    """
    found = []
    had = list(zip(old.entity.join_keys, old.entity.key_types, strict=True))
    has = list(zip(new.entity.join_keys, new.entity.key_types, strict=True))
    if [name for name, _ in had] != [name for name, _ in has]:
        found.append(f"join keys {_names(had)} become {_names(has)}")
    for (name, was), (_, becomes) in zip(had, has, strict=False):
        if was != becomes and was is not None:
            found.append(f"key '{name}' {was} becomes {becomes}")
    found += [
        f"{what} {getattr(old, what)!r} becomes {getattr(new, what)!r}"
        for what in ("timestamp", "created", "closed", "timezone", "materialized")
        if getattr(old, what) != getattr(new, what)
    ]
    if _cut(old.partitions) != _cut(new.partitions) or old.partition_by != new.partition_by:
        found.append("the table is partitioned otherwise")
    types = {feature.name: feature.dtype for feature in new.features}
    for feature in old.features:
        if feature.name not in types:
            if feature.name not in droppable:
                found.append(f"feature '{feature.name}' is removed")
        elif types[feature.name] != feature.dtype:
            found.append(f"feature '{feature.name}' {feature.dtype} becomes {types[feature.name]}")
    return found


def differences(old: FeatureGroup, new: FeatureGroup) -> list[str]:
    """Return every change that stored rows can follow, in words."""
    known = {feature.name for feature in old.features}
    added = [
        f"feature '{feature.name}' ({feature.dtype}) is added"
        for feature in new.features
        if feature.name not in known
    ]
    dropped = [name for name in old.feature_names if name not in new.feature_names]
    changed = [
        each for each in other_than_added(old, new) if each not in map(_changed_feature, dropped)
    ]
    return added + [f"feature '{name}' is dropped for good" for name in dropped] + changed


def other_than_added(old: FeatureGroup, new: FeatureGroup) -> list[str]:
    """Return every change but added features: what a run at work must not meet."""
    before, after = old.to_json(), new.to_json()
    for each in (before, after):
        each.pop("slots", None)
    known = {feature["name"]: feature for feature in before.pop("features")}
    now = {feature["name"]: feature for feature in after.pop("features")}
    changed = [_changed_feature(name) for name, was in known.items() if now.get(name) != was]
    other = [what for what in sorted({*before, *after}) if before.get(what) != after.get(what)]
    return changed + [f"{what} changed" for what in other]


def _changed_feature(name: str) -> str:
    return f"feature '{name}' changed"


def _names(keys: list[tuple[str, str | None]]) -> str:
    return "(" + ", ".join(name for name, _ in keys) + ")"


def _cut(partitions: Partitions | None) -> tuple[object, ...]:
    """Return what decides in which partition a row lies: the start and the end do not."""
    if partitions is None:
        return ()
    inner = tuple((name, _cut(part)) for name, part in partitions.dimensions)
    calendar = partitions.keys if partitions.kind == "calendar" else ()
    return (partitions.kind, partitions.cron, partitions.timezone, partitions.fmt, calendar, inner)
