"""Learning-rate schedules that are closed forms of the number of steps.

A schedule writes ``group["lr"]`` of its optimiser. Call its ``step`` after the optimiser's,
once per epoch or once per update: its lengths count in those units. Warm-up goes before any
other schedule by way of `SequentialLR`. Schedules that are stepped together chain: each changes
the rate that it finds by the factor between its own rates, as PyTorch's do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from tinygrad_seq.arguments import our_inits_taking, taking
from tinygrad_seq.checks import (
    Count,
    NonNegative,
    Positive,
    Rule,
    count,
    non_negative,
    number,
    rules_of,
)
from tinygrad_seq.errors import ConfigError, StateDictError
from tinygrad_seq.optim.optimizer import Optimizer
from tinygrad_seq.optim.options import checked, require_same

__all__ = ["CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LinearLR", "StepLR"]


class LRScheduler:
    """Base of the schedules.

    A subclass with a closed form lists its settings in ``setting_rules``, or reads them off the
    signature of its ``__init__`` (``rules_of``), and gives ``lr_at(base_lr, t)``: the learning
    rate after `t` steps of a group that began with `base_lr`. That is all a schedule of your own
    needs.

    A step sets just that where the rate is what this schedule alone would have left. Where it is
    another, by another schedule or by hand, the rate found is multiplied by
    ``lr_at(base_lr, t) / lr_at(base_lr, t - 1)``; a schedule with a setting ``eta_min`` does
    that to what is above it.

    Parameters
    ----------
    optimizer : Optimizer
        Whose groups to set; the rate of t = 0 is set at once.
    settings : mapping
        The settings of the schedule.

    Attributes
    ----------
    last_epoch : int
        Steps taken so far (PyTorch's name, whatever the unit).
    base_lrs : list of float
        Learning rate per group that the schedule starts from. It is remembered in the group
        as ``"initial_lr"``, so that several schedules of one optimiser start from the same.

    Raises
    ------
    ConfigError
        For a setting out of range.
    """

    setting_rules: ClassVar[Mapping[str, Rule]] = {}
    progress_rules: ClassVar[Mapping[str, Rule]] = {"last_epoch": count(0)}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        our_inits_taking(cls)

    @taking
    def __init__(self, optimizer: Optimizer, settings: Mapping[str, Any]) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ConfigError(
                f"{type(self).__name__}: the first argument is not an optimiser",
                expected="Optimizer",
                got=type(optimizer).__name__,
            )
        self.settings = checked(type(self).__name__, self.setting_rules, settings)
        self.optimizer = optimizer
        self.last_epoch = 0
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self._start()

    def lr_at(self, base_lr: float, t: int) -> float:
        """Learning rate after `t` steps, for a group that started with `base_lr`."""
        raise NotImplementedError

    @taking
    def step(self, metric: float | None = None) -> None:
        """Advance by one and set the learning rates.

        Parameters
        ----------
        metric : float, optional
            Only `ReduceLROnPlateau` reads it (and a `SequentialLR` that holds one).
        """
        groups, before = self._groups(), self._alone()
        self.last_epoch += 1
        self._move(groups, before, self._alone())

    def get_last_lr(self) -> list[float]:
        """The learning rate per group, as it stands."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Settings and progress as JSON-able values."""
        return {
            "schedule": type(self).__name__,
            "settings": dict(self.settings),
            **{name: getattr(self, name) for name in self.progress_rules},
            "base_lrs": list(self.base_lrs),
            "last_lr": self.get_last_lr(),
        }

    @taking
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a `state_dict`, settings included, and set the learning rates it holds.

        Raises
        ------
        StateDictError
            If it is not of this kind of schedule, or for another number of groups.
            Nothing has been changed then.
        """
        for schedule, attributes in self._read(state_dict):
            vars(schedule).update(attributes)
        for group, base, last in zip(
            self.optimizer.param_groups, self.base_lrs, state_dict["last_lr"], strict=True
        ):
            group["initial_lr"], group["lr"] = base, float(last)

    def __repr__(self) -> str:
        settings = "".join(f", {name}={value!r}" for name, value in self.settings.items())
        return f"{type(self).__name__}(last_epoch={self.last_epoch}{settings})"

    # ------------------------------------------------------------------ for subclasses

    def _start(self, before: Sequence[float] | None = None) -> None:
        """Set the learning rates of t = 0, where `before` are those to go on from."""
        self._move(self._groups(), self.base_lrs if before is None else before, self._alone())

    def _alone(self) -> list[float]:
        """The rates that this schedule by itself would have left."""
        return [float(self.lr_at(base_lr, self.last_epoch)) for base_lr in self.base_lrs]

    def _move(
        self, groups: Sequence[dict[str, Any]], before: Sequence[float], now: Sequence[float]
    ) -> None:
        """Change the rates found as this schedule's own go from `before` to `now`."""
        low = float(self.settings.get("eta_min", 0.0))  # what rates are scaled above
        for group, old, new in zip(groups, before, now, strict=True):
            found = group["lr"]
            if found == old:
                group["lr"] = new  # the closed form, to the bit
            elif old == low:
                group["lr"] = found + new - low  # there is nothing to scale
            elif new != old:
                group["lr"] = low + (found - low) * ((new - low) / (old - low))

    def _groups(self) -> Sequence[dict[str, Any]]:
        """The optimiser's groups, as many as when the schedule was made."""
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ConfigError(
                f"{type(self).__name__}: the optimiser has gained parameter groups",
                expected=len(self.base_lrs),
                got=len(groups),
                hint="make the schedule after the last add_param_group",
            )
        return groups

    def _read(self, state: Mapping[str, Any]) -> list[tuple[LRScheduler, dict[str, Any]]]:
        """Schedules and the attributes to set on them, out of a state that is sound."""
        owner = f"{type(self).__name__}.load_state_dict"
        expected = LRScheduler.state_dict(self)
        if not isinstance(state, Mapping) or set(expected) - set(state):
            got = list(state) if isinstance(state, Mapping) else type(state).__name__
            raise StateDictError(
                f"{owner}: entries are missing", expected=sorted(expected), got=got
            )
        require_same(f"{owner}: the kind of schedule", expected["schedule"], state["schedule"])
        try:
            attributes = checked(owner, self.progress_rules, state)
            attributes["settings"] = checked(owner, self.setting_rules, state["settings"])
            attributes["base_lrs"] = [non_negative("base_lrs", lr) for lr in state["base_lrs"]]
            rates = [non_negative("last_lr", lr) for lr in state["last_lr"]]
        except (ConfigError, KeyError, TypeError) as error:
            raise StateDictError(f"{owner}: {error!r}") from error
        for found in (attributes["base_lrs"], rates):
            require_same(f"{owner}: the number of groups", len(self.base_lrs), len(found))
        return [(self, attributes)]


class StepLR(LRScheduler):
    """Multiply the learning rate by `gamma` every `step_size` steps.

    lr(t) = base · gamma^floor(t / step_size)

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    step_size : int
        Steps between reductions.
    gamma : float
        Factor, at least 0.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import optim
    >>> optimizer = optim.SGD([tgs.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = optim.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: Positive, gamma: NonNegative = 0.1) -> None:
        super().__init__(optimizer, locals())

    setting_rules = rules_of(__init__)

    def lr_at(self, base_lr: float, t: int) -> float:
        """The closed form above."""
        base_lr, t = number()("lr_at: base_lr", base_lr), count(0)("lr_at: t", t)
        return float(base_lr * self.settings["gamma"] ** (t // self.settings["step_size"]))


class ExponentialLR(LRScheduler):
    """Multiply the learning rate by `gamma` at every step, from step `after` on.

    lr(t) = base · gamma^max(0, t - after)

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    gamma : float
        Factor per step, at least 0.
    after : int
        Steps without decay first. char-rnn's "decay 0.97 after epoch 10" multiplies for the
        first time when epoch 10 ends: stepped once per epoch it is ``gamma=0.97, after=9``.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import optim
    >>> optimizer = optim.RMSprop([tgs.tensor([1.0], requires_grad=True)], lr=2.0)
    >>> schedule = optim.ExponentialLR(optimizer, gamma=0.5, after=1)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [2.0]
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [1.0]
    """

    def __init__(self, optimizer: Optimizer, gamma: NonNegative, *, after: Count = 0) -> None:
        super().__init__(optimizer, locals())

    setting_rules = rules_of(__init__)

    def lr_at(self, base_lr: float, t: int) -> float:
        """The closed form above."""
        base_lr, t = number()("lr_at: base_lr", base_lr), count(0)("lr_at: t", t)
        return float(base_lr * self.settings["gamma"] ** max(0, t - self.settings["after"]))


class CosineAnnealingLR(LRScheduler):
    """Half a cosine wave from the base rate down to `eta_min` (Loshchilov and Hutter 2017).

    lr(t) = eta_min + (base - eta_min) · (1 + cos(π t / T_max)) / 2

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    T_max : int
        Steps until the minimum. Beyond it the wave rises again, as PyTorch's does.
    eta_min : float
        The minimum.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import optim
    >>> optimizer = optim.Adam([tgs.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = optim.CosineAnnealingLR(optimizer, T_max=2, eta_min=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.75]
    """

    def __init__(self, optimizer: Optimizer, T_max: Positive, eta_min: NonNegative = 0.0) -> None:
        super().__init__(optimizer, locals())

    setting_rules = rules_of(__init__)

    def lr_at(self, base_lr: float, t: int) -> float:
        """The closed form above."""
        base_lr, t = number()("lr_at: base_lr", base_lr), count(0)("lr_at: t", t)
        t_max, low = self.settings["T_max"], self.settings["eta_min"]
        # One period is 2 T_max: reducing t first keeps the turning points exact.
        share = (1.0 + math.cos(math.pi * (t % (2 * t_max)) / t_max)) / 2.0
        return float(base_lr * share + low * (1.0 - share))


class LinearLR(LRScheduler):
    """Warm-up: a straight line from one multiple of the base rate to another.

    lr(t) = base · (start + (end - start) · min(t, total_iters) / total_iters)

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    start_factor : float
        Factor at t = 0, in (0, 1].
    end_factor : float
        Factor from t = total_iters on, in [0, 1].
    total_iters : int
        Length of the line.

    Examples
    --------
    Ten steps of warm-up, then a cosine over ninety:

    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import optim
    >>> optimizer = optim.Adam([tgs.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> warm_up = optim.LinearLR(optimizer, start_factor=0.5, total_iters=10)
    >>> cosine = optim.CosineAnnealingLR(optimizer, T_max=90)
    >>> schedule = optim.SequentialLR(optimizer, [warm_up, cosine], milestones=[10])
    >>> schedule.get_last_lr()
    [0.5]
    >>> for _ in range(10):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: Annotated[float, number(0.0, 1.0, open_low=True)] = 1.0 / 3.0,
        end_factor: Annotated[float, number(0.0, 1.0)] = 1.0,
        total_iters: Positive = 5,
    ) -> None:
        super().__init__(optimizer, locals())

    setting_rules = rules_of(__init__)

    def lr_at(self, base_lr: float, t: int) -> float:
        """The closed form above."""
        base_lr, t = number()("lr_at: base_lr", base_lr), count(0)("lr_at: t", t)
        start, end, total = (self.settings[name] for name in self.setting_rules)
        share = min(t, total) / total
        return float(base_lr * (start * (1.0 - share) + end * share))
