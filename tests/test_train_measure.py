"""The character model, its options, and measuring and sampling it without touching it."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq import charlm, data, nn, train
from tinygrad_seq.charlm.options import CHANGEABLE
from tinygrad_seq.errors import ConfigError, DataError

# -- evaluation and sampling -----------------------------------------------------------------------


def naive_nats(model, ids, reset_every):
    """The oracle: one character at a time."""
    total, state = 0.0, None
    with train.evaluating(model):
        for t in range(len(ids) - 1):
            if reset_every and t % reset_every == 0:
                state = None
            logits, state = model(ids[t : t + 1, None], state)
            total += tgs.cross_entropy(logits, ids[t + 1 : t + 2, None]).item()
    return total / (len(ids) - 1)


@given(
    length=st.integers(2, 150),
    reset_every=st.sampled_from([None, 1, 7, 64, 200]),
    kind=st.sampled_from(["rnn", "lstm"]),
)
def test_evaluation_equals_one_character_at_a_time(length, reset_every, kind):
    rng = np.random.default_rng(length)
    model = charlm.CharLM(5, 4, 2, model=kind, dropout=0.5, rng=rng, dtype=np.float64)
    ids = rng.integers(0, 5, length)
    found = train.evaluate(model, ids, reset_every=reset_every, streams=1)
    assert found.tokens == length - 1
    assert found.nats == pytest.approx(naive_nats(model, ids, reset_every), rel=1e-10)
    assert found.bits == pytest.approx(found.nats / math.log(2))


def test_parallel_streams_of_an_evaluation_predict_each_character_once():
    """Streams start from zero states: as many evaluations of the parts, weighted."""
    rng = np.random.default_rng(0)
    model = charlm.CharLM(5, 4, 1, rng=rng, dtype=np.float64)
    ids = rng.integers(0, 5, 101)  # 100 pairs, 4 streams of 25
    parts = [naive_nats(model, ids[start : start + 26], None) for start in range(0, 100, 25)]
    assert train.evaluate(model, ids, streams=4).nats == pytest.approx(np.mean(parts), rel=1e-12)


def test_a_uniform_model_costs_the_log_of_the_alphabet():
    model = charlm.CharLM(65, 4, 1, rng=np.random.default_rng(0))
    model.head.weight.writable()[:] = 0
    found = train.evaluate(model, np.arange(400) % 65)
    assert found.nats == pytest.approx(math.log(65), rel=1e-6)
    assert 25 * found.nats == pytest.approx(104.36, abs=0.01)  # as a sum over 25 characters


@pytest.mark.parametrize(
    ("ids", "how", "error"),
    [
        (np.zeros(1, int), {}, DataError),
        (np.zeros((2, 2), int), {}, DataError),
        (np.zeros(5, int), {"streams": 0}, ConfigError),
        (np.zeros(5, int), {"reset_every": 0}, ConfigError),
    ],
)
def test_what_cannot_be_evaluated_is_said(ids, how, error):
    with pytest.raises(error):
        train.evaluate(charlm.CharLM(3, 2, 1), ids, **how)


def test_evaluating_restores_each_module_as_it_was_even_after_an_error():
    model = charlm.CharLM(5, 4, 2, dropout=0.5)
    model.head.eval()
    modes = [module.training for module in model.modules()]
    assert len(set(modes)) == 2
    inside = []

    def fail():
        with train.evaluating(model):
            inside.extend(module.training for module in model.modules())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not any(inside)
    assert [module.training for module in model.modules()] == modes


def test_samples_follow_the_distribution_and_the_temperature():
    """A readout that ignores the state: the characters are independent draws from a softmax."""
    vocabulary = data.Vocabulary("abc")
    model = charlm.CharLM(3, 4, 1, rng=np.random.default_rng(0))
    model.head.weight.writable()[:] = 0
    model.head.bias.writable()[:] = np.log([0.6, 0.3, 0.1])
    for temperature, expected in ((1.0, [0.6, 0.3, 0.1]), (0.5, [0.36, 0.09, 0.01])):
        written = charlm.sample(
            model, vocabulary, 3000, temperature=temperature, rng=np.random.default_rng(1)
        )
        shares = [written.count(symbol) / 3000 for symbol in "abc"]
        np.testing.assert_allclose(shares, np.array(expected) / sum(expected), atol=0.03)
    assert charlm.sample(model, vocabulary, 30, temperature=0) == "a" * 30


def test_a_sample_reads_its_prime_and_repeats_with_its_seed():
    vocabulary = data.Vocabulary("abc\n")
    model = charlm.CharLM(4, 8, 2, rng=np.random.default_rng(0))

    def write(prime, seed=5):
        return charlm.sample(model, vocabulary, 40, prime=prime, rng=np.random.default_rng(seed))

    assert write("abc") == write("abc")
    assert write("") == write("\n")  # a line break stands for an empty prime
    assert len({write(prime) for prime in ("a", "ab", "abcabc", "b")}) > 1
    with pytest.raises(DataError, match="vocabulary"):
        write("z")
    for bad in ({"temperature": -1.0}, {"temperature": math.nan}, {"length": -1}):
        with pytest.raises(ConfigError):
            charlm.generate(model, vocabulary, **bad)


def test_generating_goes_on_while_the_model_trains():
    """A generator that is left open holds no mode: training in between records its graph."""
    model = charlm.CharLM(3, 4, 1, rng=np.random.default_rng(0))
    written = charlm.generate(model, data.Vocabulary("abc"), 5)
    next(written)
    assert model.training
    assert model(np.zeros((2, 1), int))[0].requires_grad
    next(written)


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"model": "transformer"},
        {"optimizer": "adamax"},
        {"hidden": 0},
        {"hidden": 2.5},
        {"layers": True},
        {"batch": -1},
        {"dropout": 1.0},
        {"lr": -1e-3},
        {"lr": math.nan},
        {"clip": "5"},
        {"warmup": 1.0},
        {"steps": 0},
        {"minutes": 0},
        {"minutes": None},
        {"seed": -1},
        {"temperature": math.inf},
        {"eval_every": 1.5},
    ],
    ids=str,
)
def test_impossible_options_are_refused(bad):
    with pytest.raises(ConfigError):
        charlm.CharOptions(**bad)


def test_presets_and_changes():
    for name in charlm.PRESETS:
        made = charlm.CharOptions.preset(name)
        assert charlm.CharOptions.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    changed = charlm.CharOptions.preset("shakespeare", steps=10, hidden=8)
    assert (changed.steps, changed.minutes, changed.hidden) == (10, None, 8)
    assert changed.validation == 111_540
    with pytest.raises(ConfigError, match="preset"):
        charlm.CharOptions.preset("tolstoy")
    with pytest.raises(ConfigError, match="unknown option"):
        charlm.CharOptions.preset("default", hiden=3)
    for name in CHANGEABLE:
        assert hasattr(changed, name)


def test_each_optimizer_has_a_rate_of_its_own():
    found = {charlm.CharOptions(optimizer=name).lr for name in ("adam", "rmsprop", "sgd")}
    assert len(found) == 3
    assert charlm.CharOptions(optimizer="sgd", lr=0.0).lr == 0.0


def test_learning_rates():
    cosine = charlm.CharOptions(lr=1.0, warmup=0.1)
    rates = [charlm.learning_rate(cosine, p, 0) for p in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(rates[10]) == pytest.approx((1 + math.cos(math.pi / 10)) / 2)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] == 0
    assert charlm.learning_rate(cosine, 1.7, 0) == 0  # an overshooting clock
    decay = charlm.CharOptions(lr=1.0, schedule="decay", lr_decay=0.5, lr_decay_after=2)
    found = [charlm.learning_rate(decay, 0.5, e) for e in (0, 0.9, 1, 1.9, 2, 3)]
    assert found == [1, 1, 1, 1, 0.5, 0.25]
    assert charlm.learning_rate(charlm.CharOptions(schedule="constant", lr=2.0), 0.9, 7) == 2.0


# -- the model -------------------------------------------------------------------------------------


def test_the_model_is_its_parts():
    model = charlm.CharLM(5, 4, 2, rng=np.random.default_rng(0)).eval()
    tokens = np.random.default_rng(1).integers(0, 5, (6, 3))
    logits, state = model(tokens)
    y, expected = model.rnn(tokens)
    np.testing.assert_array_equal(logits.numpy(), model.head(y).numpy())
    np.testing.assert_array_equal(state.c.numpy(), expected.c.numpy())
    assert isinstance(charlm.CharLM(5, 4, 1, model="rnn").rnn, nn.RNN)
    with pytest.raises(ConfigError, match="model"):
        charlm.CharLM(5, 4, 1, model="transformer")


def test_the_first_layer_starts_with_rows_like_an_embedding():
    model = charlm.CharLM(200, 64, 2, rng=np.random.default_rng(0))
    first, _, bias = model.rnn.layer_weights(0)
    second, _, _ = model.rnn.layer_weights(1)
    assert first.numpy().std() == pytest.approx(1.0, abs=0.02)
    assert second.numpy().std() < 0.2
    assert first.dtype == np.float32
    assert sorted(set(bias.numpy())) == [0.0, 1.0]  # the forget bias is untouched
