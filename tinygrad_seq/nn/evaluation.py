"""``evaluating``: a model as it is used, not trained."""

from __future__ import annotations

import threading
from typing import Any

from tinygrad_seq.engine.decorate import Decorator
from tinygrad_seq.engine.mode import no_grad
from tinygrad_seq.errors import ConfigError, shown
from tinygrad_seq.nn.module import Module

__all__ = ["evaluating"]


_lock = threading.RLock()  # a generator that is collected meanwhile may end a block of its own
_entered: dict[int, list[list[Any]]] = {}  # of a module's id: [entry, the mode that it found]


class _Evaluating(Decorator):
    """The block of :func:`evaluating`.

    Modes belong to the modules, and so does the record of the blocks that they are in, each with
    the mode that it found. A block that ends hands that on to the block entered after it, or as the
    last one to the module: so blocks may nest, end in any order, and be in several threads.
    """

    __slots__ = ("_entries", "_model", "_quiet")

    def __init__(self, model: Module) -> None:
        self._model = model
        self._quiet = no_grad()
        self._entries: list[list[Module]] = []

    def __enter__(self) -> None:
        entry = list({id(module): module for module in self._model.modules()}.values())
        with _lock:
            self._entries.append(entry)
            for module in entry:
                _entered.setdefault(id(module), []).append([entry, module.training])
                module.training = False
        self._quiet.__enter__()

    def __exit__(self, *error: object) -> None:
        self._quiet.__exit__(*error)
        with _lock:
            entry = self._entries.pop()
            for module in entry:
                _leave(entry, module)


def _leave(entry: list[Module], module: Module) -> None:
    blocks = _entered[id(module)]
    place = next(k for k, (other, _) in enumerate(blocks) if other is entry)
    _, found = blocks.pop(place)
    if place < len(blocks):
        blocks[place][1] = found
        return
    module.training = found
    if not blocks:
        del _entered[id(module)]


def evaluating(model: Module) -> Decorator:
    """Evaluation mode and no recording in the block; each module's own mode is put back after.

    Examples
    --------
    >>> from tinygrad_seq import nn
    >>> drop = nn.Dropout(0.5)
    >>> with nn.evaluating(drop):
    ...     drop.training
    False
    >>> drop.training
    True
    """
    if not isinstance(model, Module):
        raise ConfigError("evaluating: model", expected="an nn.Module", got=shown(model))
    return _Evaluating(model)
