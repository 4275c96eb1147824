"""``draw`` and ``draw_model``: from results or models to drawings."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tinygrad_seq.engine.mode import composed, observe
from tinygrad_seq.errors import ConfigError, GraphError, RenderError
from tinygrad_seq.viz.block import Block
from tinygrad_seq.viz.blocks import closed_roads, module_block, plain_shape
from tinygrad_seq.viz.bundle import bundle_weights
from tinygrad_seq.viz.cells import bar_roads, template_block, template_for
from tinygrad_seq.viz.dot import dot_text
from tinygrad_seq.viz.expand import expand_fused
from tinygrad_seq.viz.grid import Grid
from tinygrad_seq.viz.html import page_data
from tinygrad_seq.viz.ir import BAR, BEGIN, WEIGHT, Edge, Graph, Item, Place
from tinygrad_seq.viz.layered import layered_block
from tinygrad_seq.viz.legend import ClipLike, add_legend
from tinygrad_seq.viz.passes import build
from tinygrad_seq.viz.picture import Picture, Wire
from tinygrad_seq.viz.render import TIMEOUT, Drawing
from tinygrad_seq.viz.style import HeatScale, Theme
from tinygrad_seq.viz.style import theme as named_theme
from tinygrad_seq.viz.trace import Trace
from tinygrad_seq.viz.walk import Survey
from tinygrad_seq.viz.weights import box_width
from tinygrad_seq.viz.wiring import Wiring
from tinygrad_seq.viz.words import edge_tooltip

if TYPE_CHECKING:
    from tinygrad_seq.nn import Module
    from tinygrad_seq.tensor import Tensor

__all__ = ["draw", "draw_model"]

VIEWS = ("unrolled", "elided", "rolled")
LEVELS = ("module", "cell", "op")
DIRECTIONS = ("forward", "both")
WEIGHTS = ("once", "labels", "hidden")
MAX_ITEMS = 1500


def draw(
    outputs: Tensor | Iterable[Tensor],
    *,
    view: str = "unrolled",
    level: str = "module",
    depth: int | None = None,
    direction: str = "forward",
    trace: Trace | None = None,
    clip: ClipLike | None = None,
    sample: int = 0,
    head: int | None = None,
    weights: str | None = None,
    theme: str = "light",
    max_items: int = MAX_ITEMS,
    timeout: float = TIMEOUT,
) -> Drawing:
    """Draw the recorded graph behind one or several results.

    Nothing is recorded, computed or changed: what is drawn is what there is. Recurrent layers
    that ran fused are expanded through their composed twins.

    Parameters
    ----------
    outputs : Tensor or iterable of Tensor
        Results of recorded operations, usually the loss.
    view : {"unrolled", "elided", "rolled"}
        One column per time step; the first two, a bar that counts the rest, the last; or one
        column for every t, with a delay box on each state.
    level : {"module", "cell", "op"}
        Layers as boxes; cells gate by gate; or every recorded node.
    depth : int, optional
        Take apart only modules less than `depth` names deep: ``encoder.rnn`` is two names deep.
        Deeper ones are closed, at every level: all that was recorded in one at a time step is one
        box (one for each layer of its own). 0 closes the model itself, 1 its own modules; by
        default all are open.
    direction : {"forward", "both"}
        Whether the way of the gradients is drawn too (module level, views with columns).
    trace : Trace, optional
        What listened while the graph was made: norms as colour and figures, source lines.
    clip : ClipReport, optional
        What a clipping of these gradients returned: drawn as norm before, factor, norm after.
    sample : int
        Which sequence of the batch attention weights are shown of, as the opacity of lines.
    head : int, optional
        Which head of an attention in several; by default the mean of all.
    weights : {"once", "labels", "hidden"}, optional
        Shared weights as one box with a line to every use, as a pale label at every use, or not
        at all. By default once, at op level labels.
    theme : {"light", "dark"}
        Colours.
    max_items : int
        Refuse to draw more than this.
    timeout : float
        Seconds that a renderer may take.

    Returns
    -------
    Drawing
        ``.dot``, ``.svg()``, ``.save("x.svg")``; shows itself in a notebook.

    Raises
    ------
    GraphError
        If nothing was recorded.
    RenderError
        If the drawing would be too large to read.
    ConfigError
        For an unknown option.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> from tinygrad_seq import nn, viz
    >>> lstm = nn.LSTM(3, 4, rng=np.random.default_rng(0))
    >>> y, state = lstm(np.ones((5, 2, 3), np.float32))
    >>> drawing = viz.draw(y.sum(), view="rolled", level="cell")
    >>> drawing.title
    'rolled graph, cell level, 5 time steps'
    """
    _check("view", view, VIEWS)
    _check("level", level, LEVELS)
    _check("direction", direction, DIRECTIONS)
    weights = weights or ("labels" if level == "op" else "once")
    _check("weights", weights, WEIGHTS)
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
        raise ConfigError("draw: depth", expected="an integer >= 0, or None", got=repr(depth))
    if direction == "both" and (level != "module" or view == "rolled"):
        raise ConfigError(
            "draw: direction='both' needs a place beside every wire",
            expected="level='module' and view='unrolled' or 'elided'",
            got=f"level={level!r}, view={view!r}",
        )
    colors = named_theme(theme)
    roots = _roots(outputs)
    survey = Survey(roots, view == "unrolled")
    if survey.fused:
        roots = expand_fused(roots)
        survey = Survey(roots, view == "unrolled")
    if view == "unrolled":  # a column has an item at least: no need to count them all
        _check_size(len(survey.steps), len(survey.steps), level, max_items)
    options: dict[str, Any] = {"view": view, "level": level, "depth": depth, "trace": trace}
    options |= {"sample": sample, "head": head}
    graph = build(roots, survey=survey, **options)
    if not graph.steps and level == "module" and depth is None and _lumped(graph):
        graph = build(roots, survey=survey, **{**options, "level": "op"})
    _check_size(len(graph.items), graph.length, level, max_items)
    picture = _picture(graph, colors, weights, direction == "both", clip)
    steps = f"{graph.length:,} time step" + ("" if graph.length == 1 else "s")
    picture.title = f"{view} graph, {level} level, {steps}"
    data = page_data(graph, picture.panels, colors)
    return Drawing(dot_text(picture, colors), picture.title, timeout, theme, data)


def _picture(
    graph: Graph, colors: Theme, weights: str, both: bool, clip: ClipLike | None
) -> Picture:
    if not graph.steps:
        return _free_picture(graph, colors, weights)
    if graph.level != "op" or weights == "once":
        graph = bundle_weights(graph)
    heat = _heat(graph, colors)
    make = _block_maker(graph, colors, heat, weights)
    margin = 0.0
    if weights == "once":  # there may be none: their lines then have room for nothing
        bundles = [item for item in graph.items.values() if item.kind == "weight"]
        margin = max((box_width(item, colors, both) for item in bundles), default=1.0)
    grid = Grid(graph, make, margin=margin, double=both)
    wiring = Wiring(grid, colors, weights, both)
    wiring.connect()
    add_legend(grid.picture, graph, colors, heat, both, clip, wiring.weight_names)
    return grid.picture


def _block_maker(
    graph: Graph, colors: Theme, heat: HeatScale | None, weights: str
) -> Callable[[list[Item], Place], Block]:
    """How the items of one place are laid out at this level."""
    inside: dict[Place, list[Edge]] = {}
    for edge in graph.edges.values():
        tail, head = graph.items[edge.tail].place, graph.items[edge.head].place
        if tail == head and not edge.delay and graph.items[edge.tail].kind == "op":
            inside.setdefault(head, []).append(edge)

    def make(items: list[Item], place: Place) -> Block:
        if place.step == BEGIN:
            return module_block(items[0], graph, colors, heat, _begin_roads(graph, place))
        if graph.closes(place) and len(items) == 1:
            return module_block(items[0], graph, colors, heat)
        template = template_for(item.part for item in items)
        if template is not None:
            return template_block(template, items, inside.get(place, []), colors, heat)
        if len(items) > 1 or (graph.level == "op" and place.step not in {None, BAR}):
            return layered_block(items, inside.get(place, []), graph, colors, heat, weights)
        roads: dict[str, float] = {}
        if graph.level == "cell" and place.step == BAR:
            roads = bar_roads(items[0].roles)
        return module_block(items[0], graph, colors, heat, roads)

    return make


def _begin_roads(graph: Graph, place: Place) -> dict[str, float]:
    """Heights at which the cells of a row take their states."""
    roles: set[str] = set()
    for item in graph.items.values():
        if item.place.row == place.row and item.place.step is not None:
            roles |= item.roles
    closed = graph.closes(place._replace(step=0))
    return closed_roads(roles) if closed else bar_roads(roles)


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


def _lumped(graph: Graph) -> bool:
    """Whether no module and no time step tells nodes apart, so that all fell into one item."""
    return sum(item.kind not in {"weight", "leaf"} for item in graph.items.values()) <= 1


def _heat(graph: Graph, colors: Theme) -> HeatScale | None:
    """The colour scale of all gradient norms that are shown as colour."""
    spans = [
        item.gradients[role]
        for item in graph.items.values()
        for role in ("h", "c")
        if role in item.gradients
    ]
    positive = [norm for span in spans for norm in (span.low, span.high) if norm > 0]
    if not positive or all(span.count > 1 for span in spans):
        return None
    low, high = min(positive), max(positive)
    if high < 10 * low:  # at least one decade: what hardly differs shall not look different
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    return HeatScale(low, high, colors.heat)


def _check_size(items: int, steps: int, level: str, max_items: int) -> None:
    if items > max_items:
        raise RenderError(
            f"draw: {items:,} items or more, too many for a reader or a renderer",
            expected=f"at most max_items={max_items:,}",
            got=f"{steps:,} time steps at {level} level",
            hint="draw(view='elided') or draw(view='rolled'), or a coarser level",
        )


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
    model: Module | Callable[..., Any],
    *inputs: Any,
    keywords: Mapping[str, Any] | None = None,
    loss: Callable[[Any], Tensor] | None = None,
    trace: Trace | None = None,
    **options: Any,
) -> Drawing:
    """Run a model on a few time steps and draw what it did.

    The model runs composed, one node per operation and time step, and traced. Its parameters,
    their gradients and its random generators are as before afterwards.

    Parameters
    ----------
    model : Module or callable
        Of a function that calls modules, those that it names are left as before.
    *inputs
        What the model is called with: a short sequence, (T, N) or (T, N, I).
    keywords : mapping, optional
        What it is called with by name: ``{"lengths": [5, 3]}``.
    loss : callable, optional
        ``loss(outputs) -> Tensor`` with one entry; gradients are then traced too, and drawn as
        colour and figures. Without it the first tensor of the outputs is drawn.
    trace : Trace, optional
        An own one, to look at afterwards.
    **options
        Of :func:`draw`.

    Returns
    -------
    Drawing

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn, viz
    >>> rnn = nn.RNN(5, 4, num_layers=2, rng=np.random.default_rng(0))
    >>> drawing = viz.draw_model(rnn, np.zeros((3, 1), int), loss=lambda out: out[0].sum())
    >>> drawing.dot.count("|∂L/∂h|") >= 6
    True
    """
    from tinygrad_seq.tensor import Tensor

    trace = Trace() if trace is None else trace
    generators = [rng for part in _modules(model) for rng in part.generators().values()]
    states = [rng.bit_generator.state for rng in generators]
    try:
        with composed(), observe(trace):
            outputs = model(*inputs, **(keywords or {}))
            result = outputs if loss is None else loss(outputs)
            roots = [t for t in _tensors(result) if t.node is not None]
            if loss is not None and roots:
                _trace_gradients(roots[0], _leaves(roots[0]), trace)
    finally:
        for rng, state in zip(generators, states, strict=True):
            rng.bit_generator.state = state
    if loss is None:
        roots = roots[:1]
    assert all(isinstance(root, Tensor) for root in roots)
    return draw(roots, trace=trace, **options)


def _modules(model: Any) -> list[Module]:
    """The modules that a model is, or that a function refers to."""
    from tinygrad_seq.nn import Module

    found = [model, getattr(model, "__self__", None)]
    if inspect.isroutine(model) and not inspect.isbuiltin(model):
        known = inspect.getclosurevars(model)
        found += [*known.nonlocals.values(), *known.globals.values()]
    return [part for part in found if isinstance(part, Module)]


def _leaves(loss: Tensor) -> list[Any]:
    """All leaves that a loss depends on: parameters, above all."""
    assert loss.node is not None
    owners = (node.owner() for node in Survey([loss.node]).leaves if node.owner is not None)
    return [owner for owner in owners if owner is not None]


def _trace_gradients(loss: Tensor, parameters: list[Any], trace: Trace) -> None:
    """Send gradients through the graph, leaving every ``.grad`` alone."""
    from tinygrad_seq.transforms import grad

    for parameter, gradient in zip(
        parameters, grad(loss, parameters, allow_unused=True), strict=True
    ):
        if gradient is not None:
            trace.collected(parameter.node, gradient.data)


def _tensors(value: Any) -> list[Any]:
    """All tensors in a nest of tuples, lists and dicts."""
    if hasattr(value, "node"):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, (list, tuple, type({}.values()))):
        return [tensor for part in value for tensor in _tensors(part)]
    return []
