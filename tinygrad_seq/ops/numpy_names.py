"""NumPy's functions by what becomes of them on Tensors: three tables and the reasons.

*Differentiable* functions become operations, *constant-only* functions are evaluated on the values
and give plain arrays (their gradient is zero or has no meaning), and the rest is refused on a
tensor that requires gradients; for those that one might look for, :data:`REFUSED` says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_seq.ops import arrange, elementwise, indexing, linalg, reduce, shape, transcendental
from tinygrad_seq.ops import numpy_functions as fn
from tinygrad_seq.ops import numpy_shapes as ns
from tinygrad_seq.ops.nonlinear import tanh

__all__ = ["CONSTANT_ONLY", "DIFFERENTIABLE", "NEWER", "REFUSED", "SHAPE", "name_of"]


def name_of(function: Any) -> str:
    """``np.tanh``, ``np.linalg.norm``: as one writes it."""
    module = getattr(function, "__module__", None) or "numpy"
    for inside in ("linalg", "fft", "lib.stride_tricks"):
        if module.startswith(f"numpy.{inside}"):
            return f"np.{inside}.{function.__name__}"
    return f"np.{function.__name__}"


DIFFERENTIABLE: dict[Any, Callable[..., Any]] = {
    # elementwise
    np.add: elementwise.add,
    np.subtract: elementwise.subtract,
    np.multiply: elementwise.multiply,
    np.true_divide: elementwise.divide,
    np.remainder: elementwise.remainder,
    np.power: elementwise.power,
    np.float_power: fn.float_power,
    np.negative: elementwise.negative,
    np.positive: ns.same,
    np.square: elementwise.square,
    np.sqrt: elementwise.sqrt,
    np.exp: elementwise.exp,
    np.log: elementwise.log,
    np.log1p: elementwise.log1p,
    np.sin: elementwise.sin,
    np.cos: elementwise.cos,
    np.tanh: tanh,
    np.absolute: elementwise.absolute,
    np.fabs: fn.fabs,
    np.maximum: elementwise.maximum,
    np.minimum: elementwise.minimum,
    np.expm1: transcendental.expm1,
    np.exp2: transcendental.exp2,
    np.log2: transcendental.log2,
    np.log10: transcendental.log10,
    np.sinh: transcendental.sinh,
    np.cosh: transcendental.cosh,
    np.tan: transcendental.tan,
    np.arctan: transcendental.arctan,
    np.reciprocal: transcendental.reciprocal,
    np.logaddexp: transcendental.logaddexp,
    np.logaddexp2: transcendental.logaddexp2,
    np.arcsin: transcendental.arcsin,
    np.arccos: transcendental.arccos,
    np.arcsinh: transcendental.arcsinh,
    np.arccosh: transcendental.arccosh,
    np.arctanh: transcendental.arctanh,
    np.arctan2: transcendental.arctan2,
    np.hypot: transcendental.hypot,
    np.degrees: fn.scaled_by(180 / math.pi),
    np.rad2deg: fn.scaled_by(180 / math.pi),
    np.radians: fn.scaled_by(math.pi / 180),
    np.deg2rad: fn.scaled_by(math.pi / 180),
    np.real: ns.same,
    np.conjugate: ns.same,
    np.where: fn.where,
    np.select: fn.select,
    np.clip: fn.clip,
    np.copy: ns.copy,
    # products
    np.matmul: linalg.matmul,
    np.dot: fn.dot,
    np.einsum: linalg.einsum,
    np.outer: arrange.outer,
    np.inner: fn.inner,
    np.vdot: fn.vdot,
    np.vecdot: fn.vecdot,
    np.kron: fn.kron,
    np.convolve: fn.convolve,
    np.correlate: fn.correlate,
    np.linalg.matmul: linalg.matmul,
    np.linalg.multi_dot: fn.multi_dot,
    np.linalg.outer: arrange.outer,
    np.linalg.tensordot: arrange.tensordot,
    np.linalg.vecdot: fn.vecdot_along,
    np.tensordot: arrange.tensordot,
    # reductions and running ones
    np.sum: reduce.sum,
    np.mean: reduce.mean,
    np.average: fn.average,
    np.max: reduce.max,
    np.min: reduce.min,
    np.amax: reduce.max,
    np.amin: reduce.min,
    np.ptp: fn.ptp,
    np.var: reduce.var,
    np.std: reduce.std,
    np.prod: reduce.prod,
    np.cumsum: fn.cumsum,
    np.cumprod: reduce.cumprod,
    np.diff: arrange.diff,
    np.trace: arrange.trace,
    np.linalg.norm: fn.norm,
    np.linalg.vector_norm: fn.vector_norm,
    np.linalg.matrix_norm: fn.matrix_norm,
    np.linalg.trace: fn.matrix_trace,
    # shapes and joining
    np.reshape: shape.reshape,
    np.ravel: ns.ravel,
    np.transpose: shape.transpose,
    np.swapaxes: shape.swapaxes,
    np.moveaxis: ns.moveaxis,
    np.matrix_transpose: ns.matrix_transpose,
    np.linalg.matrix_transpose: ns.matrix_transpose,
    np.expand_dims: shape.expand_dims,
    np.squeeze: shape.squeeze,
    np.broadcast_to: shape.broadcast_to,
    np.broadcast_arrays: ns.broadcast_arrays,
    np.meshgrid: ns.meshgrid,
    np.atleast_1d: ns.at_least(1),
    np.atleast_2d: ns.at_least(2),
    np.atleast_3d: ns.at_least(3),
    np.concatenate: shape.concatenate,
    np.stack: shape.stack,
    np.hstack: ns.hstack,
    np.vstack: ns.vstack,
    np.dstack: ns.dstack,
    np.column_stack: ns.column_stack,
    np.append: ns.append,
    np.split: shape.split,
    np.array_split: ns.array_split,
    np.hsplit: ns.hsplit,
    np.vsplit: ns.vsplit,
    np.dsplit: ns.dsplit,
    # picking and moving entries
    np.take: ns.take,
    np.take_along_axis: indexing.take_along_axis,
    np.compress: ns.compress,
    np.extract: ns.extract,
    np.lib.stride_tricks.sliding_window_view: ns.sliding_window_view,
    np.delete: ns.moved(np.delete),
    np.diagonal: arrange.diagonal,
    np.diag: ns.diag,
    np.diagflat: ns.diagflat,
    np.linalg.diagonal: ns.matrix_diagonal,
    np.flip: ns.flip,
    np.fliplr: ns.moved(np.fliplr),
    np.flipud: ns.moved(np.flipud),
    np.rot90: ns.moved(np.rot90),
    np.roll: arrange.roll,
    np.repeat: arrange.repeat,
    np.tile: arrange.tile,
    np.pad: arrange.pad,
    np.sort: arrange.sort,
    np.tril: arrange.tril,
    np.triu: arrange.triu,
}
"""NumPy functions that are recorded as operations."""

NEWER: dict[str, Callable[..., Any]] = {
    "unstack": ns.unstack,  # NumPy 2.1
    "astype": elementwise.astype,
    "cumulative_sum": fn.cumulative_sum,
    "cumulative_prod": fn.cumulative_prod,
    "matvec": fn.matvec,  # NumPy 2.2
    "vecmat": fn.vecmat,
}
"""By name: not every NumPy that we run on has them."""
DIFFERENTIABLE.update(
    {getattr(np, name): ours for name, ours in NEWER.items() if hasattr(np, name)}
)

_TRUTH = "a truth, or several: it has no gradient"
_STEP = "piecewise constant: its gradient is 0 wherever it has one"
_PLACE = "its values are indices or counts"
SHAPE = "it looks at the shape only"
_ABOUT = "it says something about the array"

CONSTANT_ONLY: dict[Any, str] = {
    **dict.fromkeys(
        [
            np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal,
            np.isfinite, np.isnan, np.isinf, np.isclose, np.allclose, np.isposinf, np.isneginf,
            np.array_equal, np.array_equiv, np.signbit,
            np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.any, np.all,
        ],
        _TRUTH,
    ),
    **dict.fromkeys(
        [
            np.sign, np.floor, np.ceil, np.rint, np.trunc, np.round, np.around, np.fix,
            np.floor_divide,
        ],
        _STEP,
    ),
    **dict.fromkeys(
        [
            np.argmax, np.argmin, np.argsort, np.argwhere, np.nonzero, np.flatnonzero,
            np.count_nonzero, np.searchsorted, np.digitize, np.argpartition, np.lexsort,
        ],
        _PLACE,
    ),
    **dict.fromkeys(
        [
            np.zeros_like, np.ones_like, np.full_like, np.empty_like, np.shape, np.ndim, np.size,
            np.tril_indices_from, np.triu_indices_from, np.diag_indices_from,
        ],
        SHAPE,
    ),
    **dict.fromkeys(
        [
            np.result_type, np.can_cast, np.may_share_memory, np.shares_memory,
            np.isreal, np.iscomplex, np.isrealobj, np.iscomplexobj,
            np.array2string, np.array_repr, np.array_str,
        ],
        _ABOUT,
    ),
}  # fmt: skip
"""NumPy functions evaluated on the values, and why: they give plain arrays."""

_MATRIX = "a decomposition: where a model needs one, give it a rule of your own with @tgs.op"
_JUMP = "it jumps at every multiple: np.remainder has the slope beside the jumps"
_NAN = "it passes over NaN, which is to be found: mask with np.where what goes in"
_SORT = "pick entries of np.sort instead"
_COUNT = "it counts values rather than computing with them: call it on t.detach()"
_COMPLEX = "its values are complex, and tensors are real: call it on t.detach()"
_WRITE = "it writes into its argument: see t.writable()"
_SLICE = "write it with slices and np.einsum"
_BITS = "it works on bits and whole numbers, which have no gradients: call it on t.detach()"
_POLY = "write it with powers and sums: np.einsum over x ** np.arange(n)"

REFUSED: dict[Any, str] = {
    **dict.fromkeys(
        [
            np.linalg.inv, np.linalg.pinv, np.linalg.solve, np.linalg.lstsq, np.linalg.det,
            np.linalg.slogdet, np.linalg.cholesky, np.linalg.qr, np.linalg.svd, np.linalg.eig,
            np.linalg.eigh, np.linalg.eigvals, np.linalg.eigvalsh, np.linalg.matrix_rank,
            np.linalg.svdvals, np.linalg.cond, np.linalg.tensorsolve, np.linalg.tensorinv,
        ],
        _MATRIX,
    ),
    np.linalg.matrix_power: "multiply with np.matmul in a loop, or np.linalg.multi_dot",
    **dict.fromkeys([np.fmod, np.divmod, np.modf], _JUMP),
    np.heaviside: "piecewise constant: compare, (t > 0), or call it on t.detach()",
    np.copysign: "write it as np.abs(x) * np.sign(y)",
    np.cbrt: "write it as np.sign(x) * np.abs(x) ** (1 / 3)",
    np.sinc: "write it as np.sin(np.pi * x) / (np.pi * x)",
    **dict.fromkeys(
        [
            np.nansum, np.nanmean, np.nanmax, np.nanmin, np.nanstd, np.nanvar, np.nan_to_num,
            np.nanprod, np.nancumsum, np.nancumprod, np.nanmedian, np.nanargmax, np.nanargmin,
            np.fmax, np.fmin,
        ],
        _NAN,
    ),
    **dict.fromkeys([np.median, np.percentile, np.quantile, np.partition], _SORT),
    **dict.fromkeys([np.unique, np.histogram, np.bincount, np.isin], _COUNT),
    **dict.fromkeys(
        [
            np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.fft2, np.fft.fftn,
            np.angle, np.imag,
        ],
        _COMPLEX,
    ),
    **dict.fromkeys(
        [np.copyto, np.put, np.place, np.putmask, np.put_along_axis, np.fill_diagonal], _WRITE
    ),
    **dict.fromkeys([np.cross, np.linalg.cross, np.gradient, np.trapezoid], _SLICE),
    np.ediff1d: "write it with np.diff",
    np.unwrap: _JUMP,
    **dict.fromkeys([np.cov, np.corrcoef], "write it with np.mean and products of what is left"),
    **dict.fromkeys([np.polyfit, np.polyval], _POLY),
    **dict.fromkeys([np.block, np.insert, np.resize], "write it with np.concatenate"),
    np.rollaxis: "write it with np.moveaxis",
    **dict.fromkeys([np.interp, np.piecewise, np.choose], "write it with np.where"),
    np.apply_along_axis: "call the function on slices, and join with np.stack",
    **dict.fromkeys(
        [
            np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.left_shift,
            np.right_shift, np.bitwise_count, np.gcd, np.lcm, np.frexp, np.ldexp, np.nextafter,
            np.spacing, np.isnat,
        ],
        _BITS,
    ),
}  # fmt: skip
"""NumPy functions one might look for that have no gradient here: why, and what to do."""
