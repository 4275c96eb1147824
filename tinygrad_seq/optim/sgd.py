"""Stochastic gradient descent, plain, with momentum or with Nesterov momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from tinygrad_seq.checks import NonNegative, Switch, number, rules_of
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.optim.optimizer import Block, Optimizer, Params

__all__ = ["SGD"]


class SGD(Optimizer):
    r"""Gradient descent with optional (Nesterov) momentum.

    With gradient :math:`g_t`, learning rate :math:`\gamma`, momentum :math:`\mu`, dampening
    :math:`\tau` and weight decay :math:`\lambda`::

        g_t     <- g_t + λ θ_{t-1}
        b_t      = μ b_{t-1} + (1 - τ) g_t        (b_1 = g_1)
        d_t      = g_t + μ b_t   if nesterov,  b_t  if μ > 0,  else g_t
        θ_t      = θ_{t-1} - γ d_t

    This is PyTorch's form: the learning rate multiplies the velocity, so that a schedule acts
    at once (Sutskever et al. 2013 put it inside the velocity).

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters, or groups with options of their own.
    lr : float
        Learning rate γ.
    momentum : float
        μ, at least 0.
    dampening : float
        τ, the share of the gradient kept out of the velocity after the first step.
    weight_decay : float
        λ, an L2 penalty added to the gradient.
    nesterov : bool
        Look ahead along the new velocity; needs momentum and no dampening.

    Raises
    ------
    ConfigError
        For a value out of range, or `nesterov` without momentum or with dampening.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import optim
    >>> w = tgs.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.numpy()
    array([0.5, 1. ], dtype=float32)
    """

    def __init__(
        self,
        params: Params,
        lr: NonNegative = 1e-3,
        momentum: NonNegative = 0.0,
        dampening: Annotated[float, number()] = 0.0,
        weight_decay: NonNegative = 0.0,
        nesterov: Switch = False,
    ) -> None:
        super().__init__(params, locals())

    option_rules = rules_of(__init__)

    def _check_together(self, options: Mapping[str, Any]) -> None:
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ConfigError(
                "SGD: nesterov needs momentum and no dampening",
                expected="momentum > 0 and dampening = 0",
                got=f"momentum {options['momentum']}, dampening {options['dampening']}",
            )

    def _slots(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if options["momentum"] else {}

    def _update(self, block: Block, options: Mapping[str, Any], step: int) -> None:
        direction, spare = block.decayed(options["weight_decay"]), block.scratch[1]
        momentum = options["momentum"]
        if momentum:
            velocity = block.state["momentum_buffer"]
            velocity *= momentum
            kept = 1.0 if step == 1 else 1.0 - options["dampening"]
            velocity += direction if kept == 1.0 else np.multiply(direction, kept, out=spare)
            if options["nesterov"]:
                np.multiply(velocity, momentum, out=spare)
                direction = np.add(spare, direction, out=spare)
            else:
                direction = velocity
        block.param -= np.multiply(direction, options["lr"], out=spare)
