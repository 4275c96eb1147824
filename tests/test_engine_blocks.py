"""Blocks that change the mode: entered again, left in any order, and around functions."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq import nn
from tinygrad_seq.engine.mode import Mode, current_mode
from tinygrad_seq.errors import ArgumentError, ConfigError


class Log:
    def recorded(self, node, value) -> None:
        pass

    def received(self, node, cotangent) -> None:
        pass


MODEL = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
LOG = Log()
BLOCKS = {
    "no_grad": tgs.no_grad,
    "enable_grad": tgs.enable_grad,
    "composed": tgs.composed,
    "observe": lambda: tgs.observe(LOG),
    "anomaly": tgs.anomaly,
    "scope": lambda: tgs.scope(path="here", step=3),
    "evaluating": lambda: nn.evaluating(MODEL),
}
every_block = pytest.mark.parametrize("name", BLOCKS)


def seen() -> tuple:
    """All that blocks change, but for which blocks they were."""
    mode = current_mode.get()
    observer = "anomaly" if isinstance(mode.observer, tgs.anomaly) else mode.observer
    return (
        mode.grad,
        mode.composed,
        observer,
        mode.scope,
        tuple(module.training for module in MODEL.modules()),
    )


OUTSIDE = seen()


def _looked(name: str) -> tuple:
    with BLOCKS[name]():
        return seen()


INSIDE = {name: _looked(name) for name in BLOCKS}


def inside(name: str) -> tuple:
    return INSIDE[name]


@pytest.fixture(autouse=True)
def nothing_is_left_on():
    yield
    assert current_mode.get() == Mode() and seen() == OUTSIDE


# -- entered again, left in any order ------------------------------------------------------------


@every_block
def test_a_block_may_be_entered_again_inside_itself_and_later(name) -> None:
    block = BLOCKS[name]()
    for _ in range(2):
        with block:
            with block, block:
                assert seen() == inside(name)
            assert seen() == inside(name)
        assert seen() == OUTSIDE


CHANGES = {
    "no_grad": {"grad": False},
    "enable_grad": {"grad": True},
    "composed": {"composed": True},
    "step": {"step": 3},
    "path": {"path": "here"},
}
MAKERS = {
    **{name: BLOCKS[name] for name in ("no_grad", "enable_grad", "composed")},
    "step": lambda: tgs.scope(step=3),
    "path": lambda: tgs.scope(path="here"),
}


@given(
    st.lists(st.sampled_from(sorted(MAKERS)), min_size=1, max_size=4),
    st.lists(st.integers(0, 9), max_size=30),
)
def test_in_whatever_order_blocks_end_the_mode_is_that_of_those_still_open(names, choices) -> None:
    """Against the plain meaning: the changes of all blocks that are open, in order."""
    blocks = [MAKERS[name]() for name in names]
    opened: list[int] = []

    def look() -> None:
        expected = {"grad": True, "composed": False, "step": None, "path": ""}
        for i in opened:
            expected.update(CHANGES[names[i]])
        mode = current_mode.get()
        assert (mode.grad, mode.composed) == (expected["grad"], expected["composed"])
        assert (mode.scope.step, mode.scope.path) == (expected["step"], expected["path"])

    for choice in choices:
        if opened and choice % 2:
            i = opened[choice % len(opened)]
            blocks[i].__exit__(None, None, None)
            del opened[len(opened) - 1 - opened[::-1].index(i)]  # its last entry
        else:
            i = choice % len(blocks)
            blocks[i].__enter__()
            opened.append(i)
        look()
    for i in opened[:]:
        blocks[i].__exit__(None, None, None)
        del opened[len(opened) - 1 - opened[::-1].index(i)]
        look()
    assert current_mode.get() == Mode()


def test_evaluations_end_in_any_order_and_leave_each_modules_own_mode() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5).eval())
    inner = model[0]
    first, second = nn.evaluating(model), nn.evaluating(inner)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert model.training and not inner.training
    second.__exit__(None, None, None)
    assert inner.training and not model[1].training
    with nn.evaluating(model):
        model.train()
        with nn.evaluating(model):
            assert not inner.training
        assert inner.training  # as the inner block found it
    assert model.training and not model[1].training


def test_a_block_left_where_it_was_not_entered_changes_nothing_there() -> None:
    quiet = tgs.no_grad()
    elsewhere = contextvars.copy_context()
    elsewhere.run(quiet.__enter__)
    with tgs.composed():
        quiet.__exit__(None, None, None)
        assert seen() == inside("composed")
    elsewhere.run(quiet.__exit__, None, None, None)
    assert elsewhere.run(current_mode.get) == Mode()


def test_one_block_serves_many_threads() -> None:
    quiet, model, wrong = tgs.no_grad(), nn.Sequential(nn.Dropout(0.5)), []
    together = threading.Barrier(4)

    def work() -> None:
        for _ in range(50):
            together.wait(10)
            with quiet, nn.evaluating(model):
                if current_mode.get().grad or model[0].training:
                    wrong.append("left too early")
            if not current_mode.get().grad:
                wrong.append("left on")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and model.training and model[0].training


def test_a_second_observer_is_refused_where_it_would_be_entered() -> None:
    late, watch = tgs.observe(Log()), tgs.anomaly()
    with tgs.observe(LOG):
        for block in (late, watch):
            with pytest.raises(ConfigError, match="already listening"), block:
                pass
        assert current_mode.get().observer is LOG
    with pytest.raises(ConfigError, match="recorded"):
        tgs.observe(print)


# -- around functions ----------------------------------------------------------------------------


@every_block
def test_a_function_runs_inside_also_when_it_calls_itself(name) -> None:
    @BLOCKS[name]()
    def down(depth: int) -> list:
        return [seen()] + (down(depth - 1) if depth else [])

    assert down(2) == [inside(name)] * 3


@every_block
def test_a_generator_runs_inside_and_its_caller_does_not(name) -> None:
    ended = []

    @BLOCKS[name]()
    def steps(n: int):
        got = []
        try:
            for _ in range(n):
                try:
                    got.append((yield seen()))
                except KeyError:
                    got.append(seen())
            return got
        finally:
            ended.append(seen())

    assert inspect.isgeneratorfunction(steps)
    made = steps(3)
    assert next(made) == inside(name) and seen() == OUTSIDE
    assert made.send("a") == inside(name) and seen() == OUTSIDE
    assert made.throw(KeyError) == inside(name) and seen() == OUTSIDE
    with pytest.raises(StopIteration) as end:
        made.send("b")
    assert end.value.value == ["a", inside(name), "b"]
    for leave in (lambda g: g.close(), lambda g: next(iter([g])) and None):
        made = steps(3)
        next(made)
        leave(made)
        del made
        assert ended.pop() == inside(name) and seen() == OUTSIDE
    made = steps(3)
    next(made)
    with pytest.raises(ZeroDivisionError):
        made.throw(ZeroDivisionError())
    assert ended.pop() == inside(name)


@every_block
def test_what_kind_a_function_is_is_seen_through_other_decorators(name) -> None:
    """A body belongs to the function decorated; what it hands out of others' stays theirs."""

    def logged(function):
        @functools.wraps(function)
        def called(*args):
            return function(*args)

        return called

    def steps(n: int):
        for _ in range(n):
            yield seen()

    async def step():
        return seen()

    assert list(BLOCKS[name]()(functools.partial(steps, 2))()) == [inside(name)] * 2
    assert list(BLOCKS[name]()(logged(steps))(2)) == [inside(name)] * 2
    assert asyncio.run(BLOCKS[name]()(logged(step))()) == inside(name)
    assert list(BLOCKS[name]()(lambda n: steps(n))(2)) == [OUTSIDE] * 2


def test_generators_that_take_turns_do_not_disturb_one_another() -> None:
    @tgs.no_grad()
    def quiet():
        for _ in range(3):
            yield current_mode.get()[:2]

    @tgs.composed()
    def loud():
        for _ in range(3):
            yield current_mode.get()[:2]

    turns = [turn for pair in zip(quiet(), loud(), strict=True) for turn in pair]
    assert turns == [(False, False), (True, True)] * 3


@every_block
def test_coroutines_run_inside_and_leave_it_while_they_wait(name) -> None:
    @BLOCKS[name]()
    async def work(gate: asyncio.Event, n: int) -> list:
        found = [seen()]
        await gate.wait()
        for _ in range(n):
            found.append(seen())
            await asyncio.sleep(0)
        return found

    @BLOCKS[name]()
    async def stream(n: int):
        try:
            for _ in range(n):
                await asyncio.sleep(0)
                got = yield seen()
                assert got in (None, "word")
        except KeyError:
            yield "caught"
        finally:
            assert seen() == inside(name)

    async def all_of_it() -> None:
        gate = asyncio.Event()
        task = asyncio.ensure_future(work(gate, 2))
        await asyncio.sleep(0)
        assert seen() == OUTSIDE
        gate.set()
        assert await task == [inside(name)] * 3
        assert [value async for value in stream(2)] == [inside(name)] * 2
        made = stream(3)
        assert await made.__anext__() == inside(name) and seen() == OUTSIDE
        assert await made.asend("word") == inside(name)
        assert await made.athrow(KeyError()) == "caught"
        await made.aclose()
        made = stream(3)
        await made.__anext__()
        await made.aclose()

    assert inspect.iscoroutinefunction(work) and inspect.isasyncgenfunction(stream)
    asyncio.run(all_of_it())


def test_decorators_stack_on_generators_and_keep_names() -> None:
    @tgs.no_grad()
    @tgs.composed()
    def steps(n: int):
        """Docs."""
        for _ in range(n):
            yield current_mode.get()[:2]

    assert list(steps(n=2)) == [(False, True)] * 2
    assert (steps.__name__, steps.__doc__) == ("steps", "Docs.")


def test_the_gradients_of_a_quiet_generator_are_off() -> None:
    w = tgs.tensor([1.0], requires_grad=True)

    @tgs.no_grad()
    def steps():
        for _ in range(2):
            yield (w * 2).requires_grad

    for recorded in steps():
        assert not recorded and (w * 2).requires_grad


@pytest.mark.parametrize("given", [Log, 3, None, staticmethod(len), classmethod(len)])
def test_what_is_no_function_is_not_decorated(given) -> None:
    with pytest.raises(ConfigError, match="methods of a class"):
        tgs.no_grad()(given)


def test_forgotten_parentheses_and_unknown_fields_are_named() -> None:
    with pytest.raises(ArgumentError, match=r"(?s)no_grad: .*no arguments"):
        tgs.no_grad(print)
    for wrong in (lambda: tgs.scope(stop=3), lambda: tgs.scope("here"), lambda: tgs.scope(None, 3)):
        with pytest.raises(ArgumentError, match="path, layer, step, start"):
            wrong()
    for wrong in (lambda: tgs.anomaly(True), lambda: tgs.observe(), lambda: tgs.composed(on=True)):
        with pytest.raises(ArgumentError, match="try: "):
            wrong()
    for wrong in ({"path": 3}, {"step": "3"}, {"start": None}, {"layer": 1.5}, {"step": True}):
        with pytest.raises(ConfigError, match="scope: "):
            tgs.scope(**wrong)
    assert np.isclose(1, 1) and tgs.scope(step=np.int64(3)) is not None
