"""Any cell over whole sequences: stacked layers, directions, shapes, states, lengths, resets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.arguments import warn_caller
from tinygrad_seq.checks import count, flag, integers_of, truths_of
from tinygrad_seq.engine.mode import current_mode, scope
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.nn import init
from tinygrad_seq.nn.cells.cell import Cell, cell_maker, checked_cell, recomputing
from tinygrad_seq.nn.cells.inputs import checked_input, every_of, run_options, time_major
from tinygrad_seq.nn.layers import Dropout, probability
from tinygrad_seq.nn.module import Parameter
from tinygrad_seq.nn.norm import VariationalDropout
from tinygrad_seq.nn.options import WithOptions, made_anew, never_run
from tinygrad_seq.nn.state import MadeState, checked_state
from tinygrad_seq.ops.registry import values_of
from tinygrad_seq.ops.sequence import run_sequence, unroll
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["Recurrent", "State", "suffix_of"]

State = TypeVar("State")

MOST_LAYERS = 10_000


class Recurrent(WithOptions, Generic[State]):
    """A cell over sequences: any number of layers, in one direction or both.

    Parameters
    ----------
    cell : Cell, or callable
        The cell of one layer; or ``make(size) -> Cell``, which makes those of all layers and
        directions, each for inputs of the size that it is given.
    input_size : int, optional
        Length of the inputs of the first layer, where `cell` is a callable.
    num_layers : int
        Stacked layers, each reading the outputs of the one below.
    dropout : float
        Probability of dropping inputs of layers above the first, while training. One layer has
        none, and warns.
    variational : bool
        Whether that dropout drops the same features of a sequence at all its steps.
    batch_first : bool
        Whether inputs and outputs are (N, T, ...).
    bidirectional : bool
        Whether every layer also runs from the last valid step to the first; outputs of both
        directions are joined, (T, N, 2H).
    trainable_state : bool
        Whether the state that runs start from by default is trained, rather than zeros.
    checkpoint : int or bool
        Keep states every so many steps only (True: about the square root of T), and run the
        steps between again in backward.
    rng : numpy.random.Generator, optional
        Source of dropout masks.

    Notes
    -----
    The cells are its modules ``cell_l0``, ``cell_l0_reverse``, ``cell_l1`` ... A cell that comes
    with a kernel runs in it, with the same results as step by step.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> rng = np.random.default_rng(0)
    >>> layer = nn.Recurrent(lambda size: nn.LSTMCell(size, 4, rng=rng), 3, bidirectional=True)
    >>> y, (h, c) = layer(np.ones((5, 2, 3), np.float32))
    >>> y.shape, h.shape
    ((5, 2, 8), (2, 2, 4))
    """

    _changing: ClassVar = {"batch_first": flag, "checkpoint": every_of}
    _settled: ClassVar = {
        **made_anew("input_size", "hidden_size", "num_layers", "bidirectional", "trainable_state"),
        "cell": "layer.cell_l0 = ..., and so on",
        "dtype": "layer.astype(dtype)",
        "rng": "layer.dropout.rng = ...",
        "variational": "layer.dropout = nn.VariationalDropout(p, rng=rng), or nn.Dropout",
    }
    _told: ClassVar = ("dropout",)

    input_size: int
    num_layers: int
    bidirectional: bool
    trainable_state: bool
    dropout: Dropout

    def __init__(
        self,
        cell: Cell | Callable[[int], Cell],
        input_size: int | None = None,
        num_layers: int = 1,
        *,
        dropout: float = 0.0,
        variational: bool = False,
        batch_first: bool = False,
        bidirectional: bool = False,
        trainable_state: bool = False,
        checkpoint: int | bool = False,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        num_layers = count(1, MOST_LAYERS)(f"{owner}: num_layers", num_layers)
        self.checkpoint, self.batch_first = checkpoint, batch_first
        flag(f"{owner}: variational", variational)
        flag(f"{owner}: bidirectional", bidirectional)
        flag(f"{owner}: trainable_state", trainable_state)
        probability(f"{owner}: dropout", dropout)
        make, size = cell_maker(owner, cell, input_size, num_layers * (1 + bidirectional))
        self._settle(
            input_size=size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            trainable_state=trainable_state,
        )
        rng = init.generator(rng, owner)
        self.dropout = (VariationalDropout if variational else Dropout)(dropout, rng=rng)
        self._warn_of_idle_dropout(dropout, variational)
        for k, suffix in self._places():
            below = self.output_size if k else size
            self._adopt(checked_cell(owner, make(below), below, next(self.cells(), None)), suffix)
        if trainable_state:
            for name, length in self.state_sizes.items():
                start = np.zeros((num_layers * self.directions, length), self.dtype)
                setattr(self, f"initial_{name}", Parameter(start))

    def _adopt(self, cell: Cell, suffix: str) -> None:
        """Take in the cell of one place; others who have it call it and its parts as they did."""
        called, names = cell._name, dict(cell.named_parameters())
        first = [(part, part.name) for name, part in names.items() if part.name != name]
        super().__setattr__(f"cell{suffix}", cell)
        cell._named(called)
        for part, name in first:
            part.name = name

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "dropout" and not isinstance(value, Dropout):
            self.dropout.p = probability(f"{type(self).__name__}: dropout", value)
            self._warn_of_idle_dropout(self.dropout.p, False)
        elif isinstance(value, Cell) and name.startswith("cell_l"):
            held = self._modules.get(name)
            if not isinstance(held, Cell):
                raise never_run(self, name, ", ".join(f"cell{end}" for _, end in self._places()))
            checked_cell(type(self).__name__, value, held.input_size, held)
            self._adopt(value, name.removeprefix("cell"))
        else:
            super().__setattr__(name, value)

    def _needs(self, name: str) -> bool:
        part = isinstance(vars(self).get(name), (Cell, Parameter))
        return name == "dropout" or (part and name.startswith(("cell_l", "initial_")))

    def _warn_of_idle_dropout(self, dropout: float, variational: bool) -> None:
        owner = type(self).__name__
        if (dropout or variational) and self.num_layers == 1:
            given = f"dropout={dropout}" if dropout else "variational=True"
            warn_caller(
                f"{owner}: {given} never acts: it is for what goes from layer to layer, and there "
                "is one. Leave it out, take more layers, or apply nn.Dropout to the outputs; "
                "recurrent_dropout drops within a layer"
            )
        elif variational and not dropout:
            warn_caller(f"{owner}: variational=True never acts without dropout=")

    @property
    def directions(self) -> int:
        """1, or 2 if bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def state_sizes(self) -> dict[str, int]:
        """Names of the parts of the state, and their lengths."""
        return self._first().states

    @property
    def hidden_size(self) -> int:
        """H of its cells."""
        return self._first().hidden_size

    @property
    def state_type(self) -> Any:
        """The named tuple that its states come in."""
        return self._first().state_kind()

    @property
    def output_size(self) -> int:
        """Length of the outputs at one step, of both directions if there are two."""
        return self.directions * self._first().output_size

    @property
    def gates(self) -> tuple[str, ...]:
        """Names of the gates of its cells."""
        return self._first().gates

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of its parameters; float32 without any, where that of the input is taken."""
        return self._dtype_of()

    def _dtype_of(self, *given: Any) -> np.dtype[Any]:
        first = self._first()
        if self.trainable_state:
            given = (*(getattr(self, f"initial_{name}", None) for name in first.states), *given)
        return first.dtype_of(*given)

    def _places(self) -> Iterator[tuple[int, str]]:
        """(layer, suffix of its parameters) in the order of the states."""
        for k in range(self.num_layers):
            for reverse in range(self.directions):
                yield k, suffix_of(k, bool(reverse))

    def cells(self) -> Iterator[Cell]:
        """Yield the cells in the order of the states: by layer, then by direction."""
        for _, suffix in self._places():
            cell = self._cell(suffix)
            if cell is not None:
                yield cell

    def cell_at(self, layer: int, reverse: bool = False) -> Cell:
        """The cell of one layer and direction."""
        if type(layer) is not int or not 0 <= layer < self.num_layers:
            count(0, self.num_layers - 1)(f"{type(self).__name__}: layer", layer)
        if reverse is not False and flag("reverse", reverse) and not self.bidirectional:
            raise ConfigError(f"{type(self).__name__}: reverse", expected="bidirectional=True")
        found = self._cell(suffix_of(layer, reverse))
        assert found is not None
        return found

    def _first(self) -> Cell:
        """A cell, to ask what they have in common."""
        found = self._cell("_l0")
        assert found is not None
        return found

    def _cell(self, suffix: str) -> Cell | None:
        found: Cell | None = getattr(self, f"cell{suffix}", None)
        return found

    def forward(
        self, x: TensorLike, state: State | None = None, *, lengths: Any = None, reset: Any = None
    ) -> tuple[Tensor, State]:
        """Run a batch of sequences.

        Parameters
        ----------
        x : (T, N, I) floats or (T, N) integer tokens
            Tokens stand for one-hot rows. (N, T, ...) with ``batch_first=True``; unbatched
            (T, I) and (T,) are allowed.
        state : optional
            Where to start, (layers * directions, N, H) each; zeros by default. Where h is all of
            it (RNN, GRU), h itself will do.
        lengths : (N,) integers, optional
            Valid steps of every row, 0 .. T in any order. The padding after them is never
            read: no garbage in it reaches an output or a gradient.
        reset : (N,) or (T, N) booleans, optional
            Rows that start anew, before the first step or before each step: their state,
            and its gradient, are 0 there. (N, T) with ``batch_first=True``. The reverse direction
            loses its state at the same places, between a new start and the step before it.
            A reset in the padding means nothing.

        Returns
        -------
        y : Tensor (T, N, directions * H)
            Outputs of the last layer, 0 in the padding.
        state
            State of every layer after its last valid step (in reverse, the first); of a row
            of length 0, its initial state. Detach it before the next window.
        """
        owner = type(self).__name__
        if lengths is not None:
            lengths = integers_of(f"{owner}: lengths", values_of(lengths))
        if reset is not None:
            reset = truths_of(f"{owner}: reset", values_of(reset))
        x, lengths, unbatched = time_major(
            owner, x, lengths, self.input_size, self._dtype_of, batch_first=self.batch_first
        )
        steps, batch = np.shape(x)[:2]
        if reset is not None and unbatched:
            reset = np.reshape(reset, (-1, 1) if np.ndim(reset) else (1,))
        elif reset is not None and np.ndim(reset) == 2 and self.batch_first:
            reset = np.swapaxes(reset, 0, 1)
        options = run_options(owner, steps, batch, lengths, reset, self.checkpoint)
        dtype = self._dtype_of(x, state)
        x = self._checked(x, options.get("lengths"), dtype)
        y, lasts = self._run_layers(x, self._initial(state, batch, unbatched, dtype), options)
        stacked = [ops.stack(part) for part in zip(*lasts, strict=True)]
        if unbatched:
            y, stacked = ops.squeeze(y, 1), [ops.squeeze(part, 1) for part in stacked]
        elif self.batch_first:
            y = ops.swapaxes(y, 0, 1)
        return y, self.state_type(*stacked)

    def _checked(self, x: Any, lengths: Any, dtype: Any) -> Any:
        """The input checked; tokens in the padding may be anything, and become 0."""
        tokens = x.dtype.kind in "iu"
        if lengths is not None and tokens:
            x = np.where(np.arange(len(x))[:, None] < lengths, values_of(x), 0)
        x = checked_input(type(self).__name__, x, self.input_size, dtype)
        if tokens and not self._first().reads_tokens:
            x = ops.one_hot(x, self.input_size, dtype)
        return x

    def _run_layers(
        self, x: Any, parts: list[list[Any]], options: dict[str, Any]
    ) -> tuple[Tensor, list[Any]]:
        lasts = []
        for k in range(self.num_layers):
            cell = self.cell_at(k)
            with scope(layer=k, cell=cell.form()):
                if k:
                    x = self.dropout(x)
                place, below = k * self.directions, x
                x, *last = self._sequence(cell, below, [p[place] for p in parts], False, options)
                lasts.append(last)
                if self.bidirectional:
                    path = current_mode.get().scope.path
                    with scope(path=f"{path}.reverse" if path else "reverse"):
                        initial = [p[place + 1] for p in parts]
                        back = self.cell_at(k, True)
                        y, *last = self._sequence(back, below, initial, True, options)
                    lasts.append(last)
                    x = ops.concatenate([x, y], axis=-1)
        return x, lasts

    def _sequence(
        self, cell: Cell, x: Any, initial: list[Any], reverse: bool, options: dict[str, Any]
    ) -> Any:
        """One layer in one direction: (y, *last state of the layer)."""
        fused = cell.fused()
        if fused is not None:
            return run_sequence(fused.op, (x, *initial, *fused.weights), reverse=reverse, **options)
        options = dict(options)
        every = options.pop("checkpoint", None)
        step = cell.stepper(x.shape[1])
        if every is None or current_mode.get().composed:
            return unroll(step, x, initial, reverse=reverse, **options)
        return recomputing(step, x, initial, every, reverse=reverse, **options)

    def _initial(self, state: Any, batch: int, unbatched: bool, dtype: Any) -> list[list[Any]]:
        """Per part of the state (h, c), its value for every layer and direction, checked."""
        sizes = self.state_sizes
        places = self.num_layers * self.directions
        if state is None and self.trainable_state:
            return [
                [ops.broadcast_to(row, (batch, row.shape[0])) for row in getattr(self, name)]
                for name in (f"initial_{field}" for field in sizes)
            ]
        if state is None:
            return [[np.zeros((batch, size), dtype)] * places for size in sizes.values()]
        rows: tuple[int, ...] = () if unbatched else (batch,)
        shapes = [(places, *rows, size) for size in sizes.values()]
        owner = type(self).__name__
        given = checked_state(owner, state, list(sizes), shapes, dtype, self._state_hint)
        if unbatched:
            given = tuple(np.expand_dims(part, 1) for part in given)
        return [[part[k] for k in range(places)] for part in given]

    def top(self, state: Any, rows: int) -> Any:
        """What the last layer of one direction says of N rows in a state: h, (N, H).

        The state is checked as a run would; None is where runs start.
        """
        rows = count(1)(f"{type(self).__name__}.top: rows", rows)
        return self._initial(state, rows, False, self._dtype_of(state))[0][-1]

    def _last_output(self, y: Tensor, state: Any, lengths: Any = None) -> Tensor:
        """Outputs (N, directions * H) where a time-major run ended that gave y and a state.

        Of a row after its last valid step, in reverse after the first.
        """
        size = self._first().output_size
        if not self._first().own_output:
            ends = [state[0][k - self.directions] for k in range(self.directions)]
        else:
            rows = np.arange(y.shape[1])
            at = (
                len(y) - 1
                if lengths is None
                else np.maximum(integers_of("lengths", lengths), 1) - 1
            )
            ends = [y[at, rows, :size], y[0, :, size:]][: self.directions]
        return ends[0] if len(ends) == 1 else ops.concatenate(ends, axis=-1)

    def _state_hint(self, found: Sequence[Any], shapes: Sequence[Any]) -> str:
        if len(found) != len(shapes):
            kind = self.state_type
            made = "layer.state_type" if issubclass(kind, MadeState) else f"nn.{kind.__name__}"
            return f"{made}({', '.join(kind._fields)}), or None to start from zeros"
        if any(len(size) != len(shape) for size, shape in zip(found, shapes, strict=True)):
            return "layers come first: h[None] is the state of one layer"
        return "a state belongs to one batch size: start from None when it changes"

    def draws_per_sequence(self) -> bool:
        """Whether something is dropped that is the same at all steps, and so needs them at once."""
        drops = any(getattr(cell, "recurrent_dropout", 0) for cell in self.cells())
        return drops or (isinstance(self.dropout, VariationalDropout) and self.dropout.p > 0)

    def extra_repr(self) -> str:
        """Sizes and options that differ from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        text += f", num_layers={self.num_layers}" if self.num_layers > 1 else ""
        text += f", dropout={self.dropout.p}" if self.dropout.p else ""
        text += ", variational=True" if isinstance(self.dropout, VariationalDropout) else ""
        for name in ("batch_first", "bidirectional", "trainable_state"):
            text += f", {name}=True" if getattr(self, name) else ""
        return text + (f", checkpoint={self.checkpoint}" if self.checkpoint else "")


def suffix_of(layer: int, reverse: bool) -> str:
    """What PyTorch ends the names of the parts of one layer and direction with."""
    return f"_l{layer}" + ("_reverse" if reverse else "")
