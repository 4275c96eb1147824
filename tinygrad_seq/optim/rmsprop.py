"""RMSprop: steps divided by a running root mean square of the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_seq.checks import BelowOne, Epsilon, NonNegative, Switch, rules_of
from tinygrad_seq.optim.optimizer import Block, Optimizer, Params

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """RMSprop (Hinton, lecture 6e of 2012; centred form and momentum after Graves 2013).

    With learning rate γ, smoothing α, momentum μ and weight decay λ::

        g_t  <- g_t + λ θ_{t-1}
        v_t   = α v_{t-1} + (1 - α) g_t²
        m_t   = α m_{t-1} + (1 - α) g_t                     (if centered)
        d_t   = g_t / (sqrt(v_t - m_t²) + eps)              (m_t = 0 unless centered)
        b_t   = μ b_{t-1} + d_t                             (b_t = d_t if μ = 0)
        θ_t   = θ_{t-1} - γ b_t

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters, or groups with options of their own.
    lr : float
        Learning rate γ (char-rnn uses 2e-3 with `alpha` 0.95).
    alpha : float
        α in [0, 1).
    eps : float
        Added to the root; above 0, since an entry without gradient so far has a root of 0.
    weight_decay : float
        λ, an L2 penalty added to the gradient.
    momentum : float
        μ, at least 0.
    centered : bool
        Divide by the running standard deviation instead of the root mean square.

    Raises
    ------
    ConfigError
        For a value out of range.

    Notes
    -----
    In exact arithmetic v_t - m_t² cannot be negative; where rounding makes it so it counts
    as 0, so that no root of a negative number turns a parameter into NaN.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import optim
    >>> w = tgs.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.RMSprop([w], lr=0.5, alpha=0.75)
    >>> (w * w).sum().backward()
    >>> optimizer.step()  # the first step is lr / sqrt(1 - alpha) times the sign
    >>> w.numpy()
    array([0., 1.], dtype=float32)
    """

    def __init__(
        self,
        params: Params,
        lr: NonNegative = 1e-2,
        alpha: BelowOne = 0.99,
        eps: Epsilon = 1e-8,
        weight_decay: NonNegative = 0.0,
        momentum: NonNegative = 0.0,
        centered: Switch = False,
    ) -> None:
        super().__init__(params, locals())

    option_rules = rules_of(__init__)

    def _slots(self, options: Mapping[str, Any]) -> dict[str, float]:
        slots = {"square_avg": 0.0}
        if options["centered"]:
            slots["grad_avg"] = 0.0
        if options["momentum"]:
            slots["momentum_buffer"] = 0.0
        return slots

    def _update(self, block: Block, options: Mapping[str, Any], step: int) -> None:
        grad, spare = block.decayed(options["weight_decay"]), block.scratch[1]
        square = block.state["square_avg"]
        block.average("square_avg", np.multiply(grad, grad, out=spare), options["alpha"])
        if options["centered"]:
            block.average("grad_avg", grad, options["alpha"])
            mean = block.state["grad_avg"]
            np.multiply(mean, mean, out=spare)
            np.subtract(square, spare, out=spare)
            np.maximum(spare, 0.0, out=spare)
            np.sqrt(spare, out=spare)
        else:
            np.sqrt(square, out=spare)
        spare += options["eps"]
        np.divide(grad, spare, out=spare)
        if options["momentum"]:
            velocity = block.state["momentum_buffer"]
            velocity *= options["momentum"]
            velocity += spare
            np.multiply(velocity, options["lr"], out=spare)
        else:
            spare *= options["lr"]
        block.param -= spare
