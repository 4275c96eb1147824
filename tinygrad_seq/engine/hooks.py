"""Functions that are called with the complete gradient of a tensor, and may change it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_seq.checks import array_of
from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ShapeError

__all__ = ["Handle", "Hook", "add_hook", "any_hooks", "run_hooks"]

Hook = Callable[[Any], Any]

_next_key = itertools.count(1).__next__
_registered = False


class Handle:
    """What ``register_hook`` returns; removing the hook twice does no harm."""

    __slots__ = ("_hooks", "_key")

    def __init__(self, hooks: dict[int, Hook], key: int) -> None:
        self._hooks = hooks
        self._key = key

    def remove(self) -> None:
        """Call the hook no more."""
        self._hooks.pop(self._key, None)


def any_hooks() -> bool:
    """Whether a hook was ever registered: if not, backward does not look for one."""
    return _registered


def add_hook(node: Node, hook: Hook) -> Handle:
    """Have `hook` called with the complete cotangent of `node` in every backward."""
    global _registered
    hooks: dict[int, Hook] | None = getattr(node, "hooks", None)
    if hooks is None:
        hooks = node.hooks = {}
    key = _next_key()
    hooks[key] = hook
    _registered = True
    return Handle(hooks, key)


def run_hooks(node: Node, cotangent: Any) -> Any:
    """The cotangent after every hook of the node, in the order of registration."""
    for hook in list(getattr(node, "hooks", {}).values()):
        shown = cotangent
        if type(cotangent) is np.ndarray:
            shown = cotangent.view()
            shown.flags.writeable = False  # it may be another tensor's gradient too
        changed = hook(shown)
        if changed is None or changed is shown:
            continue
        if type(cotangent) is np.ndarray:
            value = changed._array if isinstance(changed, Variable) else changed
            changed = array_of(f"a hook of {node}: what it returned", value).astype(node.dtype)
        if changed.shape != node.shape:
            raise ShapeError(
                f"a hook of {node} returned another shape",
                expected=node.shape,
                got=changed.shape,
                hint="return the new gradient, or None to leave it as it is",
            )
        cotangent = changed
    return cotangent
