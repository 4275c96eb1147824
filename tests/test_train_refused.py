"""Updates of `train.tbptt` that cannot be made: what is not finite, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_seq as tgs
from demos.lab import truncated_bptt
from tinygrad_seq import charlm, data, nn, optim, train
from tinygrad_seq.errors import ConfigError, NonFiniteError, ShapeError


def char_model():
    return charlm.CharLM(5, 6, 2, rng=np.random.default_rng(0), dtype=np.float64)


def parameters_of(model):
    return {name: value.copy() for name, value in model.state_dict().items()}


def assert_same_parameters(one, other):
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


# -- what is not finite ----------------------------------------------------------------------------


class Exploding(nn.Module):
    """Its second window overflows: in the loss, or in a gradient alone (an infinite slope)."""

    def __init__(self, where):
        super().__init__()
        self.w = nn.Parameter(np.array([[1.0]], np.float32))
        self.where = where

    def forward(self, x, state):
        h = self.w * x[-1] if state is None else self.w * x[-1] + state * 0.5
        if self.where == "gradient" and x[-1, 0, 0] > 1e30:
            return tgs.sqrt(self.w - 1.0) + self.w, h  # d sqrt(0) is infinite
        return h * h, h


def exploding_windows():
    calm, wild = np.ones((1, 1, 1), np.float32), np.full((1, 1, 1), 3e38, np.float32)
    return [(calm, calm), (wild, calm), (calm, calm)]


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nonfinite_raises_and_leaves_everything_untouched(where):
    model = Exploding(where)
    optimizer = optim.Adam(model.parameters(), lr=0.0 if where == "gradient" else 0.1)
    updates = train.tbptt(model, exploding_windows(), optimizer, loss=lambda y, _: y.sum())
    next(updates)
    parameters, saved = parameters_of(model), optimizer.state_dict()
    state = updates.state.numpy()
    with pytest.raises(NonFiniteError):
        next(updates)
    assert_same_parameters(parameters, model.state_dict())
    after = optimizer.state_dict()
    assert after["steps"] == saved["steps"]
    for name in saved:
        np.testing.assert_array_equal(saved[name], after[name])
    np.testing.assert_array_equal(updates.state.numpy(), state)
    assert updates.step == 1


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("clip", [{}, {"clip_norm": 1.0}, {"clip_value": 1.0}])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nonfinite_may_be_skipped(where, clip):
    model = Exploding(where)
    optimizer = optim.SGD(model.parameters(), lr=0.0 if where == "gradient" else 0.1)
    updates = train.tbptt(
        model, exploding_windows(), optimizer, loss=lambda y, _: y.sum(), nonfinite="skip", **clip
    )
    first = next(updates)
    parameters = parameters_of(model)
    second = next(updates)
    assert (first.skipped, second.skipped) == (False, True)
    assert second.problem
    assert not math.isfinite(second.grad_norm)
    assert_same_parameters(parameters, model.state_dict())
    third = next(updates)
    assert not third.skipped
    assert math.isfinite(third.loss)
    assert np.isfinite(updates.state.numpy()).all()


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "k, a number of steps"),
        ({"k": 2.0}, "k, a number of steps"),
        ({"k": True}, "k, a number of steps"),
        ({"clip_norm": 1.0, "clip_value": 1.0}, "two ways"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"clip_value": -1}, "clip_value"),
        ({"clip_norm": "5"}, "clip_norm"),
        ({"nonfinite": "ignore"}, "nonfinite"),
        ({"loss": None}, "tbptt: loss"),
    ],
)
def test_bad_options_are_refused_at_the_call(options, said):
    model = char_model()
    with pytest.raises(ConfigError, match=said):
        train.tbptt(model, [], optim.SGD(model.parameters(), lr=0.1), **options)


def test_unknown_options_and_a_foreign_schedule_are_refused():
    model = char_model()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match="split_batches"):
        train.tbptt(model, [], optimizer, split_batches=5)
    foreign = optim.StepLR(optim.SGD(model.parameters(), lr=0.1), step_size=1)
    with pytest.raises(ConfigError, match="schedule"):
        train.tbptt(model, [], optimizer, schedule=foreign)


TOKENS = np.zeros((4, 2), int)


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (TOKENS, "pair or a triple"),
        ((TOKENS,), "pair or a triple"),
        (({}, TOKENS, None, None), "pair or a triple"),
        ((np.zeros((0, 2), int), np.zeros((0, 2), int)), "no time steps"),
        ((np.zeros((8, 2), int), TOKENS), "targets cannot"),
        ((TOKENS, np.zeros((4, 3), int)), "targets"),
    ],
)
def test_bad_windows_are_refused_when_read(window, said):
    model = char_model()
    before = parameters_of(model)
    updates = train.tbptt(model, [window], optim.SGD(model.parameters(), lr=0.1), k=5)
    with pytest.raises(ShapeError, match=said):
        next(updates)
    assert_same_parameters(before, model.state_dict())


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        (data.Streams(np.arange(20) % 5, 2), r"got: Streams[\s\S]*try: pass its \.windows\(k\)"),
        (None, r"got: NoneType[\s\S]*try: \[\(inputs, targets\)\]"),
    ],
)
def test_streams_are_not_windows_yet(windows, said):
    model = char_model()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match=rf"^tbptt: windows[\s\S]*{said}"):
        train.tbptt(model, windows, optimizer)
    with pytest.raises(ConfigError, match=rf"^truncated_bptt: windows[\s\S]*{said}"):
        truncated_bptt(model, windows, k1=5, k2=15)


def test_a_model_without_a_state_is_refused():
    head = nn.Linear(3, 2, rng=np.random.default_rng(0))
    updates = train.tbptt(
        lambda x, state: head(x),
        [(np.zeros((4, 2, 3), np.float32), TOKENS)],
        optim.SGD(head.parameters(), lr=0.1),
    )
    with pytest.raises(ConfigError, match="pair"):
        next(updates)
