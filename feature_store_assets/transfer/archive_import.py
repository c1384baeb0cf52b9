"""Imports: an archive's rows and declarations into a store, empty or not.

What is checked is checked before anything is written. What is written is written partition by
partition, several in one atomic commit, which names the archive. A run that was killed is run
again: a partition whose live files are those that a commit of this archive added is as the archive
left it, so it is finished; any other is not, or somebody wrote it since and `on_conflict` decides
anew. The table's own log says which, so nothing else has to be kept, or can be out of step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from feature_store_assets.errors import (
    ArchiveConflict,
    BreakingChange,
    CodeNotTrusted,
    DeclarationError,
    GroupHeld,
    ImportConflict,
)
from feature_store_assets.offline.scan import portions
from feature_store_assets.progress import Told, progress
from feature_store_assets.quality.statistics import Profile
from feature_store_assets.registry.compatibility import breaking
from feature_store_assets.registry.trusted_functions import trust, untrusted
from feature_store_assets.snapshots.manifest import About
from feature_store_assets.transfer.archive import ROWS_AT_ONCE, Archive, ArchivedGroup
from feature_store_assets.transfer.registry_state import (
    OnConflict,
    check_conflict,
    declared_in,
    import_state,
)

if TYPE_CHECKING:
    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.offline.table import OfflineTable
    from feature_store_assets.parts import Parts

# The commits of an import carry the archive's digest under this name.
_NOTE = "feature_store.archive"


@dataclass(frozen=True)
class Filled:
    """What an import did to one group.

    Attributes
    ----------
    rows
        The partitions that hold the archive's rows now, and how many these are; those that a
        killed run had written are among them.
    kept
        The partitions of the archive that hold other rows, which stayed.
    """

    feature_group: str
    version: int
    rows: Mapping[str, int]
    kept: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes
    ----------
    digest
        Names the archive; the audit log keeps it.
    resumed
        How many partitions an earlier run had written.
    snapshot
        The snapshot that holds what the archive's did; empty if there is none.
    notes
        What was not done, and why, in sentences.
    """

    digest: str
    groups: tuple[Filled, ...]
    resumed: int
    snapshot: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Importing:
    """Imports into a store."""

    parts: Parts

    def load(
        self,
        archive: Archive,
        on_conflict: OnConflict = "refuse",
        told: Told = lambda _: None,
        *,
        trust_code: bool = False,
    ) -> Imported:
        """Bring an archive in.

        A partition counts as far as it lies in the archive's range: rows outside of it stay,
        whatever happens to those within.

        Parameters
        ----------
        on_conflict
            What happens where partitions hold rows already: refuse the import, keep these rows,
            or replace them.
        told
            Hears of each portion that was committed.
        trust_code
            Whether the functions that the archive's views name may run here.

        Raises
        ------
        ArchiveUnusable
            The archive is not what was written.
        ArchiveConflict, ImportConflict
            Partitions hold rows already, or views are declared otherwise.
        BreakingChange
            A group here cannot hold the archive's rows.
        GroupHeld
            A legal hold keeps the rows that would be replaced.
        CodeNotTrusted
            Views compute features by functions that this store does not know.
        """
        check_conflict(on_conflict)
        archive.verify()
        with self.parts.database.write():
            pass  # an empty registry gets its tables
        foreign = self._foreign(archive)
        if foreign and not trust_code:
            raise CodeNotTrusted(foreign)
        groups = [self._merged(each) for each in archive.manifest.groups]
        views = self._views(archive, on_conflict)
        fills = [
            _Fill(self.parts, archive, each, group, on_conflict)
            for each, group in zip(archive.manifest.groups, groups, strict=True)
        ]
        resumed = sum(len(fill.done()) for fill in fills)
        taken = {fill.told.called: found for fill in fills if (found := fill.refused())}
        if taken:
            raise ArchiveConflict(taken)
        for group in groups:
            if self._is_served(group):
                self.parts.serving.reach(group)
        # All is checked: from here on it is written.
        with self.parts.database.write() as connection:
            trust(connection, foreign, reason="import")
        self._declare(archive, groups, views)
        filled = [self._fill(fill, told) for fill in fills]
        for fill, done in zip(fills, filled, strict=True):
            self._describe(fill, done)
            if done.rows and self._is_served(fill.group):
                self.parts.publish(fill.group, ())
        snapshot, notes = self._snapshot(archive, fills)
        counts = {
            fill.told.called: {
                "partitions": len(done.rows),
                "rows": sum(done.rows.values()),
                "kept": len(done.kept),
            }
            for fill, done in zip(fills, filled, strict=True)
        }
        self.parts.audit.add(
            "import",
            "archive",
            {"digest": archive.digest, "on_conflict": on_conflict, "groups": counts},
        )
        return Imported(archive.digest, tuple(filled), resumed, snapshot, tuple(notes))

    # Declarations

    def _foreign(self, archive: Archive) -> list[str]:
        """Return the functions that the archive names anywhere and that may not run here."""
        named = [*archive.views, *declared_in(archive.state)]
        with self.parts.database.read() as connection:
            return untrusted(connection, named, self.parts.config.request_modules)

    def _merged(self, told: ArchivedGroup) -> FeatureGroup:
        """Return the group as it is here, with the features that only the archive knows.

        Raises
        ------
        BreakingChange
            Its rows and the archive's cannot lie in one table.
        """
        archived = told.group
        here = self.parts.applied.find(*told.place)
        if here is None:
            if any(view.name == told.name for view in self.parts.applied.views()):
                raise DeclarationError(f"A view is named '{told.name}' here: names are shared.")
            return archived
        known = set(archived.feature_names)
        extra = [each for each in here.features if each.name not in known]
        broken = breaking(here, replace(archived, features=(*archived.features, *extra)))
        table = self.parts.table(here)
        if table.exists and not broken:
            types = table.columns
            broken = [
                f"key '{name}' {types[name]} becomes {told.columns[name]}"
                for name in table.keys
                if told.columns and types[name] != told.columns[name]
            ]
        if broken:
            raise BreakingChange(*told.place, broken)
        known = set(here.feature_names)
        added = [each for each in archived.features if each.name not in known]
        return replace(here, features=(*here.features, *added))

    def _views(self, archive: Archive, on_conflict: OnConflict) -> list[FeatureView]:
        """Return the views to apply."""
        here = {view.name: view for view in self.parts.applied.views()}
        groups = {group.name for group in self.parts.applied.groups()}
        views = archive.views
        for view in views:
            if view.name in groups:
                raise DeclarationError(f"A group is named '{view.name}' here: names are shared.")
        other = [each for each in views if each.name in here and here[each.name].hash != each.hash]
        if other and on_conflict == "refuse":
            raise ImportConflict([f"view {each.name}" for each in other])
        new = [each for each in views if each.name not in here]
        return [*new, *(other if on_conflict == "replace" else ())]

    def _declare(
        self, archive: Archive, groups: Sequence[FeatureGroup], views: Sequence[FeatureView]
    ) -> None:
        """Make groups and views known, those that are new here with their history."""
        known = [self.parts.applied.find(group.name, group.version) for group in groups]
        if views or not all(known):
            import_state(
                self.parts.database,
                archive.state,
                "keep",
                parts=("declarations", "stages"),
                prepare=self.parts.prepare_table,
                modules=self.parts.config.request_modules,
            )
        self.parts.applied.apply(
            [*(group for group in groups if self._differs(group)), *views],
            prepare=self.parts.prepare_table,
        )
        self.parts.serving.forget()

    def _differs(self, group: FeatureGroup) -> bool:
        here = self.parts.applied.find(group.name, group.version)
        return here is None or here.hash != group.hash

    def _is_served(self, group: FeatureGroup) -> bool:
        newest = self.parts.applied.find(group.name)
        return group.online and (newest is None or newest.version <= group.version)

    # Rows

    def _fill(self, fill: _Fill, told: Told) -> Filled:
        """Write what is not there yet, some partitions at a time."""
        counts = {file.partition: file.rows for file in fill.told.files}
        if counts:
            fill.table.ensure(fill.told.schema.arrow)
        open_, _ = fill.open(counts)
        with progress(f"Importing {fill.told.called}", lambda: len(counts)) as advance:
            advance(len(counts) - len(open_))
            for portion in portions({key: counts[key] for key in open_}, ROWS_AT_ONCE):
                self._forget(fill, portion)
                written = fill.write(portion)
                told(f"'{fill.told.name}': {len(written)} partitions imported.")
                advance(len(portion))
        done = fill.done()
        rows = {key: count for key, count in counts.items() if key in done}
        kept = tuple(key for key in counts if key not in done)
        return Filled(fill.told.name, fill.told.version, rows, kept)

    def _forget(self, fill: _Fill, partitions: Sequence[str]) -> None:
        """Forget the statistics of rows that go; before they do, lest a kill leaves them."""
        place = fill.told.place
        if self.parts.review.statistics.of(*place, partitions):
            others = set(self.parts.review.statistics.of(*place)).difference(partitions)
            self.parts.review.statistics.forget(*place, others, datetime.now(UTC), dry_run=False)

    def _describe(self, fill: _Fill, done: Filled) -> None:
        """Keep the archive's statistics of partitions that hold its rows and no others."""
        live = fill.counts()
        whole = {key for key, count in done.rows.items() if live.get(key) == count}
        profiles: dict[str, dict[str, Profile]] = {}
        for row in fill.archive.state["parts"]["statistics"]:
            place = (row["feature_group"], row["group_version"])
            if place == fill.told.place and row["partition"] in whole:
                found = Profile.from_json(json.loads(row["profile"]))
                profiles.setdefault(row["partition"], {})[row["feature"]] = found
        version = fill.table.version()
        self.parts.review.statistics.put(*fill.told.place, profiles, table_version=version)

    # Snapshot

    def _snapshot(self, archive: Archive, fills: Sequence[_Fill]) -> tuple[str, list[str]]:
        """Make the archive's snapshot again, if the tables hold just what it held."""
        held = archive.manifest.snapshot
        if held is None:
            return "", []
        snapshots, name, why = self.parts.snapshots, held["name"], ""
        if not archive.manifest.range.everything:
            why = "the archive holds a part of it only"
        elif others := [fill.told.called for fill in fills if not fill.is_alone()]:
            why = f"{', '.join(others)} held other rows already"
        elif any(each.name == name for each in snapshots.table.all()):
            pinned = {pin.feature_group: pin.table_version for pin in snapshots.pins.of(name)}
            if all(fill.is_pinned(pinned.get(fill.told.name)) for fill in fills):
                return name, []
            why = "another snapshot has that name here"
        if why:
            return "", [f"Snapshot '{name}' was not made again: {why}."]
        about = About(
            name, held["description"], held["created_by"], held["tags"], held.get("view")
        )  # fmt: skip
        tables = [(fill.group, fill.table) for fill in fills if fill.table.exists]
        snapshots.create(about, tables, self.parts.review.summary)
        return name, []


class _Overtaken(Exception):
    """Others wrote to a partition since it was looked at."""


@dataclass(frozen=True)
class _Fill:
    """One group's part of an import."""

    parts: Parts
    archive: Archive
    told: ArchivedGroup
    group: FeatureGroup
    on_conflict: OnConflict

    @cached_property
    def table(self) -> OfflineTable:
        return self.parts.table(self.group)

    @property
    def _note(self) -> dict[str, str]:
        return {_NOTE: self.archive.digest}

    @property
    def _named(self) -> list[str]:
        return [file.partition for file in self.told.files]

    def done(self) -> set[str]:
        """Return the partitions that are as this archive left them."""
        return self.table.left_by(self._note) & set(self._named) if self.table.exists else set()

    def open(self, partitions: Iterable[str]) -> tuple[list[str], set[str]]:
        """Return which partitions are to be written now, and which of these hold rows."""
        done = self.done()
        rest = [key for key in partitions if key not in done]
        taken = self._taken(rest)
        if taken:
            # Another import of this archive may have written them since the first look.
            done = self.done()
            rest, taken = [key for key in rest if key not in done], taken - done
        if taken and self.on_conflict == "replace":
            hold = self.parts.holds.of("group", self.told.name)
            if hold is not None:
                raise GroupHeld(self.told.name, hold.reason)
        if self.on_conflict == "keep":
            return [key for key in rest if key not in taken], set()
        return rest, taken

    def refused(self) -> list[str]:
        """Return the partitions for which the import is refused."""
        _, taken = self.open(self._named)
        return sorted(taken) if self.on_conflict == "refuse" else []

    def _taken(self, partitions: Sequence[str]) -> set[str]:
        """Return which partitions hold rows in the archive's range."""
        within = self.archive.manifest.range
        if not partitions or not self.table.exists:
            return set()
        live = self.counts(partitions)
        if within.everything or not live:
            return set(live)
        rows = self.table.rows(
            version=self.table.version(),
            partitions=sorted(live),
            columns=[self.table.timestamp],
        )
        inside = rows.filter(within.holds(rows[self.table.timestamp]))
        return set(map(str, pc.unique(inside["partition"]).to_pylist()))

    def counts(self, partitions: Sequence[str] | None = None) -> dict[str, int]:
        """Return how many rows partitions hold."""
        found: dict[str, int] = {}
        for file in self.table.files(partitions=partitions) if self.table.exists else ():
            found[file.partition] = found.get(file.partition, 0) + file.rows
        return found

    def write(self, portion: Sequence[str]) -> list[str]:
        """Write partitions in one commit; return those that were."""
        while True:
            keys, taken = self.open(portion)
            if taken and self.on_conflict == "refuse":
                raise ArchiveConflict({self.told.called: sorted(taken)})
            if not keys:
                return []
            new = self.archive.rows(self.told, keys)
            try:
                self.table.rewrite(partial(self._rows, new, keys), keys, metadata=self._note)
            except _Overtaken:
                continue
            return keys

    def _rows(self, new: pa.Table, keys: Sequence[str], version: int) -> pa.Table:
        """Return the archive's rows, and those here that lie outside its range.

        Raises
        ------
        _Overtaken
            In this version other partitions are to be written.
        """
        self.parts.applied.check_unchanged(self.group)
        still, taken = self.open(keys)
        if still != list(keys) or (taken and self.on_conflict == "refuse"):
            raise _Overtaken
        within = self.archive.manifest.range
        if within.everything:
            return new
        here = self.table.rows(version=version, partitions=keys, columns=list(self.table.columns))
        beside = here.filter(pc.invert(within.holds(here[self.table.timestamp])))
        return pa.concat_tables([new, beside], promote_options="default")

    def is_alone(self) -> bool:
        """Tell whether the table holds the archive's rows and no others."""
        return self.counts() == {file.partition: file.rows for file in self.told.files} and (
            self.done() == set(self._named)
        )

    def is_pinned(self, version: int | None) -> bool:
        """Tell whether a version of the table holds what it holds now."""
        if version is None:
            return False
        return self.table.files(version=version) == self.table.files()
