"""Entries of a result that no operation reads: what ``where`` did not take, and what led there.

The loss does not depend on them, so their gradient is 0. A rule cannot know: the slope of a
logarithm at 0, times the 0 that comes back from ``np.where(x > 0, np.log(x), 0)``, is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.op import Op

__all__ = ["unread_by"]


def unread_by(node: Node, op: Op, index: int, unread: Any, given: Sequence[Any]) -> Any:
    """What `node` does not read of an operand, at the shape of the rule's result; None if all.

    `unread` marks entries of its own result that nobody reads, or is None; `given` is what its
    rule was given besides the cotangent.
    """
    own: Any = None
    if op.unread is not None:
        own = np.broadcast_to(op.unread(index, **node.params), node.shape)
    if op.pointwise:
        if own is None or unread is None:
            return unread if own is None else own
        return own | unread
    if own is not None or unread is None or not op.moves:
        return own
    # Its rule carries back the entries that are read: they are placed, and added, as cotangents.
    rule = op.rules[index]
    assert rule is not None
    if isinstance(unread, list):  # of several outputs; True is one that came from nowhere
        read: Any = [
            np.broadcast_to(~np.asarray(mask), shape).astype(node.dtype)
            for mask, shape in zip(unread, node.shape, strict=True)
        ]
    else:
        read = (~unread).astype(node.dtype)
    return np.asarray(rule.fn(read, *given)) == 0
