"""Gradient flow through time: where the gradient of a recurrent model vanishes or explodes."""

from tinygrad_seq.flow.report import GradientFlow, gradient_flow
from tinygrad_seq.flow.spectrum import Spectrum, lyapunov_exponents, product_singular_values
from tinygrad_seq.flow.track import Track

__all__ = [
    "GradientFlow",
    "Spectrum",
    "Track",
    "gradient_flow",
    "lyapunov_exponents",
    "product_singular_values",
]
