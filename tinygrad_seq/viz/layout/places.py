"""How the items of one place are laid out: as one box, by a template, or in layers."""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_seq.viz.graph.items import BAR, BEGIN, Edge, Graph, Item, Place
from tinygrad_seq.viz.layout.block import Block
from tinygrad_seq.viz.layout.boxes import closed_roads, module_block
from tinygrad_seq.viz.layout.layered import layered_block
from tinygrad_seq.viz.layout.templates import bar_roads, template_block, template_for
from tinygrad_seq.viz.picture.style import Style

__all__ = ["block_maker"]


def block_maker(graph: Graph, style: Style) -> Callable[[list[Item], Place], Block]:
    """What makes blocks at the level of a graph."""
    inside: dict[Place, list[Edge]] = {}
    for edge in graph.edges.values():
        tail, head = graph.items[edge.tail].place, graph.items[edge.head].place
        if tail == head and not edge.delay and graph.items[edge.tail].kind == "op":
            inside.setdefault(head, []).append(edge)

    def make(items: list[Item], place: Place) -> Block:
        if place.step == BEGIN:
            return module_block(items[0], graph, style, _begin_roads(graph, place))
        if graph.closes(place) and len(items) == 1:
            return module_block(items[0], graph, style)
        template = template_for(item.part for item in items)
        if template is not None:
            return template_block(template, items, inside.get(place, []), style)
        if len(items) > 1 or (graph.level.plain and place.step not in {None, BAR}):
            return layered_block(items, inside.get(place, []), graph, style)
        opened = not graph.level.plain and place.step == BAR
        return module_block(items[0], graph, style, bar_roads(items[0].roles) if opened else {})

    return make


def _begin_roads(graph: Graph, place: Place) -> dict[str, float]:
    """Heights at which the cells of a row take their states."""
    roles: set[str] = set()
    for item in graph.items.values():
        if item.place.row == place.row and item.place.step is not None:
            roles |= item.roles
    closed = graph.closes(place._replace(step=0))
    return closed_roads(roles) if closed else bar_roads(roles)
