"""What the cells with weights ``W_xh``, ``W_hh`` and ``b`` share: RNN, LSTM and GRU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.checks import flag, float_dtype, generator_of, require_room
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.nn import init
from tinygrad_seq.nn.cells.cell import Cell, Fused
from tinygrad_seq.nn.layers import positive_size, probability
from tinygrad_seq.nn.module import Module, Parameter
from tinygrad_seq.nn.norm import LayerNorm
from tinygrad_seq.nn.options import made_anew, part_or_none
from tinygrad_seq.ops.registry import array_at, shape_of
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["GatedCell", "inputs_of", "preactivation"]

Change = Callable[[Any], Any]


def _generator_or_none(what: str, value: Any) -> Any:
    return None if value is None else generator_of(what, value)


def inputs_of(x: Any, weight_xh: TensorLike, bias: TensorLike | None) -> Tensor:
    """``x W_xh + b``; integer x (N,) picks rows of W_xh, as one-hot rows would."""
    if not isinstance(x, Variable) and array_at("a step: x", x).dtype.kind in "iu":
        picked = ops.take(weight_xh, x)
        return picked if bias is None else picked + bias
    return ops.linear(x, weight_xh, bias)


def preactivation(
    x: Any,
    h: Any,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike | None,
    norms: Sequence[Change] = (),
    drop: Change | None = None,
) -> Tensor:
    """``norm_x(x W_xh) + norm_h(drop(h) W_hh) + b``."""
    h = h if drop is None else drop(h)
    if not norms:
        return (inputs_of(x, weight_xh, bias) + ops.matmul(h, weight_hh)).tag("a")
    norm_x, norm_h = norms[:2]
    z: Tensor = norm_x(inputs_of(x, weight_xh, None).tag("xW")) + norm_h(
        ops.matmul(h, weight_hh).tag("hW")
    )
    return (z if bias is None else z + bias).tag("a")


class GatedCell(Cell):
    """A cell whose gates are blocks of columns of ``x W_xh + h W_hh + b``.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    bias : bool
        Whether b is added.
    layer_norm : bool
        Whether to normalise what goes into the gates (Ba et al., 2016), by weights of their own.
    recurrent_dropout : float
        Probability of dropping features of h_{t-1} on their way into W_hh, while training; over a
        sequence the same ones at all steps (Gal and Ghahramani, 2016), in single steps anew.
    forget_bias : float
        Initial bias of the gate ``f``, if there is one.
    rng : numpy.random.Generator, optional
        Source of the initial weights and of what is dropped.
    dtype : optional
        Of the parameters.
    **more
        Options of the cell alone, for its `_sizes` and `_more_weights`.

    Attributes
    ----------
    norm_sizes : mapping
        Names of the normalisations, and their lengths in units of H.
    """

    reads_tokens = True
    norm_sizes: ClassVar[dict[str, int]] = {}
    _changing: ClassVar = {
        "recurrent_dropout": probability,
        "rng": _generator_or_none,
        "bias": part_or_none,
    }
    _settled: ClassVar = {
        **Cell._settled,
        **made_anew("hidden_size", "layer_norm"),
        "dtype": "model.astype(dtype)",
    }
    _needed: ClassVar[tuple[str, ...]] = ("weight_xh", "weight_hh")

    bias: Parameter | None = None
    layer_norm: bool
    recurrent_dropout: float
    rng: np.random.Generator | None = None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        forget_bias: float = 0.0,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
        **more: Any,
    ) -> None:
        owner = type(self).__name__
        input_size, hidden_size = positive_size(
            owner, input_size=input_size, hidden_size=hidden_size
        )
        super().__init__(input_size, self._sizes(hidden_size, **more))
        dtype = float_dtype(owner, dtype)
        self._hidden = hidden_size
        self._settle(layer_norm=flag(f"{owner}: layer_norm", layer_norm))
        self.recurrent_dropout = recurrent_dropout
        biased = flag(f"{owner}: bias", bias)
        wide = self.blocks * hidden_size
        require_room(owner, max(input_size, hidden_size), wide)
        rng = init.generator(rng, owner)
        self.rng = rng if self.recurrent_dropout else None
        start = np.zeros(wide, dtype)
        if "f" in self.gates:
            start[self.columns("f")] = forget_bias
        glorot = init.glorot_uniform(rng, input_size, hidden_size, self.blocks, dtype)
        self.weight_xh = Parameter(glorot)
        self.weight_hh = Parameter(init.orthogonal(rng, hidden_size, self.blocks, dtype))
        self.bias = Parameter(start) if biased else None
        self._more_weights(rng, dtype, **more)
        for name, times in self.norm_sizes.items() if layer_norm else ():
            setattr(self, name, LayerNorm(times * hidden_size, dtype=dtype))

    @classmethod
    def _sizes(cls, hidden_size: int, **more: Any) -> dict[str, int]:
        """Names and lengths of the parts of the state."""
        return {"h": hidden_size}

    def _more_weights(self, rng: np.random.Generator, dtype: Any, **more: Any) -> None:
        """Make what a cell has besides W_xh, W_hh and b."""

    @property
    def hidden_size(self) -> int:
        """H, the length of a gate."""
        return self._hidden

    @property
    def blocks(self) -> int:
        """Blocks of H columns in the weights: one for each gate."""
        return max(len(self.gates), 1)

    def dtype_of(self, *given: Any) -> np.dtype[Any]:
        """That of its parameters."""
        return self.weight_hh.dtype

    def _needs(self, name: str) -> bool:
        return name in self._needed or name in self.norm_sizes

    def _step(self, x: Any, *parts: Any, **changes: Any) -> Sequence[Any]:
        """The new parts of the state; `changes` are `norms` and `drop`, where there are any."""
        raise ConfigError(f"{type(self).__name__} has no _step method", hint="define _step()")

    def stepper(self, rows: int) -> Callable[..., tuple[Any, Sequence[Any]]]:
        """What runs each step of one sequence of N rows; what is dropped is drawn here."""
        changes = self._changes(rows)

        def step(x: Any, *parts: Any) -> tuple[Any, Sequence[Any]]:
            new = self._step(x, *parts, **changes)
            return new[0], new

        return step

    __call__ = Module.__call__  # `forward` checks what it is given, and tags what it makes

    def forward(self, x: TensorLike, state: Any = None) -> Any:
        """One step from x (N, I), or tokens (N,), and a state, zeros by default."""
        x, parts = self._checked(x, state)
        changes = {} if self._is_plain() else self._changes(*shape_of(parts[0])[:-1])
        new = self._step(x, *parts, **changes)
        return new[0] if len(new) == 1 else tuple(new)

    def _is_plain(self) -> bool:
        """Whether a step is what kernels compute."""
        return not (self.layer_norm or (self.training and self.recurrent_dropout))

    def _changes(self, *rows: int) -> dict[str, Any]:
        """The norms of a step and the dropping of its states, if there are any."""
        found: dict[str, Any] = {}
        if self.layer_norm:
            found["norms"] = [getattr(self, name) for name in self.norm_sizes]
        p = self.recurrent_dropout
        if self.training and p:
            if self.rng is None:  # dropping since it was made: from now on in its generators
                self.rng = np.random.default_rng()
            kept = self.rng.random((*rows, self.states["h"]), np.float32) >= p
            mask = kept.astype(self.dtype) / (1 - p)
            found["drop"] = lambda h: ops.multiply(h, mask)
        return found

    def _biases(self) -> tuple[str, ...]:
        """Names of the biases that it uses."""
        return ("bias",)

    def _bias_or_zeros(self) -> Any:
        """B, for kernels that take one."""
        wide = self.blocks * self.hidden_size
        return np.zeros(wide, self.dtype) if self.bias is None else self.bias

    def _bound_to(self, op: Op, *more: Any) -> Fused | None:
        """The operation with these weights, unless an option asks for what it cannot do."""
        if not self._is_plain():
            return None
        return Fused(op, (self.weight_xh, self.weight_hh, self._bias_or_zeros(), *more))

    def extra_repr(self) -> str:
        """Sizes, and options that differ from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        missing = [name for name in self._biases() if getattr(self, name) is None]
        if len(missing) == len(self._biases()):
            text += ", bias=False"
        else:
            text += "".join(f", {name}=None" for name in missing)
        text += ", layer_norm=True" if self.layer_norm else ""
        dropped = self.recurrent_dropout
        return text + (f", recurrent_dropout={dropped}" if dropped else "")
