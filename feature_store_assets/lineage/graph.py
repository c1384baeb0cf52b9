"""The lineage graph: typed nodes, edges that say how they are known, and walks along them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from feature_store_assets.errors import AmbiguousFeature, LineageNotFound
from feature_store_assets.registry.dependents import Dependents

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

Kind = Literal[
    "column",
    "asset",
    "feature",
    "group",
    "view",
    "snapshot",
    "training_set",
    "model",
    "endpoint",
]
Known = Literal["column_lineage", "asset graph", "applied", "recorded"]
Source = Literal["dagster", "applied"]
TABLES = frozenset({"asset", "group"})


class Node(NamedTuple):
    """One thing; `id` is as people write it: `orders.amount`, `spending.spent`, `churn`."""

    kind: Kind
    id: str

    @property
    def table(self) -> str:
        """The asset or group that a column or feature lies in."""
        return self.id.rpartition(".")[0]


class Edge(NamedTuple):
    """`target` comes from `origin`, or holds it."""

    origin: Node
    target: Node
    known_by: Known


@dataclass(frozen=True)
class Graph:
    """All lineage at one moment.

    Parameters
    ----------
    source
        Whether Dagster's graph is in it, or only what is applied and recorded.
    owners
        Every node, and who owns it.
    edges
        How each edge is known.
    keys
        Columns that are join keys of groups, and the features that hang on them.
    dependents
        What may use the features.
    """

    source: Source
    owners: Mapping[Node, tuple[str, ...]]
    edges: Mapping[tuple[Node, Node], Known]
    keys: Mapping[Node, tuple[Node, ...]]
    dependents: Dependents = field(default_factory=Dependents)
    _after: Mapping[Node, list[Node]] = field(init=False, repr=False)
    _before: Mapping[Node, list[Node]] = field(init=False, repr=False)
    _traced: Collection[str] = field(init=False, repr=False)
    _bare: Mapping[str, list[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        after, before = defaultdict(list), defaultdict(list)
        traced: set[str] = set()
        for origin, target in sorted(self.edges):
            after[origin].append(target)
            before[target].append(origin)
            if _is_column(origin) and _is_column(target):
                traced.add(target.table)
        bare = defaultdict(list)
        for node in sorted(self.owners):
            if node.kind == "feature":
                bare[node.id.rpartition(".")[2]].append(node.id)
        for name, value in (
            ("_after", dict(after)),
            ("_before", dict(before)),
            ("_traced", traced),
            ("_bare", dict(bare)),
        ):
            object.__setattr__(self, name, value)

    def after(self, node: Node) -> list[Node]:
        """What comes from a node directly."""
        return self._after.get(node, [])

    def before(self, node: Node) -> list[Node]:
        """What a node comes from directly."""
        return self._before.get(node, [])

    def traced(self, table: Node) -> bool:
        """Whether some columns of a table say where they come from."""
        return table.id in self._traced

    def find(self, name: str, kinds: Iterable[Kind] = ("feature", "column")) -> Node:
        """Return what a name means: `"group.feature"`, `"asset.column"`, or a bare feature.

        Parameters
        ----------
        kinds
            What else it may mean, the first one first.

        Raises
        ------
        AmbiguousFeature
            Several groups have a feature of that name.
        LineageNotFound
            Nothing has that name.
        """
        kinds = tuple(kinds)
        for kind in kinds:
            if (node := Node(kind, name)) in self.owners:
                return node
        candidates = self._bare.get(name, [])
        if len(candidates) > 1:
            raise AmbiguousFeature(name, candidates)
        if candidates:
            return Node("feature", candidates[0])
        known = [node.id for node in self.owners if node.kind in kinds]
        raise LineageNotFound(name, [*known, *self._bare])

    def upstream(self, start: Node, depth: int | None = None) -> dict[Node, int]:
        """Return what a node comes from, with the number of steps to it."""

        # What a group holds says nothing of where it comes from.
        def follow(node: Node) -> Iterator[Node]:
            return (each for each in self.before(node) if not _holds(each, node))

        return _walk(start, follow, depth)

    def downstream(self, start: Node, depth: int | None = None) -> dict[Node, int]:
        """Return what comes from a node, with the number of steps to it."""

        # A table that traces its columns is reached by those that really come from here.
        def follow(node: Node) -> Iterator[Node]:
            for each in self.after(node):
                if node.kind not in TABLES or each.kind not in TABLES or not self.traced(each):
                    yield each

        return _walk(start, follow, depth)

    def among(self, nodes: Collection[Node]) -> list[Edge]:
        """Return the edges between nodes, sorted."""
        return [
            Edge(node, each, self.edges[node, each])
            for node in sorted(nodes)
            for each in self.after(node)
            if each in nodes
        ]

    def part(self, nodes: Collection[Node]) -> Graph:
        """Return the graph of these nodes alone."""
        return Graph(
            self.source,
            {node: self.owners[node] for node in sorted(nodes)},
            {(origin, target): known for origin, target, known in self.among(nodes)},
            {node: hung for node, hung in self.keys.items() if node in nodes},
            self.dependents,
        )


def _is_column(node: Node) -> bool:
    return node.kind in {"column", "feature"}


def _holds(feature: Node, group: Node) -> bool:
    return feature.kind == "feature" and group.kind == "group"


def _walk(
    start: Node, follow: Callable[[Node], Iterable[Node]], depth: int | None
) -> dict[Node, int]:
    found = {start: 0}
    front = [start]
    while front and (depth is None or found[front[0]] < depth):
        reached: list[Node] = []
        for node in front:
            for each in follow(node):
                if each not in found:
                    found[each] = found[node] + 1
                    reached.append(each)
        front = reached
    del found[start]
    return found
