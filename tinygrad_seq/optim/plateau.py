"""A schedule that watches a metric: reduction on a plateau."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np

from tinygrad_seq.checks import BelowOne, Count, NonNegative, Rule, choice, count, number, rules_of
from tinygrad_seq.errors import ConfigError, NonFiniteError
from tinygrad_seq.optim.optimizer import Optimizer
from tinygrad_seq.optim.schedule import LRScheduler
from tinygrad_seq.tensor import Tensor

__all__ = ["ReduceLROnPlateau"]

_metric = number(infinite=True)


class ReduceLROnPlateau(LRScheduler):
    """Multiply the learning rate by `factor` when a metric has stopped improving.

    A metric is better than the best so far if it is below ``best - threshold · |best|``
    (``threshold_mode="rel"``) or ``best - threshold`` (``"abs"``); for ``mode="max"`` above
    ``best + threshold · |best|`` or ``best + threshold``. (PyTorch's relative threshold takes the
    sign of the best, so that of negative metrics a worse one counts as better.) After more than
    `patience` steps in a row without a better one, lr <- max(lr · factor, min_lr), and the next
    `cooldown` steps do not count.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    mode : {"min", "max"}
        Whether small or large metrics are good.
    factor : float
        In [0, 1).
    patience : int
        Steps without improvement that are let pass.
    threshold : float
        Smallest improvement that counts.
    threshold_mode : {"rel", "abs"}
        Whether `threshold` is a share of the best or a distance from it.
    cooldown : int
        Steps to wait after a reduction.
    min_lr : float
        No rate is set below it.
    eps : float
        A reduction by less than this is left out.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import optim
    >>> optimizer = optim.SGD([tgs.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (2.0, 1.5, 1.5, 1.5):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.5]
    """

    progress_rules: ClassVar[Mapping[str, Rule]] = {
        **LRScheduler.progress_rules,
        "best": lambda name, value: None if value is None else _metric(name, value),
        "num_bad_epochs": count(0),
        "cooldown_counter": count(0),
    }

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Annotated[str, choice("min", "max")] = "min",
        factor: BelowOne = 0.1,
        patience: Count = 10,
        threshold: NonNegative = 1e-4,
        threshold_mode: Annotated[str, choice("rel", "abs")] = "rel",
        cooldown: Count = 0,
        min_lr: NonNegative = 0.0,
        eps: NonNegative = 1e-8,
    ) -> None:
        self.best: float | None = None
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        super().__init__(optimizer, locals())

    setting_rules = rules_of(__init__)

    def step(self, metric: float | None = None) -> None:
        """Note a metric, and reduce the rates if it is time.

        Parameters
        ----------
        metric : float
            For instance the validation loss.

        Raises
        ------
        ConfigError
            Without a metric.
        NonFiniteError
            If it is NaN.
        """
        groups = self._groups()
        value = self._metric(metric)
        self.last_epoch += 1
        if self._better(value):
            self.best = value
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.settings["patience"]:
            self.cooldown_counter = self.settings["cooldown"]
            self.num_bad_epochs = 0
            for group in groups:
                reduced = max(group["lr"] * self.settings["factor"], self.settings["min_lr"])
                if group["lr"] - reduced > self.settings["eps"]:
                    group["lr"] = reduced

    def _start(self, before: Sequence[float] | None = None) -> None:
        """Leave the rates: they go down from where they are."""

    def _alone(self) -> list[float]:
        return self.get_last_lr()

    def _metric(self, metric: Any) -> float:
        if metric is None:
            raise ConfigError(
                "ReduceLROnPlateau.step needs the metric it watches", hint="schedule.step(loss)"
            )
        one = isinstance(metric, (Tensor, np.ndarray)) and metric.size == 1
        value: Any = metric.item() if one else metric
        if isinstance(value, (float, np.floating)) and math.isnan(value):
            raise NonFiniteError(
                "ReduceLROnPlateau.step: the metric is NaN",
                expected="a number",
                got="nan",
                hint="the run has diverged: lower the learning rate, or clip gradients",
            )
        return float(_metric("ReduceLROnPlateau.step: metric", value))

    def _better(self, value: float) -> bool:
        best = self.best
        if best is None:
            return True
        margin = float(self.settings["threshold"])
        if self.settings["threshold_mode"] == "rel" and math.isfinite(best):
            margin *= abs(best)
        return value < best - margin if self.settings["mode"] == "min" else value > best + margin
