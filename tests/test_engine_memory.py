"""What a graph has saved: refused once written, freed by reference count, read-only meanwhile."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.errors import DtypeError, GraphError, ShapeError


def leaf(value, dtype=np.float64) -> tgs.Tensor:
    return tgs.tensor(np.asarray(value, dtype), requires_grad=True)


# -- stale values ------------------------------------------------------------------------------


def test_a_write_between_forward_and_backward_is_refused() -> None:
    w = leaf([1.0, 2.0])
    w.name = "cell.weight"
    loss = (w * w).sum()
    w.writable()[:] = 5.0
    with pytest.raises(GraphError, match=r"multiply[\s\S]*cell\.weight[\s\S]*written since"):
        loss.backward()
    assert w.grad is None


def test_a_write_that_no_rule_looks_at_is_harmless() -> None:
    w = leaf([1.0, 2.0])
    loss = (w + w).sum()
    w.writable()[:] = 5.0
    loss.backward()
    assert w.grad.tolist() == [2.0, 2.0]


def test_a_write_after_backward_is_harmless() -> None:
    w = leaf([1.0, 2.0])
    (w * w).sum().backward()
    w.writable()[:] = 5.0
    (w * w).sum().backward()
    assert w.grad.tolist() == [12.0, 14.0]


def assert_refused_or_unharmed(loss, w, before) -> None:
    """The gradient of w is that of the values seen by the forward pass, or is refused."""
    try:
        (slope,) = tgs.grad(loss, [w])
    except GraphError as error:
        if "written since" not in str(error):
            raise
    else:
        assert np.array_equal(slope.data, before)


@pytest.mark.parametrize(
    "view",
    [
        lambda t: t.reshape(4),
        lambda t: t.T,
        lambda t: t[0],
        lambda t: tgs.split(t, 2)[1],
        lambda t: tgs.flip(t, 0),
        lambda t: tgs.broadcast_to(t, (3, 2, 2)),
        lambda t: t.detach(),
        lambda t: t.reshape(4)[1:].reshape(3, 1),
        lambda t: tgs.einsum("ij->ji", t),
    ],
)
@pytest.mark.parametrize("tracked", [True, False])
def test_a_write_to_the_leaf_behind_a_view_never_gives_a_wrong_gradient(view, tracked) -> None:
    base = tgs.tensor(np.arange(1.0, 5.0).reshape(2, 2), requires_grad=tracked)
    seen = view(base)
    w = leaf(np.full(seen.shape, 3.0))
    before = seen.numpy()
    loss = (w * seen).sum()
    base.writable()[...] = -1.0
    assert_refused_or_unharmed(loss, w, before)


@pytest.mark.parametrize(
    "view", [lambda t: t.reshape(4), lambda t: t.T, lambda t: t[0], lambda t: t.detach()]
)
def test_a_write_through_a_constant_view_never_gives_a_wrong_gradient(view) -> None:
    base = tgs.tensor(np.arange(1.0, 5.0).reshape(2, 2))
    w = leaf(np.ones((2, 2)))
    before = base.numpy()
    loss = (w * base).sum()
    view(base).writable()[...] = -1.0
    assert_refused_or_unharmed(loss, w, before)


def test_a_detached_copy_is_written_apart_from_its_source() -> None:
    w = leaf([1.0, 2.0])
    cut = w.detach()
    loss = (w * w).sum()
    cut.writable()[:] = 9.0
    cut.writable()[:] += 1.0  # its own memory by now: no business of w's graph
    loss.backward()
    assert w.data.tolist() == [1.0, 2.0]
    assert w.grad.tolist() == [2.0, 4.0]


def test_data_is_read_only_while_a_live_graph_needs_it() -> None:
    w, k = leaf([1.0, 2.0]), tgs.tensor(np.array([3.0, 4.0]))
    w.data[0] = 1.5  # nothing recorded yet
    loss = (w * w * k).sum()
    for array in (w.data, k.data, k.reshape(2, 1).data, np.asarray(k), loss.data):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    loss.backward()
    w.data[0] = 2.5  # freed: writable again
    k.data[0] = 2.5


def test_data_is_writable_again_when_the_graph_is_dropped_unused() -> None:
    w = leaf([1.0, 2.0])
    loss = (w * w).sum()
    assert not w.data.flags.writeable
    del loss
    assert w.data.flags.writeable


def test_results_are_read_only() -> None:
    y = leaf([1.0]) * 2
    assert not y.data.flags.writeable
    with pytest.raises(GraphError, match="result of multiply"):
        y.writable()
    with pytest.raises(GraphError, match="assign"):
        y.data = np.zeros(1)


def test_version_counts_writes() -> None:
    w = leaf([1.0, 2.0])
    w.writable()[:] = 0
    w.data = np.array([3.0, 4.0])
    assert w.version == 2
    assert (w * 2).version == tgs.concatenate([w]).version == 0  # of results too
    assert w.data.tolist() == [3.0, 4.0]


def test_assigning_data_copies_and_checks() -> None:
    w, source = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    w.data = source
    source[:] = 0
    assert w.data.tolist() == [3.0, 4.0]
    with pytest.raises(ShapeError):
        w.data = np.zeros(3)
    with pytest.raises(DtypeError):
        w.data = np.zeros(2, np.float32)
    assert w.data.tolist() == [3.0, 4.0]


def test_assigning_data_between_forward_and_backward_is_refused() -> None:
    w = leaf([1.0, 2.0])
    loss = (w * w).sum()
    w.data = np.array([3.0, 4.0])
    with pytest.raises(GraphError, match="written since"):
        loss.backward()


# -- long chains and memory --------------------------------------------------------------------


def test_a_chain_of_100_000_operations_needs_no_recursion() -> None:
    limit = sys.getrecursionlimit()
    x = leaf(1.0)
    depth = len([*iter_frames()]) + 200
    sys.setrecursionlimit(depth)
    try:
        y = x
        for _ in range(100_000):
            y = y + 1.0
        y.backward()
        assert x.grad == 1.0
        z = x
        for _ in range(100_000):
            z = z * 1.0
        gone = weakref.ref(z.node)
        del z, y  # the graph is freed without recursion too
        assert gone() is None
    finally:
        sys.setrecursionlimit(limit)


def iter_frames():
    frame = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def test_saved_arrays_die_by_reference_count_as_backward_proceeds() -> None:
    """With the cycle collector off: when the walk reaches step t, later steps' arrays are gone."""
    alive: list[weakref.ref] = []
    counts: list[int] = []

    def count(g, x):
        counts.append(sum(ref() is not None for ref in alive))
        return g * 1.0

    probe = Op("probe", lambda x: x * 1.0, "x", [count])
    w = leaf(np.ones((3, 3)))
    gc.collect()
    gc.disable()
    try:
        h = w
        for _ in range(20):
            h = tgs.tanh(apply(probe, (h,), {}))
            alive.append(weakref.ref(h._array))
        loss = h.sum()
        del h
        loss.backward()
        assert len(counts) == 20
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] <= 2
        assert sum(ref() is not None for ref in alive) == 0
    finally:
        gc.enable()


def test_a_dropped_graph_leaves_no_cycles() -> None:
    w = leaf(np.ones((3, 3)))
    gc.collect()
    gc.disable()
    try:
        h = w
        for _ in range(5):
            h = tgs.tanh(h @ w)
        arrays, node = weakref.ref(h._array), weakref.ref(h.node)
        del h
        assert arrays() is None
        assert node() is None
    finally:
        gc.enable()


def test_a_tensor_and_its_leaf_node_form_no_cycle() -> None:
    gc.disable()
    try:
        w = leaf([1.0])
        gone = weakref.ref(w)
        del w
        assert gone() is None
    finally:
        gc.enable()


def test_a_leaf_dropped_before_backward_is_skipped() -> None:
    w = leaf([2.0])
    loss = (leaf([1.0]) * w).sum()
    loss.backward()
    assert w.grad.tolist() == [1.0]


def test_augmented_assignment_to_data_writes_in_place() -> None:
    w = leaf([1.0, 2.0])
    held = w.data
    w.data += 1
    assert w.data.tolist() == [2.0, 3.0]
    assert w.data is held
    assert w.version == 1


def test_a_view_that_is_assigned_to_leaves_its_leaf_alone() -> None:
    w = leaf([1.0, 2.0])
    view = w.detach()
    loss = (w * w).sum()
    view.data = np.array([5.0, 6.0])
    assert view.version == 1
    assert w.data.tolist() == [1.0, 2.0]
    loss.backward()  # nothing that it saved was written
    assert w.grad.tolist() == [2.0, 4.0]
