"""What a recurrent cell is: one step, with its states declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from keyword import iskeyword
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinygrad_seq.arguments import taking
from tinygrad_seq.checks import FLOATS, array_of, choice
from tinygrad_seq.engine.mode import current_mode, scope
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.scope import CellForm
from tinygrad_seq.errors import ConfigError, DtypeError, ShapeError
from tinygrad_seq.nn.cells.inputs import checked_input
from tinygrad_seq.nn.layers import positive_size
from tinygrad_seq.nn.module import Module
from tinygrad_seq.nn.options import WithOptions, made_anew
from tinygrad_seq.nn.state import array_in, checked_state, state_type
from tinygrad_seq.ops.indexing import one_hot
from tinygrad_seq.ops.join import stack
from tinygrad_seq.ops.sequence import run_steps
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.transforms.checkpoint import checkpoint as recomputed

__all__ = ["Cell", "Fused", "cell_maker", "checked_cell", "recomputing"]


class Fused(NamedTuple):
    """An operation that runs a cell over a whole sequence, and the weights it takes."""

    op: Op
    """Of :func:`tinygrad_seq.ops.sequence.sequence_op`."""
    weights: Sequence[Any]


class Cell(WithOptions):
    """One step of a recurrence, ``forward(x_t, state) -> state`` or ``-> (output, state)``.

    Derive from it to have a cell of your own in :class:`~tinygrad_seq.nn.Recurrent`, in every
    wiring and drawing, on the same terms as ours. A state of one part is a tensor (N, H), of
    several a tuple of them in the declared order; without an output of its own the first part is
    the output.

    Parameters
    ----------
    input_size : int
        I, the length of x_t.
    states : int or mapping of str to int
        Names and lengths of the parts of the state; an int is the length of one part, ``h``.
    output_size : int, optional
        Length of the output, if it is not the first part of the state.

    Attributes
    ----------
    gates : tuple of str
        Names of the blocks of columns of the gate weights, in their order: what drawings,
        spectra and :func:`~tinygrad_seq.nn.init.chrono_` go by.
    keeps : mapping of str to float
        Gates whose openness says how much of a state is kept (1), or how little (-1).
    reads_tokens : bool
        Whether `forward` takes integer tokens (N,) itself; otherwise it is given one-hot rows.
    title : str
        What drawings call it; by default the name of the class, without ``Cell`` at its end.
    picture : Template, optional
        Where its parts stand in a drawing.

    Examples
    --------
    The minimal gated unit (Zhou et al., 2016):

    >>> import numpy as np, tinygrad_seq as tgs
    >>> from tinygrad_seq import nn
    >>> class MGUCell(nn.Cell):
    ...     def __init__(self, input_size, hidden_size, *, rng):
    ...         super().__init__(input_size, hidden_size)
    ...         self.forget = nn.Linear(input_size + hidden_size, hidden_size, rng=rng)
    ...         self.fresh = nn.Linear(input_size + hidden_size, hidden_size, rng=rng)
    ...
    ...     def forward(self, x, h):
    ...         f = tgs.sigmoid(self.forget(tgs.concatenate([x, h], axis=-1)))
    ...         n = tgs.tanh(self.fresh(tgs.concatenate([x, f * h], axis=-1)))
    ...         return (1 - f) * h + f * n
    >>> rng = np.random.default_rng(0)
    >>> MGUCell(3, 5, rng=rng)(np.ones((2, 3), np.float32)).shape
    (2, 5)
    >>> layer = nn.Recurrent(lambda size: MGUCell(size, 5, rng=rng), 3, num_layers=2)
    >>> y, state = layer(np.ones((7, 2, 3), np.float32), lengths=[7, 4])
    >>> y.shape, state.h.shape
    ((7, 2, 5), (2, 2, 5))
    """

    gates: ClassVar[tuple[str, ...]] = ()
    keeps: ClassVar[Mapping[str, float]] = {}
    reads_tokens: ClassVar[bool] = False
    title: ClassVar[str] = ""
    picture: ClassVar[Any] = None
    state_type: ClassVar[Any] = None

    _settled: ClassVar = made_anew("states", "input_size", "output_size", "own_output")
    _home: Any = None
    """Sets and deletes what is a layer's, of a cell whose parts are."""

    states: dict[str, int]
    input_size: int
    output_size: int
    own_output: bool

    def __init__(
        self,
        input_size: int,
        states: int | Mapping[str, int],
        output_size: int | None = None,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        if not isinstance(states, Mapping):
            (states,) = positive_size(owner, hidden_size=states)
            states = {"h": states}
        if not states or not all(map(_may_be_a_state, states)):
            raise ConfigError(
                f"{owner}: states",
                expected="a length, or names of the parts with their lengths",
                got=states,
                hint='super().__init__(input_size, {"h": hidden_size, "c": hidden_size})',
            )
        sizes = positive_size(owner, **{f"states[{n!r}]": size for n, size in states.items()})
        length = sizes[0] if output_size is None else output_size
        ends = positive_size(owner, input_size=input_size, output_size=length)
        self._settle(
            states=dict(zip(states, sizes, strict=True)),
            input_size=ends[0],
            output_size=ends[1],
            own_output=output_size is not None,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if self._home is None or not self._home.sets(name, value):
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if self._home is None or not self._home.deletes(name):
            super().__delattr__(name)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has, which is in no layer."""
        return {name: value for name, value in vars(self).items() if name != "_home"}

    def form(self) -> CellForm:
        """The names that what it records goes by."""
        title = self.title or type(self).__name__.removesuffix("Cell") or type(self).__name__
        return CellForm(title, tuple(self.states), self.gates, self.picture)

    @property
    def hidden_size(self) -> int:
        """H, the length of the first part of the state and of a gate."""
        return next(iter(self.states.values()))

    def state_kind(self) -> Any:
        """The named tuple that a layer's states of this cell come in."""
        title = "".join(filter(str.isalnum, str(self.form().title))).lstrip("0123456789")
        return self.state_type or state_type(f"{title or 'Cell'}State", tuple(self.states))

    def fused(self) -> Fused | None:
        """An operation for whole sequences, if its kernel can do what the options ask for."""
        return None

    def stepper(self, rows: int) -> Callable[..., tuple[Any, Sequence[Any]]]:
        """What runs each step of one sequence of N rows: ``(x_t, *parts) -> (output, parts)``.

        Whatever is drawn once for all steps is drawn here.
        """
        dtype: Any = None

        def step(x: Any, *parts: Any) -> tuple[Any, Sequence[Any]]:
            nonlocal dtype
            dtype = dtype or self.dtype_of(x, *parts)
            # What it records is the layer's, whatever else the cell is called.
            path = current_mode.get().scope.path
            found = self._called(path, x, parts[0] if len(parts) == 1 else parts)
            return self._parted(self._tagged(found), rows, dtype)

        return step

    def columns(self, gate: str) -> slice:
        """Where a gate stands in an axis of all gates, each as long as the first state."""
        k = self.gates.index(choice(*self.gates)(f"{type(self).__name__}: gate", gate))
        return slice(k * self.hidden_size, (k + 1) * self.hidden_size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of its parameters; float32 without any, where that of the input is taken."""
        return self.dtype_of()

    def dtype_of(self, *given: Any) -> np.dtype[Any]:
        """That of its parameters, or else of the floats that it is given."""
        own = (p for _, module in self._walk() for p in module._parameters.values())
        nests = (each if _is_nest(each) else (each,) for each in given)
        found = (getattr(part, "dtype", None) for part in chain(own, *nests))
        known = (kind for kind in found if isinstance(kind, np.dtype) and kind in FLOATS)
        return next(known, FLOATS[0])

    @taking
    def __call__(self, x: Any, state: Any = None) -> Any:
        """One step from x (N, I), or tokens (N,), and a state, zeros by default."""
        x, parts = self._checked(x, state)
        return self._tagged(super().__call__(x, parts[0] if len(parts) == 1 else parts))

    def _scope(self, path: str) -> scope:
        return scope(path=path, module=type(self).__name__, cell=self.form())

    def _tagged(self, found: Any) -> Any:
        """What `forward` returned, its states known by their names to whoever reads the graph."""
        _, state = self._apart(found)
        parts = state if _is_nest(state) else (state,)
        form = self.form()
        for name, part in zip(self.states, parts, strict=False):
            if isinstance(part, Tensor) and part.node is not None and part.node.op is not None:
                part.tag(name)
                if part.node.scope.cell != form:  # its own, even if a cell inside made it
                    part.node.scope = part.node.scope._replace(cell=form)
        return found

    def _checked(self, x: Any, state: Any) -> tuple[Any, tuple[Any, ...]]:
        """The input of one step and the parts of its state, zeros by default."""
        owner = type(self).__name__
        dtype = self.dtype_of(x, state)
        x = checked_input(owner, x, self.input_size, dtype)
        values = array_in(f"{owner}: input", x)
        tokens = values.dtype.kind in "iu"
        rows = values.shape if tokens else values.shape[:-1]
        if len(rows) > 1:
            raise ShapeError(
                f"{owner}: input",
                expected=f"one step, (N, {self.input_size}) floats or (N,) tokens",
                got=values.shape,
                hint="loop over the steps; nn.Recurrent(cell), as nn.LSTM, runs whole sequences",
            )
        if tokens and not self.reads_tokens:
            x = one_hot(values, self.input_size, dtype)
        shapes = [(*rows, size) for size in self.states.values()]
        if state is None:
            return x, tuple([np.zeros(shape, dtype) for shape in shapes])
        names = tuple(self.states)
        if len(shapes) == 1 and isinstance(state, list):  # numbers, which take the cell's dtype
            state = array_of(f"{owner}: {names[0]}", state).astype(dtype)
        return x, checked_state(owner, state, names, shapes, dtype, partial(_state_hint, names))

    def _apart(self, found: Any) -> tuple[Any, Any]:
        """The output and the state of what `forward` returned; that itself, where it is one."""
        several = isinstance(found, tuple) and len(found) == 2
        if several and (len(self.states) != 2 or _is_nest(found[1])):
            return found[0], found[1]
        return found, found

    def _parted(self, found: Any, rows: int, dtype: Any) -> tuple[Any, Sequence[Any]]:
        """What `forward` returned, as the output and the parts of the state; checked."""
        output, state = self._apart(found)
        parts = tuple(map(_tensor, state)) if _is_nest(state) else (_tensor(state),)
        first = state[0] if _is_nest(state) else state
        if not self.own_output and (output is found or output is first):
            output = parts[0]
        elif not self.own_output or output is found:
            raise ConfigError(
                f"{type(self).__name__}.forward: what it returned",
                expected="(output, state)" if self.own_output else "the new state",
                got="no output"
                if self.own_output
                else "an output that is not the first part of it",
                hint="super().__init__(input_size, states, output_size) has one of its own",
            )
        wanted = [(rows, size) for size in self.states.values()]
        shapes = [getattr(part, "shape", None) for part in (*parts, output)]
        if shapes != [*wanted, (rows, self.output_size)]:
            names = ", ".join(
                f"{name} {shape}" for name, shape in zip(self.states, wanted, strict=True)
            )
            raise ShapeError(
                f"{type(self).__name__}.forward: what it returned",
                expected=f"the new state, {names}, or (output {(rows, self.output_size)}, state)",
                got=", ".join(
                    str(s) if s is not None else "no tensor"
                    for s in shapes[: None if self.own_output else -1]
                ),
                hint="the states and the output_size are those given to Cell.__init__",
            )
        for name, part in zip((*self.states, "output"), (*parts, output), strict=True):
            if part.dtype != dtype and part.dtype.kind != "c":  # complex in a check of gradients
                raise DtypeError(
                    f"{type(self).__name__}.forward: {name}",
                    expected=f"{dtype} like the parameters",
                    got=part.dtype,
                    hint="constants take the dtype of the state: x.astype(h.dtype)",
                )
        return _tensor(output), parts

    def extra_repr(self) -> str:
        """Sizes."""
        return ", ".join(map(str, (self.input_size, *dict.fromkeys(self.states.values()))))


def _tensor(value: Any) -> Any:
    """A constant among the states as a tensor, like the others."""
    return Tensor(value) if isinstance(value, np.ndarray) else value


def _may_be_a_state(name: Any) -> bool:
    """Whether a state can be called so: it becomes a field of a named tuple."""
    word = isinstance(name, str) and name.isidentifier() and not name.startswith("_")
    return word and not iskeyword(name)


def _is_nest(value: Any) -> bool:
    return isinstance(value, (tuple, list))


def cell_maker(
    owner: str, cell: Any, size: int | None, places: int
) -> tuple[Callable[[int], Any], int]:
    """What makes the cells of a layer, each for inputs of a size; the size of the first one's."""
    if size is not None:
        (size,) = positive_size(owner, input_size=size)
    if isinstance(cell, Cell):
        checked_cell(owner, cell, getattr(cell, "input_size", 0), None)
        if places > 1 or size not in (None, cell.input_size):
            raise ConfigError(
                f"{owner}: one cell makes one layer in one direction, of its own input_size",
                expected="a callable that makes a cell for inputs of a given size",
                got=f"a {type(cell).__name__}, where {places} cells are wanted",
                hint="nn.Recurrent(lambda size: YourCell(size, ...), input_size, num_layers=2)",
            )
        return lambda _: cell, cell.input_size
    if not callable(cell) or isinstance(cell, Module):
        raise ConfigError(
            f"{owner}: cell",
            expected="an nn.Cell, or a callable that makes one for inputs of a given size",
            got=type(cell).__name__,
            hint="derive the class of your step from nn.Cell, and declare its states",
        )
    if size is None:
        raise ConfigError(f"{owner}: input_size", expected="a size, where cells are to be made")
    return cell, size


def checked_cell(owner: str, cell: Any, size: int, first: Cell | None) -> Cell:
    """Refuse what is no cell for inputs of this size, or does not fit the first of a layer."""
    if isinstance(cell, Cell) and "states" not in vars(cell):
        raise ConfigError(
            f"{owner}: {type(cell).__name__} declares no states",
            hint="super().__init__(input_size, hidden_size) in its __init__",
        )
    if not isinstance(cell, Cell) or cell.input_size != size:
        got = type(cell).__name__
        raise ConfigError(
            f"{owner}: what makes the cells",
            expected=f"an nn.Cell with input_size {size}",
            got=f"{got} with {cell.input_size}" if isinstance(cell, Cell) else got,
        )
    if first is not None and _sizes(first) != _sizes(cell):
        raise ConfigError(
            f"{owner}: cells that differ in their states or outputs",
            expected=f"{_sizes(first)}, in all layers",
            got=_sizes(cell),
        )
    return cell


def _sizes(cell: Cell) -> str:
    return f"states {cell.states}, output_size {cell.output_size}"


def _state_hint(names: Sequence[str], found: Sequence[Any], shapes: Sequence[Any]) -> str:
    if len(found) != len(shapes):
        kind = {1: "", 2: "a pair "}.get(len(names), "a tuple ")
        return f"{kind}({', '.join(names)})" if kind else f"{names[0]} alone"
    if any(len(size) > len(shape) for size, shape in zip(found, shapes, strict=True)):
        return "a cell is one layer: h[0] is the first of a layer's states"
    return "one row for each row of the input; None starts from zeros"


def recomputing(
    step: Any, x: Any, states: Sequence[Any], every: int, *, reverse: bool, **options: Any
) -> tuple[Any, ...]:
    """A sequence step by step, in stretches that backward runs again."""
    times = list(range(len(x)))[:: -1 if reverse else 1]
    outputs: dict[int, Any] = {}
    for k in range(0, len(times), every):
        stretch = times[k : k + every]
        run = partial(run_steps, step, x, times=stretch, reverse=reverse, **options)
        found, states = recomputed(lambda *parts, run=run: run(states=parts), *states)
        outputs |= dict(zip(stretch, found, strict=True))
    return (stack([outputs[t] for t in range(len(x))]), *states)
