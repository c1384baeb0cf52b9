"""The life of groups, features and views: draft, active, deprecated, retired."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, get_args

import sqlalchemy as sa

from feature_store_assets.errors import DataError, NotServed, StageRefused, suggestion
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.database import stages
from feature_store_assets.registry.search import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.registry.database import Database
    from feature_store_assets.registry.selection import Asked

Stage = Literal["draft", "active", "deprecated", "retired"]
Place = tuple[str, str, int]

_STAGES: tuple[Stage, ...] = get_args(Stage)
_NEXT: Mapping[Stage, tuple[Stage, ...]] = {
    "draft": ("active", "retired"),
    "active": ("deprecated",),
    "deprecated": ("active", "retired"),
    "retired": (),
}


@dataclass(frozen=True)
class Standing:
    """The stage of one thing.

    Attributes
    ----------
    kind, name, version
        `group`, `feature` (named `group.feature`) or `view`.
    successor
        What to use instead of something deprecated or retired.
    changed_by, changed_at
        Who moved it there; nobody, where it stands as it was declared.
    """

    kind: Kind
    name: str
    version: int
    stage: Stage
    successor: str = ""
    changed_by: str = ""
    changed_at: datetime | None = None

    @property
    def notice(self) -> str:
        """What its users are told."""
        instead = f" Use '{self.successor}' instead." if self.successor else ""
        return f"{self.kind.capitalize()} '{self.name}' is {self.stage}.{instead}"


class Stages:
    """The table of stages; what is not in it is active, or a draft where it is tagged so.

    Parameters
    ----------
    database
        The registry's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[Place, Standing]:
        """Return what was moved, by kind, name and version."""
        rows = self._database.rows(sa.select(stages))
        return {(row["kind"], row["name"], row["version"]): Standing(**row) for row in rows}

    def of(self, unmoved: Standing) -> Standing:
        """Return where something stands that is declared so."""
        return _now(unmoved, self.all())

    def reader(self) -> Standings:
        """Return all stages as they are now, to be asked for many things."""
        return Standings(self.all())

    def move(self, now: Standing, to: Stage, *, successor: str = "") -> Standing:
        """Move something on, safe beside others who do.

        Parameters
        ----------
        now
            Where it stands if nobody moved it yet.
        to
            draft -> active -> deprecated -> retired; a draft may be retired, and what is
            deprecated become active again.
        successor
            What to use instead of it.

        Raises
        ------
        StageRefused
            That is no way to go from where it stands.
        """
        if to not in _STAGES:
            raise DataError(f"'{to}' is no stage." + suggestion(to, _STAGES))
        this = sa.and_(
            stages.c.kind == now.kind,
            stages.c.name == now.name,
            stages.c.version == now.version,
        )
        with self._database.write() as connection:
            row = connection.execute(sa.select(stages).where(this)).mappings().first()
            stands = Standing(**row) if row is not None else now
            if to not in _NEXT[stands.stage]:
                raise StageRefused(stands.name, stands.stage, to, _NEXT[stands.stage])
            moved = Standing(
                now.kind,
                now.name,
                now.version,
                to,
                successor,
                self._database.actor.name,
                datetime.now(UTC),
            )
            told = {"version": now.version, "from": stands.stage, "to": to, "successor": successor}
            append(connection, "move", f"{now.kind} {now.name}", told)
            connection.execute(sa.delete(stages).where(this))
            connection.execute(sa.insert(stages).values(**vars(moved)))
        return moved


def droppable(connection: sa.Connection, group: FeatureGroup) -> set[str]:
    """Return the features of a group that may be dropped for good: drafts and retired ones."""
    query = sa.select(stages).where(stages.c.version == group.version)
    rows = connection.execute(query).mappings()
    moved = {(row["kind"], row["name"], row["version"]): Standing(**row) for row in rows}
    return {
        name
        for name in group.feature_names
        if _effective(group, name, moved).stage in {"draft", "retired"}
    }


@dataclass(frozen=True)
class Standings:
    """The stages of everything at one time."""

    moved: Mapping[Place, Standing]

    def group(self, group: FeatureGroup) -> Stage:
        return _now(Standing("group", group.name, group.version, "active"), self.moved).stage

    def feature(self, group: FeatureGroup, name: str) -> Stage:
        """Return a feature's stage: its group's, unless that is active."""
        return _effective(group, name, self.moved).stage

    def named(self, kind: Kind, name: str, owner: str, version: int, *, draft: bool) -> Stage:
        """Return the stage of what has a name; `draft` is what it was declared as."""
        own = Standing(kind, name, version, "draft" if draft else "active")
        if kind != "feature":
            return _now(own, self.moved).stage
        whole = Standing("group", owner, version, "active")
        return _where(whole, own, self.moved).stage

    def view(self, view: FeatureView) -> Stage:
        return _now(Standing("view", view.name, 1, "active"), self.moved).stage


def declared_feature(group: FeatureGroup, feature: str) -> Standing:
    """Return where a feature stands as it is declared."""
    draft = dict(group.feature(feature).tags).get("stage") == "draft"
    name = f"{group.name}.{feature}"
    return Standing("feature", name, group.version, "draft" if draft else "active")


def _now(unmoved: Standing, moved: Mapping[Place, Standing]) -> Standing:
    return moved.get((unmoved.kind, unmoved.name, unmoved.version), unmoved)


def _effective(group: FeatureGroup, feature: str, moved: Mapping[Place, Standing]) -> Standing:
    """Return where a feature stands: where its group does, unless that is active."""
    whole = Standing("group", group.name, group.version, "active")
    return _where(whole, declared_feature(group, feature), moved)


def _where(whole: Standing, own: Standing, moved: Mapping[Place, Standing]) -> Standing:
    whole = _now(whole, moved)
    return whole if whole.stage != "active" else _now(own, moved)


def served(
    asked: Asked, moved: Mapping[Place, Standing], *, by_name: bool
) -> tuple[list[str], list[str]]:
    """Return which of the features asked for are served, and what their users are told.

    Parameters
    ----------
    by_name
        Whether the features were named one by one: drafts are left out otherwise.

    Raises
    ------
    NotServed
        Something that was asked for is retired, or all of it is a draft.
    """
    view = asked.view
    found = [] if view is None else [_now(Standing("view", view.name, 1, "active"), moved)]
    stand = {
        shown: _effective(part.group, stored, moved)
        for part in asked.parts
        for stored, shown in part.features.items()
    }
    found += dict.fromkeys(stand.values())
    for each in found:
        if each.stage == "retired":
            raise NotServed(each.name, "retired", each.successor)
    drafts = set() if by_name else {name for name, each in stand.items() if each.stage == "draft"}
    if found and found[0].kind == "view" and found[0].stage == "draft" and not by_name:
        raise NotServed(found[0].name, "draft")
    names = [name for name in asked.shown if name not in drafts]
    if drafts and not names:
        raise NotServed(asked.owner, "draft")
    return names, [each.notice for each in found if each.stage == "deprecated"]
