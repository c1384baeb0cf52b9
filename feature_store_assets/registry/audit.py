"""The audit log: who did what, append-only, each entry bound to the one before it.

Whoever edits, removes or reorders entries in the database breaks the chain of digests. Whoever can
write it could compute the chain anew, or cut off its end: a checkpoint kept elsewhere shows that.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from feature_store_assets.declaration.canonical import canonical
from feature_store_assets.errors import AuditBroken, DataError
from feature_store_assets.registry.database import actor_of, audit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from feature_store_assets.registry.database import Database

_START = "0" * 64
_AT_ONCE = 10_000


@dataclass(frozen=True)
class Entry:
    """One thing that was done.

    Attributes
    ----------
    sequence
        1, 2, 3, ... without gaps.
    at
        When, as ISO 8601 in UTC.
    actor, source
        Who, and how that is known; see `registry.actor`.
    detail
        Names and counts; never values of features or entities.
    previous, digest
        SHA-256 in hex of the entry before, and of this one together with it.
    """

    sequence: int
    at: str
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    previous: str = _START
    digest: str = ""
    source: str = ""

    def computed(self) -> str:
        """Return the digest that belongs to what stands here."""
        content = [self.sequence, self.at, self.actor, self.action, self.subject,
                   dict(self.detail), self.previous]  # fmt: skip
        if self.source:  # entries from before have none
            content.append(self.source)
        return hashlib.sha256(canonical(content).encode()).hexdigest()


class Audit:
    """The audit log.

    Parameters
    ----------
    database
        The registry's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, action: str, subject: str, detail: Mapping[str, Any] | None = None) -> Entry:
        """Append an entry; those who do it at the same time wait for each other.

        Parameters
        ----------
        action, subject
            What was done to what: `"apply"`, `"group people"`.
        detail
            Names and counts.
        """
        with self._database.write() as connection:
            return append(connection, action, subject, detail)

    def entries(self, *, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Return entries in their order, those after a sequence number."""
        query = sa.select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence)
        rows = self._database.rows(query.limit(limit))
        return [Entry(**{**row, "detail": json.loads(row["detail"])}) for row in rows]

    def newest(self, limit: int) -> list[Entry]:
        """Return the last entries, in their order."""
        last = self._database.rows(sa.select(sa.func.max(audit.c.sequence).label("last")))
        return self.entries(after=(last[0]["last"] or 0) - limit) if last else []

    def checkpoint(self, path: Path) -> Entry:
        """Write where the log ends now to a file, to be kept where its writers cannot reach it."""
        found = self.newest(1)
        if not found:
            raise DataError("The audit log is empty: there is nothing to write a checkpoint of.")
        path.write_text(json.dumps({"sequence": found[0].sequence, "digest": found[0].digest}))
        return found[0]

    def verify(self, checkpoint: Path | None = None) -> int:
        """Check every entry against the one before it, and the log against a checkpoint.

        Returns
        -------
        How many entries there are, all of them sound.

        Raises
        ------
        AuditBroken
            Naming the entries that were edited, removed, moved or cut off.
        """
        kept = None if checkpoint is None else json.loads(checkpoint.read_text())
        problems: list[str] = []
        number, previous = 0, _START
        for entry in self._all():
            problems += _problems(entry, number, previous)
            if kept and entry.sequence == kept["sequence"] and entry.digest != kept["digest"]:
                problems.append(f"entry {entry.sequence} is not the one of the checkpoint")
            number, previous = entry.sequence, entry.digest
        if kept and number < kept["sequence"]:
            problems.append(f"entries {number + 1} to {kept['sequence']} were cut off")
        if problems:
            raise AuditBroken(problems)
        return number

    def _all(self) -> Iterator[Entry]:
        after = -(2**62)
        while some := self.entries(after=after, limit=_AT_ONCE):
            yield from some
            after = some[-1].sequence


def append(
    connection: sa.Connection,
    action: str,
    subject: str,
    detail: Mapping[str, Any] | None = None,
) -> Entry:
    """Append an entry in the very transaction that makes the change; see `Audit.add`."""
    actor = actor_of(connection)
    query = sa.select(audit.c.sequence, audit.c.digest)
    last = connection.execute(query.order_by(audit.c.sequence.desc()).limit(1)).first()
    number, previous = (last.sequence, last.digest) if last else (0, _START)
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    bare = Entry(
        number + 1, at, actor.name, action, subject, detail or {}, previous, source=actor.source
    )
    row = {**vars(bare), "detail": canonical(dict(bare.detail)), "digest": bare.computed()}
    connection.execute(sa.insert(audit).values(**row))
    return Entry(**{**row, "detail": bare.detail})


def _problems(entry: Entry, number: int, previous: str) -> list[str]:
    """Return what is wrong with an entry that follows one of that number and digest."""
    found = []
    if entry.sequence > number + 1:
        last = entry.sequence - 1
        found.append(f"missing: {number + 1}" + (f" to {last}" if last > number + 1 else ""))
    elif entry.sequence <= number:
        found.append(f"entry {entry.sequence} stands out of order")
    if entry.digest != entry.computed():
        found.append(f"entry {entry.sequence} ({entry.action} {entry.subject}) was edited")
    elif entry.sequence == number + 1 and entry.previous != previous:
        found.append(f"entry {entry.sequence} does not follow entry {number}")
    return found
