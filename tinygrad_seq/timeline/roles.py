"""The roles that nodes are tagged with: ``z.tag("a")`` says what a result is to its cell.

Whoever writes a cell tags its results with these words; who reads them knows nothing else of it.
Tags are free text: another word names a part of a cell in drawings, and means nothing more.
"""

from __future__ import annotations

from tinygrad_seq.engine.node import WEIGHTS as WEIGHTS
from tinygrad_seq.engine.node import Node
from tinygrad_seq.timeline.entries import hands_on

STATE = "h"
"""The state that a step gives out. Makes a module a cell in drawings; read by flow, celltext."""
CELL = "c"
"""The LSTM's cell state, which goes on beside h. Read as h is."""
STATES = (STATE, CELL)
"""Of what says nothing of its states itself; a cell's are in its form, see :func:`states_of`."""
INPUT = "x"
"""Of a leaf that enters one time step. Drawn below it."""
LOGITS = "logits"
"""A readout's result at one step. Drawn as an output; its norms over time are shown."""
LOSS = "loss"
"""What one step adds to the loss. Drawn so; its norms over time are shown."""
# WEIGHTS = "weights": how much a query takes from each step of a memory, (N, T, S) or
# (N, heads, T, S). The graph keeps them for drawings, which show them as lines.

RESERVED = {INPUT, LOGITS, LOSS, WEIGHTS}
"""What no variable's name may mean."""

SUM = "a"
"""What a nonlinearity takes: ``x W_xh + h W_hh + b``, of all gates. A part of a drawn cell."""
FROM_INPUT, FROM_STATE = "xW", "hW"
"""Its two summands, where they are told apart. Drawn as one part with the sum."""
FORGET = "f"
"""The LSTM's gate that multiplies the c before. Drawings find c's way in by it."""
GATES = ("i", FORGET, "o", "g")
"""The LSTM's gates. Drawings name products by them; celltext shows them."""
SQUASHED_CELL = "tanh_c"
"""``tanh(c)``, which the output gate multiplies. A part of a drawn cell."""
RESET, UPDATE, NEW = "r", "z", "n"
"""The GRU's gates and its candidate. Drawings tell a GRU by r and n; celltext shows them."""
RESTART = "reset"
"""``r * h``, or ``r`` times the projected h: one of the two places where a GRU reads h."""
INNER = "inner"
"""``(r * h) W_hn``, of a GRU that resets before the product. A part of a drawn cell."""
KEPT = "kept"
"""``z * h``, which with ``(1 - z) * n`` adds up to h. Drawings find h's way in by it."""


def states_of(node: Node) -> tuple[str, ...]:
    """The roles of states where a node was recorded, the main one first."""
    cell = node.scope.cell
    return STATES if cell is None else cell.states


def is_state(node: Node) -> bool:
    """Whether a node is a state that goes on to the next step."""
    return node.role is not None and node.role in states_of(node)


def hands_on_states(node: Node) -> bool:
    """Whether a node is no state of its own: it only hands on states that are declared."""
    waiting, found = [node], False
    while waiting:
        node = waiting.pop()
        if is_state(node):
            found = True
        elif hands_on(node):
            waiting += [parent for parent in node.parents if parent is not None]
        else:
            return False
    return found
