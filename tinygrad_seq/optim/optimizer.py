"""The bookkeeping every optimiser shares; a rule adds its options and its update equation.

A parameter is updated in blocks that stay in the CPU's second-level cache, with every
intermediate in preallocated scratch: a rule of a dozen NumPy calls then costs little more
than reading the gradient and writing the parameter and its state once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.arguments import our_inits_taking, taking
from tinygrad_seq.checks import Rule, in_order
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.optim.options import checked, label, listed, tensors
from tinygrad_seq.optim.reader import State, StateReader
from tinygrad_seq.tensor import Tensor

Array: TypeAlias = NDArray[Any]
Group: TypeAlias = dict[str, Any]
Params: TypeAlias = Iterable[Tensor] | Iterable[Group]

_BLOCK = 16384  # elements; four float32 arrays and the scratch of a block fit in 512 KiB
# Where gradients stay zero (a symbol not seen for long), a moment decays to subnormal numbers,
# which stick there and slow arithmetic down some fifty times: now and then they become 0.
_FLUSH_EVERY = 256
# initial_lr belongs to the schedules; the rest of it is what the locals() of an __init__ hold.
_NOT_OPTIONS = {"params", "initial_lr", "self", "__class__"}


@dataclass(slots=True)
class Block:
    """A one-dimensional piece of a parameter, with the same piece of all that goes with it."""

    param: Array
    grad: Array
    state: dict[str, Array]
    scratch: Array
    """Two rows: the first for the decayed gradient, the second to overwrite freely."""

    def decayed(self, weight_decay: float) -> Array:
        """The gradient of the loss plus ``weight_decay / 2`` times the squared parameter."""
        if not weight_decay:
            return self.grad
        penalty: Array = np.multiply(self.param, weight_decay, out=self.scratch[0])
        penalty += self.grad
        return penalty

    def average(self, slot: str, value: Array, keep: float) -> None:
        """Move a running average: ``slot = keep * slot + (1 - keep) * value``.

        `value` may be the second scratch row, which is overwritten.
        """
        running = self.state[slot]
        running *= keep
        running += np.multiply(value, 1.0 - keep, out=self.scratch[1])


class Optimizer:
    """Base of the optimisers: parameter groups, ``step``, ``zero_grad`` and exact resume.

    Parameters
    ----------
    params : iterable of Tensor, or iterable of dict
        Leaf tensors to update in place, or parameter groups: dicts with a ``"params"``
        entry and options of their own (``{"params": head.parameters(), "lr": 1e-4}``).
    defaults : mapping
        The options of the rule, used by every group that does not set its own.

    Attributes
    ----------
    param_groups : list of dict
        One dict per group: ``"params"`` and every option. Writing ``group["lr"]`` between
        steps is allowed (it is what schedules do); options are checked again at each step.

    Raises
    ------
    ConfigError
        For an empty or duplicated parameter, a tensor that is not a leaf, an unknown option
        or a value out of range.

    Notes
    -----
    A subclass declares its options in the signature of ``__init__``, each with its check, type and
    default (``lr: Annotated[float, checks.non_negative] = 0.1``), and passes its ``locals()`` on;
    ``option_rules = rules_of(__init__)`` reads them off. It defines ``_update``, which changes one
    `Block` in place, and names the arrays it keeps in ``_slots``. A parameter whose ``grad`` is
    None is skipped: neither it nor its state or step count moves. Everything is checked before
    anything is written, so a refused step changes nothing. Hyperparameters and bias
    corrections are Python floats; all arrays keep the parameter's dtype.
    """

    option_rules: ClassVar[Mapping[str, Rule]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        our_inits_taking(cls)

    @taking
    def __init__(self, params: Params, defaults: Mapping[str, Any]) -> None:
        self._kind = type(self).__name__
        self.defaults = self._checked(dict(defaults))
        self.param_groups: list[Group] = []
        self._states: dict[int, State] = {}
        self._scratch: dict[np.dtype[Any], Array] = {}
        for group in self._as_groups(params):
            self.add_param_group(group)

    # ------------------------------------------------------------------ the rule

    def _slots(self, options: Mapping[str, Any]) -> dict[str, float]:
        """Names and first values of the arrays this rule keeps per parameter."""
        return {}

    def _update(self, block: Block, options: Mapping[str, Any], step: int) -> None:
        """Change ``block.param`` and ``block.state`` in place; `step` counts from 1."""
        raise NotImplementedError

    def _check_together(self, options: Mapping[str, Any]) -> None:
        """Refuse options that are valid one by one but not together."""

    # ------------------------------------------------------------------ public

    @taking
    def step(self) -> None:
        """Apply the update equation once to every parameter that has a gradient.

        Raises
        ------
        ConfigError
            If an option of a group was set to a value that cannot work; no parameter has
            moved then.
        """
        options = [self._checked(group) for group in self.param_groups]
        for chosen, group in zip(options, self.param_groups, strict=True):
            for param in group["params"]:
                if param.grad is not None:
                    self._step_one(param, param.grad, chosen)

    @taking
    def zero_grad(self) -> None:
        """Set ``grad`` of every parameter to None (a parameter without gradient is skipped)."""
        for group in self.param_groups:
            for param in group["params"]:
                param.grad = None

    @taking
    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own, for instance to unfreeze a layer.

        Parameters
        ----------
        group : mapping
            ``{"params": tensors, **options}``; options left out take the defaults.
        """
        if not isinstance(group, Mapping) or "params" not in group:
            raise ConfigError(
                f"{self._kind}: a parameter group needs a 'params' entry",
                expected='{"params": [...], "lr": ...}',
                got=list(group) if isinstance(group, Mapping) else type(group).__name__,
            )
        options = self._checked({**self.defaults, **group})
        params = self._new_params(group["params"])
        self.param_groups.append({"params": params, **options})
        self._states.update({id(param): State() for param in params})

    @taking
    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs, as a flat dict without pickled objects.

        Returns
        -------
        dict
            ``"optimizer"`` (the class name), ``"param_groups"`` (options, and the running
            numbers of the parameters), ``"steps"`` (updates per parameter) and, if each has one
            of its own, the ``"names"`` of the parameters, all JSON-able; and one array per slot
            under ``"state.<parameter number>.<slot>"``, each a copy in C order. Arrays go to
            safetensors, the rest to JSON.
        """
        groups: list[Group] = []
        steps: list[int] = []
        arrays: dict[str, Array] = {}
        for group in self.param_groups:
            options = self._checked(group)
            first = len(steps)
            for number, param in enumerate(group["params"], first):
                state = self._states[id(param)]
                steps.append(state.step)
                for name in self._slots(options) if state.step else ():
                    arrays[f"state.{number}.{name}"] = self._slot(param, name, options).copy()
            plain = {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}
            groups.append({"params": list(range(first, len(steps))), **plain})
        named = self._names()
        names = {} if named is None else {"names": named}
        return {"optimizer": self._kind, "param_groups": groups, "steps": steps, **names, **arrays}

    @taking
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a `state_dict`; the next steps are bit-identical to the saved run's.

        Parameters
        ----------
        state_dict : mapping
            As `state_dict` returned it, directly or by way of JSON and safetensors. The
            parameters themselves are the model's to restore. They take the state saved under
            their names, if both sides have names; else, and for a model that is now part of
            another, the state saved at their positions.

        Raises
        ------
        StateDictError
            If the kind of optimiser, the groups, or a name, shape or dtype does not match.
            Nothing has been changed then.
        """
        options, states = StateReader(self, state_dict).read()
        for group, new in zip(self.param_groups, options, strict=True):
            params = group["params"]
            group.clear()
            group.update(params=params, **new)
        self._states = {id(p): s for p, s in zip(self._params(), states, strict=True)}

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: states in order, as a copy's parameters have other ids."""
        states = [self._states[id(param)] for param in self._params()]
        return {**vars(self), "_states": states, "_scratch": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._states = {id(p): s for p, s in zip(self._params(), state["_states"], strict=True)}

    def __repr__(self) -> str:
        lines = [f"{self._kind}("]
        for number, group in enumerate(self.param_groups):
            options = ", ".join(f"{k}={v!r}" for k, v in group.items() if k != "params")
            sizes = sum(param.size for param in group["params"])
            lines.append(
                f"  group {number}: {len(group['params'])} tensors, {sizes:,} entries, {options}"
            )
        return "\n".join([*lines, ")"])

    # ------------------------------------------------------------------ checking

    def _as_groups(self, params: Params) -> list[Mapping[str, Any]]:
        if isinstance(params, (Tensor, Mapping)):
            raise ConfigError(
                f"{self._kind}: the parameters must come in an iterable",
                expected="tensors or parameter groups",
                got=type(params).__name__,
                hint="model.parameters(), or list(d.values()) of a dict by name"
                if isinstance(params, Mapping) and "params" not in params
                else "put it in a list",
            )
        in_order(f"{self._kind}: the parameters", params)
        items = listed(params)
        if items and all(isinstance(item, Mapping) for item in items):
            return items
        return [{"params": items}]

    def _new_params(self, params: Tensor | Iterable[Tensor]) -> list[Tensor]:
        """The tensors of a new group, refused if empty, repeated or computed."""
        in_order(f"{self._kind}: the parameters", params)
        found = tensors(self._kind, params, "a parameter group is empty")
        seen = set(self._states)
        for position, param in enumerate(found):
            if not param.is_leaf:
                raise ConfigError(
                    f"{self._kind}: {label(param, position)} is the result of an operation",
                    expected="a leaf, which keeps its gradient and can be written",
                    got=f"shape {param.shape} with a graph behind it",
                    hint="make it with tensor(..., requires_grad=True), or call detach() first",
                )
            if id(param) in seen:
                raise ConfigError(
                    f"{self._kind}: {label(param, position)} is given twice",
                    hint="list each tensor once; it would be updated twice in a step",
                )
            seen.add(id(param))
        return found

    def _checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a group, each through its check, and where schedules began."""
        unknown = set(options) - set(self.option_rules) - _NOT_OPTIONS
        if unknown:
            raise ConfigError(
                f"{self._kind}: unknown option {', '.join(map(repr, sorted(unknown)))}",
                expected=", ".join(self.option_rules),
            )
        missing = set(self.option_rules) - set(options)
        if missing:
            raise ConfigError(f"{self._kind}: option {', '.join(sorted(missing))} is missing")
        found = checked(self._kind, self.option_rules, options)
        self._check_together(found)
        if "initial_lr" in options:
            found["initial_lr"] = self.option_rules["lr"]("initial_lr", options["initial_lr"])
        return found

    # ------------------------------------------------------------------ one parameter

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def _names(self) -> list[str] | None:
        """Names of all parameters in order; None if some have none, or the same."""
        names = [param.name for param in self._params()]
        return names if all(names) and len(set(names)) == len(names) else None

    def _step_one(self, param: Tensor, grad: Array, options: Mapping[str, Any]) -> None:
        state = self._states[id(param)]
        state.step += 1
        slots = {name: self._slot(param, name, options) for name in self._slots(options)}
        for block in self._blocks(param, grad, slots):
            self._update(block, options, state.step)
        if state.step % _FLUSH_EVERY == 0:
            for slot in slots.values():
                slot[np.abs(slot) < np.finfo(slot.dtype).tiny] = 0.0

    def _slot(self, param: Tensor, name: str, options: Mapping[str, Any]) -> Array:
        """An array of the rule's for this parameter, made when it is first asked for."""
        slots = self._states[id(param)].slots
        if name not in slots:
            slots[name] = np.full(param.shape, self._slots(options)[name], dtype=param.dtype)
        elif slots[name].dtype != param.dtype:  # the module was converted since
            slots[name] = slots[name].astype(param.dtype)
        return slots[name]

    def _blocks(self, param: Tensor, grad: Array, slots: dict[str, Array]) -> Iterator[Block]:
        array = param.writable()
        # A parameter in another memory order is updated in a copy and written back.
        flat = np.ascontiguousarray(array).reshape(-1)
        flat_grad = np.ascontiguousarray(grad).reshape(-1)
        flat_slots = {name: slot.reshape(-1) for name, slot in slots.items()}
        scratch = self._scratch.get(array.dtype)
        if scratch is None:
            scratch = self._scratch[array.dtype] = np.empty((2, _BLOCK), dtype=array.dtype)
        for start in range(0, flat.size, _BLOCK):
            piece = slice(start, start + _BLOCK)
            part = flat[piece]
            views = {name: slot[piece] for name, slot in flat_slots.items()}
            yield Block(part, flat_grad[piece], views, scratch[:, : part.size])
        if not array.flags.c_contiguous:
            array[...] = flat.reshape(array.shape)
