"""The update rules against a scalar oracle written from the published equations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq import optim

# ---------------------------------------------------------------- the oracle: plain floats
# Each yields the parameter after every step, given what it was before that step (`path`). Of the
# optimiser's own path, that is: a run that comes close to 0 divides by eps what rounding left, and
# two right runs would part there.


def sgd(path, grads, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    velocity = None
    for w, g in zip(path, grads, strict=True):
        g = g + weight_decay * w
        if velocity is None:
            velocity = g
        else:
            velocity = momentum * velocity + (1 - dampening) * g
        if momentum == 0:
            direction = g
        else:
            direction = g + momentum * velocity if nesterov else velocity
        yield w - lr * direction


def adagrad(
    path, grads, lr, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10
):
    total = initial_accumulator_value
    for t, (w, g) in enumerate(zip(path, grads, strict=True), 1):
        g = g + weight_decay * w
        total = total + g**2
        yield w - lr / (1 + (t - 1) * lr_decay) * g / (math.sqrt(total) + eps)


def rmsprop(path, grads, lr, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    square = mean = velocity = 0.0
    for w, g in zip(path, grads, strict=True):
        g = g + weight_decay * w
        square = alpha * square + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        variance = square - mean**2 if centered else square
        velocity = momentum * velocity + g / (math.sqrt(variance) + eps)
        yield w - lr * velocity


def adam(
    path,
    grads,
    lr,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    amsgrad=False,
    decoupled=False,
):
    m = v = largest = 0.0
    for t, (w, g) in enumerate(zip(path, grads, strict=True), 1):
        if decoupled:
            w = w - lr * weight_decay * w
        else:
            g = g + weight_decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        largest = max(largest, v)
        m_hat = m / (1 - betas[0] ** t)
        v_hat = (largest if amsgrad else v) / (1 - betas[1] ** t)
        yield w - lr * m_hat / (math.sqrt(v_hat) + eps)


def adamw(path, grads, lr, weight_decay=1e-2, **options):
    return adam(path, grads, lr, weight_decay=weight_decay, decoupled=True, **options)


def unit(low=0.0, high=0.99):
    return st.floats(low, high, allow_subnormal=False)


def options(**kinds: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any subset of the options, so that defaults are compared too; `lr` always."""
    return st.fixed_dictionaries({"lr": unit(1e-3, 0.5)}, optional=kinds)


epsilons = st.sampled_from([1e-10, 1e-8, 1e-3, 0.5])
decay = unit(0.0, 0.3)
betas = st.tuples(unit(), unit(0.0, 0.9999))
RULES: dict[type[optim.Optimizer], tuple[Callable[..., float], st.SearchStrategy[Any]]] = {
    optim.SGD: (
        sgd,
        st.one_of(
            options(momentum=unit(), dampening=unit(), weight_decay=decay),
            options(weight_decay=decay).flatmap(
                lambda o: unit(0.1).map(lambda mu: {**o, "momentum": mu, "nesterov": True})
            ),
        ),
    ),
    optim.Adagrad: (
        adagrad,
        options(
            lr_decay=unit(), weight_decay=decay, initial_accumulator_value=unit(), eps=epsilons
        ),
    ),
    # alpha from 0.5 up: below, the centred variance is a difference of near-equal numbers,
    # and no two orders of evaluation agree.
    optim.RMSprop: (
        rmsprop,
        options(
            alpha=unit(0.5),
            weight_decay=decay,
            momentum=unit(),
            eps=epsilons,
            centered=st.booleans(),
        ),
    ),
    optim.Adam: (
        adam,
        options(betas=betas, eps=epsilons, weight_decay=decay, amsgrad=st.booleans()),
    ),
    optim.AdamW: (
        adamw,
        options(betas=betas, eps=epsilons, weight_decay=decay, amsgrad=st.booleans()),
    ),
}
each_rule = pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)

# Exact zeros are wanted; gradients too small to square are not what is tested here.
entries = st.one_of(st.just(0.0), st.floats(0.01, 3.0), st.floats(-3.0, -0.01))
runs = st.integers(1, 3).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(-2.0, 2.0), min_size=n, max_size=n),
        st.lists(st.lists(entries, min_size=n, max_size=n), min_size=5, max_size=8),
    )
)


def leaf(values: Any, dtype: Any = np.float64) -> tgs.Tensor:
    return tgs.tensor(np.array(values, dtype=dtype), requires_grad=True)


def path_of(optimizer: optim.Optimizer, param: tgs.Tensor, grads: Any) -> list[np.ndarray]:
    """The parameter at the start and after one step per gradient."""
    path = [param.numpy().copy()]
    for grad in grads:
        param.grad = np.array(grad, dtype=param.dtype)
        optimizer.step()
        path.append(param.numpy().copy())
    return path


def follow(optimizer: optim.Optimizer, param: tgs.Tensor, grads: Any) -> np.ndarray:
    """The parameter after one step per gradient."""
    return path_of(optimizer, param, grads)[-1]


def error(kind: type[optim.Optimizer], oracle: Any, chosen: Any, run: Any, dtype: Any) -> float:
    """Largest distance from the oracle after any step, in units of 1 + the oracle's value."""
    start, grads = run
    param = leaf(start, dtype)
    path = path_of(kind([param], **chosen), param, grads)
    assert all(values.dtype == dtype for values in path)
    assert all(slot.dtype == dtype for slot in arrays_of(kind([param], **chosen)).values())
    before, got = np.array(path[:-1], np.float64), np.array(path[1:])
    exact = np.array(grads, dtype).astype(np.float64)
    columns = [
        oracle(before[:, i].tolist(), exact[:, i].tolist(), **chosen) for i in range(len(start))
    ]
    expected = np.array([list(column) for column in columns]).T
    return float(np.max(np.abs(got - expected) / (1 + np.abs(expected))))


def arrays_of(optimizer: optim.Optimizer) -> dict[str, np.ndarray]:
    return {k: v for k, v in optimizer.state_dict().items() if isinstance(v, np.ndarray)}


@each_rule
@given(data=st.data())
def test_float64_run_follows_the_published_equations(kind, data):
    oracle, chosen = RULES[kind]
    assert error(kind, oracle, data.draw(chosen), data.draw(runs), np.float64) < 1e-12


def test_adam_where_a_parameter_returns_to_almost_zero():
    """Found by the deep profile: from there two right runs part by 5e-9."""
    chosen = {"lr": 0.375, "eps": 1e-10, "weight_decay": 0.109375, "betas": (0.0, 0.0)}
    run = ([0.0], [[0.0], [0.0], [1.0], [0.0], [0.0]])
    assert error(optim.Adam, adam, chosen, run, np.float64) < 1e-15


@each_rule
def test_float32_run_stays_float32_and_near_the_oracle(kind):
    rng = np.random.default_rng(3)
    run = (list(rng.uniform(-1, 1, 3)), rng.uniform(-2, 2, (20, 3)).tolist())
    assert error(kind, RULES[kind][0], {"lr": 0.05}, run, np.float32) < 2e-7


def test_state_arrays_have_the_dtype_of_their_parameter():
    low, high = leaf([1.0, 2.0], np.float32), leaf([1.0, 2.0], np.float64)
    optimizer = optim.Adam([low, high], amsgrad=True, weight_decay=0.1)
    low.grad, high.grad = np.ones(2, np.float32), np.ones(2)
    optimizer.step()
    found = {key: array.dtype for key, array in arrays_of(optimizer).items()}
    for slot in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
        assert found[f"state.0.{slot}"] == np.float32
        assert found[f"state.1.{slot}"] == np.float64


# ---------------------------------------------------------------- the check can fail


def planted(kind: type[optim.Optimizer], step: Any = None, **changed: Any) -> Any:
    """`kind` with its step count or options tampered with inside the update."""

    class Wrong(kind):  # type: ignore[valid-type,misc]
        def _update(self, block, options, t):
            super()._update(block, {**options, **changed}, step(t) if step else t)

    return Wrong


class CoupledAdamW(optim.AdamW):
    _decoupled = False


@pytest.mark.parametrize(
    ("wrong", "oracle", "chosen"),
    [
        pytest.param(planted(optim.Adam, step=lambda t: 10**6), adam, {}, id="no bias correction"),
        pytest.param(planted(optim.Adam, step=lambda t: t + 1), adam, {}, id="step counts from 2"),
        pytest.param(planted(optim.Adam, betas=(0.999, 0.9)), adam, {}, id="betas swapped"),
        pytest.param(
            planted(optim.Adam, weight_decay=0.0), adam, {"weight_decay": 0.1}, id="no decay"
        ),
        pytest.param(
            planted(optim.Adam, weight_decay=-0.1), adam, {"weight_decay": 0.1}, id="decay sign"
        ),
        pytest.param(CoupledAdamW, adamw, {"weight_decay": 0.1}, id="decay coupled"),
        pytest.param(
            planted(optim.SGD, step=lambda t: t + 1),
            sgd,
            {"momentum": 0.9, "dampening": 0.5},
            id="first step dampened",
        ),
        pytest.param(
            planted(optim.SGD, nesterov=False),
            sgd,
            {"momentum": 0.9, "nesterov": True},
            id="no look-ahead",
        ),
        pytest.param(
            planted(optim.Adagrad, step=lambda t: t + 1),
            adagrad,
            {"lr_decay": 0.1},
            id="decay off by one",
        ),
        pytest.param(
            planted(optim.RMSprop, centered=False), rmsprop, {"centered": True}, id="not centred"
        ),
        pytest.param(planted(optim.RMSprop, alpha=0.9), rmsprop, {"alpha": 0.1}, id="1 - alpha"),
    ],
)
def test_oracle_catches_planted_mistakes(wrong, oracle, chosen):
    rng = np.random.default_rng(0)
    run = (list(rng.uniform(-1, 1, 3)), rng.uniform(-2, 2, (6, 3)).tolist())
    assert error(wrong, oracle, {"lr": 0.1, **chosen}, run, np.float64) > 1e-4


# ---------------------------------------------------------------- memory


@each_rule
def test_a_parameter_of_several_blocks_is_updated_like_its_entries_alone(kind):
    rng = np.random.default_rng(1)
    size = 2 * optim.optimizer._BLOCK + 5
    start = rng.standard_normal(size).astype(np.float32)
    grads = rng.standard_normal((3, size)).astype(np.float32)
    whole = leaf(start, np.float32)
    expected = follow(kind([whole], weight_decay=0.1), whole, grads)
    edge = optim.optimizer._BLOCK
    for piece in (slice(0, 7), slice(edge - 3, edge + 3), slice(-5, None)):
        part = leaf(start[piece], np.float32)
        got = follow(kind([part], weight_decay=0.1), part, grads[:, piece])
        assert np.array_equal(got, expected[piece])


@each_rule
def test_memory_order_of_parameter_and_gradient_does_not_matter(kind):
    rng = np.random.default_rng(2)
    start = rng.standard_normal((4, 6))
    grads = [rng.standard_normal((4, 6)) for _ in range(3)]
    plain = leaf(start)
    expected = follow(kind([plain], weight_decay=0.1), plain, grads)
    turned = tgs.tensor(np.asfortranarray(start), requires_grad=True)
    assert not turned.data.flags.c_contiguous
    optimizer = kind([turned], weight_decay=0.1)
    for grad in grads:
        turned.grad = np.repeat(grad, 2, axis=1)[:, ::2]
        optimizer.step()
    assert np.array_equal(turned.numpy(), expected)


@each_rule
def test_scalar_and_empty_parameters(kind):
    scalar, empty = leaf(2.0), leaf(np.zeros((0, 3)))
    optimizer = kind([scalar, empty], lr=0.1)
    scalar.grad, empty.grad = np.array(3.0), np.zeros((0, 3))
    optimizer.step()
    assert scalar.item() == pytest.approx(next(RULES[kind][0]([2.0], [3.0], lr=0.1)))
    assert empty.shape == (0, 3)


def test_the_gradient_is_only_read():
    for kind in RULES:
        param = leaf([1.0, -2.0])
        param.grad = np.array([0.5, 0.25])
        param.grad.flags.writeable = False
        kind([param], weight_decay=0.5).step()
        assert param.grad.tolist() == [0.5, 0.25]


def test_moments_of_entries_without_gradient_reach_zero_instead_of_subnormals():
    param = leaf(np.ones(4, np.float32), np.float32)
    optimizer = optim.Adam([param])
    follow(optimizer, param, [[1.0, 1.0, 1.0, 1.0]])
    grad = np.array([0.0, 0.0, 1.0, 1.0], np.float32)
    seen_subnormal = False
    tiny = np.finfo(np.float32).tiny
    for _ in range(1200):
        param.grad = grad
        optimizer.step()
        moment = optimizer._states[id(param)].slots["exp_avg"]
        seen_subnormal = seen_subnormal or bool(0 < moment[0] < tiny)
    assert seen_subnormal  # or the rest would show nothing
    assert moment.tolist()[:2] == [0.0, 0.0]
    assert moment[2] > 0.9


def test_centred_variance_rounded_below_zero_gives_no_nan():
    below = False
    for value in np.linspace(0.1, 1.0, 40):
        param = leaf([1.0], np.float32)
        optimizer = optim.RMSprop([param], lr=1e-4, alpha=0.3, centered=True)
        for _ in range(60):
            param.grad = np.array([value], np.float32)
            optimizer.step()
            slots = optimizer._states[id(param)].slots
            below = below or bool(slots["square_avg"] < slots["grad_avg"] ** 2)
        assert np.isfinite(param.data).all()
    assert below  # the case did occur


@each_rule
def test_parameters_without_gradient_are_skipped(kind):
    moving, still = leaf([1.0]), leaf([5.0])
    optimizer = kind([moving, still], lr=0.1, weight_decay=0.5)
    follow(optimizer, moving, [[1.0]] * 3)
    assert still.numpy().tolist() == [5.0]
    assert still.version == 0
    assert optimizer.state_dict()["steps"] == [3, 0]
    # Its own count starts when its first gradient arrives.
    moving.grad = None
    path = [float(w[0]) for w in path_of(optimizer, still, [[2.0], [1.0]])]
    expected = RULES[kind][0](path[:-1], [2.0, 1.0], lr=0.1, weight_decay=0.5)
    assert path[1:] == pytest.approx(list(expected), rel=1e-12)
