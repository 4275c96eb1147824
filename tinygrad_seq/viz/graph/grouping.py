"""Which item a recorded node belongs to, at each level of detail.

Nodes are asked about from the newest to the oldest, so that what uses a node is known before the
node itself: untagged nodes that only serve one thing become part of it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.timeline.entries import hands_on, pick, picked, piece
from tinygrad_seq.timeline.roles import (
    CELL,
    FROM_INPUT,
    FROM_STATE,
    GATES,
    LOGITS,
    LOSS,
    NEW,
    SQUASHED_CELL,
    STATES,
    SUM,
    UPDATE,
)
from tinygrad_seq.viz.graph.items import BAR, Place, Row, Step, reaches
from tinygrad_seq.viz.graph.time_axes import axes_of
from tinygrad_seq.viz.graph.views import Level, View

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Node
    from tinygrad_seq.viz.graph.survey import Survey

__all__ = ["Key", "Keys", "User", "blended", "item_id"]

Key = tuple[Place, str]
"""Where an item is, and which part of what is there."""
User = tuple[Key, "int | None"]
"""What uses a node, and at which real time step."""

# Roles that stand for the untagged nodes leading up to them.
_ABSORBING = {SUM, NEW, SQUASHED_CELL, LOGITS, LOSS}
_SUMMED = {SUM, FROM_INPUT, FROM_STATE}  # at cell level one part: all affine maps of a cell
_LEAVES = ("weight:", "leaf:")


def item_id(key: Key) -> str:
    """The stable name of an item."""
    place, part = key
    if part.startswith(_LEAVES):
        return part
    return f"{place}:{part}" if part else str(place)


class Keys:
    """Answers for the nodes of one graph.

    Parameters
    ----------
    level : Level
    view : View
    survey : Survey
        Of the graph. Modules called within the steps of a row with a state h are part of it.
    depth : int, optional
        Names in a module path from which on everything inside is one item.
    """

    def __init__(
        self,
        level: Level,
        view: View,
        survey: Survey,
        depth: int | None = None,
    ) -> None:
        self.level, self.depth = level, depth
        opened = level.closed or level.plain
        self.stateless: set[Row] = set() if opened else survey.stateless
        self.cells = survey.cells
        self._homes: dict[Row, str] = {}
        self._numbers: Counter[tuple[Place, int | None, str]] = Counter()
        self._leaves = _leaf_names(survey.leaves)
        self.axes = axes_of(view, survey, self.row)

    def origin(self, parent: Node | None) -> Node | None:
        """Where an operand comes from: an entry picked from a stack is what was stacked.

        So is a piece of a weight that weight.
        """
        return parent if self.level.plain else picked(parent)

    @staticmethod
    def is_weight(operand: Node | None) -> bool:
        """Whether an operand is a weight, or a piece of one."""
        return operand is not None and (operand.op is None or piece(operand) is not None)

    def key(self, node: Node, single: User | None, feeds_steps: bool) -> Key:
        """The key of a node.

        Parameters
        ----------
        node : Node
        single : (key, real step), optional
            Its only user, if it has only one.
        feeds_steps : bool
            Whether a node with a time step comes after it (in a closed module: of that module).
        """
        if node.op is None:
            return Place(), self._leaves[node.seq]
        timed = self.timed(node)
        real = timed.scope.step
        place = self._place(node, real is not None)
        if real is None:
            return self._timeless(node, place, single, feeds_steps)
        place = place._replace(step=self.shown(timed))
        closed = self.level.closed or place.row in self.stateless
        if closed or place.step == BAR or reaches(place.path, self.depth):
            return place, ""
        if not self.level.plain:
            return place, self._part(node, place, single)
        label = node.role or node.op.name
        number = self._numbered(place, real, label)
        return place, label if node.role and number.endswith(".0") else number

    def timed(self, node: Node) -> Node:
        """The node that tells the time of a node, if it has one.

        At op level an entry that is picked from a stack over time belongs to that time.
        """
        if node.scope.step is None and self.level.plain and (found := pick(node)) is not None:
            entry = found[0].parents[found[1]]
            return node if entry is None else entry
        return node

    def shown(self, node: Node, step: int | None = None) -> Step:
        """The step that a node with a time step is drawn at; or another step of its row."""
        step = node.scope.step if step is None else step
        assert step is not None
        return self.axes[self._place(node, True).row].shown(step)

    def row(self, row: Row) -> Row:
        """The row that the time steps of a module and layer are drawn in."""
        path, layer = row
        path = self.home(path, layer)
        if self.depth is not None and reaches(path, self.depth + 1):
            return ".".join(path.split(".")[: self.depth]), None
        return path, layer

    def home(self, path: str, layer: int | None) -> str:
        """The path of the cell that a module belongs to, if it is called within one's steps."""
        if layer is None or (path, layer) in self.cells:
            return path
        known = self._homes.get((path, layer))
        if known is None:
            outer, known = path, path
            while outer:
                outer = outer.rpartition(".")[0]
                if (outer, layer) in self.cells:
                    known = outer
                    break
            self._homes[path, layer] = known
        return known

    def _numbered(self, place: Place, step: int | None, label: str) -> str:
        """A label with its number, from the newest, among equal ones at one real step."""
        self._numbers[place, step, label] += 1
        return f"{label}.{self._numbers[place, step, label] - 1}"

    def closed(self, node: Node) -> Place | None:
        """The place of the closed module that a node belongs to, if it does."""
        place = self._place(node, node.scope.step is not None)
        return place if node.op is not None and reaches(place.path, self.depth) else None

    def hides(self, node: Node) -> bool:
        """Whether a node is of a module inside the one that it is drawn in."""
        if self.depth is None:
            return False
        scope = node.scope
        path = self.home(scope.path, scope.layer) if scope.step is not None else scope.path
        return reaches(path, self.depth + 1)

    def _place(self, node: Node, stepped: bool) -> Place:
        """Module and layer of a node, or the closed module that it is inside of."""
        scope = node.scope
        if stepped:
            return Place(*self.row((scope.path, scope.layer)))
        path = scope.path
        if self.depth is not None and reaches(path, self.depth + 1):
            return Place(".".join(path.split(".")[: self.depth]))
        return Place(path, scope.layer)

    def _timeless(self, node: Node, place: Place, single: User | None, feeds_steps: bool) -> Key:
        assert node.op is not None
        scope = node.scope
        if reaches(place.path, self.depth):
            return place, "before" if feeds_steps else "" if place.path else "after"
        if self.level.plain:
            return place, self._numbered(place, None, node.op.name)
        if single is not None and single[1] is None:
            there, part = single[0]
            unnamed = not scope.path and (not there.path or part == "before")
            if there.step is None and (hands_on(node) or unnamed):
                return there, part
        if feeds_steps:
            place = self._made_by(node, place)
        if place.path or place.layer is not None:
            return place, "before" if feeds_steps else ""
        return place, self._numbered(place, None, node.op.name)

    @staticmethod
    def _made_by(node: Node, place: Place) -> Place:
        """The place of what a node only passes on, if that is outside time and has a name."""
        while node.op is not None and len(node.parents) == 1:
            if not hands_on(node) and node.scope.path:
                return Place(node.scope.path, node.scope.layer)
            parent = node.parents[0]
            if parent is None or parent.op is None or parent.scope.step is not None:
                return place
            node = parent
        named = node.op is not None and not hands_on(node) and node.scope.path
        return Place(node.scope.path, node.scope.layer) if named else place

    def _part(self, node: Node, place: Place, single: User | None) -> str:
        """The part of a cell that a node belongs to."""
        assert node.op is not None
        if node.role:
            return SUM if node.role in _SUMMED else node.role
        parent = node.parents[0] if node.parents else None
        if node.op.name == "split" and parent is not None and parent.role in _SUMMED:
            return SUM
        if single is not None and single[1] == node.scope.step:
            there, part = single[0]
            if there == place and (part in _ABSORBING or node.op is ITEM):
                return part
            starts_anew = node.op.name == "where" and any(
                operand is not None and operand.role in STATES for operand in node.parents
            )
            if there == place and starts_anew and part in {"f*c", "c*f"}:
                return part
        if node.op.name == "where" and (state := blended(node)) is not None:
            return state
        roles = [(operand.role or "") if operand else "" for operand in node.parents]
        if node.op.name == "multiply" and set(roles) & {*GATES}:
            # Named by what is multiplied; a constant beside the forget gate is the carried c.
            return "*".join(role or CELL for role in roles)
        if node.op.name == "subtract" and UPDATE in roles:
            return f"1-{UPDATE}"
        return self._numbered(place, node.scope.step, node.op.name)


def blended(node: Node) -> str | None:
    """The state that a step gives to the rows whose sequence goes on: others keep theirs."""
    for operand in node.parents:
        if operand is not None and operand.scope == node.scope:
            if operand.role in STATES:
                return operand.role
            if operand.op is not None and operand.op.name == "where":
                return blended(operand)
    return None


def _leaf_names(leaves: list[Node]) -> dict[int, str]:
    """Names of leaves by seq: unique, and the same in every run of one program."""
    names: dict[int, str] = {}
    used: set[str] = set()
    unnamed = 0
    for node in leaves:
        if not node.label:
            names[node.seq] = f"leaf:{unnamed}"
            unnamed += 1
            continue
        wanted, again = f"weight:{node.label}", 2
        while wanted in used:
            wanted, again = f"weight:{node.label}~{again}", again + 1
        used.add(wanted)
        names[node.seq] = wanted
    return names
