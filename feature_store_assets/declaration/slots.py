"""The slots of a group's online rows: which feature has which place in the stored array.

Rows are arrays, read by position. A feature keeps its slot for good, so that rows that were written
before and after a change of the declaration are read alike. The slot of a dropped feature stays
empty: `-name` while the table still holds the feature's column, `-` once a new feature of that name
has taken the column over.

Examples
--------
>>> slots = moved(("a", "typo", "b"), ["a", "b"])
>>> slots
('a', '-typo', 'b')
>>> moved(slots, ["a", "b", "typo"]), stale(moved(slots, ["a", "b", "typo"]))
(('a', '-typo', 'b', 'typo'), ['typo'])
>>> settled(('a', '-typo', 'b', 'typo'))
('a', '-', 'b', 'typo')
"""

from collections.abc import Sequence

_DROPPED = "-"


def moved(slots: Sequence[str], features: Sequence[str]) -> tuple[str, ...]:
    """Return the slots for other features: those of dropped ones stay, new ones come last."""
    kept = tuple(
        slot if slot in features or is_empty(slot) else f"{_DROPPED}{slot}" for slot in slots
    )
    return (*kept, *(name for name in features if name not in slots))


def is_empty(slot: str) -> bool:
    """Tell whether a slot is that of a dropped feature."""
    return slot.startswith(_DROPPED)


def stale(slots: Sequence[str]) -> list[str]:
    """Return the features whose column in the table still holds a dropped feature's values."""
    return [slot for slot in slots if f"{_DROPPED}{slot}" in slots]


def settled(slots: Sequence[str]) -> tuple[str, ...]:
    """Return the slots once the table has no values of dropped features under present names."""
    return tuple(
        _DROPPED if slot.removeprefix(_DROPPED) in slots and is_empty(slot) else slot
        for slot in slots
    )
