"""Adam and AdamW: steps from running first and second moments of the gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np

from tinygrad_seq.checks import Epsilon, NonNegative, Switch, below_one, pair, rules_of
from tinygrad_seq.optim.optimizer import Block, Optimizer, Params

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, Algorithm 1), with AMSGrad (Reddi et al. 2018) on request.

    With learning rate γ, decay rates β1 and β2 and weight decay λ::

        g_t  <- g_t + λ θ_{t-1}
        m_t   = β1 m_{t-1} + (1 - β1) g_t
        v_t   = β2 v_{t-1} + (1 - β2) g_t²
        w_t   = max(w_{t-1}, v_t) if amsgrad, else v_t
        θ_t   = θ_{t-1} - γ / (1 - β1^t) · m_t / (sqrt(w_t) / sqrt(1 - β2^t) + eps)

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters, or groups with options of their own.
    lr : float
        Learning rate γ: about the largest change of an entry in one step.
    betas : pair of float
        β1 and β2, both in [0, 1).
    eps : float
        Added to the root; above 0, since an entry without gradient so far has a root of 0.
    weight_decay : float
        λ, an L2 penalty added to the gradient (it is then divided by the root too; see `AdamW`).
    amsgrad : bool
        Divide by the largest second moment so far.

    Raises
    ------
    ConfigError
        For a value out of range.

    Notes
    -----
    t counts the updates of each parameter. The bias corrections are Python floats, joined to
    one factor ``γ sqrt(1 - β2^t) / (1 - β1^t)`` as at the end of section 2 of Kingma and Ba,
    with ``eps`` scaled by the same root so that it means what it does above.
    PyTorch's AMSGrad is followed: the maximum is taken before the bias correction.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import optim
    >>> w = tgs.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.Adam([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()  # the first step is lr times the sign of the gradient
    >>> w.numpy().round(4)
    array([0.5, 1.5], dtype=float32)
    """

    _decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Params,
        lr: NonNegative = 1e-3,
        betas: Annotated[tuple[float, float], pair(below_one)] = (0.9, 0.999),
        eps: Epsilon = 1e-8,
        weight_decay: NonNegative = 0.0,
        amsgrad: Switch = False,
    ) -> None:
        super().__init__(params, locals())

    option_rules = rules_of(__init__)

    def _slots(self, options: Mapping[str, Any]) -> dict[str, float]:
        slots = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
        return {**slots, "max_exp_avg_sq": 0.0} if options["amsgrad"] else slots

    def _update(self, block: Block, options: Mapping[str, Any], step: int) -> None:
        lr, (beta1, beta2), decay = options["lr"], options["betas"], options["weight_decay"]
        if self._decoupled and decay:
            block.param *= 1.0 - lr * decay
        grad, spare = block.decayed(0.0 if self._decoupled else decay), block.scratch[1]
        block.average("exp_avg", grad, beta1)
        block.average("exp_avg_sq", np.multiply(grad, grad, out=spare), beta2)
        second = block.state["exp_avg_sq"]
        if options["amsgrad"]:
            largest = block.state["max_exp_avg_sq"]
            second = np.maximum(largest, second, out=largest)
        root = math.sqrt(1.0 - beta2**step)
        np.sqrt(second, out=spare)
        spare += options["eps"] * root
        np.divide(block.state["exp_avg"], spare, out=spare)
        spare *= lr * root / (1.0 - beta1**step)
        block.param -= spare


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    The decay acts on the parameter itself, untouched by the moments::

        θ    <- θ_{t-1} - γ λ θ_{t-1}
        θ_t   = θ - the step of Adam without weight decay

    Parameters
    ----------
    params, lr, betas, eps, amsgrad
        As in `Adam`.
    weight_decay : float
        λ; 0.01 unless given.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import optim
    >>> w = tgs.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.AdamW([w], lr=0.5, weight_decay=1.0)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.numpy().round(4)
    array([0. , 0.5], dtype=float32)
    """

    _decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)
