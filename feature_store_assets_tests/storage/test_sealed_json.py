"""Sealed JSON: what was changed since it was written is found out."""

import json
from pathlib import Path
from typing import Any

import pytest

from feature_store_assets.storage import location
from feature_store_assets.storage.sealed_json import read_sealed, seal, write_sealed

CONTENT: dict[str, Any] = {"format": "cards", "version": 2, "names": ["ä", "b"], "deep": {"x": 1.5}}


def test_content_is_read_as_it_was_written(tmp_path: Path) -> None:
    place = location(tmp_path)
    write_sealed(place, "a/cards.json", CONTENT)
    found = read_sealed(place, "a/cards.json", "cards", 2)
    assert found == seal(CONTENT) == {**CONTENT, "digest": found["digest"]}
    assert read_sealed(place, "a/cards.json", "cards", 3) == found
    with pytest.raises(FileNotFoundError):
        read_sealed(place, "b.json", "cards", 2)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"names": ["a", "b"]}, "it was changed"),
        ({"digest": ""}, "it was changed"),
        ({"extra": None}, "it was changed"),
        ({"format": "other"}, "its format is not 'cards'"),
        ({"version": 3}, "its version 3 is not 2, which this code reads"),
        ({"version": True}, "is not 2"),
        ({"version": 0}, "is not 2"),
    ],
)
def test_what_was_changed_is_refused(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    (tmp_path / "cards.json").write_text(json.dumps({**seal(CONTENT), **change}))
    with pytest.raises(ValueError, match=why):
        read_sealed(location(tmp_path), "cards.json", "cards", 2)
