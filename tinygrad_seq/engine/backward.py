"""The backward walk: cotangents flow from the outputs to what was asked for.

Nodes are visited by descending ``seq``, without recursion, only along paths that lead to a wanted
node. Cotangents live in a map that belongs to this walk; sums are taken in visiting order, so
they are deterministic. Everything is checked before anything is computed, and results are handed
out only at the end: a refused backward changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_seq.engine.mode import Observer, current_mode
from tinygrad_seq.engine.node import Guarded, Node, Variable
from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.errors import GraphError, ShapeError

__all__ = ["backpropagate", "unbroadcast"]

Lift = Callable[[Any, "Node | None"], Any]


def backpropagate(
    outputs: Iterable[tuple[Node, Any]],
    wanted: Iterable[Node] | None = None,
    *,
    retain_graph: bool = False,
    lift: Lift | None = None,
    partial: bool = False,
) -> dict[Node, Any]:
    """Carry cotangents from `outputs` back to the `wanted` nodes (all leaves if None).

    Parameters
    ----------
    outputs : iterable of (node, cotangent)
        Where to start, and with what.
    wanted : iterable of Node, optional
        Nodes whose complete cotangent is returned.
    retain_graph : bool
        Keep the saved values, so that the same graph can go backward again.
    lift : callable, optional
        ``lift(array, node)`` turns saved arrays into variables; rules then run on variables
        and are recorded themselves (gradients of gradients).
    partial : bool
        Treat wanted nodes as independent of one another: do not look past them.

    Returns
    -------
    dict
        Cotangent of every wanted node that was reached.
    """
    starts = list(outputs)
    targets = None if wanted is None else set(wanted)
    stop = targets if partial and targets is not None else set()
    order = _collect([node for node, _ in starts], stop)
    useful = _useful(order, targets)
    _check_alive(order, useful, stop)
    walk = _Walk(useful, lift)
    for node, cotangent in starts:
        walk.deposit(node, node, cotangent)
    found: dict[Node, Any] = {}
    for node in reversed(order):
        cotangent = walk.arrived(node)
        if node.op is not None and node not in stop and walk.leads_on(node):
            if cotangent is not None:
                walk.propagate(node, cotangent)
            if not retain_graph:
                node.free()
        if cotangent is not None and (
            node.owner is not None if targets is None else node in targets
        ):
            found[node] = None
        elif node.op is not None:
            walk.cotangents.pop(node, None)
    walk.finish_deferred()
    for node in walk.deferred:
        found.setdefault(node, None)
    return {node: walk.result(node) for node in found}


def _collect(starts: list[Node], stop: set[Node]) -> list[Node]:
    """Every node reachable from `starts`, by ascending ``seq``; `stop` nodes are not expanded."""
    found = set(starts)
    stack = list(found)
    while stack:
        node = stack.pop()
        if node in stop:
            continue
        for parent in node.parents:
            if parent is not None and parent not in found:
                found.add(parent)
                stack.append(parent)
    return sorted(found, key=_seq)


def _seq(node: Node) -> int:
    return node.seq


def _useful(ascending: list[Node], targets: set[Node] | None) -> set[Node]:
    """The nodes through which a target can be reached."""
    if targets is None:
        return set(ascending)
    useful: set[Node] = set()
    for node in ascending:
        if node in targets or any(parent in useful for parent in node.parents):
            useful.add(node)
    return useful


def _check_alive(order: list[Node], useful: set[Node], stop: set[Node]) -> None:
    """Refuse freed nodes and saved values that were written since."""
    for node in reversed(order):
        if node not in useful or node in stop or not any(p in useful for p in node.parents):
            continue  # the walk does not pass through it
        if node.freed:
            raise GraphError(
                f"backward a second time through {node}: its saved values were freed by the "
                "first backward",
                expected="one backward per graph",
                hint="detach the carried state between windows: state = state.detach(). Only if "
                "you mean to go twice through one graph, call the first backward with "
                "retain_graph=True",
            )
        for saved in node.inputs or ():
            if type(saved) is Guarded and saved.pin.stale:
                raise GraphError(
                    f"backward through {node}: the tensor "
                    f"{saved.pin.name or '(unnamed)'!s} that it saved was written since",
                    expected="saved values unchanged between forward and backward",
                    got=f"an in-place write to a tensor of shape {saved.array.shape}",
                    hint="write after backward(), or write to a copy: t.detach().clone()",
                )


def unbroadcast(cotangent: Any, shape: tuple[int, ...]) -> Any:
    """Sum a cotangent down to `shape`: broadcasting, undone. The one place that does so.

    Works on arrays and, through NumPy's protocols, on variables.
    """
    extra = len(cotangent.shape) - len(shape)
    axes = tuple(range(extra)) + tuple(
        extra + i for i, size in enumerate(shape) if size == 1 and cotangent.shape[extra + i] != 1
    )
    if axes:
        cotangent = np.sum(cotangent, axis=axes, keepdims=True)
    return np.reshape(cotangent, shape) if extra else cotangent


class _Walk:
    """The state of one backward walk: cotangents, who owns them, and deferred products."""

    def __init__(self, useful: set[Node], lift: Lift | None) -> None:
        self.useful = useful
        self.lift = lift
        self.cotangents: dict[Node, Any] = {}
        self._owned: set[Node] = set()
        self.deferred: dict[Node, tuple[Node, list[Any], list[Any]]] = {}
        self.observer: Observer | None = current_mode.get().observer

    def deposit(self, node: Node, source: Node, contribution: Any, *, fresh: bool = False) -> None:
        """Add a contribution to a node's cotangent, in the node's own shape and dtype."""
        if type(contribution) is not np.ndarray and not isinstance(contribution, Variable):
            contribution = np.asarray(contribution)
        if contribution.shape != node.shape:
            contribution = self._fit(node, source, contribution)
            fresh = False
        if contribution.dtype != node.dtype:
            contribution = contribution.astype(node.dtype)
            fresh = False
        self._sum(node, contribution, fresh)

    def _sum(self, key: Node, contribution: Any, fresh: bool) -> None:
        present = self.cotangents.get(key)
        if present is None:
            self.cotangents[key] = contribution
            if fresh:
                self._owned.add(key)
        elif self.lift is None and key in self._owned:
            np.add(present, contribution, out=present)
        else:
            total = present + contribution
            # A sum of 0-d arrays is a scalar, which cannot be added to in place.
            self.cotangents[key] = np.asarray(total) if self.lift is None else total
            self._owned.add(key)

    def _fit(self, node: Node, source: Node, contribution: Any) -> Any:
        try:
            fits = np.broadcast_shapes(contribution.shape, node.shape) == contribution.shape
        except ValueError:
            fits = False
        if not fits:
            raise ShapeError(
                f"the gradient rule of {source} returned a wrong shape",
                expected=f"a shape that {node.shape} broadcasts to",
                got=contribution.shape,
                hint="check the rule with tinygrad_seq.testing.gradcheck",
            )
        return unbroadcast(contribution, node.shape)

    def leads_on(self, node: Node) -> bool:
        """Whether a wanted node lies behind this one."""
        useful = self.useful
        return any([parent in useful for parent in node.parents])

    def result(self, node: Node) -> Any:
        """The final cotangent of a node, in memory that nothing else looks into."""
        cotangent = self.cotangents[node]
        if self.lift is None and node not in self._owned:
            return np.array(cotangent)
        return cotangent

    def arrived(self, node: Node) -> Any:
        """The complete cotangent of a node (a list for several outputs), None if none came."""
        cotangent = self.cotangents.get(node)
        if cotangent is not None and self.observer is not None:
            for part in cotangent if type(cotangent) is list else (cotangent,):
                if part is not None:
                    value = part._data if isinstance(part, Variable) else part
                    self.observer.received(node, value)
        return cotangent

    def propagate(self, node: Node, cotangent: Any) -> None:
        """Run the rules of one node and deposit what they return."""
        op = node.op
        assert op is not None
        if op is ITEM:
            self._put_item(node, cotangent)
            return
        if type(cotangent) is list:
            cotangent = [
                np.zeros(shape, node.dtype) if part is None else part
                for part, shape in zip(cotangent, node.shape, strict=True)
            ]
        inputs, out = self._saved(node)
        if op.joint is not None:
            self._propagate_jointly(node, cotangent, inputs, out)
            return
        for i, parent in enumerate(node.parents):
            if parent is None or parent not in self.useful:
                continue
            if op.defer is not None and op.defer[0] == i and self._defer(node, cotangent, inputs):
                continue
            rule = op.rules[i]
            if rule is None:
                raise GraphError(f"{node} has no gradient to its input {i}: {op.why}")
            args = [self._resolve(name, node, i, inputs, out) for name in rule.wants]
            contribution = rule.fn(cotangent, *args)
            fresh = getattr(contribution, "base", self) is None and contribution is not cotangent
            self.deposit(parent, node, contribution, fresh=fresh)

    def _propagate_jointly(self, node: Node, cotangent: Any, inputs: Any, out: Any) -> None:
        op = node.op
        assert op is not None and op.joint is not None
        if self.lift is not None and op.twin is not None:
            contributions = self._through_twin(node, cotangent, inputs)
        else:
            args = [self._resolve(name, node, 0, inputs, out) for name in op.joint.wants]
            contributions = op.joint.fn(cotangent, *args)
        parts = cotangent if type(cotangent) is list else (cotangent,)
        for parent, contribution in zip(node.parents, contributions, strict=True):
            if parent is not None and parent in self.useful and contribution is not None:
                fresh = getattr(contribution, "base", self) is None and not any(
                    contribution is part for part in parts
                )
                self.deposit(parent, node, contribution, fresh=fresh)

    def _through_twin(self, node: Node, cotangent: Any, inputs: Any) -> list[Any]:
        """Contributions of a fused node as recorded operations: backward through its twin."""
        op = node.op
        assert op is not None and op.twin is not None
        outs = op.twin(*inputs, **node.params)
        outs = outs if isinstance(outs, tuple) else (outs,)
        cots = cotangent if type(cotangent) is list else [cotangent]
        starts = [(o._node, c) for o, c in zip(outs, cots, strict=True) if o._node is not None]
        wanted = [p for p in node.parents if p is not None and p in self.useful]
        found = backpropagate(starts, wanted, retain_graph=True, lift=self.lift, partial=True)
        # An operand given twice gets its cotangent, complete for both places, once.
        return [None if p is None else found.pop(p, None) for p in node.parents]

    def _saved(self, node: Node) -> tuple[Any, Any]:
        """What the node saved: arrays, or variables standing for them under `lift`."""
        inputs = node.inputs or ()
        arrays = [s.array if type(s) is Guarded else s for s in inputs]
        if self.lift is None:
            return arrays, node.out
        lifted = [
            array if array is None else self.lift(array, parent)
            for array, parent in zip(arrays, node.parents, strict=False)
        ]
        return lifted, None if node.out is None else self.lift(node.out, node)

    def _put_item(self, item: Node, cotangent: Any) -> None:
        """Hand a picked output's cotangent to its slot at the node with several outputs."""
        (parent,) = item.parents
        assert parent is not None
        slots = self.cotangents.setdefault(parent, [None] * len(parent.shape))
        index = item.params["index"]
        if slots[index] is not None:
            total = slots[index] + cotangent
            cotangent = np.asarray(total) if self.lift is None else total
        slots[index] = cotangent

    def _defer(self, node: Node, cotangent: Any, inputs: Any) -> bool:
        """Queue a shared weight's (operand, cotangent) pair; False if it must be done now."""
        assert node.op is not None and node.op.defer is not None
        index, left, _ = node.op.defer
        parent = node.parents[index]
        assert parent is not None
        lefts = inputs[left]
        if not (parent.is_leaf and self.lift is None and len(parent.shape) == 2):
            return False
        queue = self.deferred.setdefault(parent, (node, [], []))
        if queue[0].op is not node.op:
            return False
        queue[1].append(lefts)
        queue[2].append(cotangent)
        return True

    def finish_deferred(self) -> None:
        """Multiply what was queued: one product per weight shared through time."""
        for parent, (node, lefts, cotangents) in self.deferred.items():
            assert node.op is not None and node.op.defer is not None
            self.deposit(parent, node, node.op.defer[2](lefts, cotangents), fresh=True)

    def _resolve(self, name: str, node: Node, index: int, inputs: Any, out: Any) -> Any:
        """The value of what a rule asked for by name."""
        op = node.op
        assert op is not None
        if name in op.inputs:
            return inputs if op.variadic else inputs[op.inputs.index(name)]
        if name == "out":
            return out
        if name == "shape":
            parent = node.parents[index]
            return None if parent is None else parent.shape
        if name == "residuals":
            return node.residuals
        if name == "needs":
            return tuple(parent in self.useful for parent in node.parents)
        return node.params[name]
