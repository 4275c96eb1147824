"""``draw`` and ``draw_model``: from results or models to drawings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tinygrad_seq.engine.mode import composed, observe
from tinygrad_seq.errors import ConfigError, GraphError, RenderError
from tinygrad_seq.viz.block import Block
from tinygrad_seq.viz.blocks import module_block, plain_shape
from tinygrad_seq.viz.bundle import bundle_weights
from tinygrad_seq.viz.cells import LSTM_ROADS, RNN_ROADS, template_block, template_for
from tinygrad_seq.viz.dot import dot_text
from tinygrad_seq.viz.grid import Grid
from tinygrad_seq.viz.ir import BAR, WEIGHT, Edge, Graph, Item, Place
from tinygrad_seq.viz.passes import build, recorded_nodes
from tinygrad_seq.viz.picture import Picture, Wire
from tinygrad_seq.viz.render import TIMEOUT, Drawing
from tinygrad_seq.viz.style import HeatScale, Theme
from tinygrad_seq.viz.style import theme as named_theme
from tinygrad_seq.viz.trace import Trace
from tinygrad_seq.viz.words import edge_tooltip

if TYPE_CHECKING:
    from tinygrad_seq.nn import Module
    from tinygrad_seq.tensor import Tensor

__all__ = ["draw", "draw_model"]

VIEWS = ("unrolled", "elided", "rolled")
LEVELS = ("module", "cell", "op")
MAX_ITEMS = 1500


def draw(
    outputs: Tensor | Iterable[Tensor],
    *,
    view: str = "unrolled",
    level: str = "module",
    trace: Trace | None = None,
    weights: str = "once",
    theme: str = "light",
    max_items: int = MAX_ITEMS,
    timeout: float = TIMEOUT,
) -> Drawing:
    """Draw the recorded graph behind one or several results."""
    _check("view", view, VIEWS)
    _check("level", level, LEVELS)
    _check("weights", weights, ("once", "hidden"))
    colors = named_theme(theme)
    roots = _roots(outputs)
    graph = build(recorded_nodes(roots), roots, view=view, level=level, trace=trace)
    if len(graph.items) > max_items:
        raise RenderError(
            f"draw: {len(graph.items):,} items, more than a reader or a renderer can take",
            expected=f"at most max_items={max_items:,}",
            got=f"{graph.length:,} time steps at {level} level",
            hint="draw(view='elided') or draw(view='rolled'), or a coarser level",
        )
    title = f"{view} graph, {level} level, {graph.length} time steps"
    return Drawing(dot_text(_picture(graph, colors, weights), colors), title, timeout)


def _picture(graph: Graph, colors: Theme, weights: str) -> Picture:
    if not graph.steps:
        return _free_picture(graph, colors, weights)
    graph = bundle_weights(graph)
    heat = _heat(graph, colors)
    return Grid(graph, _block_maker(graph, colors, heat), colors, weights).arrange()


def _block_maker(graph: Graph, colors: Theme, heat: HeatScale | None) -> Callable[..., Block]:
    """How the items of one place are laid out at this level."""
    inside: dict[Place, list[Edge]] = {}
    for edge in graph.edges.values():
        tail, head = graph.items[edge.tail].place, graph.items[edge.head].place
        if tail == head and not edge.delay and graph.items[edge.tail].kind == "op":
            inside.setdefault(head, []).append(edge)

    def make(items: list[Item], place: Place) -> Block:
        template = template_for(item.part for item in items)
        if template is not None:
            return template_block(template, items, inside.get(place, []), colors, heat)
        roads = {}
        if graph.level == "cell" and place.step == BAR and items[0].roles & {"h"}:
            roads = LSTM_ROADS if "c" in items[0].roles else RNN_ROADS
        return module_block(items[0], colors, heat, graph.roots[0], roads)

    return make


def _free_picture(graph: Graph, colors: Theme, weights: str) -> Picture:
    """A graph without time steps, for Graphviz to lay out."""
    picture = Picture(free=True)
    for item in graph.items.values():
        if weights == "once" or item.kind != "weight":
            picture.shapes.append(plain_shape(item, colors, graph.roots[0]))
    drawn = {shape.id for shape in picture.shapes}
    for edge in graph.edges.values():
        if edge.tail in drawn:
            color = colors.weight if edge.kind == WEIGHT else colors.line
            wire = Wire(edge.tail, edge.head, [], None, color, tooltip=edge_tooltip(edge))
            wire.classes = f"edge-{edge.kind}"
            picture.wires.append(wire)
    return picture


def _heat(graph: Graph, colors: Theme) -> HeatScale | None:
    """The colour scale of all gradient norms of h that were traced."""
    spans = [item.gradients["h"] for item in graph.items.values() if "h" in item.gradients]
    positive = [norm for span in spans for norm in (span.low, span.high) if norm > 0]
    if not positive:
        return None
    other = "#ffffff" if colors.name == "light" else "#14181d"
    return HeatScale(min(positive), max(positive), colors.heat, colors.ink, other)


def _roots(outputs: Any) -> list[Any]:
    tensors = [outputs] if hasattr(outputs, "node") else list(outputs)
    nodes = [tensor.node for tensor in tensors if getattr(tensor, "node", None) is not None]
    if not nodes:
        raise GraphError(
            "draw: nothing was recorded",
            expected="a result that depends on a tensor with requires_grad=True",
            got="a constant",
            hint="was it made under no_grad(), or detached?",
        )
    return list(dict.fromkeys(nodes))


def _check(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(
            f"draw: {option}", expected=" or ".join(map(repr, known)), got=repr(value)
        )


def draw_model(
    model: Module,
    *inputs: Any,
    loss: Callable[[Any], Tensor] | None = None,
    trace: Trace | None = None,
    **options: Any,
) -> Drawing:
    """Run a model on a few time steps and draw what it did.

    Parameters
    ----------
    model : Module
    *inputs
        What the model is called with.
    loss : callable, optional
        ``loss(outputs) -> Tensor`` scalar; then gradients are traced too, and drawn as heat.
    **options
        Of :func:`draw`.
    """
    from tinygrad_seq.tensor import Tensor
    from tinygrad_seq.transforms import grad

    trace = Trace() if trace is None else trace
    states = {name: rng.bit_generator.state for name, rng in model.generators().items()}
    try:
        with composed(), observe(trace):
            outputs = model(*inputs)
            result = outputs if loss is None else loss(outputs)
            roots = [t for t in _tensors(result) if t.node is not None]
            if loss is not None:
                grad(roots[0], list(model.parameters()), allow_unused=True)
    finally:
        for name, rng in model.generators().items():
            rng.bit_generator.state = states[name]
    if loss is None:
        roots = roots[:1]
    assert all(isinstance(root, Tensor) for root in roots)
    return draw(roots, trace=trace, **options)


def _tensors(value: Any) -> list[Any]:
    """All tensors in a nest of tuples, lists and dicts."""
    if hasattr(value, "node"):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, (list, tuple)) or hasattr(value, "__iter__"):
        return [tensor for part in value for tensor in _tensors(part)]
    return []
