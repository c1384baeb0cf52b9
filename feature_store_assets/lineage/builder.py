"""How the lineage graph comes about: Dagster's assets first, then what is applied and recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from feature_store_assets.lineage.graph import Graph, Kind, Known, Node, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from feature_store_assets.dagster_io.asset_graph import Table, Traced
    from feature_store_assets.declaration.feature import Feature
    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.registry.dependents import Dependents

_KINDS: Mapping[str, Kind] = {
    "snapshots": "snapshot",
    "training_sets": "training_set",
    "models": "model",
}
ONLINE = "online/"


def build(recorded: Dependents, traced: Traced | None) -> Graph:
    """Put the graph together.

    Groups and views are taken from the code location; the applied ones join where it has none of
    that name.
    """
    return _Builder(recorded, traced).graph()


class _Builder:
    def __init__(self, recorded: Dependents, traced: Traced | None) -> None:
        self._recorded, self._traced = recorded, traced
        groups, views = (traced.groups, traced.views) if traced else ((), ())
        self._groups = {each.name: each for each in (*recorded.groups, *groups)}
        self._views = {each.name: each for each in (*recorded.views, *views)}
        self._tables = {table.name: table for table in traced.tables} if traced else {}
        self._owners: dict[Node, tuple[str, ...]] = {}
        self._edges: dict[tuple[Node, Node], Known] = {}
        self._keys: dict[Node, tuple[Node, ...]] = {}

    def graph(self) -> Graph:
        for group in self._groups.values():
            self._group(group)
        for table in self._tables.values():
            self._table(table)
        for view in self._views.values():
            self._view(view)
        self._records()
        source: Source = "applied" if self._traced is None else "dagster"
        dependents = replace(
            self._recorded,
            groups=tuple(self._groups.values()),
            views=tuple(self._views.values()),
        )
        return Graph(source, self._owners, self._edges, self._keys, dependents)

    # Nodes

    def _node(self, kind: Kind, name: str, owners: Iterable[str] = ()) -> Node:
        node = Node(kind, name)
        self._owners[node] = self._owners.get(node) or tuple(owners)
        return node

    def _named(self, name: str) -> Node:
        """Return the node that a Dagster asset stands for."""
        folder, _, rest = name.partition("/")
        table = self._tables.get(name)
        if table is not None and table.recorded:
            return self._node(_KINDS[folder], rest)
        return self._node("group" if name in self._groups else "asset", name)

    def _column(self, table: str, name: str, known: Known) -> Node:
        """Return a feature, or a column in its asset."""
        group = self._groups.get(table)
        if group is not None and name not in group.entity.join_keys:
            return self._feature(table, name)
        node = self._node("column", f"{table}.{name}")
        if group is None:
            self._edge(self._named(table), node, known)
        else:
            hung = tuple(Node("feature", f"{table}.{each}") for each in group.feature_names)
            self._keys[node] = hung
        return node

    def _feature(self, table: str, name: str) -> Node:
        group = self._groups.get(table)
        owners: tuple[str, ...] = () if group is None else group.owners
        if group is not None and name in group.feature_names:
            owner = group.feature(name).owner
            owners = (owner,) if owner else owners
        return self._node("feature", f"{table}.{name}", owners)

    def _edge(self, origin: Node, target: Node, known: Known) -> None:
        self._edges.setdefault((origin, target), known)

    # What there is

    def _group(self, group: FeatureGroup) -> None:
        table = self._tables.get(group.name)
        known: Known = "applied" if table is None else "asset graph"
        lineage = {} if table is None else table.lineage
        parents = group.upstream if table is None else table.parents
        node = self._node("group", group.name, group.owners)
        for feature in group.features:
            held = self._feature(group.name, feature.name)
            self._edge(held, node, known)
            if feature.name not in lineage:
                self._untraced(feature, held, parents, known)
        for key in group.entity.join_keys:
            self._column(group.name, key, known)
        if table is None:
            for parent in parents:
                self._edge(self._named(parent), node, known)

    def _untraced(self, feature: Feature, node: Node, parents: Iterable[str], known: Known) -> None:
        """Connect a feature of which Dagster says no columns."""
        for source in feature.derived_from:
            name, _, column = source.rpartition(".")
            self._edge(self._column(name, column, "applied"), node, "applied")
        if not feature.derived_from:
            for parent in parents:
                self._edge(self._named(parent), node, known)

    def _table(self, table: Table) -> None:
        if table.recorded:
            return  # the registry knows it better: it is never behind a reload
        node = self._named(table.name)
        self._owners[node] = self._owners[node] or table.owners
        for parent in table.parents:
            self._edge(self._named(parent), node, "asset graph")
        for column in table.columns:
            if table.name not in self._groups:
                self._column(table.name, column, "asset graph")
        for column, sources in table.lineage.items():
            target = self._column(table.name, column, "asset graph")
            for name, origin in sources:
                self._edge(self._column(name, origin, "asset graph"), target, "column_lineage")

    def _view(self, view: FeatureView) -> None:
        node = self._node("view", view.name, view.owners)
        shown: dict[str, Node] = {}
        for selection in view.selections:
            for stored, name in selection.features:
                shown[name] = self._feature(selection.group, stored)
                self._edge(shown[name], node, "applied")
        for computed in view.computed:
            feature = self._node("feature", f"{view.name}.{computed.name}", view.owners)
            self._edge(feature, node, "applied")
            for given in computed.inputs:
                if given in shown:  # else it comes with the request
                    self._edge(shown[given], feature, "applied")

    def _records(self) -> None:
        for pin in self._recorded.pins:
            if pin.of_snapshot:
                snapshot = self._node("snapshot", pin.owner, _person(pin.created_by))
                self._edge(self._node("group", pin.feature_group), snapshot, "recorded")
        for made in self._recorded.training_sets:
            node = self._node("training_set", made.name, _person(made.created_by))
            for feature in made.features:
                table, _, name = feature.rpartition(".")
                self._edge(self._feature(table, name), node, "recorded")
            if made.snapshot is not None:
                self._edge(self._node("snapshot", made.snapshot), node, "recorded")
        for model in self._recorded.models:
            node = self._node("model", model.name, model.owners)
            self._edge(self._node("training_set", model.training_set), node, "recorded")
            if model.endpoint:
                endpoint = self._node("endpoint", model.endpoint, model.owners)
                self._edge(node, endpoint, "recorded")


def _person(name: str) -> tuple[str, ...]:
    return (name,) if name else ()
