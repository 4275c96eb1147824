"""Recurrent layers whose parameters have PyTorch's flat names."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any, ClassVar

import numpy as np

from tinygrad_seq.checks import flag, float_dtype
from tinygrad_seq.engine.node import Array
from tinygrad_seq.nn import init
from tinygrad_seq.nn.cells.cell import Cell
from tinygrad_seq.nn.cells.gated import GatedCell
from tinygrad_seq.nn.layers import positive_size, probability
from tinygrad_seq.nn.module import Module, Parameter
from tinygrad_seq.nn.options import Rule, never_run
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


def cell_option(name: str) -> Any:
    """A property: an option of all cells of a layer, checked as they check it."""

    def get(layer: FlatRecurrent[Any]) -> Any:
        return getattr(layer.cell_at(0), name)

    def change(layer: FlatRecurrent[Any], value: Any) -> None:
        check = layer.cell_type._changing[name]
        checked = check(f"{type(layer).__name__}: {name}", value)
        for cell in layer.cells():
            setattr(cell, name, checked)

    return property(get, change, doc=f"`{name}` of its cells.")


class _Home:
    """The layer, while it exists, that has what a cell is seen to have."""

    def __init__(self, layer: FlatRecurrent[Any], suffix: str) -> None:
        self.layer, self.suffix = weakref.ref(layer), suffix

    def sets(self, name: str, value: Any) -> bool:
        """Whether an attribute is the layer's, which has the value now."""
        layer = self.layer()
        if layer is None:
            return False
        if name == "training":
            if value != layer.training:
                layer.train(value)
        elif name == "rng":
            layer.dropout.rng = value
            layer._cell(self.suffix)
        elif name in layer._held.parts[self.suffix]:
            setattr(layer, name + self.suffix, value)
        else:
            return False
        return True

    def deletes(self, name: str) -> bool:
        """Whether an attribute was the layer's, which is without it now."""
        layer = self.layer()
        if layer is None or name not in layer._held.parts[self.suffix]:
            return False
        delattr(layer, name + self.suffix)
        return True


class FlatRecurrent(Recurrent[State]):
    """A recurrent layer whose weights have PyTorch's names: ``weight_hh_l0`` and so on.

    What its cells own is registered in the layer, under the cell's name for it and the suffix of
    the place; the cells only use it.
    """

    cell_type: ClassVar[Any]
    layer_norm = cell_option("layer_norm")
    recurrent_dropout = cell_option("recurrent_dropout")
    _settled: ClassVar = {
        **{name: how for name, how in Recurrent._settled.items() if name != "cell"},
        "bias": "layer.bias_l0 = None, or nn.Parameter(...), and so on",
    }

    _held: _Held

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        of_cell = getattr(cls, "cell_type", GatedCell)._settled.items()
        mine = {name: how for name, how in of_cell if name not in Cell._settled}
        cls._settled = {**mine, **cls._settled}

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
            super().__setattr__(name + suffix, part)
        self._cell(suffix)

    def _place_of(self, name: str) -> tuple[Cell, str] | None:
        """The cell that a part belongs to, and the cell's name for it."""
        part, ends, place = name.rpartition("_l")
        held: _Held | None = vars(self).get("_held") if part else None
        known = held is not None and part in held.parts.get(ends + place, ())
        return (held.cells[ends + place], part) if held is not None and known else None

    def _flat_names(self) -> list[str]:
        return [name + suffix for suffix, names in self._held.parts.items() for name in names]

    def _rule(self, name: str) -> Rule | None:
        found = self._place_of(name)
        return found[0]._rule(found[1]) if found else super()._rule(name)

    def _needs(self, name: str) -> bool:
        found = self._place_of(name)
        return found[0]._needs(found[1]) if found else super()._needs(name)

    def __setattr__(self, name: str, value: Any) -> None:
        part, _, place = name.rpartition("_l")
        made = "_held" in vars(self) and isinstance(value, (Parameter, Module))
        if made and place[:1].isdigit():
            held = self._held.parts["_l0"]
            if part in ("cell", *held, *self.cell_type.norm_sizes) and not self._place_of(name):
                raise never_run(self, name, ", ".join(self._flat_names()))
        super().__setattr__(name, value)
        self._tell_cell(name)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._tell_cell(name)

    def _tell_cell(self, part: str) -> None:
        """Have the cell that a part belongs to know of a change, or all of their mode."""
        if part == "training":
            for suffix in self._held.cells:
                self._cell(suffix)
        elif self._place_of(part) is not None:
            self._cell("_l" + part.rpartition("_l")[2])

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
            if "_home" not in parts:  # nor has a copy
                parts["_home"] = _Home(self, suffix)
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
        told = {s: self._held.cells[s].extra_repr().split(", ")[2:] for _, s in self._places()}
        shared = [each for each in told["_l0"] if all(each in others for others in told.values())]
        text = [super().extra_repr(), *shared]
        for suffix, options in told.items():  # where the cells differ
            text += [each.replace("=", f"{suffix}=") for each in options if each not in shared]
        return ", ".join(text)
