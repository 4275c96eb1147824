"""Recurrent layers whose parameters have PyTorch's flat names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np

from tinygrad_seq.checks import flag, float_dtype
from tinygrad_seq.engine.node import Array
from tinygrad_seq.nn import init
from tinygrad_seq.nn.cells.cell import Cell
from tinygrad_seq.nn.layers import positive_size, probability
from tinygrad_seq.nn.module import Module, Parameter
from tinygrad_seq.nn.recurrent import Recurrent, State

__all__ = ["FlatRecurrent", "cell_option", "passed_on"]


def passed_on(given: dict[str, Any], *but: str) -> dict[str, Any]:
    """The arguments of an ``__init__``, from its ``locals()``, to give to that of its base."""
    own = {"self", "__class__", *but}
    return {name: value for name, value in given.items() if name not in own}


class _Held:
    """Cells whose parts are registered elsewhere, under other names."""

    def __init__(self) -> None:
        self.cells: dict[str, Cell] = {}
        self.parts: dict[str, list[str]] = {}
        """Names of a cell's parts, those that it does without included."""


def cell_option(name: str, check: Callable[[str, Any], Any] | None = None) -> Any:
    """A property: an option of all cells of a layer; with a `check` it may be changed later."""

    def get(layer: FlatRecurrent[Any]) -> Any:
        return getattr(layer.cell_at(0), name)

    def change(layer: FlatRecurrent[Any], value: Any) -> None:
        assert check is not None
        checked = check(f"{type(layer).__name__}: {name}", value)
        for cell in layer.cells():
            setattr(cell, name, checked)

    return property(get, change if check else None, doc=f"`{name}` of its cells.")


class FlatRecurrent(Recurrent[State]):
    """A recurrent layer whose weights have PyTorch's names: ``weight_hh_l0`` and so on.

    What its cells own is registered in the layer, under the cell's name for it and the suffix of
    the place; the cells only use it.
    """

    cell_type: ClassVar[Callable[..., Any]]
    layer_norm = cell_option("layer_norm")
    recurrent_dropout = cell_option("recurrent_dropout", probability)

    _held: _Held

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        dropout: float,
        variational: bool,
        batch_first: bool,
        bidirectional: bool,
        trainable_state: bool,
        checkpoint: int | bool = False,
        rng: np.random.Generator | None,
        dtype: Any,
        **options: Any,
    ) -> None:
        owner = type(self).__name__
        (hidden_size,) = positive_size(owner, hidden_size=hidden_size)
        dtype = float_dtype(owner, dtype)
        rng = init.generator(rng, owner)
        checks: dict[str, Any] = {
            "bias": flag,
            "layer_norm": flag,
            "recurrent_dropout": probability,
        }
        for name, check in checks.items():
            options[name] = check(f"{owner}: {name}", options[name])
        object.__setattr__(self, "_held", _Held())
        super().__init__(
            partial(self.cell_type, hidden_size=hidden_size, rng=rng, dtype=dtype, **options),
            input_size,
            num_layers,
            dropout=dropout,
            variational=variational,
            batch_first=batch_first,
            bidirectional=bidirectional,
            trainable_state=trainable_state,
            checkpoint=checkpoint,
            rng=rng,
        )

    def _adopt(self, cell: Cell, suffix: str) -> None:
        self._held.cells[suffix] = cell
        kinds = (Parameter, Module)
        self._held.parts[suffix] = [
            name
            for name, part in vars(cell).items()
            if isinstance(part, kinds) or (part is None and name != "rng")
        ]
        for name, part in [*cell._parameters.items(), *cell._modules.items()]:
            if isinstance(part, Parameter):
                part.name = name + suffix
            setattr(self, name + suffix, part)

    def _cell(self, suffix: str) -> Cell | None:
        """The cell of a place, with what the layer has now in the places of its parts."""
        cell: Cell | None = self._held.cells.get(suffix)
        if cell is not None:
            own, parts = vars(self), vars(cell)
            for name in self._held.parts[suffix]:
                part = parts[name] = own.get(name + suffix)
                if name in cell._modules:
                    cell._modules[name] = part
                elif part is not None or name in cell._parameters:
                    cell._parameters[name] = part
            parts.update(training=self.training, rng=self.dropout.rng)
        return cell

    def layer_weights(self, layer: int, reverse: bool = False) -> tuple[Any, Any, Any]:
        """W_xh (I or H, gates * H), W_hh (H, gates * H) and b (gates * H,) of one layer."""
        cell: Any = self.cell_at(layer, reverse)
        return cell.weight_xh, cell.weight_hh, cell.bias

    def stacked_weight(self, layer: int = 0, reverse: bool = False) -> Array:
        """The notes' W of ``W [h; x]``: W_hh over W_xh, transposed to (gates * H, H + I)."""
        weight_xh, weight_hh, _ = self.layer_weights(layer, reverse)
        return np.concatenate([weight_hh.numpy(), weight_xh.numpy()]).T

    def extra_repr(self) -> str:
        """Sizes and options that differ from the defaults."""
        options = self.cell_at(0).extra_repr().split(", ")[2:]
        return ", ".join([super().extra_repr(), *options])
