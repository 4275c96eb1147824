"""``tgs.anomaly``: the first NaN or infinity is named, with its place and the program's line."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn
from tinygrad_seq.engine.mode import Mode, current_mode
from tinygrad_seq.errors import ConfigError, NonFiniteError

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def leaf(value) -> tgs.Tensor:
    return tgs.tensor(np.asarray(value, np.float64), requires_grad=True)


def test_a_forward_nan_names_operation_place_and_line() -> None:
    x = leaf([4.0, 1.0, -1.0])
    with tgs.anomaly(), tgs.scope(path="head", step=3):
        y = x * 2
        with pytest.raises(NonFiniteError) as caught:
            tgs.sqrt(y)  # the line to be named
    text = str(caught.value)
    assert "the value of sqrt (module head, t = 3) is not finite" in text
    assert "nan at index (2,) of shape (3,)" in text
    assert "test_anomaly.py:" in text
    assert "tgs.sqrt(y)  # the line to be named" in text
    assert "in test_a_forward_nan_names_operation_place_and_line" in text


def test_a_broken_operand_is_named_first() -> None:
    x = leaf([1.0, np.inf])
    x.name = "embedding.weight"
    named = r"not finite already: input 0 \(embedding\.weight\)"
    with tgs.anomaly(), pytest.raises(NonFiniteError, match=named):
        x * x


def test_a_backward_infinity_names_the_rule_that_made_it() -> None:
    x = leaf([1.0, 0.0])
    with tgs.anomaly(), tgs.scope(path="rnn", layer=0, step=5):
        root = tgs.sqrt(x)
        loss = (root * 1.0).sum()
        with pytest.raises(NonFiniteError) as caught:
            loss.backward()
    text = str(caught.value)
    assert "the gradient of leaf is not finite" in text
    assert "inf at index (1,)" in text
    assert "made by the rule of sqrt (module rnn, layer 0, t = 5)" in text
    assert "root = tgs.sqrt(x)" in text
    assert x.grad is None


def test_a_cotangent_that_was_broken_to_begin_with() -> None:
    x = leaf([1.0, 2.0])
    with tgs.anomaly(), pytest.raises(NonFiniteError, match="not finite to begin with"):
        (x * 2).backward(np.array([1.0, np.nan]))


def test_a_graph_recorded_before_the_block() -> None:
    x = leaf([0.0])
    loss = tgs.sqrt(x).sum()
    with tgs.anomaly(), pytest.raises(NonFiniteError, match=r"rule of sqrt; look at where it was"):
        loss.backward()


@pytest.mark.parametrize("composed", [True, False])
def test_the_time_step_of_an_infinity_in_a_sequence(composed: bool) -> None:
    lstm = nn.LSTM(2, 3, rng=np.random.default_rng(0))
    x = np.ones((50, 2, 2), np.float32)
    x[37, 1, 0] = np.nan
    mode = tgs.composed() if composed else tgs.enable_grad()
    with tgs.anomaly(), mode, pytest.raises(NonFiniteError, match=r"t = 37") as caught:
        lstm(x)
    assert "test_anomaly.py" in str(caught.value)


def test_infinities_may_be_allowed() -> None:
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    mask = np.array([[True, False], [True, True]])
    with tgs.anomaly(allow_inf=True):
        scores = tgs.where(mask, x, -np.inf)
        tgs.softmax(scores).sum().backward()
    assert np.all(np.isfinite(x.grad))
    with tgs.anomaly(), pytest.raises(NonFiniteError, match="where"):
        tgs.where(mask, x, -np.inf)
    with tgs.anomaly(allow_inf=True), pytest.raises(NonFiniteError, match="nan"):
        tgs.log(x - 5)


def test_sound_programs_pass_and_the_mode_is_put_back() -> None:
    x = leaf([0.5])
    with tgs.anomaly():
        tgs.tanh(x).sum().backward()
    assert current_mode.get() == Mode()
    with pytest.raises(NonFiniteError), tgs.anomaly():
        tgs.log(x - 1)
    assert current_mode.get() == Mode()
    tgs.log(x - 1)  # outside the block nothing is checked
    with tgs.anomaly(), pytest.raises(ConfigError, match="already listening"):
        tgs.anomaly()


def test_integer_results_are_not_checked() -> None:
    x = leaf([1.5])
    with tgs.anomaly():
        assert (x > 1).all()


def test_it_holds_no_graph_alive() -> None:
    import weakref

    with tgs.anomaly():
        y = tgs.tanh(leaf([0.5]))
        gone = weakref.ref(y.node)
        del y
        assert gone() is None


def test_tokens_are_no_suspects() -> None:
    """Integer operands of a fused sequence are looked at, and found sound."""
    rnn = nn.RNN(4, 3, rng=np.random.default_rng(0))
    rnn.weight_xh_l0.writable()[2] = np.nan
    with tgs.anomaly(), pytest.raises(NonFiniteError) as caught:
        rnn(np.array([[0], [2]]))
    text = str(caught.value)
    assert "from t = 1 on" in text
    assert "input 2 (weight_xh_l0)" in text
    assert "input 0" not in text
