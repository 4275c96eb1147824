"""Further clipping rules, to set beside clipping by global norm and by value.

Norm by norm, adaptively, and (to see what it does) by the squared norm of a well-known lecture
snippet. `clip_grad_norm_` is the one to train with; these are here for comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.checks import number, sequence_of
from tinygrad_seq.kernels.numeric import norm
from tinygrad_seq.optim.clip import ClipReport, clip_grad_norm_
from tinygrad_seq.optim.options import tensors
from tinygrad_seq.tensor import Tensor

__all__ = ["clip_grad_adaptive_", "clip_grad_norm_each_", "clip_grad_squared_norm_"]

_above_zero = number(0.0, open_low=True, infinite=True)
_Policy = Literal["raise", "skip"]


def clip_grad_norm_each_(
    groups: Iterable[Tensor | Iterable[Tensor]],
    max_norm: float,
    nonfinite: _Policy = "raise",
) -> ClipReport:
    """Clip each group of gradients by its own norm: per tensor, or per layer.

    Every group is scaled to a norm of at most `max_norm`, whatever the others do. So the
    whole may keep a norm of up to ``max_norm * sqrt(number of groups)``, and its direction turns
    where groups are scaled differently. Keras's ``clipnorm`` is this rule per tensor.

    Parameters
    ----------
    groups : iterable of Tensor, or of iterables of Tensor
        ``model.parameters()`` for per tensor; ``[layer.parameters() for layer in layers]`` for
        per layer. A tensor may be in one group only.
    max_norm : float
        The bound of each group, above 0.
    nonfinite : {"raise", "skip"}
        As in :func:`~tinygrad_seq.optim.clip_grad_norm_`; either way no gradient is touched.

    Returns
    -------
    ClipReport
        Norms and factor of all gradients together.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_seq as tgs
    >>> from demos.lab import clip_grad_norm_each_
    >>> a, b = (tgs.tensor([0.0], requires_grad=True) for _ in range(2))
    >>> a.grad, b.grad = np.array([30.0]), np.array([0.5])
    >>> report = clip_grad_norm_each_([a, b], 5.0)
    >>> a.grad.round(5), b.grad, report.clipped_fraction
    (array([5.], dtype=float32), array([0.5], dtype=float32), 0.5)
    """
    max_norm = _above_zero("clip_grad_norm_each_: max_norm", max_norm)
    owner = "clip_grad_norm_each_"
    parts = [tensors(owner, group) for group in sequence_of(f"{owner}: groups", groups, "groups")]
    everything = _distinct("clip_grad_norm_each_", [p for part in parts for p in part])
    before = _measured(everything, nonfinite)
    if not before.finite:
        return before
    seen: set[int] = set()
    changed = 0
    for part in parts:
        fresh = [p for p in part if id(p) not in seen]
        seen.update(map(id, fresh))
        if fresh and clip_grad_norm_(fresh, max_norm).clipped:
            changed += _entries(fresh)
    return _report(before, everything, changed)


def clip_grad_adaptive_(
    parameters: Tensor | Iterable[Tensor],
    clip_factor: float = 0.01,
    eps: float = 1e-3,
    nonfinite: _Policy = "raise",
) -> ClipReport:
    r"""Limit the gradient of each unit relative to the size of its weights.

    Adaptive gradient clipping (Brock, De, Smith and Simonyan, *High-Performance Large-Scale
    Image Recognition Without Normalization*, ICML 2021; `eps` is theirs): for each unit i, with
    W_i its incoming weights and G_i their gradient::

        if ‖G_i‖ > clip_factor · max(‖W_i‖, eps):
            G_i <- G_i · clip_factor · max(‖W_i‖, eps) / ‖G_i‖

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        A unit is a column of a matrix (weights are (in, out)), and a whole vector or scalar.
    clip_factor : float
        Largest ratio of gradient to weight.
    eps : float
        Stands in for the norm of weights that are 0.
    nonfinite : {"raise", "skip"}
        As in :func:`~tinygrad_seq.optim.clip_grad_norm_`; either way no gradient is touched.

    Returns
    -------
    ClipReport
        Norms and factor of all gradients together.

    Notes
    -----
    The bound is kept to a few units in the last place of the gradients' dtype.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_seq as tgs
    >>> from demos.lab import clip_grad_adaptive_
    >>> w = tgs.tensor([[3.0, 0.0], [4.0, 1.0]], requires_grad=True)  # norms 5 and 1
    >>> w.grad = np.full((2, 2), 2.0)
    >>> _ = clip_grad_adaptive_(w, clip_factor=0.1)
    >>> np.linalg.norm(w.grad, axis=0).round(6)
    array([0.5, 0.1], dtype=float32)
    """
    clip_factor = _above_zero("clip_grad_adaptive_: clip_factor", clip_factor)
    eps = _above_zero("clip_grad_adaptive_: eps", eps)
    found = _distinct("clip_grad_adaptive_", parameters)
    before = _measured(found, nonfinite)
    if not before.finite:
        return before
    changed = 0
    for param in found:
        gradient = param.grad
        assert gradient is not None
        bound = clip_factor * np.maximum(_unit_norms(param.data), eps)
        size = _unit_norms(gradient)
        over = size > bound
        if over.any():
            factor = np.where(over, bound / np.where(over, size, 1.0), 1.0)
            gradient *= factor.astype(gradient.dtype)
            changed += int(np.broadcast_to(over, gradient.shape).sum())
    return _report(before, found, changed)


def clip_grad_squared_norm_(
    parameters: Tensor | Iterable[Tensor],
    threshold: float,
    nonfinite: _Policy = "raise",
) -> ClipReport:
    """A lecture snippet taken literally: it compares, and divides by, the *squared* norm.

    For each array by itself::

        grad_norm = np.sum(grad * grad)
        if grad_norm > threshold:
            grad *= threshold / grad_norm

    With n = ``‖grad‖`` and c = `threshold` this acts where ``n > sqrt(c)``, and leaves a norm of
    ``c / n``: an inversion, not a bound. The larger the gradient, the *smaller* the step. At
    c = 5, norms of 3, 5, 10 and 50 become 1.667, 1, 0.5 and 0.1; clipping by norm gives 3, 5, 5
    and 5. A square root in the first line makes it that rule. Do not train with it.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Whose ``grad`` to change.
    threshold : float
        c, above 0.
    nonfinite : {"raise", "skip"}
        As in :func:`~tinygrad_seq.optim.clip_grad_norm_`; either way no gradient is touched.

    Returns
    -------
    ClipReport
        Norms and factor of all gradients together.

    Notes
    -----
    Unlike in the snippet the squares do not overflow: there, a float32 norm above 1.8e19 gives
    an infinite sum and a gradient of 0. Here it gives ``c / n``, or 0 where the dtype has no
    normal number that small.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_seq as tgs
    >>> from demos.lab import clip_grad_squared_norm_
    >>> w = tgs.tensor(np.zeros(2), requires_grad=True)
    >>> for n in (2, 3, 5, 10, 50):
    ...     w.grad = n * np.array([0.6, 0.8])
    ...     print(n, "->", round(clip_grad_squared_norm_(w, 5.0).norm_after, 3))
    2 -> 2.0
    3 -> 1.667
    5 -> 1.0
    10 -> 0.5
    50 -> 0.1
    """
    threshold = _above_zero("clip_grad_squared_norm_: threshold", threshold)
    found = _distinct("clip_grad_squared_norm_", parameters)
    before = _measured(found, nonfinite)
    if not before.finite:
        return before
    changed = 0
    for param in found:
        size = clip_grad_norm_(param, math.inf).norm
        if not size > 0 or size <= threshold / size:
            continue
        gradient = param.grad
        assert gradient is not None
        changed += gradient.size
        if threshold / size < float(np.finfo(gradient.dtype).tiny):
            gradient[...] = 0.0
        else:
            clip_grad_norm_(param, threshold / size)
    return _report(before, found, changed)


def _distinct(owner: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """Every tensor that has a gradient, once."""
    given = tensors(owner, parameters, "nothing to clip")
    found = {id(p): p for p in given if p.grad is not None}
    for param in found.values():
        assert param.grad is not None
        if not param.grad.flags.writeable:
            param.grad = param.grad.copy()
    return list(found.values())


def _measured(parameters: list[Tensor], nonfinite: _Policy) -> ClipReport:
    if not parameters:  # none of them has a gradient
        return ClipReport(0.0, 0.0, 1.0, True)
    return clip_grad_norm_(parameters, math.inf, nonfinite=nonfinite)


def _entries(parameters: Iterable[Tensor]) -> int:
    return sum(p.grad.size for p in parameters if p.grad is not None)


def _report(before: ClipReport, parameters: list[Tensor], changed: int) -> ClipReport:
    if not changed:
        return before
    after = clip_grad_norm_(parameters, math.inf).norm
    factor = min(1.0, after / before.norm)
    return ClipReport(before.norm, after, factor, True, changed / _entries(parameters))


def _unit_norms(array: NDArray[Any]) -> NDArray[np.float64]:
    """Norm over all axes but the last of a matrix (kept, for broadcasting), or of all entries."""
    values = np.asarray(array, np.float64)
    axes = tuple(range(values.ndim - 1)) if values.ndim > 1 else None
    norms: NDArray[np.float64] = norm(values, axes, keepdims=True)
    return norms
