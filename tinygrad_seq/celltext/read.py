"""What every unit and gate of a character model does at every character of a text.

The model runs one character at a time, composed of single operations, so that every gate is a
node of its own; the roles that nodes were tagged with say which is which, and the form of the cell
that recorded them which are its states and gates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from tinygrad_seq import nn, ops
from tinygrad_seq.celltext.probe import Told, carried, found_states
from tinygrad_seq.checks import choice, function_of, instance_of, sequence_of
from tinygrad_seq.engine.mode import composed, enable_grad, observe
from tinygrad_seq.engine.node import Array, Node
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.engine.scope import CellForm
from tinygrad_seq.errors import ConfigError, GraphError, TinygradSeqError
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.timeline import roles
from tinygrad_seq.timeline.entries import index_parts
from tinygrad_seq.transforms import grad
from tinygrad_seq.transforms.nest import leaves, map_nest, rebuild

__all__ = ["Key", "Reading", "asked_roles", "connectivity", "label", "read"]

_BATCH = 64  # positions whose gradients are taken at a time
_ENTRIES = 1 << 23  # of the one-hot rows of such a batch, at most


Key = tuple[str, str]
"""A layer (``"rnn.l0"``) and the role of its nodes (``"f"``)."""

_LOOP = CellForm("", roles.STATES, (*roles.GATES, roles.RESET, roles.UPDATE, roles.NEW))
"""What is looked for where no cell says what its states and gates are: a loop of one's own."""
_LABELS = {
    roles.SQUASHED_CELL: "tanh(c)",
    "i": "input gate i",
    "f": "forget gate f",
    "o": "output gate o",
    "g": "candidate g",
    "r": "reset gate r",
    "z": "update gate z",
    "n": "candidate n",
}


def label(role: str) -> str:
    """What the page calls a quantity: its customary name, if it has one."""
    return _LABELS.get(role, role)


def asked_roles(quantities: Iterable[str]) -> list[str]:
    """The quantities asked for, if they are names."""
    if isinstance(quantities, Iterator):
        quantities = islice(quantities, 100)  # it may have no end
    given = sequence_of("cell_text: quantities", quantities, "names, as ('h', 'f')")
    found = [instance_of("cell_text: a quantity", role, str) for role in given]
    if not found:
        raise ConfigError("cell_text: quantities", expected="at least one name", got="none")
    return found


@dataclass(frozen=True)
class Reading:
    """A text as a model read it.

    Attributes
    ----------
    values : dict
        By layer (``"rnn.l0"``) and role (``"f"``), an array (T, H): entry t was computed from
        the characters up to and including t.
    gates : frozenset
        The keys whose values lie in [0, 1]; all others may have either sign.
    logits : ndarray (T, V)
        Of the character after each.
    states : list
        T states, each after its character: nests of arrays.
    """

    values: dict[Key, Array]
    gates: frozenset[Key]
    logits: Array
    states: list[Any]


class _Tagged:
    """Keeps the values of one step until it is known which roles they have."""

    def __init__(self) -> None:
        self.step: list[tuple[Node, Array]] = []

    def recorded(self, node: Node, value: Array) -> None:
        """Keep a node and its value: its tag comes after it is recorded."""
        if node.op is not None and node.op.outputs == 1:
            self.step.append((node, value))

    def received(self, node: Node, cotangent: Array) -> None:
        """Nothing goes backward here."""

    def nodes(self) -> list[Node]:
        """The nodes of the step, and make room for the next."""
        step, self.step = self.step, []
        return [node for node, _ in step]

    def take(self, told: Told) -> dict[Key, tuple[Node, Array]]:
        """The states and tagged nodes of the step and their values, and make room for the next.

        What is `told` of a node that has no tag is taken for it.
        """
        found: dict[Key, tuple[Node, Array]] = {}
        for k, (node, value) in enumerate(self.step):
            place, count = node.scope.place or "cell", 2
            if node.role is None and k in told and told[k].name == node.name:
                node = told[k]
            if node.role is None:
                continue
            name = place
            while (name, node.role) in found:  # a loop of one's own with several cells
                name, count = f"{place} ({count})", count + 1
            found[name, node.role] = node, value.reshape(-1)
        self.step = []
        return found


def _offered(form: CellForm | None) -> tuple[str, ...]:
    """The quantities of a cell, in the order they are shown."""
    form = form or _LOOP
    return (roles.STATE, roles.SQUASHED_CELL, *form.states, *form.gates)


def _chosen(tagged: dict[Key, tuple[Node, Array]], asked: Iterable[str] | None) -> list[Key]:
    """Which of the tagged nodes of a step are kept, layer by layer."""
    if asked is None:
        found = [key for key, (node, _) in tagged.items() if key[1] in _offered(node.scope.cell)]
        squashed = {layer for layer, role in found if role == roles.SQUASHED_CELL}
        found = [key for key in found if key[1] != roles.CELL or key[0] not in squashed]
    else:
        known = dict.fromkeys([*_offered(None), *(role for _, role in tagged)])
        wanted = {choice(*known)("cell_text: a quantity", role) for role in asked}
        found = [key for key in tagged if key[1] in wanted]
    for key in found:
        scope = tagged[key][0].scope
        if "reverse" in scope.path.split("."):
            raise ConfigError(
                "cell_text: a layer that reads backwards",
                expected="a model that reads from left to right",
                got=f"{scope.place}, bidirectional",
            )
    layers = list(dict.fromkeys(layer for layer, _ in found))

    def place(key: Key) -> tuple[int, int]:
        names = _offered(tagged[key][0].scope.cell)
        return layers.index(key[0]), names.index(key[1]) if key[1] in names else len(names)

    return sorted(found, key=place)


def read(model: nn.Module, ids: Array, quantities: Iterable[str] | None = None) -> Reading:
    """Run a model over a text, one character after the other, and keep what its units did.

    Parameters
    ----------
    model : Module
        ``model(tokens (T, N), state) -> (logits (T, N, V), state)``. Its mode, its gradients and
        its generators are left alone.
    ids : integer array (T,)
    quantities : iterable of str, optional
        Which roles to keep; by default the states and gates that cells declare, and the states
        of loops written by hand.

    Raises
    ------
    GraphError
        If no node has one of these roles.
    ConfigError
        If a layer reads backwards.
    """
    instance_of("cell_text: model", model, nn.Module, hint="one called as model(tokens, state)")
    function_of("cell_text: model", model, ids, None)
    tagged, state = _Tagged(), None
    kept: dict[Key, list[Array]] = {}
    gates: frozenset[Key] = frozenset()
    logits, states = [], []
    with nn.evaluating(model), enable_grad(), composed(), observe(tagged):
        first, later = found_states(lambda *given: _answer(model(*given)), ids, tagged.nodes)
        for t in range(len(ids)):
            out, state = _answer(model(ids[t : t + 1, None], state))
            state = carried(state) if later else nn.detach(state)
            logits.append(out.data.reshape(-1))
            states.append(map_nest(lambda part: part.data, state))
            step = tagged.take(later if t else first)
            if t == 0:
                kept = {key: [] for key in _chosen(step, quantities)}
                gates = frozenset(key for key in kept if step[key][0].name == "sigmoid")
            for key in [key for key in kept if key not in step]:
                del kept[key]
            for key, rows in kept.items():
                rows.append(step[key][1])
    if not kept:
        raise GraphError(
            "cell_text: no unit was recorded",
            expected=f"nodes tagged {', '.join(map(repr, quantities or _offered(None)))}",
            got="a model with none of them",
            hint="use a layer of nn, or tag the states of your own: h = tgs.tanh(z).tag('h')",
        )
    return Reading(
        {key: np.stack(rows) for key, rows in kept.items()}, gates, np.stack(logits), states
    )


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
        axes = _axes(model(np.repeat(ids[:1, None], 2, axis=1), None)[1], reading.states[0])
        for group in groups:
            rows = np.array(group)
            start = np.maximum(rows - length + 1, 0)
            tokens = ids[start + np.arange(length)[:, None]]  # (K, rows)
            state = None
            if start.any():
                state = _side_by_side([reading.states[s - 1] for s in start], axes)
            norms = norms_of(model, tokens, state, rows - start, targets[rows], symbols)
            for n, t in enumerate(rows):
                last = t - start[n]
                found[t, : last + 1] = norms[last::-1, n]
    return found


def _axes(two: Any, one: Any) -> list[int]:
    """Where sequences stand in every part of a state: that of two is longer there."""
    found = []
    for part, other in zip(leaves(two), leaves(one), strict=True):
        longer = [k for k, (n, m) in enumerate(zip(part.shape, other.shape, strict=True)) if n > m]
        found.append(longer[0] if longer else other.ndim - 2)
    return found


def _side_by_side(states: list[Any], axes: list[int]) -> Any:
    """States of one sequence each as the state of a batch."""
    columns = zip(zip(*map(leaves, states), strict=True), axes, strict=True)
    joined = [Tensor(np.concatenate(parts, axis=axis)) for parts, axis in columns]
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
        ids = _looked_up(node)
        table = node.parents[0] if ids is not None else None
        if table is None or not table.is_leaf:
            return
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


def _looked_up(node: Node) -> Any:
    """The numbers by which a node takes rows of its operand; None of another node."""
    if node.op is None or node.op.name == "take":
        return None if node.op is None else node.params["ids"]
    parts = index_parts(node) if node.op.axes is Axes.PICKED else ()
    return parts[0] if len(parts) == 1 and isinstance(parts[0], np.ndarray) else None


def _table(node: Node) -> Tensor:
    leaf = node.parents[0]
    owner = leaf.owner() if leaf is not None and leaf.owner is not None else None
    assert isinstance(owner, Tensor)  # the model is alive
    return owner
