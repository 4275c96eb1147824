"""Spectra of recurrent weights, and of products of step Jacobians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinygrad_seq.checks import array_of
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import NonFiniteError, ShapeError

__all__ = [
    "Spectrum",
    "lyapunov_exponents",
    "product_singular_values",
    "recurrent_spectra",
]


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues and singular values of a square recurrent weight.

    Attributes
    ----------
    eigenvalues : ndarray (H,), complex
        Largest modulus first.
    singular_values : ndarray (H,)
        Largest first.

    Examples
    --------
    >>> s = Spectrum.of([[0.5, 3.0], [0.0, 0.5]])
    >>> s.radius, round(s.largest, 3)  # decays in the end, and grows threefold before that
    (0.5, 3.081)
    """

    eigenvalues: Array
    singular_values: Array

    @classmethod
    def of(cls, weight: npt.ArrayLike) -> Spectrum:
        """The spectrum of a square matrix."""
        matrix = _finite("Spectrum.of: weight", weight)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ShapeError("Spectrum.of: weight", expected="a square matrix", got=matrix.shape)
        values = np.linalg.eigvals(matrix)
        order = np.argsort(-np.abs(values), kind="stable")
        return cls(values[order], np.linalg.svd(matrix, compute_uv=False))

    @property
    def radius(self) -> float:
        """Spectral radius: the largest modulus of an eigenvalue."""
        return float(np.abs(self.eigenvalues[0]))

    @property
    def largest(self) -> float:
        """Largest singular value: the most that one multiplication can stretch a vector."""
        return float(self.singular_values[0])


def recurrent_spectra(
    weight: Array, gates: Sequence[str] = (), sizes: Sequence[int] = ()
) -> dict[str, Spectrum]:
    """Spectrum of every (H, H) block of a recurrent weight, by gate.

    The blocks stand side by side, (H, gates * H), as for states that are rows, or one below the
    other, (gates * H, H), as for columns. `gates` are their names, in order (a cell declares
    them); blocks without names are counted, and a lone one is ``""``. `sizes` are those that H may
    have. What is not finite, or not made of such blocks, has none.
    """
    matrix = np.atleast_2d(np.asarray(weight, np.float64))
    small, large = sorted(matrix.shape) if matrix.ndim == 2 else (0, 0)
    if not small or large % small or (sizes and small not in sizes):
        return {}
    count = large // small
    if not np.isfinite(matrix).all():
        return {}
    blocks = np.split(matrix, count, axis=int(matrix.shape[1] > small))
    names = gates if len(gates) == count else [str(k) for k in range(count)]
    return {
        name if count > 1 else "": Spectrum.of(block)
        for name, block in zip(names, blocks, strict=True)
    }


def product_singular_values(jacobians: npt.ArrayLike) -> Array:
    """Singular values of products of step Jacobians over growing lags, from the end back.

    Entry k - 1 is about ``J_{T-1} J_{T-2} ... J_{T-k}``: how much the state k steps earlier can
    move the last one. The product is rescaled as it grows, so neither 1e-200 nor 1e200 is lost;
    values below 1e-16 of the largest are rounding.

    Parameters
    ----------
    jacobians : (T - 1, S, S) or (T - 1, N, S, S)
        ``J_t = d state_t / d state_{t-1}``, in order of time; see :meth:`Track.jacobians`.

    Returns
    -------
    ndarray (T - 1, ..., S)
        Largest first.

    Examples
    --------
    >>> import numpy as np
    >>> product_singular_values(np.full((3, 1, 1), 0.5))[:, 0]
    array([0.5  , 0.25 , 0.125])
    """
    steps = _steps("product_singular_values", jacobians)
    found = np.empty(steps.shape[:-1])
    product = np.broadcast_to(np.eye(steps.shape[-1]), steps.shape[1:])
    log_scale = np.zeros(steps.shape[1:-2])
    for lag in range(1, len(steps) + 1):
        product = product @ steps[-lag]
        size = np.max(np.abs(product), axis=(-2, -1))
        size = np.where(size > 0, size, 1.0)
        product = product / size[..., None, None]
        log_scale = log_scale + np.log(size)
        with np.errstate(over="ignore", under="ignore"):
            values = np.linalg.svd(product, compute_uv=False)
            found[lag - 1] = values * np.exp(log_scale)[..., None]
    return found


def lyapunov_exponents(jacobians: npt.ArrayLike) -> Array:
    """Growth rates of a sequence of step Jacobians, in nats per step, largest first.

    The mean logarithm of the diagonal of R when ``J_t Q_{t-1} = Q_t R_t`` (Benettin et al.
    1980): positive where perturbations of the state grow (gradients explode), negative where
    they die out (gradients vanish).

    Parameters
    ----------
    jacobians : (T - 1, S, S) or (T - 1, N, S, S)
        In order of time; see :meth:`Track.jacobians`.

    Returns
    -------
    ndarray (..., S)
        ``-inf`` where a direction is lost altogether (a relu that is off).

    Examples
    --------
    >>> import numpy as np
    >>> np.exp(lyapunov_exponents(np.full((10, 1, 1), 0.5)))
    array([0.5])
    """
    steps = _steps("lyapunov_exponents", jacobians)
    total = np.zeros(steps.shape[1:-1])
    q = np.broadcast_to(np.eye(steps.shape[-1]), steps.shape[1:])
    for jacobian in steps:
        q, r = np.linalg.qr(jacobian @ q)
        with np.errstate(divide="ignore"):
            total = total + np.log(np.abs(np.diagonal(r, axis1=-2, axis2=-1)))
    return -np.sort(-total / len(steps), axis=-1)


def _finite(what: str, value: npt.ArrayLike) -> Array:
    array = array_of(what, value).astype(np.float64)
    if not np.isfinite(array).all():
        raise NonFiniteError(what, expected="finite numbers", got="NaN or infinity among them")
    return array


def _steps(owner: str, jacobians: npt.ArrayLike) -> Array:
    steps = _finite(f"{owner}: jacobians", jacobians)
    if steps.ndim not in (3, 4) or not len(steps) or steps.shape[-1] != steps.shape[-2]:
        raise ShapeError(
            f"{owner}: jacobians",
            expected="(T - 1, S, S) or (T - 1, N, S, S), at least one step",
            got=steps.shape,
        )
    return steps
