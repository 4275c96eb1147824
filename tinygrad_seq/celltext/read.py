"""What every unit and gate of a character model does at every character of a text.

The model runs one character at a time, composed of single operations, so that every gate is a
node of its own; the roles that nodes were tagged with say which is which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from tinygrad_seq import nn, ops
from tinygrad_seq.checks import choice, function_of, sequence_of
from tinygrad_seq.engine.mode import composed, enable_grad, observe
from tinygrad_seq.engine.node import Array, Node
from tinygrad_seq.errors import ConfigError, GraphError, TinygradSeqError
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.transforms import grad
from tinygrad_seq.transforms.nest import leaves, map_nest, rebuild

__all__ = ["QUANTITIES", "Quantity", "Reading", "asked_roles", "connectivity", "read"]

_BATCH = 64  # positions whose gradients are taken at a time
_ENTRIES = 1 << 23  # of the one-hot rows of such a batch, at most


@dataclass(frozen=True)
class Quantity:
    """Something that a recurrent unit has a value of at every step."""

    role: str
    """The tag of its nodes."""
    label: str
    gate: bool
    """Whether it lies in [0, 1]; everything else may have either sign."""


QUANTITIES = {
    role: Quantity(role, label, gate)
    for role, label, gate in (
        ("h", "h", False),
        ("tanh_c", "tanh(c)", False),
        ("c", "c", False),
        ("i", "input gate i", True),
        ("f", "forget gate f", True),
        ("o", "output gate o", True),
        ("g", "candidate g", False),
        ("r", "reset gate r", True),
        ("z", "update gate z", True),
        ("n", "candidate n", False),
    )
}
"""By role, in the order they are offered: of the RNN (h), the LSTM, and the GRU (h, r, z, n)."""


def asked_roles(quantities: Iterable[str]) -> list[str]:
    """The quantities asked for, if all are known."""
    if isinstance(quantities, Iterator):
        quantities = islice(quantities, 100)  # it may have no end
    given = sequence_of("cell_text: quantities", quantities, "names: " + ", ".join(QUANTITIES))
    roles = [choice(*QUANTITIES)("cell_text: quantities", role) for role in given]
    if not roles:
        raise ConfigError("cell_text: quantities", expected=", ".join(QUANTITIES), got="none")
    return roles


@dataclass(frozen=True)
class Reading:
    """A text as a model read it.

    Attributes
    ----------
    values : dict
        By layer (``"rnn.l0"``) and role (``"f"``), an array (T, H): entry t was computed from
        the characters up to and including t.
    logits : ndarray (T, V)
        Of the character after each.
    states : list
        T states, each after its character: nests of arrays.
    """

    values: dict[tuple[str, str], Array]
    logits: Array
    states: list[Any]


class _Gates:
    """Keeps the values of one step until it is known which roles they have."""

    def __init__(self, roles: Iterable[str]) -> None:
        self.roles = set(roles)
        self.step: list[tuple[Node, Array]] = []

    def recorded(self, node: Node, value: Array) -> None:
        """Keep a node and its value: its tag comes after it is recorded."""
        if node.op is not None and node.op.outputs == 1:
            self.step.append((node, value))

    def received(self, node: Node, cotangent: Array) -> None:
        """Nothing goes backward here."""

    def take(self) -> dict[tuple[str, str], Array]:
        """The tagged values of the step, and make room for the next."""
        found: dict[tuple[str, str], Array] = {}
        for node, value in self.step:
            if node.role not in self.roles:
                continue
            if "reverse" in node.scope.path.split("."):
                raise ConfigError(
                    "cell_text: a layer that reads backwards",
                    expected="a model that reads from left to right",
                    got=f"{node.scope.place}, bidirectional",
                )
            place, count = node.scope.place or "cell", 2
            while (place, node.role) in found:  # a loop of one's own with several cells
                place, count = f"{node.scope.place or 'cell'} ({count})", count + 1
            found[place, node.role] = value.reshape(-1)
        self.step = []
        return found


def read(model: nn.Module, ids: Array, roles: Iterable[str]) -> Reading:
    """Run a model over a text, one character after the other, and keep what its units did.

    Parameters
    ----------
    model : Module
        ``model(tokens (T, N), state) -> (logits (T, N, V), state)``. Its mode, its gradients and
        its generators are left alone.
    ids : integer array (T,)
    roles : iterable of str
        Which of :data:`QUANTITIES` to keep.

    Raises
    ------
    GraphError
        If no node has one of these roles.
    ConfigError
        If a layer reads backwards.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(
            "cell_text: model",
            expected="a Module that is called as model(tokens, state)",
            got=f"a {type(model).__name__}",
        )
    function_of("cell_text: model", model, ids, None)
    gates, state = _Gates(roles), None
    steps: list[dict[tuple[str, str], Array]] = []
    logits, states = [], []
    with nn.evaluating(model), enable_grad(), composed(), observe(gates):
        for t in range(len(ids)):
            out, state = _answer(model(ids[t : t + 1, None], state))
            state = nn.detach(state)
            logits.append(out.data.reshape(-1))
            states.append(map_nest(lambda part: part.data, state))
            steps.append(gates.take())
    found = [key for key in steps[0] if all(key in step for step in steps)]
    if not found:
        raise GraphError(
            "cell_text: no unit was recorded",
            expected=f"nodes tagged {', '.join(map(repr, gates.roles))}",
            got="a model with none of them",
            hint="use a layer of nn, or tag the states of your own: h = tgs.tanh(z).tag('h')",
        )
    layers = list(dict.fromkeys(layer for layer, _ in found))
    ordered = [(layer, role) for layer in layers for role in QUANTITIES if (layer, role) in found]
    values = {key: np.stack([step[key] for step in steps]) for key in ordered}
    return Reading(values, np.stack(logits), states)


def _answer(found: Any) -> tuple[Tensor, Any]:
    """What the model returned, if it is logits and a state."""
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], Tensor):
        return found
    raise ConfigError(
        "cell_text: what the model returns",
        expected="(logits, state)",
        got=f"a {type(found).__name__}",
    )


# -- which characters a prediction depends on -----------------------------------------------------


def connectivity(
    model: nn.Module, ids: Array, targets: Array, reading: Reading, horizon: int
) -> Array:
    r"""How strongly each prediction depends on each of the characters before it.

    Entry (t, k) is the Euclidean norm of ``d log p_t(target_t) / d x_{t-k}``: x_s is the one-hot
    row (V,) of the character at s, and p_t the softmax of the logits after reading x_0 .. x_t. The
    derivative is exact. Where `horizon` is shorter than the text, the run that is differentiated
    starts from the recorded state before x_{t-horizon+1}, so that no character is left out of
    p_t, only out of the table.

    Parameters
    ----------
    model : Module
        As for :func:`read`. Its first operation is a recurrent or linear layer on one-hot
        rows, or a look-up (an embedding); the derivative is with respect to the one-hot row
        either way.
    ids, targets : integer arrays (T,)
    reading : Reading
        Of the same model and text.
    horizon : int
        K, the number of characters looked back at, the present one included.

    Returns
    -------
    ndarray (T, K), float64
        NaN before the beginning of the text.
    """
    steps, length = len(ids), min(horizon, len(ids))
    found = np.full((steps, length), np.nan)
    symbols = reading.logits.shape[1]
    batch = int(np.clip(_ENTRIES // (length * symbols), 1, _BATCH))
    # All rows are `length` long. Those near the beginning start at 0 and are read before their end.
    groups = [range(t, min(t + batch, length)) for t in range(0, length, batch)]
    groups += [range(t, min(t + batch, steps)) for t in range(length, steps, batch)]
    with nn.evaluating(model), enable_grad():
        norms_of = _by_look_up if _looks_up(model, ids[:1, None]) else _by_one_hot
        for group in groups:
            rows = np.array(group)
            start = np.maximum(rows - length + 1, 0)
            tokens = ids[start + np.arange(length)[:, None]]  # (K, rows)
            state = None
            if start.any():
                state = _side_by_side([reading.states[s - 1] for s in start])
            norms = norms_of(model, tokens, state, rows - start, targets[rows], symbols)
            for n, t in enumerate(rows):
                last = t - start[n]
                found[t, : last + 1] = norms[last::-1, n]
    return found


def _side_by_side(states: list[Any]) -> Any:
    """States of one row each as the state of a batch."""
    columns = zip(*map(leaves, states), strict=True)
    joined = [Tensor(np.concatenate(parts, axis=parts[0].ndim - 2)) for parts in columns]
    return rebuild(states[0], joined)


def _looks_up(model: nn.Module, tokens: Array) -> bool:
    """Whether the model begins with a look-up of its tokens."""
    look_ups = _LookUps(tokens)
    with observe(look_ups):
        model(tokens, None)
    return bool(look_ups.nodes)


def _by_look_up(
    model: nn.Module, tokens: Array, state: Any, last: Array, targets: Array, symbols: int
) -> Array:
    """Norms (K, N) of the gradients of ``log p(targets)``, read at step `last` of every row."""
    look_ups = _LookUps(tokens)
    with observe(look_ups):
        loss = _loss(model(tokens, state)[0], last, targets)
        grad(loss, look_ups.tables(), allow_unused=True)
    return _norms(look_ups.one_hot_gradient(symbols))


def _by_one_hot(
    model: nn.Module, tokens: Array, state: Any, last: Array, targets: Array, symbols: int
) -> Array:
    """The same for a model that takes floats: the one-hot rows themselves are the input."""
    dtype = next(model.parameters()).dtype
    x = Tensor(np.eye(symbols, dtype=dtype)[tokens], requires_grad=True)
    try:
        loss = _loss(model(x, state)[0], last, targets)
    except TinygradSeqError as error:
        raise ConfigError(
            "connectivity: the model takes neither a look-up nor one-hot rows of its tokens",
            expected="nn.Embedding, tgs.take, a recurrent or a linear layer first",
            got=str(error),
            hint="horizon=0 leaves the connectivity out",
        ) from error
    return _norms(grad(loss, x).data)


def _loss(logits: Tensor, last: Array, targets: Array) -> Tensor:
    return ops.cross_entropy(logits[last, np.arange(len(last))], targets, reduction="sum")


def _norms(gradient: Array) -> Array:
    norms: Array = np.linalg.norm(gradient.astype(np.float64), axis=-1)
    return norms


class _LookUps:
    """Notes where rows of a table are picked by the tokens, and the cotangents they get."""

    def __init__(self, tokens: Array) -> None:
        self.tokens = tokens
        self.nodes: dict[Node, Any] = {}  # and the steps that each stands for
        self.cotangents: dict[Node, Array] = {}

    def recorded(self, node: Node, value: Array) -> None:
        """Note a look-up of all the tokens, or of those of the next step."""
        table = node.parents[0] if node.op is not None and node.op.name == "take" else None
        if table is None or not table.is_leaf:
            return
        ids = node.params["ids"]
        step = sum(isinstance(place, int) for place in self.nodes.values())
        if np.array_equal(ids, self.tokens):
            self.nodes[node] = slice(None)
        elif step < len(self.tokens) and np.array_equal(ids, self.tokens[step]):
            self.nodes[node] = step

    def received(self, node: Node, cotangent: Array) -> None:
        """Keep what reaches a look-up."""
        if node in self.nodes:
            self.cotangents[node] = np.array(cotangent)

    def tables(self) -> list[Tensor]:
        """The tables, each once."""
        return list({id(table): table for table in map(_table, self.nodes)}.values())

    def one_hot_gradient(self, symbols: int) -> Array:
        """The gradient of the one-hot rows (K, N, V) that the look-ups stand for: g table^T."""
        found = np.zeros((*self.tokens.shape, symbols))
        for node, cotangent in self.cotangents.items():
            found[self.nodes[node]] += cotangent @ _table(node).data.T
        return found


def _table(node: Node) -> Tensor:
    leaf = node.parents[0]
    owner = leaf.owner() if leaf is not None and leaf.owner is not None else None
    assert isinstance(owner, Tensor)  # the model is alive
    return owner
