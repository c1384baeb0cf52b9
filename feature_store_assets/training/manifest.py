"""What a manifest says: all that it takes to trust a training set, and to make it again."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from feature_store_assets.declaration.canonical import canonical
from feature_store_assets.declaration.group import Selection
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import FeatureStoreError
from feature_store_assets.offline.digest import TableDigest
from feature_store_assets.snapshots.manifest import packages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_store_assets.offline.point_in_time import Spine
    from feature_store_assets.retrieval.historical import Historical
    from feature_store_assets.storage import Location
    from feature_store_assets.training.splitting import Split

MANIFEST = "manifest.json"
_FORMAT = 1
_DIGESTED = 1 << 20


@dataclass(frozen=True)
class Recipe:
    """What goes into a training set beside its features; see `create_training_set`."""

    split: Split | None = None
    split_by: str | Sequence[str] | None = None
    seed: int = 0
    label: str | None = None
    description: str = ""
    created_by: str = ""
    snapshot: str | None = None


def manifest_of(
    name: str, fixed: Historical, spine: Spine, recipe: Recipe, parts: list[dict[str, Any]]
) -> dict[str, Any]:
    view = fixed.asked.view or _as_view(fixed, name)
    return {
        "format": _FORMAT,
        "name": name,
        "created_at": datetime.now(UTC).isoformat(),
        "created_by": recipe.created_by,
        "description": recipe.description,
        "view": view.to_json(),
        "snapshot": recipe.snapshot,
        "groups": fixed.pins(),
        "timestamp": fixed.timestamp,
        "full_feature_names": fixed.full_feature_names and fixed.asked.view is not None,
        "features": fixed.feature_columns,
        "label": recipe.label,
        "spine": {"rows": len(spine), "columns": spine.schema.names, "digest": _digest(spine)},
        "split": _split_json(recipe),
        "parts": parts,
        "packages": packages(),
        "code": code_digests(view),
    }


def _as_view(fixed: Historical, name: str) -> FeatureView:
    """Return a group or a list of features as a view: they have no definition to keep."""
    selections = [
        Selection(part.group.name, part.group.version, tuple(lookup.features.items()))
        for part, lookup in zip(fixed.asked.parts, fixed.lookups, strict=True)
    ]
    return FeatureView(re.sub(r"\W", "_", name), selections)


def _split_json(recipe: Recipe) -> dict[str, Any] | None:
    if recipe.split is None:
        return None
    values = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in recipe.split.items()
    }
    return {"parts": values, "by": recipe.split_by, "seed": recipe.seed}


def code_digests(view: FeatureView) -> dict[str, str]:
    """Return a digest of the source of each function that computes features."""
    found = {}
    for feature in view.computed:
        try:
            source = inspect.getsource(feature.load())
        except (FeatureStoreError, OSError):
            source = ""  # gone since
        found[feature.function] = hashlib.sha256(source.encode()).hexdigest()
    return found


def _digest(spine: Spine) -> str:
    """Return a digest of the values of the whole spine."""
    digest = TableDigest(spine.schema)
    for start in range(0, len(spine), _DIGESTED):
        digest.update(spine.slice(start, _DIGESTED))
    return hashlib.sha256(canonical(digest.columns()).encode()).hexdigest()


def write_manifest(location: Location, name: str, manifest: dict[str, Any]) -> str:
    """Write the manifest of a set whose other files are written; return its digest."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False).encode()
    written = location.write(f"{name}/{MANIFEST}", text)
    location.sync()
    return written.sha256
