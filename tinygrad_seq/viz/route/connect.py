"""Every edge between blocks as a wire, and what lies along one state or weight named alike."""

from __future__ import annotations

from tinygrad_seq.viz.graph.items import WEIGHT
from tinygrad_seq.viz.layout.grid import Grid
from tinygrad_seq.viz.picture.shapes import Picture, Shape, Wire
from tinygrad_seq.viz.route.canvas import Canvas, road_of
from tinygrad_seq.viz.route.depth import draw_depth, draw_input
from tinygrad_seq.viz.route.labels import add_labels
from tinygrad_seq.viz.route.states import States
from tinygrad_seq.viz.route.weights import draw_weights, name_weights

__all__ = ["connected"]


def connected(grid: Grid) -> tuple[Picture, dict[str, str]]:
    """The picture of a grid with all its wires; and short names of weights drawn as labels."""
    canvas = Canvas(grid)
    states = States(canvas)
    for edge in grid.graph.edges.values():
        if edge.kind == WEIGHT or grid.graph.items[edge.head].kind == "start":
            continue  # a start's label names what is trained
        if edge.tail in canvas.inputs:
            draw_input(canvas, edge)
        elif not states.draw(edge) and grid.where[edge.tail] != grid.where[edge.head]:
            draw_depth(canvas, edge)
    if canvas.both:
        states.draw_back()
    for box in canvas.boxes:
        draw_weights(canvas, box)
    named = grid.style.weights == "labels" and not grid.graph.level.plain
    names = name_weights(canvas) if named else {}
    add_labels(canvas.picture, grid, canvas.inputs)
    _name_roads(canvas)
    return canvas.picture, names


def _name_roads(canvas: Canvas) -> None:
    """Give everything along one state or one weight a common class, for pages to follow."""
    numbers: dict[str, int] = {}
    on: dict[str, set[str]] = {}
    graph, picture = canvas.graph, canvas.picture
    for edge in graph.edges.values():
        place, road = graph.items[edge.head].place, edge.tail
        if edge.kind != WEIGHT:
            road = f"{edge.kind} of {place.path} {place.layer}"
        if edge.kind == WEIGHT or edge.delay:
            number = numbers.setdefault(road, len(numbers))
            for name in (edge.tail, edge.head, road_of(edge)):
                on.setdefault(name, set()).add(f"road-{number}")
    for item in graph.items.values():  # the last states lead nowhere, but lie on it too
        for kind in item.roles & graph.tracks.keys():
            road = f"{kind} of {item.place.path} {item.place.layer}"
            if road in numbers and item.place.step is not None:
                for name in (item.id, f"{item.id}#{kind}"):
                    on.setdefault(name, set()).add(f"road-{numbers[road]}")
    roads: list[tuple[Shape | Wire, str]] = [(wire, wire.road) for wire in picture.wires]
    roads += [(shape, shape.id.removesuffix("·").removesuffix("#")) for shape in picture.shapes]
    for drawn, name in roads:
        drawn.classes = " ".join([drawn.classes, *sorted(on.get(name, set()))]).strip()
