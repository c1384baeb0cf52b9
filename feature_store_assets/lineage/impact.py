"""What a change touches: every feature, view, snapshot, training set, model and endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from feature_store_assets.errors import DataError, suggestion
from feature_store_assets.lineage.builder import ONLINE
from feature_store_assets.lineage.graph import TABLES, Graph, Kind, Node
from feature_store_assets.registry.dependents import User

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ChangeType = Literal["schema_change", "rename", "type_change", "removal", "delay", "values"]
Effect = Literal["breaks", "retrain", "changes values", "late", "stays"]

_LISTS: dict[str, Kind] = {
    "features": "feature",
    "views": "view",
    "snapshots": "snapshot",
    "training_sets": "training_set",
    "models": "model",
    "endpoints": "endpoint",
}
_COLUMNS = frozenset({"column", "feature"})
_PLACES: tuple[Kind, ...] = ("feature", "view", "training_set", "model", "endpoint")
# What a snapshot pins never changes.
_EFFECTS: dict[str, tuple[Effect, ...]] = {
    "schema_change": ("breaks", "breaks", "retrain", "retrain", "breaks"),
    "rename": ("breaks", "breaks", "stays", "breaks", "breaks"),
    "type_change": ("breaks", "breaks", "retrain", "retrain", "breaks"),
    "removal": ("breaks", "breaks", "retrain", "retrain", "breaks"),
    "delay": ("late", "late", "stays", "late", "late"),
    "values": ("changes values", "changes values", "retrain", "retrain", "changes values"),
}


def analyze(graph: Graph, name: str, change_type: str = "schema_change") -> dict[str, Any]:
    """Return what depends on a feature, a source column, or a whole asset or group.

    Parameters
    ----------
    graph
        All lineage.
    name
        `"group.feature"`, a bare feature, `"asset.column"`, an asset or a group.
    change_type
        What is to happen to it.

    Returns
    -------
    What `FeatureStore.analyze_impact` says.
    """
    if change_type not in _EFFECTS:
        known = get_args(ChangeType)
        raise DataError(f"'{change_type}' is no change type." + suggestion(change_type, known))
    subject = graph.find(name, ("feature", "column", "group", "asset"))
    touched = _touched(graph, subject)
    features = {node for node in touched if node.kind == "feature"}
    found: dict[Kind, list[dict[str, Any]]] = {kind: [] for kind in _LISTS.values()}
    for node in sorted({*features, *_users(graph, features)} - {subject}):
        effect = _effect(node.kind, change_type)
        owners = list(graph.owners[node])
        found[node.kind].append({"id": node.id, "owners": owners, "effect": effect})
    return {
        "feature_id": subject.id,
        "kind": subject.kind,
        "change_type": change_type,
        "source": graph.source,
        **{plural: found[kind] for plural, kind in _LISTS.items()},
        "owners": sorted(
            {owner for hits in found.values() for hit in hits for owner in hit["owners"]}
        ),
        "undeclared": _undeclared(graph, {subject, *touched}),
    }


def _effect(kind: Kind, change_type: str) -> Effect:
    if kind == "snapshot":
        return "stays"
    return _EFFECTS[change_type][_PLACES.index(kind)]


def _users(graph: Graph, features: Iterable[Node]) -> Iterator[Node]:
    """Yield what uses features, and where the models among it answer."""
    users = graph.dependents.of_features({node.id for node in features})
    yield from (Node(user.kind, user.name) for user in users)
    for model in graph.dependents.models:
        if model.endpoint and User("model", model.name) in users:
            yield Node("endpoint", model.endpoint)


def _touched(graph: Graph, subject: Node) -> set[Node]:
    """Return the columns and features that are known to come from the subject."""
    found = set(_columns(graph, subject)) if subject.kind in TABLES else {subject}
    front = list(found)
    while front:
        node = front.pop()
        for each in (*graph.after(node), *graph.keys.get(node, ())):
            if each.kind in _COLUMNS and each not in found:
                found.add(each)
                front.append(each)
    return found


def _columns(graph: Graph, table: Node) -> Iterator[Node]:
    for each in (*graph.before(table), *graph.after(table)):
        if each.kind in _COLUMNS and each.table == table.id:
            yield each


def _undeclared(graph: Graph, touched: set[Node]) -> list[str]:
    """Return what reads a touched table without saying which of its columns."""
    tables = {each if each.kind in TABLES else _table(graph, each) for each in touched}
    return sorted(
        each.id
        for table in tables
        for each in graph.after(table)
        if each not in touched
        and not each.id.startswith(ONLINE)
        and (each.kind == "feature" or (each.kind == "asset" and not graph.traced(each)))
    )


def _table(graph: Graph, column: Node) -> Node:
    group = Node("group", column.table)
    return group if group in graph.owners else Node("asset", column.table)
