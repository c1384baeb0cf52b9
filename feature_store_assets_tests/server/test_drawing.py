"""Lineage as a drawing: what is drawn where, and how much of it."""

import re
from itertools import pairwise

import pytest

from feature_store_assets.lineage.graph import Graph, Known, Node
from feature_store_assets.server.drawing import Surroundings, around, draw

START = Node("feature", "spending.spent")


def graph(*edges: tuple[Node, Node], known: Known = "applied") -> Graph:
    owners: dict[Node, tuple[str, ...]] = dict.fromkeys(
        (node for pair in edges for node in pair), ()
    )
    return Graph("dagster", owners, dict.fromkeys(edges, known), {})


def chain(*nodes: Node) -> list[tuple[Node, Node]]:
    return list(pairwise(nodes))


def lefts(svg: str) -> dict[str, int]:
    """Where each box begins, by what it is called."""
    found = re.findall(
        r'<g class="node[^"]*" transform="translate\((\d+) \d+\)"><title>(.*?)</', svg
    )
    return {title: int(left) for left, title in found}


def edges(svg: str) -> int:
    return svg.count('<path class="edge')


def nowhere(_: Node) -> None:
    return None


COLUMN, ASSET = Node("column", "orders.amount"), Node("asset", "orders")
GROUP, VIEW = Node("group", "spending"), Node("view", "churn")


def test_layers_go_from_left_to_right() -> None:
    whole = graph(*chain(ASSET, COLUMN, START, VIEW, Node("training_set", "t")), (START, GROUP))
    svg, left_out = draw(around(whole, START), nowhere)
    found = lefts(svg)
    assert list(found.values()) == sorted(found.values())
    assert (
        found["asset orders"]
        < found["column orders.amount"]
        < found["feature spending.spent"]
        < found["view churn"]
        == found["group spending"]
        < found["training set t"]
    )
    assert left_out == 0


def test_a_node_lies_behind_all_that_lead_to_it() -> None:
    """However short another way is."""
    last = Node("model", "m")
    whole = graph(*chain(START, VIEW, Node("training_set", "t"), last), (START, last))
    found = lefts(draw(around(whole, START), nowhere)[0])
    assert found["model m"] > found["training set t"] > found["view churn"]


def test_what_a_longer_way_says_is_not_drawn_again() -> None:
    whole = graph(*chain(ASSET, COLUMN, START), (ASSET, START))
    assert edges(draw(around(whole, START), nowhere)[0]) == 2


def test_around_a_group_tables_stand_for_their_columns() -> None:
    other = Node("feature", "spending.ordered")
    whole = graph(
        *chain(COLUMN, START, GROUP), (ASSET, COLUMN), (other, GROUP), (START, VIEW), (other, VIEW)
    )
    near = around(whole, GROUP)
    assert near == Surroundings(
        GROUP, {ASSET: 1}, {VIEW: 1}, {(ASSET, GROUP): False, (GROUP, VIEW): False}
    )
    svg, _ = draw(near, nowhere)
    assert list(lefts(svg)) == ["asset orders", "group spending", "view churn"]
    assert edges(svg) == 2


@pytest.mark.parametrize(
    ("upstream", "downstream", "drawn"), [(100, 100, 32), (3, 100, 32), (100, 0, 32), (10, 5, 15)]
)
def test_only_the_nearest_are_drawn(upstream: int, downstream: int, drawn: int) -> None:
    before = [(Node("column", f"orders.c{number}"), START) for number in range(upstream)]
    after = [(START, Node("view", f"v{number}")) for number in range(downstream)]
    svg, left_out = draw(around(graph(*before, *after, (GROUP, VIEW)), START), nowhere)
    assert len(lefts(svg)) == drawn + 1
    assert left_out == upstream + downstream - drawn
    assert f"{upstream} upstream, {downstream} downstream" in svg
    if min(upstream, downstream) >= 16:
        assert sum("view" in title for title in lefts(svg)) == 16


def test_a_circle_is_drawn_too() -> None:
    tables = [Node("group", name) for name in "abc"]
    whole = graph(*chain(*tables, tables[0]))
    assert len(lefts(draw(around(whole, tables[0]), nowhere)[0])) == 3


def test_something_alone_is_one_box() -> None:
    lonely = Graph("applied", {GROUP: ()}, {}, {})
    svg, left_out = draw(around(lonely, GROUP), nowhere)
    assert list(lefts(svg)) == ["group spending"]
    assert (edges(svg), left_out) == (0, 0)


def test_what_has_a_page_is_a_link_except_the_page_itself() -> None:
    svg, _ = draw(
        around(graph((START, VIEW), (START, Node("model", "m"))), START),
        lambda node: None if node.kind == "model" else f"/x?<{node.id}>&",
    )
    assert re.findall('<a href="(.*?)">', svg) == ["/x?&lt;churn&gt;&amp;"]


def test_what_dagster_does_not_know_is_dashed() -> None:
    for known, dashed in (
        ("column_lineage", 0),
        ("asset graph", 0),
        ("applied", 1),
        ("recorded", 1),
    ):
        svg, _ = draw(around(graph((COLUMN, START), known=known), START), nowhere)  # type: ignore[arg-type]
        assert svg.count('class="edge declared"') == dashed


def test_long_and_hostile_names_are_cut_and_escaped() -> None:
    name = "<script>" + "x" * 300
    svg, _ = draw(around(graph((START, Node("endpoint", name))), START), nowhere)
    assert "<script>" not in svg
    assert "<title>endpoint &lt;script&gt;" + "x" * 300 in svg
    (shown,) = re.findall('<text class="name"[^>]*>(&lt;.*?)</text>', svg)
    assert len(shown) < 30
    assert shown.endswith("…")


def test_the_same_graph_gives_the_same_drawing() -> None:
    pairs = [(START, Node("view", f"v{number}")) for number in range(9)]
    drawn = {draw(around(graph(*order), START), nowhere)[0] for order in (pairs, pairs[::-1])}
    assert len(drawn) == 1
