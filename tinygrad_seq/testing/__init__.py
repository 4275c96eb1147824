"""Testing gradients: of your functions, of your own operations, of your layers.

Shipped like ``numpy.testing``. Only :mod:`tinygrad_seq.testing.strategies` needs hypothesis; it is
not imported here.
"""

from tinygrad_seq.testing.draws import RandomDraw
from tinygrad_seq.testing.gradcheck import GradcheckReport, gradcheck
from tinygrad_seq.testing.layercheck import check_layer
from tinygrad_seq.testing.opcheck import check_op
from tinygrad_seq.testing.report import GradientError
from tinygrad_seq.testing.rtrl import rtrl
from tinygrad_seq.testing.rtrl_layer import layer_step, rtrl_layer

__all__ = [
    "GradcheckReport",
    "GradientError",
    "RandomDraw",
    "check_layer",
    "check_op",
    "gradcheck",
    "layer_step",
    "rtrl",
    "rtrl_layer",
]
