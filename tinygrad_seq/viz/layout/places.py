"""How the items of one place are laid out: as one box, by a template, or in layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tinygrad_seq.timeline.picture import Template
from tinygrad_seq.viz.graph.alike import rows_of_steps
from tinygrad_seq.viz.graph.items import BAR, BEGIN, Graph, Item, Place, Row
from tinygrad_seq.viz.layout.block import Block
from tinygrad_seq.viz.layout.boxes import closed_roads, module_block
from tinygrad_seq.viz.layout.layered import layered_block
from tinygrad_seq.viz.layout.road_blocks import RoadBlocks
from tinygrad_seq.viz.layout.templates import bar_roads, template_block, template_for
from tinygrad_seq.viz.picture.style import Style

__all__ = ["block_of", "road_plans"]


Plans = Mapping[Row, RoadBlocks]


def road_plans(graph: Graph, style: Style) -> dict[Row, RoadBlocks]:
    """How the steps of each row are laid out whose cell has no picture of its own."""
    return {row: RoadBlocks(rows, graph, style) for row, rows in rows_of_steps(graph).items()}


def block_of(items: list[Item], place: Place, graph: Graph, style: Style, plans: Plans) -> Block:
    """The block of the items of one place."""
    plan = None if place.step is None else plans.get(place.row)
    if place.step == BEGIN:
        roads = _begin_roads(graph, place) if plan is None else plan.roads
        return module_block(items[0], graph, style, roads)
    if plan is not None and place in plan.rows.steps:
        return plan.block(items)
    if graph.closes(place) and len(items) == 1:
        return module_block(items[0], graph, style)
    inside = [
        edge
        for item in items
        for edge in graph.into(item.id)
        if not edge.delay and (tail := graph.items[edge.tail]).place == place and tail.kind == "op"
    ]
    template = template_for((item.part for item in items), pictures(items))
    if template is not None:
        return template_block(template, items, inside, style)
    if len(items) > 1 or (graph.level.plain and place.step not in {None, BAR}):
        return layered_block(items, inside, graph, style)
    opened = not graph.level.plain and place.step == BAR
    roads = bar_roads(items[0].roles, pictures(items)) if opened else {}
    if plan is not None:
        roads = plan.roads
    return module_block(items[0], graph, style, roads)


def _begin_roads(graph: Graph, place: Place) -> dict[str, float]:
    """Heights at which the cells of a row take their states."""
    row = [i for i in graph.items.values() if i.place.row == place.row and i.place.step is not None]
    roles = set[str]().union(*(item.roles for item in row))
    if graph.closes(place._replace(step=0)):
        return closed_roads(row[0].states, roles)
    return bar_roads(roles, pictures(row))


def pictures(items: Iterable[Item]) -> list[Template]:
    """What the cells of some items say that they look like."""
    found = [item.cell.picture for item in items if item.cell is not None]
    return [picture for k, picture in enumerate(found) if picture and picture not in found[:k]]
