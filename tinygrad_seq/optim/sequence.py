"""One schedule after another: warm-up, then whatever follows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_seq.checks import count, sequence_of
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.optim.optimizer import Optimizer
from tinygrad_seq.optim.options import require_same
from tinygrad_seq.optim.schedule import LRScheduler

__all__ = ["SequentialLR"]


class SequentialLR(LRScheduler):
    """One schedule after another, each starting its own count at 0.

    With milestones m_1 < m_2 < ..., step t follows schedule i where m_i <= t < m_{i+1}
    (m_0 = 0), at its own step t - m_i. A `ReduceLROnPlateau` starts from the rate that the part
    before it has reached, and takes the metric given to ``step``.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set; the parts must be of the same one.
    schedulers : sequence of LRScheduler
        The parts. This schedule steps them: do not step them yourself.
    milestones : sequence of int
        Steps at which the next part takes over, one fewer than parts.

    Raises
    ------
    ConfigError
        If the parts, the milestones and the optimiser do not fit together.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import optim
    >>> optimizer = optim.SGD([tgs.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> parts = [
    ...     optim.LinearLR(optimizer, start_factor=0.5, total_iters=2),
    ...     optim.ReduceLROnPlateau(optimizer, factor=0.1, patience=0),
    ... ]
    >>> schedule = optim.SequentialLR(optimizer, parts, milestones=[2])
    >>> rates = []
    >>> for loss in (4.0, 3.0, 2.0, 2.0):
    ...     schedule.step(loss)
    ...     rates += schedule.get_last_lr()
    >>> rates
    [0.75, 1.0, 1.0, 0.1]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
    ) -> None:
        parts: list[LRScheduler] = sequence_of("SequentialLR: schedulers", schedulers, "schedules")
        ends = sequence_of("SequentialLR: milestones", milestones, "integers")
        ends = [count(1)("SequentialLR: milestone", end) for end in ends]
        if not parts or any(
            not isinstance(part, LRScheduler) or part.optimizer is not optimizer for part in parts
        ):
            raise ConfigError("SequentialLR: every part must be a schedule of this optimiser")
        rising = all(a < b for a, b in zip([0, *ends], ends, strict=False))
        if len(ends) != len(parts) - 1 or not rising:
            raise ConfigError(
                "SequentialLR: the milestones do not fit the schedules",
                expected=f"{len(parts) - 1} increasing integers above 0",
                got=ends,
            )
        self.schedulers = parts
        self.milestones = ends
        super().__init__(optimizer, {})

    def step(self, metric: float | None = None) -> None:
        """Advance the part in force, or start the next one.

        Parameters
        ----------
        metric : float, optional
            For a `ReduceLROnPlateau` among the parts.
        """
        self._groups()
        part = self._part()
        part.step(metric)
        self.last_epoch += 1
        if self._part() is not part:
            self._part()._start(part._alone())

    def state_dict(self) -> dict[str, Any]:
        """Settings and progress of the sequence and of its parts, JSON-able."""
        parts = [part.state_dict() for part in self.schedulers]
        return {**super().state_dict(), "milestones": list(self.milestones), "schedulers": parts}

    def _part(self) -> LRScheduler:
        """The part in force."""
        return self.schedulers[bisect_right(self.milestones, self.last_epoch)]

    def _alone(self) -> list[float]:
        return self._part()._alone()

    def _start(self, before: Sequence[float] | None = None) -> None:
        """Begin with the first part; when made, undo what making the later ones has set."""
        if before is None:
            for group, base_lr in zip(self._groups(), self.base_lrs, strict=True):
                group["lr"] = base_lr
        self.schedulers[0]._start(before)

    def _read(self, state: Mapping[str, Any]) -> list[tuple[LRScheduler, dict[str, Any]]]:
        """The plan for the sequence and for each of its parts."""
        plan = super()._read(state)
        owner = "SequentialLR.load_state_dict"
        parts: Any = state.get("schedulers")
        require_same(f"{owner}: milestones", self.milestones, state.get("milestones"))
        found = len(parts) if isinstance(parts, list) else parts
        require_same(f"{owner}: the number of schedules", len(self.schedulers), found)
        for part, saved in zip(self.schedulers, parts, strict=True):
            plan += part._read(saved)
        return plan
