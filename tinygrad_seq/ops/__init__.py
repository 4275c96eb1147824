"""Differentiable operations: the public functions, one module per family.

Each is recorded through one :class:`~tinygrad_seq.engine.op.Op` in :data:`OPS`.
"""

from tinygrad_seq.arguments import operations_taking as _operations_taking
from tinygrad_seq.ops.angles import *
from tinygrad_seq.ops.attention import *
from tinygrad_seq.ops.custom import op as op
from tinygrad_seq.ops.indexing import *
from tinygrad_seq.ops.join import *
from tinygrad_seq.ops.linalg import *
from tinygrad_seq.ops.loss import *
from tinygrad_seq.ops.math import *
from tinygrad_seq.ops.products import *
from tinygrad_seq.ops.rearrange import *
from tinygrad_seq.ops.reduce import *
from tinygrad_seq.ops.registry import OPS as OPS
from tinygrad_seq.ops.registry import publish as _publish
from tinygrad_seq.ops.shape import *

PUBLIC = _publish(globals())

_operations_taking(globals())
