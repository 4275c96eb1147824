"""Which item a recorded node belongs to, at each level of detail.

Nodes are asked about from the newest to the oldest, so that what uses a node is known before the
node itself: untagged nodes that only serve one thing become part of it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tinygrad_seq.timeline import roles
from tinygrad_seq.timeline.entries import hands_on, part_of_operand, pick, picked
from tinygrad_seq.viz.graph.cells import part_of
from tinygrad_seq.viz.graph.items import BAR, INPUT, Graph, Place, Row, Step, reaches, shortened

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Node
    from tinygrad_seq.viz.graph.survey import Survey

__all__ = ["Key", "Keys", "User", "item_id"]

Key = tuple[Place, str]
"""Where an item is, and which part of what is there."""
User = tuple[Key, "int | None"]
"""What uses a node, and at which real time step."""


def item_id(key: Key) -> str:
    """The stable name of an item."""
    place, part = key
    if part.startswith("weight:"):
        return part
    if part == INPUT:
        return f"x:{place}"
    return f"{place}:{part}" if part else str(place)


class Keys:
    """Answers for the nodes of one graph.

    Parameters
    ----------
    graph : Graph
        Empty yet; it gets its axes here.
    survey : Survey
        Of what is recorded. Modules called within the steps of a row with a state are part of it.
    """

    def __init__(self, graph: Graph, survey: Survey) -> None:
        self.graph, self.plain, self.depth = graph, graph.level.plain, graph.depth
        self.cells = survey.cells
        if not (graph.level.closed or self.plain):
            graph.stateless = survey.stateless
        self._numbers: Counter[tuple[Place, int | None, str]] = Counter()
        self._known: dict[tuple[Row, str], dict[str, int]] = {}
        self._leaves = _leaf_names(survey.leaves)
        graph.axes = survey.axes(graph.view, self.row)

    def origin(self, parent: Node | None) -> Node | None:
        """Where an operand comes from: an entry picked from a stack is what was stacked.

        So is a piece of a weight that weight, and in cells without a picture any part of
        something that thing.
        """
        if self.plain:
            return parent
        found = picked(parent)
        while found is not None and self.only_part(found):
            found = picked(found.parents[0])
        return found

    def only_part(self, node: Node) -> bool:
        """Whether a node is no operation to the reader of a cell that is drawn as it was run."""
        if self.graph.level.closed or node.role is not None or not part_of_operand(node):
            return False
        scope = node.scope
        known = scope.cell is not None and scope.cell.picture is not None
        if scope.step is None or known or node.parents[0] is None:
            return False
        place = self.place(node, True)
        return place.row in self.cells and not self.graph.closes(place._replace(step=scope.step))

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
            return self._leaf(node)
        timed = self.timed(node)
        real = timed.scope.step
        place = self.place(node, real is not None)
        if real is None:
            return self._timeless(node, place, single, feeds_steps)
        place = place._replace(step=self.shown(timed))
        if self.graph.closes(place) or place.step == BAR:
            return place, ""
        if self.plain:
            number = self._numbered(place, real, node.role or node.op.name)
            return place, number.removesuffix(".0") if node.role else number
        serves = None
        if single is not None and single[0][0] == place and single[1] == real:
            serves = single[0][1]
        return place, part_of(node, serves) or self._told_apart(place, real, node.op.name, serves)

    def _leaf(self, node: Node) -> Key:
        if node.role != roles.INPUT or node.scope.step is None or self.plain:
            return Place(), self._leaves[node.seq]
        place = self.place(node, True)._replace(step=self.shown(node))
        return place, "" if place.step == BAR else INPUT

    def timed(self, node: Node) -> Node:
        """The node that tells the time of a node, if it has one.

        At op level an entry that is picked from a stack over time belongs to that time.
        """
        if node.scope.step is None and self.plain and (found := pick(node)) is not None:
            return found[0].parents[found[1]] or node
        return node

    def shown(self, node: Node, step: int | None = None) -> Step:
        """The step that a node with a time step is drawn at; or another step of its row."""
        step = node.scope.step if step is None else step
        assert step is not None
        return self.graph.axes[self.place(node, True).row].shown(step)

    def row(self, row: Row) -> Row:
        """The row that the time steps of a module and layer are drawn in."""
        return self._drawn(self.home(*row), row[1]).row

    def home(self, path: str, layer: int | None) -> str:
        """The path of the cell that a module belongs to, if it is called within one's steps."""
        outer = path
        while outer and (outer, layer) not in self.cells:
            outer = outer.rpartition(".")[0]
        return path if layer is None or (outer, layer) not in self.cells else outer

    def place(self, node: Node, stepped: bool) -> Place:
        """Module and layer of a node, or the closed module that it is inside of."""
        path, layer = node.scope.path, node.scope.layer
        return self._drawn(self.home(path, layer) if stepped else path, layer)

    def _drawn(self, path: str, layer: int | None) -> Place:
        outer = shortened(path, self.depth)
        return Place(outer, layer if outer == path else None)

    def hides(self, node: Node) -> bool:
        """Whether a node is of a module inside the one that it is drawn in."""
        path, layer = node.scope.path, node.scope.layer
        path = self.home(path, layer) if node.scope.step is not None else path
        return shortened(path, self.depth) != path

    def _numbered(self, place: Place, step: int | None, label: str) -> str:
        """A label with its number, from the newest, among equal ones at one real step."""
        self._numbers[place, step, label] += 1
        return f"{label}.{self._numbers[place, step, label] - 1}"

    def _told_apart(self, place: Place, step: int, name: str, serves: str | None) -> str:
        """The same for operations of a cell: a first step, which lacks some, leaves their numbers.

        What they serve tells them apart first, then their order.
        """
        order = self._numbered(place, step, f"{name} {serves or ''}")
        numbers = self._known.setdefault((place.row, name), {})
        return f"{name}.{numbers.setdefault(order, len(numbers))}"

    def _timeless(self, node: Node, place: Place, single: User | None, feeds_steps: bool) -> Key:
        assert node.op is not None
        if reaches(place.path, self.depth):
            return place, "before" if feeds_steps else "" if place.path else "after"
        if self.plain:
            return place, self._numbered(place, None, node.op.name)
        if single is not None and single[1] is None:
            there, part = single[0]
            unnamed = not node.scope.path and (not there.path or part == "before")
            if there.step is None and (hands_on(node) or unnamed):
                return there, part
        if feeds_steps:
            place = _made_by(node) or place
        if place.path or place.layer is not None:
            return place, "before" if feeds_steps else ""
        return place, self._numbered(place, None, node.op.name)


def _made_by(node: Node) -> Place | None:
    """The place of what a node only passes on, if that is outside time and has a name."""
    while hands_on(node) or not node.scope.path:
        parent = node.parents[0] if len(node.parents) == 1 else None
        if parent is None or parent.op is None or parent.scope.step is not None:
            return None
        node = parent
    return Place(node.scope.path, node.scope.layer)


def _leaf_names(leaves: list[Node]) -> dict[int, str]:
    """Names of leaves by seq: unique, and the same in every run of one program."""
    names: dict[int, str] = {}
    used: set[str] = set()
    for node in leaves:
        wanted, again = f"weight:{node.name}", 2
        while wanted in used:
            wanted, again = f"weight:{node.label}~{again}", again + 1
        used.add(wanted)
        names[node.seq] = wanted
    return names
