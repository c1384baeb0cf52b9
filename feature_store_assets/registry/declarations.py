"""Applied declarations: reading by name needs neither the author's file nor Dagster."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from feature_store_assets.declaration.canonical import canonical
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.slots import settled
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    BreakingChange,
    DeclarationChanged,
    DeclarationError,
    DependencyCycle,
    FeatureNeeded,
    FeatureNotFound,
    GroupNotFound,
    ViewNotFound,
)
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.compatibility import breaking, other_than_added
from feature_store_assets.registry.database import (
    applied,
    drift_references,
    history,
    stages,
    statistics,
)
from feature_store_assets.registry.lifecycle import Standing, declared_feature, droppable
from feature_store_assets.registry.search import index
from feature_store_assets.registry.selection import Asked, Chosen
from feature_store_assets.registry.trusted_functions import admitted_view, own, trust

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from feature_store_assets.registry.database import Database

Declared = FeatureGroup | FeatureView
_GROUP, _VIEW = "group", "view"


@dataclass(frozen=True)
class Change:
    """What applying did to one declaration: `added`, `changed` or `unchanged`."""

    kind: str
    name: str
    version: int
    action: str


@dataclass(frozen=True)
class Edit:
    """A declaration as it was applied at some time."""

    kind: str
    name: str
    version: int
    action: str
    hash: str
    definition: str
    changed_by: str
    changed_at: datetime


class Applied:
    """The table of applied declarations.

    Parameters
    ----------
    database
        The registry's database.
    modules
        Modules whose functions may run, wherever the views that name them come from.
    """

    def __init__(self, database: Database, modules: Collection[str] = ()) -> None:
        self._database = database
        self._modules = modules

    def apply(
        self,
        declarations: Sequence[Declared],
        *,
        prepare: Callable[[FeatureGroup], object] = lambda _: None,
    ) -> list[Change]:
        """Write declarations in one transaction, serialised with every other applier.

        Parameters
        ----------
        declarations
            Groups and views.
        prepare
            Called for each new or changed group before anything is recorded: makes its table.

        Raises
        ------
        BreakingChange
            A group's stored rows cannot follow; nothing was applied.
        DependencyCycle
            A group would be computed from itself through others; nothing was applied.
        """
        with self._database.write() as connection:
            # Everything is checked before the first table is made: what is refused leaves nothing.
            checked = admitted(connection, declarations)
            new = [(each, change) for each, change in checked if change.action != "unchanged"]
            for each, _ in new:
                if isinstance(each, FeatureGroup):
                    prepare(each)
            for each, change in new:
                _record(connection, each, change.action)
            trust(connection, own(declarations), reason="apply")
        return [change for _, change in checked]

    def extend(
        self,
        name: str,
        change: Callable[[FeatureGroup | None], FeatureGroup],
        *,
        prepare: Callable[[FeatureGroup], object],
    ) -> FeatureGroup:
        """Change one group by a function of what is applied now, in one transaction."""
        with self._database.write() as connection:
            row = _find(connection, _GROUP, name, None)
            old = None if row is None else FeatureGroup.from_json(json.loads(row["definition"]))
            new = _successor(connection, row, change(old), ())
            if old != new:
                prepare(new)
                _record(connection, new, "added" if old is None else "changed")
        return new

    def history(self, name: str) -> list[Edit]:
        """Return every change of a group or view that was applied, the first one first."""
        query = sa.select(history).where(history.c.name == name).order_by(history.c.id)
        rows = self._database.rows(query)
        return [Edit(**{field: row[field] for field in Edit.__dataclass_fields__}) for row in rows]

    def groups(self) -> list[FeatureGroup]:
        """Return all applied groups, the newest version of each, by name."""
        newest: dict[str, FeatureGroup] = {}
        for row in self._rows(_GROUP):
            newest[row["name"]] = FeatureGroup.from_json(json.loads(row["definition"]))
        return list(newest.values())

    def views(self) -> list[FeatureView]:
        """Return all applied views, by name."""
        return [FeatureView.from_json(json.loads(row["definition"])) for row in self._rows(_VIEW)]

    def find(self, name: str, version: int | None = None) -> FeatureGroup | None:
        """Return an applied group, its newest version by default, or None."""
        if not self._database.exists:
            return None
        with self._database.read() as connection:
            row = _find(connection, _GROUP, name, version)
        return None if row is None else _read_group(row["definition"])

    def group(self, name: str, version: int | None = None) -> FeatureGroup:
        """Return an applied group, its newest version by default."""
        found = self.find(name, version)
        if found is None:
            raise GroupNotFound(name, [group.name for group in self.groups()], version=version)
        return found

    def resolve(self, what: Any, features: Iterable[str] | None = None) -> Asked:
        """Return which features of which groups a name, view, group or list of ids means.

        Parameters
        ----------
        what
            The name of a view or group, a `FeatureView`, a `FeatureGroup`, or a list of
            `"group.feature"`.
        features
            Only these, by their names in the answer.
        """
        if isinstance(what, str):
            what = self._named(what)
        chosen = self._chosen(what)
        view = self._admitted(what) if isinstance(what, FeatureView) else None
        computed = () if view is None else view.computed
        owner = getattr(what, "name", "this list of features")
        stored = [shown for each in chosen for shown in each.features.values()]
        known = [*stored, *(each.name for each in computed)]
        wanted = known if features is None else list(features)
        for name in wanted:
            if name not in known:
                raise FeatureNotFound(name, owner, known)
        computed = tuple(each for each in computed if each.name in wanted)
        inputs = {name for each in computed for name in each.inputs}
        needed = {*wanted, *inputs}
        parts = [
            Chosen(
                each.group,
                {stored: shown for stored, shown in each.features.items() if shown in needed},
            )
            for each in chosen
        ]
        return Asked(
            owner,
            parts if features is None else [each for each in parts if each.features],
            tuple(name for name in known if name in wanted),
            {} if view is None else {name: kind for name, kind in view.request if name in inputs},
            computed,
            view,
            {} if view is None else {name: it for name, it in view.defaults if name in needed},
        )

    def _admitted(self, view: FeatureView) -> FeatureView:
        """Return a view whose functions have leave to run, those that are trusted."""
        if all(each.trusted for each in view.computed):
            return view
        with self._database.read() as connection:
            return admitted_view(connection, view, self._modules)

    def _chosen(self, what: FeatureView | FeatureGroup | Iterable[str]) -> list[Chosen]:
        if isinstance(what, FeatureView):
            return [
                Chosen(self.group(each.group, each.version), dict(each.features))
                for each in what.selections
            ]
        if isinstance(what, FeatureGroup):
            group = self.group(what.name, what.version)
            return [Chosen(group, {name: name for name in group.feature_names})]
        by_group: dict[str, dict[str, str]] = {}
        for feature_id in what:
            group_name, _, feature = feature_id.rpartition(".")
            if not group_name:
                raise FeatureNotFound(feature_id, "group.feature", self._feature_ids())
            by_group.setdefault(group_name, {})[feature] = feature
        found = []
        for group_name, names in by_group.items():
            group = self.group(group_name)
            for name in names:
                group.feature(name)
            found.append(Chosen(group, names))
        return found

    def _named(self, name: str) -> Declared:
        if self._database.exists:
            with self._database.read() as connection:
                view = _find(connection, _VIEW, name, None)
                group = _find(connection, _GROUP, name, None)
            if view is not None:
                return FeatureView.from_json(json.loads(view["definition"]))
            if group is not None:
                return FeatureGroup.from_json(json.loads(group["definition"]))
        known = [view.name for view in self.views()] + [group.name for group in self.groups()]
        raise ViewNotFound(name, known)

    def _feature_ids(self) -> list[str]:
        return [f"{group.name}.{name}" for group in self.groups() for name in group.feature_names]

    def droppable(self, group: FeatureGroup) -> set[str]:
        """Return the features of an applied group that may be dropped for good."""
        with self._database.read() as connection:
            return droppable(connection, group)

    def unmoved(self, name: str) -> Standing:
        """Return where a group, a feature (`"group.feature"`) or a view stands as declared."""
        owner, _, feature = name.rpartition(".")
        if owner:
            group = self.group(owner)
            return declared_feature(group, group.feature(feature).name)
        if found := self.find(name):
            return Standing("group", name, found.version, "active")
        self.resolve(name)  # says what there is
        return Standing("view", name, 1, "active")

    def check_unchanged(self, group: FeatureGroup) -> None:
        """Refuse to go on if another definition was applied; added features do no harm.

        Raises
        ------
        DeclarationChanged
            Naming what differs.
        """
        current = self.group(group.name, group.version)
        if current.hash != group.hash and (changes := other_than_added(group, current)):
            raise DeclarationChanged(group.name, changes)

    def _rows(self, kind: str) -> list[sa.RowMapping]:
        query = sa.select(applied).where(applied.c.kind == kind)
        return self._database.rows(query.order_by(applied.c.name, applied.c.version))


def admitted(
    connection: sa.Connection, declarations: Sequence[Declared]
) -> list[tuple[Declared, Change]]:
    """Return what would be stored of each declaration, groups first; refuse what cannot be."""
    groups = [each for each in declarations if isinstance(each, FeatureGroup)]
    views = [each for each in declarations if isinstance(each, FeatureView)]
    _refuse_repeats(groups, views)
    found: list[tuple[Declared, Change]] = []
    for group in groups:
        old = _find(connection, _GROUP, group.name, group.version)
        _refuse_taken(connection, _VIEW, group.name)
        change = _change(_GROUP, group.name, group.version, old, group.hash)
        found.append((_successor(connection, old, group, views), change))
    if any(change.action != "unchanged" for _, change in found):
        _refuse_cycles(connection, groups)
    for view in views:
        old = _find(connection, _VIEW, view.name, 1)
        _refuse_taken(connection, _GROUP, view.name)
        _check_view(connection, view, groups)
        found.append((view, _change(_VIEW, view.name, 1, old, view.hash)))
    return found


def _refuse_cycles(connection: sa.Connection, groups: Sequence[FeatureGroup]) -> None:
    """Refuse groups that, with what is applied, are computed from themselves through others."""
    query = sa.select(applied.c.definition).where(applied.c.kind == _GROUP)
    stored = [json.loads(text) for text in connection.execute(query).scalars()]
    reads = [(each["version"], each["name"], each.get("upstream", ())) for each in stored]
    # At the same version what is declared now comes last, and counts.
    reads += [(group.version, group.name, _reads(group)) for group in groups]
    reads.sort(key=lambda each: each[0])
    newest = {name: upstream for _, name, upstream in reads}
    behind: dict[str, list[str]] = {}
    ahead = [group.name for group in groups]
    while ahead:
        name = ahead.pop()
        if name not in behind:
            # Reading its own past is no cycle.
            behind[name] = [each for each in newest[name] if each in newest and each != name]
            ahead += behind[name]
    try:
        TopologicalSorter(behind).prepare()
    except CycleError as error:
        raise DependencyCycle(error.args[1]) from None


def _reads(group: FeatureGroup) -> list[str]:
    """Return the assets that a group reads by their own names: `ins` may call them otherwise."""
    return [name for name in group.upstream if getattr(group.ins.get(name), "key", None) is None]


@lru_cache(maxsize=256)
def _read_group(definition: str) -> FeatureGroup:
    """Return a group from its JSON: a frozen value, which every push and read asks for."""
    return FeatureGroup.from_json(json.loads(definition))


def _find(connection: sa.Connection, kind: str, name: str, version: int | None) -> Any | None:
    query = sa.select(applied).where(applied.c.kind == kind, applied.c.name == name)
    if version is not None:
        query = query.where(applied.c.version == version)
    newest = query.order_by(applied.c.version.desc()).limit(1)
    return connection.execute(newest).mappings().first()


def _refuse_taken(connection: sa.Connection, kind: str, name: str) -> None:
    if _find(connection, kind, name, None) is not None:
        raise DeclarationError(f"A {kind} is named '{name}' already: names are shared.")


def _check_view(
    connection: sa.Connection, view: FeatureView, beside: Sequence[FeatureGroup]
) -> None:
    """Refuse a view over groups or features that are neither applied nor declared beside it."""
    new = {(group.name, group.version): group for group in beside}
    keys: dict[str, tuple[str, ...]] = {}
    for selection in view.selections:
        group = new.get((selection.group, selection.version))
        if group is None:
            row = _find(connection, _GROUP, selection.group, selection.version)
            if row is None:
                stored_names = connection.execute(
                    sa.select(applied.c.name).where(applied.c.kind == _GROUP).distinct()
                ).scalars()
                known = {*stored_names, *(name for name, _ in new)}
                raise GroupNotFound(selection.group, known, version=selection.version)
            group = FeatureGroup.from_json(json.loads(row["definition"]))
        for stored, _ in selection.features:
            group.feature(stored)
        keys[group.name] = group.entity.join_keys
    if view.precompute and len(set(keys.values())) > 1:
        listed = "; ".join(f"{name}: {', '.join(each)}" for name, each in keys.items())
        raise DeclarationError(
            f"View '{view.name}' cannot be precomputed: its groups have different join keys "
            f"({listed}). Leave precompute=True out."
        )


def _successor(
    connection: sa.Connection, row: Any | None, group: FeatureGroup, beside: Sequence[FeatureView]
) -> FeatureGroup:
    """Return the group as it follows what is applied, or refuse a breaking change.

    `beside` are the views that are applied with it: those that are stored need every feature that
    they name.
    """
    if row is None:
        return group
    old = FeatureGroup.from_json(json.loads(row["definition"]))
    if broken := breaking(old, group, droppable(connection, old)):
        raise BreakingChange(group.name, group.version, broken)
    if dropped := set(old.feature_names).difference(group.feature_names):
        _refuse_needed(connection, group, dropped, [view.name for view in beside])
    return group.in_order_of(old)


def _refuse_needed(
    connection: sa.Connection,
    group: FeatureGroup,
    dropped: set[str],
    replaced: Collection[str],
) -> None:
    """Refuse to drop features that a stored view names, unless the view is replaced."""
    query = sa.select(applied.c.definition).where(applied.c.kind == _VIEW)
    for text in connection.execute(query).scalars():
        view = FeatureView.from_json(json.loads(text))
        for selection in view.selections:
            needed = dropped & {stored for stored, _ in selection.features}
            this = (selection.group, selection.version) == (group.name, group.version)
            if this and needed and view.name not in replaced:
                raise FeatureNeeded(f"{group.name}.{min(needed)}", view.name)


def _forget_dropped(connection: sa.Connection, group: FeatureGroup) -> None:
    """Remove what is kept of features that the group has no more: another may take the name."""
    row = _find(connection, _GROUP, group.name, group.version)
    old = group if row is None else FeatureGroup.from_json(json.loads(row["definition"]))
    for name in set(old.feature_names).difference(group.feature_names):
        for table in (statistics, drift_references):
            connection.execute(
                sa.delete(table).where(
                    table.c.feature_group == group.name,
                    table.c.group_version == group.version,
                    table.c.feature == name,
                )
            )
        connection.execute(
            sa.delete(stages).where(
                stages.c.kind == "feature",
                stages.c.name == f"{group.name}.{name}",
                stages.c.version == group.version,
            )
        )


def _change(kind: str, name: str, version: int, old: Any | None, new: str) -> Change:
    action = "added" if old is None else "unchanged" if old["hash"] == new else "changed"
    return Change(kind, name, version, action)


def _record(connection: sa.Connection, declared: Declared, action: str) -> None:
    kind = _GROUP if isinstance(declared, FeatureGroup) else _VIEW
    version = declared.version if isinstance(declared, FeatureGroup) else 1
    if isinstance(declared, FeatureGroup):
        _forget_dropped(connection, declared)
        declared = replace(declared, slots=settled(declared.slots))
    content = {
        "kind": kind,
        "name": declared.name,
        "version": version,
        "hash": declared.hash,
        "definition": canonical(declared.to_json()),
    }
    now = datetime.now(UTC)
    told = {"version": version, "change": action, "hash": declared.hash}
    who = append(connection, "apply", f"{kind} {declared.name}", told).actor
    put(connection, {**content, "applied_at": now})
    connection.execute(
        sa.insert(history).values(**content, action=action, changed_by=who, changed_at=now)
    )


def put(connection: sa.Connection, row: Mapping[str, Any]) -> None:
    """Store a row in place of the one of its kind, name and version, and index it."""
    this = (applied.c[key] == row[key] for key in ("kind", "name", "version"))
    connection.execute(sa.delete(applied).where(*this))
    connection.execute(sa.insert(applied).values(**row))
    index(connection, row["kind"], row["name"])


def _refuse_repeats(groups: Sequence[FeatureGroup], views: Sequence[FeatureView]) -> None:
    names = [(group.name, group.version) for group in groups] + [(view.name, 0) for view in views]
    for name, version in names:
        if names.count((name, version)) > 1 or (version and (name, 0) in names):
            raise DeclarationError(f"Two declarations are named '{name}'.")
