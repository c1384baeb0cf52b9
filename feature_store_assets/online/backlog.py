"""What was committed and is not online yet is found by comparing versions.

Beside the rows of each generation stands a number: the table version up to which every change is
online. Who publishes asks the table which partitions changed since, publishes these too, and then
moves the number on to the version that it asked about. A process that is killed between a commit
and its publish leaves the number where it was. So the next publish of the group finds the rest,
whatever that next publish was made for.

The number only grows, and it is moved after the rows. Two publishers at the same time both find
what is behind; publishing twice changes nothing. Partitions that a killed publisher may have
touched, by its marks, are published again as well.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import reduce
from operator import add
from typing import Protocol

from feature_store_assets.online import OnlineStore
from feature_store_assets.online.publish import (
    Published,
    Source,
    Wrote,
    publish,
    read_marks,
)
from feature_store_assets.online.row import KeySpace, commit_number, tombstone

_log = logging.getLogger(__name__)

# Nothing is online; as the number of a table version that cannot be.
_NOTHING = -1


class Changing(Source, Protocol):
    """A table that knows which partitions changed."""

    def changes(self, since: int) -> tuple[int, dict[str, int]]:
        """The newest version, and the last version that changed each partition after `since`."""
        ...

    def portions(self, partitions: Sequence[str]) -> Iterator[list[str]]:
        """The partitions, cut into portions whose rows fit into memory."""
        ...


def follow(
    table: Changing,
    store: OnlineStore,
    space: KeySpace,
    partitions: Sequence[str],
    *,
    now: datetime | None = None,
    wrote: Wrote | None = None,
) -> Published:
    """Publish partitions, and all others whose last change is not online yet.

    Parameters
    ----------
    partitions
        What is published in any case.
    space, now, wrote
        As `publish` takes them.

    Returns
    -------
    The sum of what was done.

    Raises
    ------
    WriteConflict, OnlineStoreUnavailable
        As `publish` raises them. The next publish finds what was left.
    """
    known, marks = _reached(store, space), read_marks(store, space)
    version, changed = table.changes(_NOTHING if known is None else known)
    if known is None:
        # Nothing is online, or earlier code put it there and left marks alone.
        done = marks.published
        changed = {key: at for key, at in changed.items() if at > done.get(key, _NOTHING)}
        if not done:
            store.put([(_key(space), tombstone(_NOTHING))])
    elif version < known:
        _log.warning(
            "'%s' is online up to table version %d, and its table has %d: an older table was "
            "restored. Rebuild the group with `feature-store rebuild %s`.",
            space.group, known, version, space.group,
        )  # fmt: skip
        changed = table.changes(_NOTHING)[1]
    asked = list(dict.fromkeys(partitions))
    behind = sorted((changed.keys() | marks.unsettled) - set(asked), reverse=True)
    portions = [asked] if asked else []
    portions += table.portions(behind) if behind else []
    answers = [publish(table, store, space, each, now=now, wrote=wrote) for each in portions]
    if known is None or version > known:
        store.put([(_key(space), tombstone(version))])
    return reduce(add, answers) if answers else Published.nothing(version)


def forget(store: OnlineStore, spaces: Sequence[KeySpace]) -> None:
    """Remove the numbers of generations that are gone."""
    store.remove([_key(space) for space in spaces])


def _key(space: KeySpace) -> bytes:
    # Not below the generation's own prefix, where only rows stand.
    number = b"%d:" % space.generation
    return space.prefix.removesuffix(number) + b"reached-%d" % space.generation


def _reached(store: OnlineStore, space: KeySpace) -> int | None:
    [value] = store.look([_key(space)])
    return None if value is None else commit_number(value)
