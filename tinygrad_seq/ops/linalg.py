"""Products of matrices and tensors."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import count, sequence_of
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.kernels.shards import matmul as matmul_arrays
from tinygrad_seq.ops.indexing import getitem
from tinygrad_seq.ops.registry import for_numpy, operation, publish, record, shape_of
from tinygrad_seq.ops.samples import Draw, Sampled
from tinygrad_seq.ops.shape import expand_dims, reshape, squeeze

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike


def _rows(x: Any) -> Any:
    """All leading axes flattened into one."""
    return x if x.ndim == 2 else np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def _matmul(a: Any, b: Any) -> Any:
    """``a @ b``; a matrix on the right is applied to all rows of `a` in one product."""
    if b.ndim == 2 and a.ndim > 2:
        return matmul_arrays(_rows(a), b).reshape(*a.shape[:-1], b.shape[-1])
    return matmul_arrays(a, b)


def _right_rule(g: Any, a: Any, shape: Any) -> Any:
    if len(shape) == 2:
        return matmul_arrays(_rows(a).mT, _rows(g))
    return matmul_arrays(a.mT, g)


def _queued_products(cotangents: list[Any], lefts: list[Any]) -> Any:
    """Sum of ``a.T @ g`` over a weight's uses, as one product over all their rows."""
    if len(lefts) == 1:
        return matmul_arrays(_rows(lefts[0]).mT, _rows(cotangents[0]))
    a = np.concatenate([_rows(left) for left in lefts])
    g = np.concatenate([_rows(cotangent) for cotangent in cotangents])
    return matmul_arrays(a.mT, g)


def _matmul_sample(draw: Draw) -> Sampled:
    n, k, m = (draw.integer(1, 3) for _ in range(3))
    left, right = draw.choice([((), ()), ((2,), ()), ((), (2,)), ((2,), (2,)), ((3, 1), (2,))])
    return (draw.array((*left, n, k)), draw.array((*right, k, m))), {}


def _linear(x: Any, weight: Any, bias: Any) -> Any:
    out = _matmul(x, weight)
    out += bias
    return out


def _linear_sample(draw: Draw) -> Sampled:
    k, m = draw.integer(1, 3), draw.integer(1, 3)
    x = draw.array((*draw.shape(1, 2), k))
    return (x, draw.array((k, m)), draw.array((m,))), {}


def _einsum_sample(draw: Draw) -> Sampled:
    spec = draw.choice(
        ["ij,jk->ik", "ij,ij->", "bij,bjk->bik", "i,j->ij", "ij->ji", "ij->j", "tnh,snh->nts"]
    )
    sizes = {letter: draw.integer(1, 3) for letter in "abijkhnst"}
    operands = spec.split("->")[0].split(",")
    arrays = tuple(draw.array(tuple(sizes[letter] for letter in term)) for term in operands)
    return arrays, {"spec": spec}


def _einsum_rule(g: Any, xs: Any, needs: Any, spec: str) -> list[Any]:
    """Contract the cotangent with the other operands; restore axes that were summed alone."""
    left, out = spec.split("->")
    terms = left.split(",")
    found: list[Any] = []
    for i, term in enumerate(terms):
        if not needs[i]:
            found.append(None)
            continue
        others = [(t, x) for j, (t, x) in enumerate(zip(terms, xs, strict=True)) if j != i]
        reach = set(out).union(*(set(t) for t, _ in others))
        kept = "".join(letter for letter in term if letter in reach)
        contraction = ",".join([out, *(t for t, _ in others)]) + "->" + kept
        part = np.einsum(contraction, g, *(x for _, x in others))
        size = dict(zip(term, xs[i].shape, strict=True))
        part = np.reshape(part, tuple(size[c] if c in kept else 1 for c in term))
        found.append(np.broadcast_to(part, xs[i].shape))
    return found


MATMUL = operation(
    "matmul",
    _matmul,
    "a b",
    [lambda g, b: _matmul(g, b.mT), _right_rule],
    sample=_matmul_sample,
    defer=(1, lambda gs, a: _queued_products(gs, a)),
    axes=Axes.KEPT,
    product=True,
)
LINEAR = operation(
    "linear",
    _linear,
    "x weight bias",
    [
        lambda g, weight: _matmul(g, weight.mT),
        lambda g, x: matmul_arrays(_rows(x).mT, _rows(g)),
        lambda g: np.sum(_rows(g), axis=0),
    ],
    sample=_linear_sample,
    defer=(1, lambda gs, x: _queued_products(gs, x)),
    axes=Axes.KEPT,
    product=True,
)


def _einsum(*xs: Any, spec: str) -> Any:
    out = np.einsum(spec, *xs)
    return out.copy() if len(xs) == 1 else out  # of one operand NumPy may return a view


EINSUM = operation(
    "einsum",
    _einsum,
    "*xs",
    joint=_einsum_rule,
    sample=_einsum_sample,
    axes=Axes.LETTERED,
)


@for_numpy(np.matmul, np.linalg.matmul)
def matmul(a: TensorLike, b: TensorLike) -> Tensor:
    """``a @ b`` with NumPy's rules for vectors and stacks of matrices.

    Raises
    ------
    ShapeError
        If an operand is a scalar or the inner sizes differ.
    """
    shape_a, shape_b = shape_of(a), shape_of(b)
    if len(shape_a) == len(shape_b) == 2 and shape_a[1] == shape_b[0]:
        return record(MATMUL, (a, b), {})
    inner_b = shape_b[-2] if len(shape_b) > 1 else shape_b[0] if shape_b else None
    if not shape_a or shape_a[-1] != inner_b:
        raise ShapeError(
            "matmul: inner sizes differ",
            expected="(..., n, k) @ (..., k, m), or vectors of length k",
            got=f"{shape_a} @ {shape_b}",
            hint="transpose an operand with .T, or use * for the elementwise product",
        )
    if len(shape_a) > 1 and len(shape_b) > 1:
        return record(MATMUL, (a, b), {})
    left = expand_dims(a, 0) if len(shape_a) == 1 else a
    right = expand_dims(b, -1) if len(shape_b) == 1 else b
    gone = ([-2] if len(shape_a) == 1 else []) + ([-1] if len(shape_b) == 1 else [])
    return squeeze(record(MATMUL, (left, right), {}), tuple(gone))


def linear(x: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """The affine map x W + b: ``x (..., I)``, ``weight (I, O)``, ``bias (O,)``.

    Raises
    ------
    ShapeError
        If the last size of `x` is not the first size of `weight`, or the bias does not fit.
    """
    shape, wide = shape_of(x), shape_of(weight)
    if len(wide) != 2 or (bias is not None and shape_of(bias) != wide[1:]):
        raise ShapeError(
            "linear: weight and bias",
            expected="weight (I, O) and bias (O,)",
            got=f"{wide} and {None if bias is None else shape_of(bias)}",
        )
    if not shape or shape[-1] != wide[0]:
        raise ShapeError(
            "linear: the last axis of x does not fit the weight",
            expected=f"(..., {wide[0]})",
            got=shape,
            hint="features come last",
        )
    if bias is None:
        return matmul(x, weight)
    return record(LINEAR, (x, weight, bias), {})


def _once(terms: Sequence[str]) -> str:
    """The letters that occur once in all terms, in alphabetical order."""
    letters = sorted("".join(terms))
    return "".join(letter for letter in letters if letters.count(letter) == 1)


def _without_ellipses(
    spec: str, terms: list[str], operands: list[Any], out: str | None
) -> tuple[list[str], list[Any], str]:
    """Letters of their own for the axes behind ``...``; those of size 1 broadcast, and go."""
    plain = [term.replace("...", "", 1) for term in terms]
    counts = [len(shape_of(x)) - len(term) for x, term in zip(operands, plain, strict=True)]
    _check_ellipses(spec, terms, operands, counts, out)
    unused = [letter for letter in string.ascii_letters if letter not in spec]
    letters = unused[: max(counts)]
    behind = []  # for each operand: letter, axis and size of what its ellipsis stands for
    for x, term, wide_by in zip(operands, terms, counts, strict=True):
        start = term.find("...")
        own = letters[len(letters) - wide_by :]
        axes = range(start, start + wide_by)
        behind.append([(c, a, shape_of(x)[a]) for c, a in zip(own, axes, strict=True)])
    wide = {letter for part in behind for letter, _, size in part if size != 1}
    for i, part in enumerate(behind):
        gone = tuple(axis for letter, axis, size in part if size == 1 and letter in wide)
        operands[i] = squeeze(operands[i], gone) if gone else operands[i]
        kept = "".join(letter for letter, axis, _ in part if axis not in gone)
        terms[i] = terms[i].replace("...", kept)
    dots = "".join(letters)
    return terms, operands, dots + _once(plain) if out is None else out.replace("...", dots)


def _check_ellipses(
    spec: str, terms: list[str], operands: list[Any], counts: list[int], out: str | None
) -> None:
    parts = [*terms, "..." if out is None else out]
    stray = any("." in part.replace("...", "", 1) for part in parts)
    misfit = any(
        count < 0 or (count > 0 and "..." not in term)
        for term, count in zip(terms, counts, strict=True)
    )
    if stray or misfit or "..." not in parts[-1]:
        raise ShapeError(
            f"einsum: unsupported specification {spec!r}",
            expected="one letter per axis but for those behind one ... in a term, and ... in the "
            "output too",
            got=" and ".join(str(shape_of(each)) for each in operands),
        )


def _check_sizes(spec: str, terms: list[str], operands: list[Any]) -> None:
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        shape = shape_of(operand)
        if len(shape) != len(term) or any(
            sizes.setdefault(letter, size) != size for letter, size in zip(term, shape, strict=True)
        ):
            raise ShapeError(
                f"einsum: the operands do not fit the letters of {spec!r}",
                expected="one axis per letter, and one size for each letter",
                got=" and ".join(str(shape_of(each)) for each in operands),
            )


def _diagonal(term: str, x: Any) -> tuple[str, Any]:
    """A term with each letter once, and the operand's entries where equal letters meet."""
    shape = shape_of(x)
    single = "".join(dict.fromkeys(term))
    positions = np.arange(math.prod(shape)).reshape(shape)
    return single, getitem(reshape(x, (-1,)), np.einsum(f"{term}->{single}", positions))


def _in_letters(given: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """NumPy's other spelling, ``x, [0, 1], y, [1, 2], [0, 2]``, as letters and operands."""
    letters = string.ascii_uppercase + string.ascii_lowercase  # in the order of the numbers
    terms = []
    for numbers in [*given[1::2], *(given[-1:] if len(given) % 2 else ())]:
        term = ""
        for each in sequence_of("einsum: axes of an operand", numbers, "numbers"):
            term += "..." if each is Ellipsis else letters[count(0, 51)("einsum: axis", each)]
        terms.append(term)
    out = "->" + terms.pop() if len(given) % 2 else ""
    return ",".join(terms) + out, tuple(given[: len(given) // 2 * 2 : 2])


@for_numpy(np.einsum)
def einsum(spec: str, *operands: Any, optimize: Any = False) -> Tensor:
    """Einstein summation, as ``numpy.einsum`` writes it: letters, ellipses, repeated letters.

    Without an arrow the output has the letters that occur once, in alphabetical order. NumPy's
    spelling by numbers, ``einsum(x, [0, 1], [1, 0])``, is taken too. `optimize` changes nothing:
    several operands are multiplied in one go.

    Raises
    ------
    ShapeError
        If operands do not fit their letters.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> q, k = tgs.tensor(np.ones((5, 2, 8))), tgs.tensor(np.ones((7, 2, 8)))
    >>> tgs.einsum("tnh,snh->nts", q, k).shape
    (2, 5, 7)
    >>> tgs.einsum("...h,gh->...g", q, np.ones((4, 8))).shape
    (5, 2, 4)
    """
    if not isinstance(spec, str):
        spec, operands = _in_letters((spec, *operands))
    spec = spec.replace(" ", "")
    if not set(spec) <= set(string.ascii_letters + ",.->"):
        raise ConfigError("einsum: specification", expected="letters, as in 'ij,jk->ik'", got=spec)
    left, arrow, out = spec.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ShapeError(
            "einsum: operands and terms", expected=f"{len(terms)} operands", got=len(operands)
        )
    given: list[Any] = list(operands)
    if "." in spec:
        terms, given, out = _without_ellipses(spec, terms, given, out if arrow else None)
    elif not arrow:
        out = _once(terms)
    if len(set(out)) != len(out) or not set(out) <= set("".join(terms)):
        raise ShapeError(
            f"einsum: output of {spec!r}", expected="letters of the operands, each once", got=out
        )
    _check_sizes(spec, terms, given)
    for i, term in enumerate(terms):
        if len(set(term)) != len(term):
            terms[i], given[i] = _diagonal(term, given[i])
    return record(EINSUM, tuple(given), {"spec": ",".join(terms) + "->" + out})


publish(globals())
