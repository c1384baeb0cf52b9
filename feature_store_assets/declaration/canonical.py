"""The one JSON form of a declaration, and its content hash."""

import json
from collections.abc import Mapping
from datetime import timedelta
from hashlib import blake2b
from typing import Any


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal declarations give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content_hash(value: Any) -> str:
    """Return 32 hex digits that name the content of a declaration."""
    return blake2b(canonical(value).encode(), digest_size=16).hexdigest()


def group_hash(content: Mapping[str, Any]) -> str:
    """Return the hash of a group's JSON, whatever its features' order and slots."""
    features = sorted(content["features"], key=lambda feature: feature["name"])
    declared = {name: value for name, value in content.items() if name != "slots"}
    return content_hash({**declared, "features": features})


def seconds(delta: timedelta | None) -> float | None:
    """Return a duration as JSON holds it, exact to the microsecond."""
    return None if delta is None else delta.total_seconds()


def duration(value: float | None) -> timedelta | None:
    """Return the duration that `seconds` wrote."""
    return None if value is None else timedelta(seconds=value)
