"""Generations of a group's online rows: readers follow a pointer, which is moved at once.

Beside the rows of a group's version stand two numbers that only ever grow: ``generation``, which
readers follow, and ``next``, which a rebuild announces before it looks at the table. Who changes
rows does so in both, and looks at the numbers again afterwards. If a generation is announced only
after that look, then its rebuild looks at the table later still, and finds what was changed. So a
rebuild may be killed anywhere: what readers follow is whole and kept up, before the pointer moved
and after it, and the next rebuild takes up the number that was announced.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from feature_store_assets.online import OnlineStore
from feature_store_assets.online.backlog import Changing, follow, forget
from feature_store_assets.online.publish import Published, Wrote, marked
from feature_store_assets.online.row import KeySpace, commit_number, tombstone, version_prefix

if TYPE_CHECKING:
    from feature_store_assets.declaration.group import FeatureGroup

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class Rebuildable(Changing, Protocol):
    """A table of which all is published."""

    def partitions(self) -> list[str]:
        """The partitions that hold rows."""
        ...


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What one rebuild did.

    Attributes
    ----------
    generation
        The generation that readers follow now.
    published
        What was written into it.
    removed
        Rows of former generations that were removed.
    """

    generation: int
    published: Published
    removed: int


def _pointer(group: "FeatureGroup") -> bytes:
    # A tombstone, whose commit number is the generation: `put` keeps the greatest.
    return version_prefix(group) + b"generation"


def _announced(group: "FeatureGroup") -> bytes:
    return version_prefix(group) + b"next"


def _numbers(values: Sequence[bytes | None]) -> list[int]:
    return [0 if value is None else commit_number(value) for value in values]


def current(
    read: Callable[[Sequence[bytes]], Sequence[bytes | None]], groups: Sequence["FeatureGroup"]
) -> list[int]:
    """The generation in which each group stands online.

    Parameters
    ----------
    read
        The store's `get` where a reader waits, its `look` where a writer does.
    """
    return _numbers(read([_pointer(group) for group in groups]))


def in_each(store: OnlineStore, group: "FeatureGroup", change: Callable[[KeySpace], _T]) -> _T:
    """Change rows wherever they are read, or will be once a rebuild is done.

    Returns
    -------
    What `change` returned for the generation that was read when it began.
    """
    answers: dict[int, _T] = {}
    while True:
        read, announced = _numbers(store.look([_pointer(group), _announced(group)]))
        left = [number for number in sorted({read, announced}) if number not in answers]
        if not left:
            return next(iter(answers.values()))
        for number in left:
            if answers:
                _log.info(
                    "'%s' is changed in generation %d, too, which a rebuild announced. If none is "
                    "under way, one was broken off: rebuild the group again.", group.name, number,
                )  # fmt: skip
            answers[number] = change(KeySpace.of(group, number))


def rebuild(
    table: Rebuildable,
    store: OnlineStore,
    group: "FeatureGroup",
    *,
    grace: float,
    now: datetime | None = None,
    wrote: Wrote | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> Rebuilt:
    """Publish a whole table into a new generation, switch to it, remove the former ones.

    Rebuilds at the same time share the generation. One that ends with an error is run again.

    Parameters
    ----------
    grace
        Seconds for which a reader may still use a generation after the switch to another.
    now, wrote
        As `publish` takes them.
    wait
        Called once with those seconds.

    Raises
    ------
    WriteConflict
        The table changed faster than it could be followed.
    OnlineStoreUnavailable
        The store went away.
    """
    new = _numbers(store.look([_pointer(group)]))[0] + 1
    store.put([(_announced(group), tombstone(new))])
    space = KeySpace.of(group, new)
    # What a rebuild that was broken off left there may since have gone from the table.
    partitions = sorted({*table.partitions(), *marked(store, space)})
    published = follow(table, store, space, partitions, now=now, wrote=wrote)
    store.put([(_pointer(group), tombstone(new))])
    # Others may be further by now; what they switched to no longer ago than this stays.
    [reached] = _numbers(store.look([_pointer(group)]))
    _log.info(
        "'%s' is read in generation %d; waiting %g s for those who still read the one before.",
        group.name, reached, grace,
    )  # fmt: skip
    wait(grace)
    former = [
        KeySpace.of(group, number)
        for number in {new - 1, *_generations(store, group)}
        if number < reached
    ]
    removed = sum(store.delete(space.prefix) for space in former)
    forget(store, former)
    return Rebuilt(reached, published, removed)


def _generations(store: OnlineStore, group: "FeatureGroup") -> set[int]:
    """The generations that have rows."""
    prefix = version_prefix(group)
    found = set()
    for keys in store.scan(prefix):
        for key in keys:
            number, mark, _ = key[len(prefix) :].partition(b":")
            if mark:  # else the key of one of the two numbers
                found.add(int(number))
    return found
