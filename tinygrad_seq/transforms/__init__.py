"""Transformations of functions and graphs: gradients without side effects."""

from tinygrad_seq.transforms.checkpoint import checkpoint
from tinygrad_seq.transforms.functional import (
    hessian,
    hvp,
    jacobian,
    jvp,
    value_and_grad,
    vjp,
)
from tinygrad_seq.transforms.gradient import grad

__all__ = ["checkpoint", "grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]
