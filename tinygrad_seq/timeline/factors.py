"""What a step multiplies its state with: recurrent weights, and factors entry by entry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.timeline.entries import index_parts, leaf_behind, only_parent

__all__ = ["Factors", "Product", "find_factors"]


class Product(NamedTuple):
    """A matrix product with what was made of a state."""

    node: Node
    part: tuple[int, int, int] | None = None
    """Where an operand is joined of several, ``[x, h]``: how long it is, and from where to where
    it is made of a state."""


class Factors(NamedTuple):
    """Leaves that a state is multiplied with on its way to the next one."""

    weights: dict[Node, Product]
    """Factors of matrix products, and one of the products."""
    scales: list[Node]
    """Factors entry by entry: of diagonal recurrences, peepholes, gains."""
    columns: bool
    """Whether weights stand on the left, so that sequences are columns."""
    parts: tuple[str, ...]
    """Names of what a product is split into, if all of it has names."""


def find_factors(states: Sequence[Iterable[Node]], inside: Sequence[Sequence[Node]]) -> Factors:
    """The factors in steps one after the other, by their states and the nodes they consist of."""
    weights, scales = dict[Node, Product](), dict[Node, None]()
    parts: tuple[str, ...] = ()
    sides = [0, 0]
    earlier = set[Node]()
    for current, nodes in zip(states, inside, strict=True):
        reached, made = set(earlier), set[Node]()  # from a state before; from products with it
        earlier |= {*current}
        for node in nodes:
            if node.op is None:
                continue
            carried = not reached.isdisjoint(p for p in node.parents if p is not None)
            leaf, index = _factor(node, reached)
            matrix = leaf is not None and _is_matrix_product(node, index)
            if matrix and index < 2:  # products with a state decide
                sides[index] += len(inside) * len(nodes) if carried else 1
            if not carried:
                continue
            reached.add(node)
            if leaf is not None and matrix:
                weights[leaf] = Product(
                    node, _part(node.parents[1 - index] if index < 2 else None, reached)
                )
            elif leaf is not None:
                scales[leaf] = None
            if matrix or not made.isdisjoint(p for p in node.parents if p is not None):
                made.add(node)
        parts = max(parts, _parts(nodes, made), key=len)
    return Factors(weights, [*scales], sides[0] > sides[1], parts)


def _factor(node: Node, reached: Set[Node]) -> tuple[Node | None, int]:
    """The leaf that a node multiplies something with, and as which operand; None of another."""
    assert node.op is not None
    operands: Sequence[Node | None] = ()
    if node.op.axes is Axes.LETTERED:
        operands = node.parents
    elif node.op.product:
        operands = node.parents[:2]  # a third one is a bias
    leaves = [None if p in reached else leaf_behind(p) for p in operands]
    found = [index for index, leaf in enumerate(leaves) if leaf is not None]
    return (leaves[found[0]], found[0]) if len(found) == 1 else (None, 0)


def _is_matrix_product(node: Node, index: int) -> bool:
    """Whether a product adds up over an axis of a factor."""
    assert node.op is not None
    if node.op.axes is Axes.LETTERED:
        terms, out = node.params["spec"].split("->")
        return not set(terms.split(",")[index]) <= set(out)
    return not node.op.pointwise


def _part(operand: Node | None, reached: Set[Node]) -> tuple[int, int, int] | None:
    """Where an operand that is joined of several is made of a state, if that is in one place."""
    while operand is not None and operand.op is not None and operand.op.pointwise:
        operand = only_parent(operand)
    if operand is None or operand.op is None or operand.op.axes is not Axes.JOINED:
        return None
    length = operand.shape[operand.params["axis"]]
    ends = [0, *map(int, operand.params["points"]), length]
    found = [k for k, parent in enumerate(operand.parents) if parent in reached]
    return (length, ends[found[0]], ends[found[0] + 1]) if len(found) == 1 else None


def _parts(nodes: Sequence[Node], made: Set[Node]) -> tuple[str, ...]:
    """Names of the pieces of a product, in order: those that are given to them, or made of them."""
    users: defaultdict[Node, list[Node]] = defaultdict(list)
    pieces: defaultdict[Node, list[tuple[int, str]]] = defaultdict(list)
    for node in reversed(nodes):
        for whole in node.parents:
            if whole is None:
                continue
            users[whole].append(node)
            place = _piece(node)
            if place is not None and whole in made:
                pieces[whole].append((place, _name(node, users)))
    named = [tuple(name for _, name in sorted(several)) for several in pieces.values()]
    return max((n for n in named if all(n) and len({*n}) == len(n) > 1), key=len, default=())


def _piece(node: Node) -> int | None:
    """Where a piece of a whole begins; None of what is none."""
    if node.op is ITEM:
        return int(node.params["index"])
    if node.op is None or node.op.axes is not Axes.PICKED:
        return None
    parts = [part for part in index_parts(node) if part is not ...]
    if not all(isinstance(part, slice) for part in parts):
        return None
    cut = [part for part in parts if part != slice(None)]
    return int(cut[0].start or 0) if len(cut) == 1 else None


def _name(node: Node, users: Mapping[Node, Sequence[Node]]) -> str:
    """The role of a node, or of what only it is made into."""
    while node.role is None:
        after = users.get(node, ())
        if len(after) != 1 or len([p for p in after[0].parents if p is not None]) > 1:
            return ""
        node = after[0]
    return node.role
