"""``draw``: from recorded results to drawings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any

from tinygrad_seq.checks import choice, count, index_of
from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, GraphError
from tinygrad_seq.timeline.retold import names_of
from tinygrad_seq.viz.graph.expand import told
from tinygrad_seq.viz.graph.fold import build
from tinygrad_seq.viz.graph.items import Graph
from tinygrad_seq.viz.graph.survey import Survey
from tinygrad_seq.viz.graph.views import LEVELS, VIEWS
from tinygrad_seq.viz.graph.weights import bundle_weights
from tinygrad_seq.viz.layout.boxes import free_picture
from tinygrad_seq.viz.layout.grid import Grid
from tinygrad_seq.viz.output.dot import dot_text
from tinygrad_seq.viz.output.drawing import Drawing, seconds
from tinygrad_seq.viz.output.html import page_data
from tinygrad_seq.viz.output.render import TIMEOUT
from tinygrad_seq.viz.picture.legend import ClipLike, add_legend, add_title
from tinygrad_seq.viz.picture.look import Look
from tinygrad_seq.viz.picture.shapes import Picture
from tinygrad_seq.viz.picture.style import Style, heat_scale
from tinygrad_seq.viz.picture.themes import theme_for, theme_of
from tinygrad_seq.viz.picture.turn import turn
from tinygrad_seq.viz.route.connect import connected
from tinygrad_seq.viz.smaller import check_columns, check_size, ways_to_shrink
from tinygrad_seq.viz.trace import Trace, checked_trace

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor

__all__ = ["draw"]

DIRECTIONS = ("forward", "both")
WEIGHTS = ("once", "labels", "hidden")
MAX_ITEMS = 1500


def draw(
    results: Tensor | Iterable[Tensor],
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
    title: str | None = None,
    inputs: Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
    outputs: Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
    rankdir: str = "LR",
    width: float | None = None,
    font: str | None = None,
    theme: str | Mapping[str, Any] = "light",
    legend: bool = True,
    names: Mapping[str, Any] | None = None,
    max_items: int = MAX_ITEMS,
    timeout: float = TIMEOUT,
) -> Drawing:
    """Draw the recorded graph behind one or several results.

    Nothing is recorded, computed or changed: what is drawn is what there is. Recurrent layers
    that ran fused are expanded through their composed twins.

    Parameters
    ----------
    results : Tensor or iterable of Tensor
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
        Whether the way of the gradients is drawn too: beside what joins blocks, not
        within them (at module and cell level, in views with columns).
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
    title : str, optional
        Written over the picture.
    inputs, outputs : sequence, optional
        Labels under x_t and over y_t: a string, or anything with one entry per time step. Of
        several time axes, by the name in their frames: ``{"encoder": "chat", "decoder": "cat"}``;
        one alone is for the first, or the last that has outputs. Not in a rolled view.
    rankdir : {"LR", "TB"}
        Time from left to right, or down the page.
    width : float, optional
        Of the whole picture, in inches; by default what it needs.
    font : str, optional
        A family. Boxes are made for letters as wide as a typewriter's.
    theme : {"light", "dark"} or mapping
        Colours, or your own as ``"#rrggbb"`` by what they mean; see docs/drawing.md.
    legend : bool
        Whether there is a key.
    names : mapping, optional
        Variables by name, as ``locals()`` gives them: tensors and results are called so. A result
        of the last step names what does the same at every step. By default weights without a
        name are W1, W2, ... in order of use, and states h and c.
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
        For an unknown option, or another number of labels than there are time steps.

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
    choice(*VIEWS)("draw: view", view)
    choice(*LEVELS)("draw: level", level)
    choice(*DIRECTIONS)("draw: direction", direction)
    if weights is None:
        weights = "labels" if LEVELS[level].plain else "once"
    choice(*WEIGHTS)("draw: weights", weights)
    depth = None if depth is None else count(0)("draw: depth", depth)
    sample, max_items = index_of("draw: sample", sample), count(1)("draw: max_items", max_items)
    head = None if head is None else index_of("draw: head", head)
    timeout, trace, clip = seconds("draw: timeout", timeout), checked_trace(trace), _clip_of(clip)
    both = direction == "both"
    if both and (VIEWS[view].folds or LEVELS[level].plain):
        raise ConfigError(
            "draw: direction='both' needs a place beside every wire",
            expected="level='module' or 'cell', and view='unrolled' or 'elided'",
            got=f"level={level!r}, view={view!r}",
        )
    colors = theme_of(theme, font=font)
    look = Look.checked(
        "draw",
        title=title,
        inputs=inputs,
        outputs=outputs,
        rankdir=rankdir,
        width=width,
        legend=legend,
    )
    roots = told(_roots(results), _names_of(names))
    survey = Survey(roots)
    check_columns(VIEWS[view], LEVELS[level], survey.steps, both, max_items)
    built = partial(build, roots, view=view, depth=depth, trace=trace, sample=sample, head=head)
    graph = built(level=level, survey=survey)
    if not graph.steps and graph.level.closed and depth is None and _lumped(graph):
        graph = built(level="op", survey=survey)
    check_size(graph, both, weights, max_items)
    colors = theme_for(colors, graph.tracks)
    picture = _picture(graph, Style(colors, heat_scale(graph, colors), weights, both, look), clip)
    data = page_data(graph, picture.panels, colors)
    smaller = ways_to_shrink(graph, both, weights)
    text = dot_text(picture, colors, look)
    return Drawing(text, picture.title, timeout, colors, data, smaller)


def _picture(graph: Graph, style: Style, clip: ClipLike | None) -> Picture:
    look = style.look
    if not graph.steps:
        if look.inputs or look.outputs:
            raise ConfigError(
                "draw: inputs and outputs",
                expected="none: nothing here has a time step",
                got="labels",
                hint="a loop by hand says its time: with tgs.scope(step=t): ...",
            )
        picture = free_picture(graph, style)
        picture.title = look.title or f"graph, {graph.level.name} level, no time steps"
        return picture
    if not graph.level.plain or style.weights == "once":
        graph = bundle_weights(graph)
    grid = Grid(graph, style)
    picture, weight_names = connected(grid)
    picture.title = look.title or _title(graph, grid)
    if look.rankdir == "TB":
        turn(picture)
    if look.legend:
        add_legend(picture, graph, style, clip, weight_names)
    if look.title:
        add_title(picture, look.title)
    return picture


def _title(graph: Graph, grid: Grid) -> str:
    """What is drawn, how, and how many time steps each of its axes has."""
    ends: dict[int, list[int]] = {}
    for (path, layer, _), axis in sorted(grid.segment.items(), key=lambda found: found[1]):
        ends.setdefault(axis, []).extend(graph.ends.get((path, layer), ()))
    lengths = [max(steps) - min(steps) + 1 for steps in ends.values() if steps]
    plural = "" if lengths == [1] else "s"
    steps = " + ".join(f"{length:,}" for length in lengths) + f" time step{plural}"
    return f"{graph.view.name} graph, {graph.level.name} level, {steps}"


def _lumped(graph: Graph) -> bool:
    """Whether no module and no time step tells nodes apart, so that all fell into one item."""
    return sum(item.kind != "weight" for item in graph.items.values()) <= 1


def _roots(results: Any) -> list[Node]:
    """The nodes of one or several tensors, each once."""
    nodes: dict[Node, None] = {}
    for tensor in [results] if isinstance(results, Variable) else _iterated(results):
        if not isinstance(tensor, Variable):
            raise ConfigError(
                "draw: results",
                expected="a tensor, or several",
                got=f"a {type(tensor).__name__}" + (" among them" if tensor is not results else ""),
                hint="draw_model(model, x) runs a model; of a state, draw state.h",
            )
        if tensor.node is not None:
            nodes[tensor.node] = None
    if not nodes:
        raise GraphError(
            "draw: nothing was recorded",
            expected="a result that depends on a tensor with requires_grad=True",
            got="a constant",
            hint="was it made under no_grad(), or detached?",
        )
    return list(nodes)


def _names_of(names: Any) -> dict[Node, str]:
    if names is not None and not isinstance(names, Mapping):
        raise ConfigError(
            "draw: names", expected="a mapping: names=locals()", got=f"a {type(names).__name__}"
        )
    return names_of({name: value for name, value in (names or {}).items() if type(name) is str})


def _iterated(results: Any) -> Iterable[Any]:
    several = isinstance(results, Iterable) and not isinstance(results, (str, bytes, Mapping))
    return results if several and getattr(results, "shape", None) != () else [results]


def _clip_of(clip: Any) -> ClipLike | None:
    """What a clipping reported, if it has what is drawn of it: numbers, perhaps not finite ones."""
    known: ClipLike | None = clip
    for name in ("norm", "factor") if clip is not None else ():
        if not isinstance(getattr(clip, name, None), Real):
            raise ConfigError(
                "draw: clip",
                expected="what clip_grad_norm_ returns, with .norm and .factor",
                got=f"a {type(clip).__name__}",
            )
    return known
