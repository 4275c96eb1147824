"""Measuring the gradient flow of a model, and saying in words what was found."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import choice, function_of
from tinygrad_seq.engine.backward import backpropagate
from tinygrad_seq.engine.mode import composed, observe
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, GraphError, ShapeError
from tinygrad_seq.flow.track import Track, make_track
from tinygrad_seq.flow.walks import Recorder
from tinygrad_seq.flow.words import as_table, in_words
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.timeline.chains import find_chains
from tinygrad_seq.timeline.retold import names_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GradientFlow", "gradient_flow"]


@dataclass(frozen=True, repr=False)
class GradientFlow:
    """What :func:`gradient_flow` found: words when printed, a table and plots in a notebook.

    Attributes
    ----------
    loss : float
    tracks : dict
        A :class:`Track` per recurrent layer (and direction), in the order they ran.
    gradients : dict
        dL/dW of every named parameter that was reached.
    """

    loss: float
    tracks: dict[str, Track]
    gradients: dict[str, Array]

    def __getitem__(self, name: str) -> Track:
        return self.tracks[choice(*self.tracks)("GradientFlow: layer", name)]

    def __str__(self) -> str:
        return "\n".join([f"loss {self.loss:.4g}", *map(in_words, self.tracks.values())])

    def __repr__(self) -> str:
        found = ", ".join(f"{name!r} {track.verdict}" for name, track in self.tracks.items())
        return f"<GradientFlow: loss {self.loss:.4g}, {found}>"

    def _repr_html_(self) -> str:
        """Table and plots in a notebook; without matplotlib the table alone."""
        try:
            figure = self.plot()
        except ImportError:
            return as_table(self.loss, self.tracks.values())
        picture = BytesIO()
        figure.savefig(picture, format="png", dpi=80)
        encoded = b64encode(picture.getvalue()).decode()
        return (
            f"{as_table(self.loss, self.tracks.values())}\n"
            f'<img alt="gradient flow" src="data:image/png;base64,{encoded}"/>'
        )

    def plot(self) -> Figure:
        """Draw norms per step, decay, Pascanu's ratio and eigenvalues (needs matplotlib)."""
        from tinygrad_seq.flow.plot import plot_flow

        return plot_flow(self.tracks.values())


def gradient_flow(
    run: Callable[[], Tensor], names: Mapping[str, Any] | None = None
) -> GradientFlow:
    """Run a model once, and measure how the gradient of its loss flows back through time.

    Parameters
    ----------
    run : callable
        Runs the model and returns a scalar loss. Layers, cells and loops of your own are
        recognised by what they do: no tag, no declaration is needed.
    names : mapping, optional
        Variables by name, ``locals()``: so weights without a name, states and gates go by those of
        their variables. It is read after the run, which may still fill it.

    Returns
    -------
    GradientFlow
        Print it for a summary in words.

    Raises
    ------
    GraphError
        If no recurrence was found, or the loss does not depend on it. (Where no trained weight is
        in it, tag each state: ``h = tgs.tanh(...).tag("h")``.)
    ShapeError
        If the loss is no scalar.

    Notes
    -----
    Layers run composed of single operations, and all steps are kept: a microscope, not a part
    of training. No ``.grad`` is touched. What the numbers mean: Bengio, Simard and Frasconi
    1994; Pascanu, Mikolov and Bengio 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import flow, nn
    >>> rnn = nn.RNN(3, 8, rng=np.random.default_rng(0))
    >>> rnn.weight_hh_l0.writable()[:] *= 0.5
    >>> x = np.random.default_rng(1).normal(size=(30, 2, 3)).astype(np.float32)
    >>> found = flow.gradient_flow(lambda: rnn(x)[0][-1].sum())
    >>> found["l0"].verdict, found["l0"].horizon < 7
    ('vanishes', True)
    """
    function_of("gradient_flow: run", run)
    if names is not None and not isinstance(names, Mapping):
        raise ConfigError(
            "gradient_flow: names",
            expected="a mapping: names=locals()",
            got=f"a {type(names).__name__}",
        )
    recorder = Recorder()
    with composed(), observe(recorder):
        loss = run()
    if not isinstance(loss, Tensor) or loss.size != 1:
        raise ShapeError(
            "gradient_flow: run() returns a scalar loss",
            expected="a Tensor with one entry",
            got=getattr(loss, "shape", type(loss).__name__),
        )
    node = loss.node
    found = None if node is None else find_chains(node, recorder.values, names_of(names or {}))
    if found is None or node is None or not found[0]:
        raise GraphError(
            "gradient_flow: no recurrent state was recorded",
            expected="a loss that depends on a recurrent layer, recorded with gradients",
            got="a loss without a graph" if node is None else "no weight that is used again",
            hint="where no trained weight recurs, tag each state: h = tgs.tanh(z).tag('h')",
        )
    chains, labels = found
    states = {node for chain in chains for step in chain.steps for node in step.states.values()}
    recorder.keep(states)
    with observe(recorder):
        one = np.ones(loss.shape, loss.dtype)
        gradients = backpropagate([(node, one)], retain_graph=True)
    if not states & set(recorder.cotangents):
        raise GraphError(
            "gradient_flow: the loss depends on no recurrent state",
            hint="was the state detached before the loss was computed?",
        )
    called = {leaf: labels.get(leaf, leaf.name) for leaf in gradients}
    for name, count in Counter(called.values()).items():  # leaves of one name have a number
        if count > 1:
            same = [leaf for leaf in gradients if called[leaf] == name]
            called |= {leaf: f"{name} ({k})" for k, leaf in enumerate(same, 1)}
    tracks = {chain.name: make_track(chain, recorder, gradients, called) for chain in chains}
    return GradientFlow(
        float(loss.item()), tracks, {called[leaf]: array for leaf, array in gradients.items()}
    )
