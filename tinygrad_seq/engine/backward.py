"""The backward walk: cotangents flow from the outputs to what was asked for.

Nodes are visited by descending ``seq``, without recursion, only along paths that lead to a wanted
node. Cotangents live in a map that belongs to this walk; sums are taken in visiting order, so
they are deterministic. The graph is checked before anything is computed, and results are handed
out only at the end: a refused backward changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeGuard

import numpy as np

from tinygrad_seq.engine.faults import (
    as_contribution,
    no_rule,
    wrong_count,
    wrong_dtype,
    wrong_shape,
)
from tinygrad_seq.engine.hooks import any_hooks, run_hooks
from tinygrad_seq.engine.mode import Observer, current_mode
from tinygrad_seq.engine.node import Node, nodes_behind
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.rules import Lift, arguments, saved_input, unbroadcast
from tinygrad_seq.engine.spread import Spread
from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.engine.unread import unread_by
from tinygrad_seq.engine.variable import Guarded, Variable
from tinygrad_seq.errors import GraphError

__all__ = ["backpropagate"]


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
    order = nodes_behind([node for node, _ in starts], stop)
    useful = None if targets is None else _useful(order, targets)
    passed = _passed(order, useful, stop)
    _check_alive(passed)
    watched = any_hooks() or current_mode.get().observer is not None
    walk = _Walk(useful, lift, None if watched else targets or ())
    for node, cotangent in starts:
        walk.deposit(node, node, cotangent)
    cotangents, propagate = walk.cotangents, walk.propagate
    for node in passed:
        kept = node.owner is not None if targets is None else node in targets
        cotangent = cotangents.get(node) if kept else cotangents.pop(node, None)
        if cotangent is not None:
            propagate(node, walk.watch(node, cotangent) if watched else cotangent)
        if not retain_graph:
            node.free()
    walk.finish_deferred()
    if watched:
        done = stop.union(passed)
        for node in [node for node in cotangents if node not in done]:
            walk.watch(node, cotangents[node])
    return {node: walk.result(node) for node in cotangents if targets is None or node in targets}


def _useful(ascending: list[Node], targets: set[Node]) -> set[Node]:
    """The nodes through which a target can be reached."""
    useful: set[Node] = set()
    for node in ascending:
        if node in targets or any([parent in useful for parent in node.parents]):
            useful.add(node)
    return useful


def _passed(order: list[Node], useful: set[Node] | None, stop: set[Node]) -> list[Node]:
    """The operations whose rules will run, by descending ``seq``."""
    if useful is None:
        return [node for node in reversed(order) if node.op is not None]
    return [
        node
        for node in reversed(order)
        if node in useful
        and node not in stop
        and any([parent in useful for parent in node.parents])
    ]


def _check_alive(passed: list[Node]) -> None:
    """Refuse freed nodes and saved values that were written since."""
    for node in passed:
        if node.freed:
            raise GraphError(
                f"backward a second time through {node}: its saved values were freed by the "
                "first backward",
                expected="one backward per graph",
                hint="detach the carried state between windows: state = state.detach(). Only if "
                "you mean to go twice through one graph, call the first backward with "
                "retain_graph=True",
            )
        if node.inputs is None:
            continue
        for saved in node.inputs:
            if type(saved) is Guarded and saved.pin.stale:
                raise GraphError(
                    f"backward through {node}: the tensor "
                    f"{saved.pin.name or '(unnamed)'} that it saved was written since",
                    expected="saved values unchanged between forward and backward",
                    got=f"an in-place write to a tensor of shape {saved.array.shape}",
                    hint="write after backward(), or write to a copy: t.detach().clone()",
                )


class _Walk:
    """The state of one backward walk: cotangents, who owns them, and deferred products."""

    def __init__(
        self, useful: set[Node] | None, lift: Lift | None, asked: Collection[Node] | None
    ) -> None:
        self.useful = useful
        self.asked = asked  # whose cotangents are wanted; None if somebody looks at all
        self.lift = lift
        self.cotangents: dict[Node, Any] = {}
        self._owned: set[Node] = set()
        self.unread: dict[Node, Any] = {}  # entries that nothing reads: their gradient is 0
        self._deferred: dict[Node, tuple[Node, list[Any], list[list[Any]]]] = {}
        self.observer: Observer | None = current_mode.get().observer

    def deposit(self, node: Node, source: Node, contribution: Any, *, fresh: bool = False) -> None:
        """Add a contribution to a node's cotangent, in the node's own shape and dtype."""
        if type(contribution) is not np.ndarray and not isinstance(contribution, Variable):
            contribution = as_contribution(source, node, contribution)
        if contribution.shape != node.shape:
            contribution = self._fit(node, source, contribution)
            fresh = False
        if contribution.dtype is not node.dtype and contribution.dtype != node.dtype:
            # An operand that was cast for the operation: its cotangent is cast back.
            if source is not node and contribution.dtype != source.dtype:
                raise wrong_dtype(source, node, contribution)
            contribution = contribution.astype(node.dtype)
            fresh = False
        present = self.cotangents.get(node)
        if present is None:
            self.cotangents[node] = contribution
            if fresh:
                self._owned.add(node)
            return
        self.unread.pop(node, None)  # the caller knows better, if it does
        if self.lift is None and node in self._owned:
            np.add(present, contribution, out=present)
        else:
            total = present + contribution
            # A sum of 0-d arrays is a scalar, which cannot be added to in place.
            self.cotangents[node] = np.asarray(total) if self.lift is None else total
            self._owned.add(node)

    def _fit(self, node: Node, source: Node, contribution: Any) -> Any:
        try:
            return unbroadcast(contribution, node.shape)
        except ValueError as error:
            raise wrong_shape(source, node, contribution) from error

    def result(self, node: Node) -> Any:
        """The final cotangent of a node, in memory that nothing else looks into."""
        cotangent = self.cotangents[node]
        if self.lift is None and node not in self._owned:
            return np.array(cotangent)
        return cotangent

    def watch(self, node: Node, cotangent: Any) -> Any:
        """The complete cotangent of a node after the hooks on it; the observer is told of it."""
        changed = run_hooks(node, cotangent)
        if changed is not cotangent:
            self.unread.pop(node, None)  # what a hook says holds
            if node in self.cotangents:
                self.cotangents[node] = changed
                self._owned.discard(node)
        if self.observer is not None:
            for part in changed if type(changed) is list else (changed,):
                if part is not None:
                    value = part._array if isinstance(part, Variable) else part
                    self.observer.received(node, value)
        return changed

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
        if op.joint is not None:
            self._propagate_jointly(node, op, cotangent)
            return
        unread = self.unread
        if op.unread is not None or (unread and node in unread):
            self._propagate_around(node, op, cotangent)
            return
        useful, lift, cotangents, owned = self.useful, self.lift, self.cotangents, self._owned
        for i, parent in enumerate(node.parents):
            if parent is None or (useful is not None and parent not in useful):
                continue
            if op.defer is not None and op.defer[0] == i and self._defer(node, parent, cotangent):
                continue
            rule = op.rules[i]
            if rule is None:
                raise no_rule(node, i)
            if not rule.wants:
                contribution = rule.fn(cotangent)
            elif lift is None and rule.only_input is not None:
                value = node.inputs[rule.only_input]  # type: ignore[index]
                if type(value) is Guarded:
                    value = value.array
                contribution = rule.fn(cotangent, value)
            elif lift is None and rule.only_out:
                contribution = rule.fn(cotangent, node.out)
            else:
                contribution = rule.fn(cotangent, *arguments(node, rule, i, lift, useful))
            if type(contribution) is not np.ndarray:
                self.deposit(parent, node, contribution)
                continue
            fresh = op.makes and contribution.base is None and contribution is not cotangent
            if contribution.shape != parent.shape or contribution.dtype is not parent.dtype:
                self.deposit(parent, node, contribution, fresh=fresh)
                continue
            # As `deposit` does, for arrays that fit: a call for each would cost as much again.
            present = cotangents.get(parent)
            if present is None:
                cotangents[parent] = contribution
                if fresh:
                    owned.add(parent)
            elif lift is None and parent in owned and not unread:
                np.add(present, contribution, present)
            else:
                self.deposit(parent, node, contribution)

    def _leads_on(self, parent: Node | None) -> TypeGuard[Node]:
        """Whether an operand leads to what was asked for."""
        return parent is not None and (self.useful is None or parent in self.useful)

    def _propagate_around(self, node: Node, op: Op, cotangent: Any) -> None:
        """The same where some entries are read by nobody: they get 0, whatever the rule says."""
        unread = self.unread.pop(node, None)
        for i, parent in enumerate(node.parents):
            if not self._leads_on(parent):
                continue
            rule = op.rules[i]
            if rule is None:
                raise no_rule(node, i)
            given = arguments(node, rule, i, self.lift, self.useful)
            contribution = rule.fn(cotangent, *given)
            skipped = unread_by(node, op, i, unread, given)
            if op.pointwise and skipped is not None and skipped.any():
                contribution = np.where(skipped, 0.0, contribution)
            if skipped is not None:
                skipped = unbroadcast((~skipped).astype(np.intp), parent.shape) == 0
            self._deposit_around(parent, node, contribution, skipped)

    def _deposit_around(self, parent: Node, node: Node, contribution: Any, skipped: Any) -> None:
        """Deposit what comes from a node that does not read the entries `skipped` of a parent."""
        if parent in self.cotangents and skipped is not None:
            before = self.unread.get(parent)
            skipped = None if before is None else skipped & before
        self.deposit(parent, node, contribution)
        if skipped is not None:
            self.unread[parent] = skipped

    def _propagate_jointly(self, node: Node, op: Op, cotangent: Any) -> None:
        assert op.joint is not None
        if self.lift is not None and op.twin is not None:
            contributions = self._through_twin(node, op.twin, cotangent)
        else:
            args = arguments(node, op.joint, 0, self.lift, self.useful)
            contributions = op.joint.fn(cotangent, *args)
            if len(contributions) != len(node.parents):
                raise wrong_count(node, contributions)
        unread = self.unread.pop(node, None)
        if unread is not None and op.moves:
            read = op.joint.fn((~unread).astype(node.dtype), *args)
            for parent, contribution, part in zip(node.parents, contributions, read, strict=True):
                if self._leads_on(parent):
                    self._deposit_around(parent, node, contribution, np.asarray(part) == 0)
            return
        parts = cotangent if type(cotangent) is list else (cotangent,)
        for parent, contribution in zip(node.parents, contributions, strict=True):
            if type(contribution) is Spread and self._leads_on(parent):
                self._deposit_spread(parent, node, contribution)
            elif contribution is not None and self._leads_on(parent):
                made = op.makes and getattr(contribution, "base", self) is None
                fresh = made and not any([contribution is part for part in parts])
                self.deposit(parent, node, contribution, fresh=fresh)

    def _deposit_spread(self, picked: Node, source: Node, spread: Spread) -> None:
        """Past a look-up that nobody asks about to its table; else where it belongs."""
        (table,) = picked.parents
        if self.asked is None or picked in self.asked or picked.owner is not None:
            self.deposit(picked, source, spread.whole(), fresh=True)
        elif self._leads_on(table):
            self.deposit(table, picked, spread.sums(table.shape[0]), fresh=True)

    def _through_twin(self, node: Node, twin: Callable[..., Any], cotangent: Any) -> list[Any]:
        """Contributions of a fused node as recorded operations: backward through its twin."""
        outs = twin(
            *[saved_input(node, i, self.lift) for i in range(len(node.parents))], **node.params
        )
        outs = outs if isinstance(outs, tuple) else (outs,)
        cots = cotangent if type(cotangent) is list else [cotangent]
        starts = [(o._node, c) for o, c in zip(outs, cots, strict=True) if o._node is not None]
        wanted = [p for p in node.parents if self._leads_on(p)]
        found = backpropagate(starts, wanted, retain_graph=True, lift=self.lift, partial=True)
        # An operand given twice gets its cotangent, complete for both places, once.
        return [None if p is None else found.pop(p, None) for p in node.parents]

    def _put_item(self, item: Node, cotangent: Any) -> None:
        """Hand a picked output's cotangent to its slot at the node with several outputs."""
        (parent,) = item.parents
        assert parent is not None
        slots = self.cotangents.get(parent)
        if slots is None:
            slots = self.cotangents[parent] = [None] * len(parent.shape)
        unread = self.unread.pop(item, None)
        if unread is not None or parent in self.unread:
            masks = self.unread.setdefault(parent, [slot is None for slot in slots])
            masks[item.params["index"]] = False if unread is None else unread
        slots[item.params["index"]] = cotangent

    def _defer(self, node: Node, weight: Node, cotangent: Any) -> bool:
        """Queue one use of a weight; False if its contribution must be made now."""
        assert node.op is not None and node.op.defer is not None
        if weight.op is not None or self.lift is not None or len(weight.shape) != 2:
            return False
        rule = node.op.defer[1]
        queue = self._deferred.get(weight)
        if queue is None:
            queue = self._deferred[weight] = (node, [], [[] for _ in rule.wants])
        elif queue[0].op is not node.op:
            return False
        queue[1].append(cotangent)
        if rule.only_input is not None:
            queue[2][0].append(saved_input(node, rule.only_input, None))
            return True
        for values, value in zip(queue[2], arguments(node, rule, node.op.defer[0]), strict=True):
            values.append(value)
        return True

    def finish_deferred(self) -> None:
        """Sum what was queued: one product per weight shared through time."""
        for weight, (node, cotangents, values) in self._deferred.items():
            assert node.op is not None and node.op.defer is not None
            contribution = node.op.defer[1].fn(cotangents, *values)
            fresh = node.op.makes and contribution.base is None
            self.deposit(weight, node, contribution, fresh=fresh)
