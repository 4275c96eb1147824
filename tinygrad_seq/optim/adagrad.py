"""Adagrad: a learning rate per entry that shrinks with the gradients seen so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_seq.checks import Epsilon, NonNegative, rules_of
from tinygrad_seq.optim.optimizer import Block, Optimizer, Params

__all__ = ["Adagrad"]


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer 2011, diagonal form), the rule of min-char-rnn.

    With learning rate γ, its decay η, weight decay λ and initial accumulator τ::

        g_t  <- g_t + λ θ_{t-1}
        s_t   = s_{t-1} + g_t²                          (s_0 = τ)
        θ_t   = θ_{t-1} - γ / (1 + (t - 1) η) · g_t / (sqrt(s_t) + eps)

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters, or groups with options of their own.
    lr : float
        Learning rate γ (min-char-rnn uses 0.1).
    lr_decay : float
        η.
    weight_decay : float
        λ, an L2 penalty added to the gradient.
    initial_accumulator_value : float
        τ, where the sum of squares starts.
    eps : float
        Added to the root; above 0, since an entry without gradient so far has a root of 0.

    Raises
    ------
    ConfigError
        For a value out of range.

    Notes
    -----
    min-char-rnn puts its 1e-8 under the root instead: sqrt(s + 1e-8).

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import optim
    >>> w = tgs.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.Adagrad([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()  # the first step is lr times the sign of the gradient
    >>> w.numpy()
    array([0.5, 1.5], dtype=float32)
    """

    def __init__(
        self,
        params: Params,
        lr: NonNegative = 1e-2,
        lr_decay: NonNegative = 0.0,
        weight_decay: NonNegative = 0.0,
        initial_accumulator_value: NonNegative = 0.0,
        eps: Epsilon = 1e-10,
    ) -> None:
        super().__init__(params, locals())

    option_rules = rules_of(__init__)

    def _slots(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"sum": options["initial_accumulator_value"]}

    def _update(self, block: Block, options: Mapping[str, Any], step: int) -> None:
        grad, spare = block.decayed(options["weight_decay"]), block.scratch[1]
        total = block.state["sum"]
        total += np.multiply(grad, grad, out=spare)
        np.sqrt(total, out=spare)
        spare += options["eps"]
        np.divide(grad, spare, out=spare)
        spare *= options["lr"] / (1.0 + (step - 1) * options["lr_decay"])
        block.param -= spare
