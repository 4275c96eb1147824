"""Modes are local to their context: threads and asyncio tasks do not see one another's."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import rnn_sequence
from tinygrad_seq.engine.mode import Mode, current_mode
from tinygrad_seq.engine.scope import Scope
from tinygrad_seq.errors import ConfigError, GraphError


class Log:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.arrived: list[tuple[str, np.ndarray]] = []

    def recorded(self, node, value) -> None:
        self.names.append(node.name)

    def received(self, node, cotangent) -> None:
        self.arrived.append((node.name, np.array(cotangent)))


def leaf(value=1.0) -> tgs.Tensor:
    return tgs.tensor(np.asarray(value, np.float64), requires_grad=True)


def run_rnn() -> tgs.Tensor:
    rng = np.random.default_rng(0)
    x, h0, wx, wh, b = (
        leaf(rng.standard_normal(shape)) for shape in [(3, 1, 2), (1, 2), (2, 2), (2, 2), (2,)]
    )
    return rnn_sequence(x, h0, wx, wh, b)[0]


# -- nesting and leaving -----------------------------------------------------------------------


def test_no_grad_records_nothing_and_ends() -> None:
    w = leaf()
    with tgs.no_grad():
        y = w * 2
        with tgs.enable_grad():
            assert (w * 2).requires_grad
        assert not (w * 2).requires_grad
    assert not y.requires_grad
    assert (w * 2).requires_grad
    with pytest.raises(GraphError, match="no_grad"):
        y.backward()


@pytest.mark.parametrize("make", [tgs.no_grad, tgs.composed, lambda: tgs.scope(path="a", step=1)])
def test_modes_are_put_back_after_an_error(make) -> None:
    with pytest.raises(ZeroDivisionError), make():
        raise ZeroDivisionError
    assert current_mode.get() == Mode()


def test_one_switch_may_be_entered_again_inside_itself() -> None:
    quiet = tgs.no_grad()
    with quiet:
        with quiet:
            pass
        assert not (leaf() * 2).requires_grad
    assert (leaf() * 2).requires_grad


def test_leaves_may_be_made_under_no_grad() -> None:
    with tgs.no_grad():
        w = leaf()
    (w * 3).backward()
    assert w.grad == 3.0


def test_composed_builds_one_node_per_operation_and_step() -> None:
    assert "rnn_tanh_sequence" in names_behind(run_rnn())
    with tgs.composed():
        y = run_rnn()
    names = names_behind(y)
    assert "rnn_tanh_sequence" not in names
    assert names.count("tanh") == 3


def names_behind(tensor: tgs.Tensor) -> list[str]:
    stack, seen = [tensor.node], set()
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen.add(node)
            stack.extend(node.parents)
    return sorted(node.name for node in seen)


def test_scopes_nest_field_by_field() -> None:
    with tgs.scope(path="model", layer=0), tgs.scope(step=4):
        node = (leaf() * 2).node
    assert node.scope == Scope("model", 0, 4)
    assert str(node) == "multiply (module model, layer 0, t = 4)"
    assert str((leaf() * 2).node) == "multiply"


# -- observers ---------------------------------------------------------------------------------


def test_an_observer_hears_of_every_node_and_cotangent() -> None:
    w = leaf(0.5)
    log = Log()
    with tgs.observe(log):
        (tgs.tanh(w) * 3).backward()
    (w * 9).backward()  # after the block: not heard
    assert log.names == ["tanh", "multiply"]
    assert [name for name, _ in log.arrived] == ["multiply", "tanh", "leaf"]
    assert log.arrived[1][1] == 3.0


def test_an_observer_hears_the_complete_cotangent_of_a_deferred_weight() -> None:
    w = leaf(np.eye(2))
    x = np.ones((3, 2))
    log = Log()
    with tgs.observe(log):
        (x @ w + x @ w).sum().backward()
    heard = [value for name, value in log.arrived if name == "leaf"]
    assert len(heard) == 1
    assert np.array_equal(heard[0], w.grad)


def test_an_observer_hears_the_outputs_of_a_fused_operation_one_by_one() -> None:
    shapes: list[tuple[str, tuple[int, ...]]] = []

    class Shapes(Log):
        def recorded(self, node, value) -> None:
            shapes.append((node.name, value.shape))

    with tgs.observe(Shapes()):
        run_rnn()
    assert shapes == [("rnn_tanh_sequence", (3, 1, 2)), ("rnn_tanh_sequence", (1, 2))]


def test_a_second_observer_is_refused() -> None:
    with tgs.observe(Log()), pytest.raises(ConfigError, match="already listening"):
        tgs.observe(Log())
    with tgs.observe(Log()):
        pass


# -- threads and tasks -------------------------------------------------------------------------


def test_threads_do_not_see_one_anothers_modes() -> None:
    inside, checked = threading.Event(), threading.Event()
    seen: dict[str, object] = {}

    def other() -> None:
        inside.wait(10)
        seen["recorded"] = (leaf() * 2).requires_grad
        seen["names"] = "rnn_tanh_sequence" in names_behind(run_rnn())
        seen["scope"] = (leaf() * 2).node.scope
        checked.set()

    log = Log()
    thread = threading.Thread(target=other)
    thread.start()
    with tgs.no_grad(), tgs.composed(), tgs.observe(log), tgs.scope(path="here"):
        inside.set()
        assert checked.wait(10)
    thread.join()
    assert seen == {"recorded": True, "names": True, "scope": Scope()}
    assert log.names == []


def test_tasks_do_not_see_one_anothers_modes() -> None:
    async def quiet(started: asyncio.Event, go: asyncio.Event) -> bool:
        with tgs.no_grad(), tgs.scope(path="quiet"):
            started.set()
            await go.wait()
            return (leaf() * 2).requires_grad

    async def loud(started: asyncio.Event, go: asyncio.Event) -> tuple[bool, Scope]:
        await started.wait()
        y = leaf() * 2
        go.set()
        return y.requires_grad, current_mode.get().scope

    async def both() -> list[object]:
        started, go = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(quiet(started, go), loud(started, go))

    assert asyncio.run(both()) == [False, (True, Scope())]


def test_parallel_backwards_on_graphs_of_their_own() -> None:
    results: dict[int, float] = {}

    def work(k: int) -> None:
        x = leaf(float(k))
        y = x
        for _ in range(200):
            y = y * 1.0 + x
        y.backward()
        results[k] = float(x.grad)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(4), 201.0)
