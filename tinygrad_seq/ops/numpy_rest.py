"""NumPy's functions on Tensors that are no operations: what becomes of each, and why.

*Constant-only* functions are evaluated on the values and give plain arrays (their gradient is zero
or has no meaning). The rest is refused on a tensor that requires gradients; for those that one
might look for, :data:`REFUSED` says why. What is an operation is registered beside it.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

SHAPE = "it looks at the shape only"


def name_of(function: Any) -> str:
    """``np.tanh``, ``np.linalg.norm``: as one writes it."""
    module = getattr(function, "__module__", None) or "numpy"
    for inside in ("linalg", "fft", "lib.stride_tricks"):
        if module.startswith(f"numpy.{inside}"):
            return f"np.{inside}.{function.__name__}"
    return f"np.{function.__name__}"


def _functions(names_by_reason: dict[str, str]) -> dict[Any, str]:
    """The reason by function."""
    return {
        operator.attrgetter(name)(np): why
        for why, names in names_by_reason.items()
        for name in names.split()
    }


CONSTANT_ONLY = _functions(
    {
        "a truth, or several: it has no gradient": """
            less less_equal greater greater_equal equal not_equal isfinite isnan isinf isclose
            allclose isposinf isneginf array_equal array_equiv signbit logical_and logical_or
            logical_not logical_xor any all""",
        "piecewise constant: its gradient is 0 wherever it has one": """
            sign floor ceil rint trunc round around fix floor_divide""",
        "its values are indices or counts": """
            argmax argmin argsort argwhere nonzero flatnonzero count_nonzero searchsorted digitize
            argpartition lexsort""",
        SHAPE: """
            zeros_like ones_like full_like empty_like shape ndim size tril_indices_from
            triu_indices_from diag_indices_from""",
        "it says something about the array": """
            result_type can_cast may_share_memory shares_memory isreal iscomplex isrealobj
            iscomplexobj array2string array_repr array_str""",
    }
)
"""NumPy functions evaluated on the values, and why: they give plain arrays."""

REFUSED = _functions(
    {
        "a decomposition: where a model needs one, give it a rule of your own with @tgs.op": """
            linalg.inv linalg.pinv linalg.solve linalg.lstsq linalg.det linalg.slogdet
            linalg.cholesky linalg.qr linalg.svd linalg.eig linalg.eigh linalg.eigvals
            linalg.eigvalsh linalg.matrix_rank linalg.svdvals linalg.cond linalg.tensorsolve
            linalg.tensorinv""",
        "multiply with np.matmul in a loop, or np.linalg.multi_dot": "linalg.matrix_power",
        "it jumps at every multiple: np.remainder has the slope beside the jumps": """
            fmod divmod modf unwrap""",
        "piecewise constant: compare, (t > 0), or call it on t.detach()": "heaviside",
        "write it as np.abs(x) * np.sign(y)": "copysign",
        "write it as np.sin(np.pi * x) / (np.pi * x)": "sinc",
        "it passes over NaN, which is to be found: mask with np.where what goes in": """
            nansum nanmean nanmax nanmin nanstd nanvar nan_to_num nanprod nancumsum nancumprod
            nanmedian nanargmax nanargmin fmax fmin""",
        "pick entries of np.sort instead": "median percentile quantile partition",
        "it counts values rather than computing with them: call it on t.detach()": """
            unique histogram bincount isin""",
        "its values are complex, and tensors are real: call it on t.detach()": """
            fft.fft fft.ifft fft.rfft fft.irfft fft.fft2 fft.fftn angle imag""",
        "it writes into its argument: see t.writable()": """
            copyto put place putmask put_along_axis fill_diagonal""",
        "write it with slices and np.einsum": "cross linalg.cross gradient trapezoid",
        "write it with np.diff": "ediff1d",
        "write it with np.mean and products of what is left": "cov corrcoef",
        "write it with powers and sums: np.einsum over x ** np.arange(n)": "polyfit polyval",
        "write it with np.concatenate": "block insert resize",
        "write it with np.moveaxis": "rollaxis",
        "write it with np.where": "interp piecewise choose",
        "call the function on slices, and join with np.stack": "apply_along_axis",
        "it works on bits and whole numbers, which have no gradients: call it on t.detach()": """
            bitwise_and bitwise_or bitwise_xor invert left_shift right_shift bitwise_count gcd lcm
            frexp ldexp nextafter spacing isnat""",
    }
)
"""NumPy functions one might look for that have no gradient here: why, and what to do."""

WRITES = {f for f, why in REFUSED.items() if why.startswith("it writes")}
"""NumPy functions that write into their first argument, as ``ufunc.at`` does."""
