"""Lineage around one thing, drawn: layers from left to right, as SVG within a page."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from html import escape
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from feature_store_assets.lineage.graph import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from feature_store_assets.lineage.graph import Graph

_DRAWN: Final = 32
_WIDE: Final = 150
_HIGH: Final = 42
_APART: Final = 34
_BETWEEN: Final = 12
_BEND: Final = 10
_PAD: Final = 6
_SWEEPS: Final = 4
_NAME_SHOWN: Final = 19
_KIND_SHOWN: Final = 25
_COLUMNS: Final = frozenset({"column", "feature"})


@dataclass(frozen=True)
class Surroundings:
    """What is upstream and downstream of one thing, with the number of steps to it."""

    start: Node
    upstream: Mapping[Node, int]
    downstream: Mapping[Node, int]
    edges: Mapping[tuple[Node, Node], bool]
    """Origin and target, and whether Dagster knows of it."""


def around(graph: Graph, start: Node) -> Surroundings:
    """Return what surrounds a node; around a group or a view tables stand for their columns."""
    whole = start.kind not in _COLUMNS
    own = {start}
    if whole:
        own |= {each for each in graph.before(start) if each.table == start.id}
    up, down = _nearest(own, graph.upstream), _nearest(own, graph.downstream)
    known = {
        (edge.origin, edge.target): edge.known_by in {"column_lineage", "asset graph"}
        for edge in graph.among({*own, *up, *down})
    }
    if whole:
        tables = {each: _table(graph, each) for each in (*own, *up, *down)}
        up, down = _merged(up, tables, start), _merged(down, tables, start)
        merged: dict[tuple[Node, Node], bool] = {}
        for (origin, target), traced in known.items():
            pair = tables[origin], tables[target]
            if pair[0] != pair[1]:
                merged[pair] = merged.get(pair, False) or traced
        known = merged
    return Surroundings(start, up, {k: v for k, v in down.items() if k not in up}, known)


def _nearest(own: Collection[Node], walk: Callable[[Node], Mapping[Node, int]]) -> dict[Node, int]:
    found: dict[Node, int] = {}
    for each in own:
        for node, steps in walk(each).items():
            if node not in own:
                found[node] = min(steps, found.get(node, steps))
    return found


def _table(graph: Graph, node: Node) -> Node:
    """Return the group, asset or view that a column is of; anything else is itself."""
    if node.kind not in _COLUMNS:
        return node
    owners = (Node(kind, node.table) for kind in ("group", "asset", "view"))
    return next((each for each in owners if each in graph.owners), node)


def _merged(found: Mapping[Node, int], tables: Mapping[Node, Node], start: Node) -> dict[Node, int]:
    nearest: dict[Node, int] = {}
    for node, steps in found.items():
        table = tables[node]
        if table != start:
            nearest[table] = min(steps, nearest.get(table, steps))
    return nearest


# ------------------------------------------------------------------ layers


class _Spot(NamedTuple):
    """A node in a layer, or the bend of an edge that goes past one."""

    layer: int
    node: Node
    bend: Node | None = None


class _Edge(NamedTuple):
    spots: tuple[_Spot, ...]
    traced: bool


def draw(near: Surroundings, address: Callable[[Node], str | None]) -> tuple[str, int]:
    """Draw what surrounds a thing, the nearest 32 nodes of it.

    Parameters
    ----------
    address
        Gives the page of a node, None for one without.

    Returns
    -------
    The SVG, whose colours are the page's, and how many nodes were left out.
    """
    up, down = _chosen(near)
    layers = _layered(near, up, down)
    pairs = [
        (origin, target)
        for origin, target in sorted(near.edges)
        if origin in layers and target in layers and layers[origin] < layers[target]
    ]
    edges = [_Edge(_way(layers, *pair), near.edges[pair]) for pair in _direct(pairs)]
    columns = _ordered(layers, edges)
    places = _placed(columns)
    high = 2 * _PAD + max(_tall(column) for column in columns)
    wide = 2 * _PAD + len(columns) * _WIDE + (len(columns) - 1) * _APART
    drawn = [_line(edge, places) for edge in edges]
    drawn += [  # as one goes through the links, too
        _box(spot.node, places[spot], near.start, address)
        for spot in chain.from_iterable(columns)
        if spot.bend is None
    ]
    sides = f"{len(near.upstream)} upstream, {len(near.downstream)} downstream"
    svg = (
        f'<svg class="lineage" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" '
        f'role="group" aria-label="Lineage of {escape(near.start.id)}: {sides}">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="tip" d="M0 .8 7 4 0 7.2z"/></marker></defs>'
        f"{''.join(drawn)}</svg>"
    )
    return svg, len(near.upstream) + len(near.downstream) - len(up) - len(down)


def _chosen(near: Surroundings) -> tuple[list[Node], list[Node]]:
    """Return the nearest of both sides; what one leaves free the other may have."""
    up, down = nearest(near.upstream), nearest(near.downstream)
    half = _DRAWN // 2
    return up[: max(half, _DRAWN - len(down))], down[: max(half, _DRAWN - len(up))]


def nearest(side: Mapping[Node, int]) -> list[Node]:
    """Return nodes, those of the fewest steps first."""
    return [node for _, node in sorted((steps, node) for node, steps in side.items())]


def _layered(near: Surroundings, up: Sequence[Node], down: Sequence[Node]) -> dict[Node, int]:
    """Return each node's layer from the left, every edge leading to the right where that can be."""
    before = _distances(near.start, up, [(target, origin) for origin, target in near.edges])
    after = _distances(near.start, down, near.edges)
    signed = {node: -steps for node, steps in before.items()} | after
    columns = {layer: number for number, layer in enumerate(sorted({*signed.values()}))}
    return {node: columns[layer] for node, layer in signed.items()}


def _distances(
    start: Node, nodes: Sequence[Node], edges: Iterable[tuple[Node, Node]]
) -> dict[Node, int]:
    """Return the longest way to each node; what lies in a circle ends somewhere."""
    steps = dict.fromkeys(nodes, 1)
    steps[start] = 0
    inner = [(near, far) for near, far in edges if near in steps and far in steps and far != start]
    for _ in nodes:
        for near, far in inner:
            steps[far] = max(steps[far], min(steps[near] + 1, len(nodes)))
    return steps


def _direct(pairs: Sequence[tuple[Node, Node]]) -> list[tuple[Node, Node]]:
    """Return the edges without those that a longer way says as well; there is no circle."""
    after = defaultdict(list)
    for origin, target in pairs:
        after[origin].append(target)
    beyond: dict[Node, set[Node]] = {}

    def reached(node: Node) -> set[Node]:
        if node not in beyond:
            beyond[node] = {each for next_ in after[node] for each in (next_, *reached(next_))}
        return beyond[node]

    return [
        (origin, target)
        for origin, target in pairs
        if not any(target in reached(each) for each in after[origin] if each != target)
    ]


def _way(layers: Mapping[Node, int], origin: Node, target: Node) -> tuple[_Spot, ...]:
    first, last = layers[origin], layers[target]
    bends = (_Spot(layer, target, origin) for layer in range(first + 1, last))
    return (_Spot(first, origin), *bends, _Spot(last, target))


def _ordered(layers: Mapping[Node, int], edges: Sequence[_Edge]) -> list[list[_Spot]]:
    """Return the layers, each in the order in which few edges cross: by its neighbours' mean."""
    spots = {_Spot(layer, node) for node, layer in layers.items()}
    spots.update(spot for edge in edges for spot in edge.spots)
    columns: list[list[_Spot]] = [[] for _ in range(max(layers.values()) + 1)]
    for spot in sorted(spots, key=lambda spot: (spot.node, spot.bend or spot.node)):
        columns[spot.layer].append(spot)
    left, right = defaultdict(list), defaultdict(list)
    for edge in edges:
        for one, other in pairwise(edge.spots):
            right[one].append(other)
            left[other].append(one)
    for sweep in range(_SWEEPS):
        beside = right if sweep % 2 else left
        for column in reversed(columns) if sweep % 2 else columns:
            _sort(column, columns, beside)
    return columns


def _sort(
    column: list[_Spot],
    columns: Sequence[Sequence[_Spot]],
    beside: Mapping[_Spot, Sequence[_Spot]],
) -> None:
    rank = {spot: place / len(each) for each in columns for place, spot in enumerate(each)}

    def mean(spot: _Spot) -> float:
        ranks = [rank[each] for each in beside.get(spot, (spot,))]
        return sum(ranks) / len(ranks)

    column.sort(key=mean)


# ------------------------------------------------------------------ places and shapes


def _height(spot: _Spot) -> int:
    return _HIGH if spot.bend is None else _BEND


def _tall(column: Sequence[_Spot]) -> int:
    return sum(_height(spot) for spot in column) + _BETWEEN * (len(column) - 1)


def _placed(columns: Sequence[Sequence[_Spot]]) -> dict[_Spot, tuple[int, int]]:
    """Return the left edge and the middle of each spot; layers are centred."""
    tallest = max(_tall(column) for column in columns)
    places = {}
    for number, column in enumerate(columns):
        y = _PAD + (tallest - _tall(column)) // 2
        for spot in column:
            places[spot] = _PAD + number * (_WIDE + _APART), y + _height(spot) // 2
            y += _height(spot) + _BETWEEN
    return places


def _line(edge: _Edge, places: Mapping[_Spot, tuple[int, int]]) -> str:
    path = ""
    for one, other in pairwise(edge.spots):
        (x, y), (to, end) = places[one], places[other]
        x, to = x + _WIDE, to - (3 if other is edge.spots[-1] else 0)
        middle = x + _APART // 2
        path += f"{'L' if path else 'M'}{x} {y}C{middle} {y} {middle} {end} {to} {end}"
    kind = "edge" if edge.traced else "edge declared"
    return f'<path class="{kind}" d="{path}" marker-end="url(#arrow)"/>'


def _box(
    node: Node, place: tuple[int, int], start: Node, address: Callable[[Node], str | None]
) -> str:
    x, y = place[0], place[1] - _HIGH // 2
    above, name = node.kind.replace("_", " "), node.id
    if node.kind in _COLUMNS:
        above, name = f"{above} of {node.table}", node.id.rpartition(".")[2]
    link = None if node == start else address(node)
    kind = f"node {node.kind}" + (" current" if node == start else "")
    box = (
        f'<g class="{kind}" transform="translate({x} {y})">'
        f"<title>{escape(node.kind.replace('_', ' '))} {escape(node.id)}</title>"
        f'<rect class="frame" width="{_WIDE}" height="{_HIGH}" rx="6"/>'
        f'<rect class="kind-bar" x="0" y="6" width="3" height="{_HIGH - 12}" rx="1.5"/>'
        f'<text class="above" x="12" y="16">{_cut(above, _KIND_SHOWN)}</text>'
        f'<text class="name" x="12" y="32">{_cut(name, _NAME_SHOWN)}</text></g>'
    )
    return box if link is None else f'<a href="{escape(link)}">{box}</a>'


def _cut(text: str, most: int) -> str:
    return escape(text if len(text) <= most else text[: most - 1] + "…")
