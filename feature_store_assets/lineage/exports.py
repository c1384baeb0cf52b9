"""The lineage graph for other tools: NetworkX, Mermaid, Graphviz and OpenLineage."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from feature_store_assets.errors import DataError, ExtraMissing
from feature_store_assets.lineage.graph import TABLES, Graph, Node

if TYPE_CHECKING:
    from collections.abc import Sequence

    import networkx as nx

_EXTRA = "lineage"
_SHAPES = {
    "column": ("([", "])"),
    "asset": ("[(", ")]"),
    "feature": ("(", ")"),
    "group": ("[", "]"),
    "view": ("[/", "/]"),
    "snapshot": ("[[", "]]"),
    "training_set": ("[[", "]]"),
    "model": ("{{", "}}"),
    "endpoint": (">", "]"),
}


def networkx_graph(graph: Graph) -> nx.DiGraph:
    """Return a `networkx.DiGraph`.

    Its nodes are pairs (kind, id) with `owners`; its edges say `known_by`.

    Raises
    ------
    ExtraMissing
        NetworkX is not installed.
    """
    try:
        import networkx as nx
    except ModuleNotFoundError:
        raise ExtraMissing("networkx", _EXTRA) from None
    found = nx.DiGraph(source=graph.source)
    for node, owners in graph.owners.items():
        found.add_node(tuple(node), owners=list(owners))
    for edge in graph.among(graph.owners):
        found.add_edge(tuple(edge.origin), tuple(edge.target), known_by=edge.known_by)
    return found


def mermaid(graph: Graph) -> str:
    """Return a Mermaid flowchart; what is not known by Dagster is dashed."""
    places = {node: f"n{number}" for number, node in enumerate(sorted(graph.owners))}
    lines = ["flowchart LR"]
    for node, place in places.items():
        opened, closed = _SHAPES[node.kind]
        lines.append(f'  {place}{opened}"{_escaped(_label(node))}"{closed}')
    for origin, target, known in graph.among(graph.owners):
        arrow = "-->" if known in {"column_lineage", "asset graph"} else "-.->"
        lines.append(f"  {places[origin]} {arrow} {places[target]}")
    return "\n".join(lines)


def dot(graph: Graph) -> str:
    """Return a Graphviz digraph; what is not known by Dagster is dashed."""
    places = {node: f"n{number}" for number, node in enumerate(sorted(graph.owners))}
    lines = ["digraph lineage {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f"  {place} [label={json.dumps(_label(node))}];" for node, place in places.items()]
    for origin, target, known in graph.among(graph.owners):
        style = "" if known in {"column_lineage", "asset graph"} else " [style=dashed]"
        lines.append(f"  {places[origin]} -> {places[target]}{style};")
    return "\n".join([*lines, "}"])


def _label(node: Node) -> str:
    return f"{node.kind.replace('_', ' ')} {node.id}"


def _escaped(text: str) -> str:
    for character, code in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        text = text.replace(character, code)
    return text


# OpenLineage


def openlineage_events(graph: Graph, namespace: str = "feature_store") -> list[Any]:
    """Return a `JobEvent` of OpenLineage for each table, training set and model.

    A table is a dataset, its columns are fields with their column lineage; a training set is a
    dataset made from groups; a model is one made from a training set.

    Raises
    ------
    ExtraMissing
        openlineage-python is not installed.
    """
    events, _ = _openlineage()
    now = datetime.now(UTC).isoformat()
    found = []
    for node in sorted(graph.owners):
        inputs = _inputs(graph, node)
        if inputs:
            found.append(
                events.JobEvent(
                    eventTime=now,
                    job=events.Job(namespace, _dataset(node)),
                    inputs=[events.InputDataset(namespace, name) for name in inputs],
                    outputs=[
                        events.OutputDataset(
                            namespace, _dataset(node), facets=_facets(graph, node, namespace)
                        )
                    ],
                )
            )
    return found


def emit(
    graph: Graph,
    *,
    file: str | None = None,
    url: str | None = None,
    namespace: str = "feature_store",
) -> int:
    """Send the graph as OpenLineage events; return how many there were.

    Parameters
    ----------
    file
        Append them to this file, one JSON document a line.
    url
        Post them to an OpenLineage backend, such as Marquez.
    """
    if (file is None) == (url is None):
        raise DataError("Say where the events go: either file= or url=.")
    found = openlineage_events(graph, namespace)
    from openlineage.client import OpenLineageClient

    transport = (
        {"type": "file", "log_file_path": file, "append": True}
        if url is None
        else {"type": "http", "url": url}
    )
    client = OpenLineageClient(config={"transport": transport})
    for event in found:
        client.emit(event)
    return len(found)


def _openlineage() -> tuple[Any, Any]:
    try:
        from openlineage.client import event_v2, facet_v2
    except ModuleNotFoundError:
        raise ExtraMissing("openlineage-python", _EXTRA) from None
    return event_v2, facet_v2


def _dataset(node: Node) -> str:
    folders = {"snapshot": "snapshots/", "training_set": "training_sets/", "model": "models/"}
    return folders.get(node.kind, "") + node.id


def _inputs(graph: Graph, node: Node) -> list[str]:
    """Return the datasets that a table, snapshot, training set or model is made from."""
    if node.kind not in {*TABLES, "snapshot", "training_set", "model"}:
        return []
    found: dict[str, None] = {}
    for origin in graph.before(node):
        if origin.kind != "feature":
            found[_dataset(origin)] = None
        elif node.kind not in TABLES:
            found[origin.table] = None
    return list(found)


def _facets(graph: Graph, node: Node, namespace: str) -> dict[str, Any]:
    _, facets = _openlineage()
    found: dict[str, Any] = {}
    if owners := graph.owners[node]:
        named = [facets.ownership_dataset.Owner(owner) for owner in owners]
        found["ownership"] = facets.ownership_dataset.OwnershipDatasetFacet(named)
    if fields := _fields(graph, node):
        module = facets.column_lineage_dataset
        found["columnLineage"] = module.ColumnLineageDatasetFacet(
            fields={
                name: module.Fields(
                    [
                        module.InputField(namespace, each.table, each.id.rpartition(".")[2])
                        for each in origins
                    ]
                )
                for name, origins in fields.items()
            }
        )
    return found


def _fields(graph: Graph, node: Node) -> dict[str, Sequence[Node]]:
    """Return the columns of a dataset with the columns that they come from."""
    found = defaultdict(list)
    if node.kind == "training_set":
        for origin in graph.before(node):
            found[origin.id.rpartition(".")[2]].append(origin)
        return dict(found)
    for column in (*graph.before(node), *graph.after(node)):
        if column.kind in {"feature", "column"} and column.table == node.id:
            origins = [each for each in graph.before(column) if each.kind in {"feature", "column"}]
            if origins:
                found[column.id.rpartition(".")[2]] += origins
    return dict(found)
