"""A graph told anew: with the time of loops that nobody declared, as if they had been.

The recorded nodes stay as they are; copies of them, with the same ``seq``, carry the scopes and
roles that layers of ours would have given them. So drawings and figures know one kind of graph.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Set
from copy import copy
from typing import Any

from tinygrad_seq.engine.node import Enters, Node, nodes_behind
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.engine.scope import CellForm
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.timeline.entries import leaf_behind
from tinygrad_seq.timeline.inputs import given_at_steps, inputs_of, is_weight
from tinygrad_seq.timeline.loops import Timed, find_loops
from tinygrad_seq.timeline.roles import CELL, INPUT, LOGITS, LOSS, RESERVED, STATE, is_state
from tinygrad_seq.timeline.states import Loop
from tinygrad_seq.timeline.uses import is_pictured

__all__ = ["names_of", "retold"]

Names = Mapping[Node, str]


def retold(roots: Iterable[Node], names: Names | None = None) -> list[Node]:
    """Copies of `roots`, whose graph says of every loop what a layer would have said.

    Parameters
    ----------
    roots : iterable of Node
    names : mapping, optional
        Names of nodes, as :func:`names_of` has them: of leaves, and of results at some step for
        what does the same at every step.
    """
    roots = list(roots)
    nodes = nodes_behind(roots)
    detached = _detached(nodes)
    timed = find_loops(nodes, detached)
    telling = _Telling(timed, detached, {} if names is None else names)
    told = set[int]()
    for number, loop in enumerate(timed.loops):
        if not _ran_by_a_layer(loop):
            told.add(number)
            telling.tell(number, loop)
        elif number in timed.recounted:
            telling.count_on(number, loop)
    if told:
        telling.scopes |= {node: {"step": None} for node in timed.sums}
    telling.tell_cuts()
    telling.tell_readouts(told)
    telling.tell_last_readout(nodes, told)
    telling.name_leaves(nodes)
    return telling.copied(roots, nodes)


def _detached(nodes: list[Node]) -> dict[Node, dict[int, Node]]:
    """By node and operand what that was detached from, where it is in the graph as well."""
    noting = [node for node in nodes if hasattr(node, "detached")]
    there = set(nodes) if noting else set()
    found: dict[Node, dict[int, Node]] = {}
    for node in noting:
        for index, refs in node.detached.items():
            origins = [origin for ref in refs if (origin := ref()) in there]
            if origins:  # of a stack of layers its own
                found.setdefault(node, {})[index] = _last_of(
                    max(
                        (origin for origin in origins if origin is not None),
                        key=lambda o: (o.scope.layer == node.scope.layer, o.seq),
                    )
                )
    return found


def _last_of(origin: Node) -> Node:
    """The last step of what a layer put together of its steps."""
    while origin.op is not None and origin.op.axes is Axes.STACKED:
        origin = max((p for p in origin.parents if p is not None), key=lambda p: p.seq)
    return origin


def _ran_by_a_layer(loop: Loop) -> bool:
    """Whether a layer ran it whose cell has a picture: that says everything already."""
    return any(n.scope.step is not None and is_pictured(n) for n in loop.nodes)


class _Telling:
    """What is to be said of which node."""

    def __init__(
        self, timed: Timed, detached: Mapping[Node, Mapping[int, Node]], names: Names
    ) -> None:
        self.timed, self.detached = timed, detached
        self.names = {node: name for node, name in names.items() if name not in RESERVED}
        self.scopes: dict[Node, dict[str, Any]] = {}
        self.roles: dict[Node, str] = {}
        self.labels: dict[Node, str] = {}
        self.enters: defaultdict[Node, dict[int, Enters]] = defaultdict(dict)
        self.paths: set[str] = set()
        self.of_head: dict[tuple[Node, int], str] = {}
        self.of_tail: dict[Node, str] = {}
        """Names of the states that operands take, and that nodes are."""
        self._elsewhere: dict[int, set[Node]] = {}
        self.inputs: dict[Node, dict[str, Any]] = {}
        """Leaves that enter one step, and where."""
        self.starting: dict[Node, str] = {}
        """Leaves that a state starts from, and which."""

    def name_leaves(self, nodes: Iterable[Node]) -> None:
        """Names of leaves: of variables, else h0 of a start, and W1, W2, ... in order of use."""
        leaves = dict.fromkeys(p for n in nodes for p in n.parents if p is not None and not p.op)
        count = 0
        for leaf in leaves:
            if leaf in self.names:
                self.labels[leaf] = self.names[leaf]
            elif not leaf.label and leaf in self.starting:
                self.labels[leaf] = f"{self.starting[leaf]}0"
            elif not leaf.label and leaf not in self.inputs:
                count += 1
                self.labels[leaf] = f"W{count}"

    # -- loops -----------------------------------------------------------------------------------

    def tell(self, number: int, loop: Loop) -> None:
        """Give the nodes of a loop their step, their cell and their states."""
        form, states = self._form(loop)
        path, layer = self._path(loop, form), _layer(loop)
        aligned = self.timed.aligned[number]
        for node, step in loop.nodes.items():
            cell = form if node.scope.cell is None or states else node.scope.cell
            said = node.scope.layer
            where = {"path": path, "layer": layer if said is None else said}
            self.scopes[node] = {**where, "step": aligned.step(step), "cell": cell}
        named = self._named(loop)
        for node in loop.nodes:
            if node in named and node.role is None:
                self.roles[node] = named[node]
        starting = self._only_starting(loop)
        for name, state in zip(self._names(loop), loop.states, strict=True):
            for tail in state.tails:
                self.roles[tail] = name
                self.scopes[tail]["cell"] = form
            self.of_head |= dict.fromkeys(state.heads, name)
            self.of_tail |= dict.fromkeys(state.tails, name)
        given = given_at_steps(loop, self.timed.signs)
        for node, index in loop.starts:
            if (self.timed.signs[node], index) in given:
                continue
            leaf = node.parents[index]
            if leaf is None or leaf.op is not None or leaf in starting:
                self.enters[node][index] = self._start(node, index, self.of_head[node, index])
            else:  # that is a weight besides
                self.enters[node][index + len(node.parents)] = self._trained(
                    leaf, self.of_head[node, index]
                )
        self._tell_inputs(loop)
        for node in loop.nodes if layer is None else ():  # a context at every step is no state
            for index, parent in enumerate(node.parents):
                other = parent is not None and parent in self.elsewhere(number)
                if other and index not in self.enters[node]:
                    self.enters[node][index] = Enters(note="read")

    def elsewhere(self, number: int) -> Set[Node]:
        """The nodes of loops on other time axes."""
        axis = self.timed.aligned[number].axis
        if axis not in self._elsewhere:
            others = zip(self.timed.loops, self.timed.aligned, strict=True)
            nodes = (loop.nodes.keys() for loop, there in others if there.axis != axis)
            self._elsewhere[axis] = set().union(*nodes)
        return self._elsewhere[axis]

    def tell_cuts(self) -> None:
        """What was detached, of states."""
        for node, cut in self.detached.items():
            for index, origin in cut.items():
                said = origin.role if is_state(origin) else ""
                name = self.of_head.get((node, index)) or self.of_tail.get(origin, said)
                timed = node in self.scopes or node.scope.step is not None
                if name and timed and not is_pictured(node):
                    self.enters[node][index] = Enters(name, "cut", origin)

    def count_on(self, number: int, loop: Loop) -> None:
        """Give steps that go on to the windows of a layer; the rest it has said itself."""
        aligned = self.timed.aligned[number]
        for node, step in loop.nodes.items():
            if node.scope.step is not None:
                self.scopes[node] = {"step": aligned.step(step)}
        for node, (owner, step) in self.timed.readouts.items():
            if owner == number and node.scope.step is not None:
                self.scopes[node] = {"step": aligned.step(step)}

    def _form(self, loop: Loop) -> tuple[CellForm, bool]:
        """What the cell says of itself, or what is found of it; and whether it was found."""
        names = self._names(loop)
        tails = sorted((n for state in loop.states for n in state.tails), key=lambda n: -n.seq)
        for tail in tails:  # the latest first: a cell gives out its states after those inside it
            cell = tail.scope.cell
            if cell is not None and {*names} <= {*cell.states}:
                return cell, False
        straight = [s.straight for s in loop.states]
        order = sorted(range(len(names)), key=lambda k: straight[k])
        home = _home(loop)
        kinds = [n.scope.module for n in loop.nodes if n.scope.path == home and n.scope.module]
        title = max(set(kinds), key=kinds.count) if kinds else ", ".join(names[k] for k in order)
        return CellForm(title or "loop", tuple(names[k] for k in order) or (STATE,)), True

    def _names(self, loop: Loop) -> list[str]:
        """Names of the states: declared, of variables, or h and, of a straight one, c."""
        found: list[str] = []
        for state in loop.states:
            known = [n.role for n in state.tails if n.role] or [
                self.names[n] for n in reversed(state.tails) if n in self.names
            ]
            name = known[0] if known else CELL if state.straight and len(loop.states) > 1 else STATE
            found.append(_numbered(name, found, ""))
        return found

    def _path(self, loop: Loop, form: CellForm) -> str:
        if _layer(loop) is not None:
            return _home(loop)
        return self._unique(_home(loop) or form.title)

    def _named(self, loop: Loop) -> dict[Node, str]:
        """Names of variables, for all nodes that do the same at their step."""
        signs = self.timed.signs
        named = {signs[node]: name for node, name in self.names.items() if node in loop.nodes}
        alike: defaultdict[int, list[Node]] = defaultdict(list)
        for node in loop.nodes:
            if signs[node] in named:
                alike[signs[node]].append(node)
        found: dict[Node, str] = {}
        for sign, same in alike.items():
            if len({loop.nodes[node] for node in same}) == len(same):  # one at every step
                found |= dict.fromkeys(same, named[sign])
        return found

    def _only_starting(self, loop: Loop) -> set[Node]:
        """The leaves that are nothing else than starts of the loop."""
        taken: defaultdict[Node, set[Node]] = defaultdict(set)
        for node, index in loop.starts:
            parent = node.parents[index]
            if parent is not None:
                taken[parent].add(node)
        return {leaf for leaf, users in taken.items() if users >= {*self.timed.users[leaf]}}

    def _trained(self, leaf: Node, state: str) -> Enters:
        return Enters(state, self.names.get(leaf) or leaf.label or f"{state}0")

    def _start(self, node: Node, index: int, state: str) -> Enters:
        leaf = leaf_behind(node.parents[index])
        if leaf is not None:
            self.starting[leaf] = state
        if node.parents[index] is not None:
            return Enters(state)
        if index in getattr(node, "detached", {}):
            return Enters(state, "cut")
        constant = node.constant(index)
        return Enters(state, "zero" if constant is not None and constant.zero else "")

    def _tell_inputs(self, loop: Loop) -> None:
        taken = {(node, i) for node in loop.nodes for i in self.enters.get(node, {})}
        for node, index in inputs_of(loop, self.timed, taken):
            self.enters[node][index] = Enters()
            parent = node.parents[index] if index < len(node.parents) else None
            if parent is not None:
                self.inputs[parent] = self.scopes[node]

    # -- readouts --------------------------------------------------------------------------------

    def tell_readouts(self, loops: set[int]) -> None:
        """Give what is read out at every step its step; outputs and losses have their rows."""
        by_place: defaultdict[tuple[int, int], list[Node]] = defaultdict(list)
        for node, (number, step) in self.timed.readouts.items():
            if number in loops and (node.scope.step is None or not node.scope.path):
                aligned = self.timed.aligned[number]
                by_place[aligned.axis, aligned.step(step)].append(node)
        signs = self.timed.signs
        named = {signs[n]: name for n, name in self.names.items() if n in self.timed.readouts}
        rows: dict[int, tuple[str, str]] = {}
        """By axis: what its row of outputs is called, and that of its losses."""
        for (axis, step), nodes in sorted(by_place.items()):
            nodes.sort(key=lambda n: n.seq)
            output, above = self._apart(nodes)
            if axis not in rows:
                names = [named[signs[n]] for n in reversed(output) if signs[n] in named]
                rows[axis] = self._unique((names or ["y"])[0]), self._unique("L") if rows else ""
            for node in nodes:
                path = node.scope.path or rows[axis][node in above]
                self.scopes[node] = {"path": path, "step": step}

    def tell_last_readout(self, nodes: Iterable[Node], loops: set[int]) -> None:
        """Call what is read out once, after all steps, y or as its variable: not the loss."""
        after = {node for number in loops for node in self.timed.loops[number].nodes}
        there: list[Node] = []
        for node in nodes:
            if node.op is None or after.isdisjoint(p for p in node.parents if p is not None):
                continue
            after.add(node)
            scope = node.scope
            if node not in self.scopes and scope.step is None and not scope.path:
                there.append(node)
        output = _leading_to_weights(there, {*there})
        if output:
            path = self._unique(self.names.get(output[-1], "y"))
            self.scopes |= {node: {"path": path} for node in output}

    def _apart(self, nodes: list[Node]) -> tuple[list[Node], set[Node]]:
        """The outputs of a step and its losses, with their roles."""
        here = set(nodes)
        ends = {n: [u for u in self.timed.users[n] if u not in self.timed.readouts] for n in nodes}
        exits = [node for node in nodes if ends[node] or not self.timed.users[node]]
        losing = bool(exits) and all(_one(node) for node in exits)
        output = nodes if not losing else _leading_to_weights(nodes, here)
        above = {node for node in nodes if node not in output}
        if any(node.role in {LOGITS, LOSS} for node in nodes):
            return output, above
        within = set(output)
        tops = [n for n in output if not (self.timed.users[n] and within >= {*self.timed.users[n]})]
        if tops and tops[-1].role is None:
            self.roles[tops[-1]] = LOGITS
        last = max(above, key=lambda node: node.seq, default=None)
        if last is not None and last.role is None:
            self.roles[last] = LOSS
        return output, above

    def _unique(self, wanted: str) -> str:
        path = _numbered(wanted, self.paths, " ")
        self.paths.add(path)
        return path

    # -- copies ----------------------------------------------------------------------------------

    def copied(self, roots: list[Node], nodes: list[Node]) -> list[Node]:
        """Copies of what something is said of, and of what depends on it."""
        now: dict[Node, Node] = {}
        for node in nodes:
            parents = tuple(None if p is None else now.get(p, p) for p in node.parents)
            told = any(node in m for m in (self.scopes, self.labels, self.roles, self.inputs))
            if not told and node not in self.enters and parents == node.parents:
                continue
            made = now[node] = copy(node)
            made.parents = parents
            made.scope = node.scope._replace(**self.scopes.get(node, {}))
            made.role = self.roles.get(node, node.role)
            if node in self.labels:
                made.owner, made.known_as = None, self.labels[node]
            if node in self.inputs:
                made.role, made.scope = INPUT, made.scope._replace(**self.inputs[node])
            if node in self.enters:
                made.enters = {
                    index: enters._replace(origin=now.get(enters.origin, enters.origin))
                    if enters.origin is not None
                    else enters
                    for index, enters in self.enters[node].items()
                }
        return [now.get(root, root) for root in roots]


def names_of(variables: Mapping[str, Any]) -> dict[Node, str]:
    """By node the name of its variable, of those that ``locals()`` gives; the first of several."""
    found: dict[Node, str] = {}
    for name, value in variables.items():
        parts = {"": value} if isinstance(value, Variable) else _parameters(value)
        for part, tensor in parts.items():
            if tensor.node is not None:
                found.setdefault(tensor.node, f"{name}.{part}" if part else name)
    return found


def _parameters(value: Any) -> Mapping[str, Variable]:
    """Those of a module, by name."""
    named = getattr(value, "named_parameters", None)
    return {} if named is None or isinstance(value, type) else dict(named())


def _numbered(wanted: str, taken: Container[str], between: str) -> str:
    """A name that is not taken: that which is wanted, or with a number from 2 on."""
    numbers = (f"{wanted}{between}{number}" for number in itertools.count(2))
    return next(name for name in itertools.chain([wanted], numbers) if name not in taken)


def _layer(loop: Loop) -> int | None:
    """The layer that ran a loop."""
    return next((n.scope.layer for n in loop.nodes if n.scope.layer is not None), None)


def _home(loop: Loop) -> str:
    """The module that all of a loop is in."""
    layer = _layer(loop)
    paths = [n.scope.path.split(".") for n in loop.nodes if n.scope.layer == layer]
    home = paths[0]
    for path in paths[1:]:
        same = 0
        while same < min(len(home), len(path)) and home[same] == path[same]:
            same += 1
        home = home[:same]
    return ".".join(home)


def _one(node: Node) -> bool:
    shape = node.shape
    return all(size == 1 for size in shape)


def _leading_to_weights(nodes: list[Node], here: set[Node]) -> list[Node]:
    """What leads up to the last use of a weight: beyond it is the loss."""
    found: set[Node] = set()
    for node in reversed(nodes):
        weighed = any(is_weight(parent) for parent in node.parents)
        if weighed or node in found:
            found.add(node)
            found |= {p for p in node.parents if p in here}
    return [node for node in nodes if node in found]
