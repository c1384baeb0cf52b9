"""Generations of a group's online rows: readers follow a pointer, which is moved at once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from feature_store_assets.online.cache import Rows
from feature_store_assets.online.row import commit_number, pointer

if TYPE_CHECKING:
    from feature_store_assets.declaration.group import FeatureGroup


def current(rows: Rows, groups: Sequence["FeatureGroup"]) -> list[int]:
    """The generation in which each group stands online."""
    values = rows.get([pointer(group) for group in groups])
    return [0 if value is None else commit_number(value) for value in values]
