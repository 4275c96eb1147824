"""Attention: masked entries count for nothing, exactly; scores against naive loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_seq as tgs
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from tinygrad_seq.testing import gradcheck
from tinygrad_seq.testing.strategies import arrays

STEPS, BATCH, MEMORY = 3, 2, 5


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)), st.integers(0, 99))
def test_masked_entries_weigh_exactly_nothing(mask, seed):
    rng = np.random.default_rng(seed)
    values = np.where(mask, rng.standard_normal(mask.shape), np.nan)  # never read
    x = tgs.tensor(values, requires_grad=True)
    weights = tgs.masked_softmax(x, mask)
    found = weights.numpy()
    assert not found[~mask].any()
    np.testing.assert_allclose(found.sum(axis=-1), mask.any(axis=-1), rtol=1e-12)
    cotangent = np.where(mask, rng.standard_normal(mask.shape), np.nan)
    gradient = tgs.grad(weights, x, cotangent).numpy()
    assert not gradient[~mask].any() and np.isfinite(gradient).all()
    for place in np.ndindex(mask.shape[:-1]):  # each row: the plain softmax of what is left
        kept = mask[place]
        if kept.any():
            e = np.exp(values[place][kept] - values[place][kept].max())
            np.testing.assert_allclose(found[place][kept], e / e.sum(), rtol=1e-12)


def test_the_largest_is_taken_over_valid_entries_only():
    x = tgs.tensor(np.array([[1e4, 0.0, 1.0], [-1e4, -1e4, 1e4]]))
    weights = tgs.masked_softmax(x, np.array([[False, True, True], [True, True, False]]))
    np.testing.assert_allclose(weights.numpy()[0, 1:], [1 / (1 + np.e), np.e / (1 + np.e)])
    np.testing.assert_array_equal(weights.numpy()[1], [0.5, 0.5, 0.0])


@pytest.mark.parametrize(
    ("mask", "error", "said"),
    [
        (np.ones((2, 1, 5), bool), ShapeError, "the shape of the scores"),
        (np.ones((2, 5), bool), ShapeError, "stretch it on purpose"),
        (np.ones((2, 3, 5)), DtypeError, "booleans"),
    ],
)
def test_masks_are_not_stretched_silently(mask, error, said):
    with pytest.raises(error, match=said):
        tgs.masked_softmax(np.zeros((2, 3, 5), np.float32), mask)


KINDS = ("additive", "dot", "scaled", "multiplicative")


def build(kind, rng):
    options = {"rng": rng, "dtype": np.float64}
    if kind == "additive":
        layer = nn.AdditiveAttention(4, 4, 6, **options)
        layer.memory.bias.data = rng.standard_normal(6)
        return layer
    if kind == "multiplicative":
        return nn.MultiplicativeAttention(4, 4, **options)
    return nn.DotAttention(scale=kind == "scaled")


def naive_score(kind, layer, q, m):
    if kind == "additive":
        total = q @ layer.query.weight.numpy() + m @ layer.memory.weight.numpy()
        return np.tanh(total + layer.memory.bias.numpy()) @ layer.v.numpy()
    if kind == "multiplicative":
        return q @ layer.weight.numpy().T @ m
    return q @ m / (2.0 if kind == "scaled" else 1.0)


def naive(kind, layer, query, memory, allowed):
    """Query by query, row by row, over the allowed steps only."""
    context = np.zeros((STEPS, BATCH, 4))
    weights = np.zeros((BATCH, STEPS, MEMORY))
    for t in range(STEPS):
        for n in range(BATCH):
            places = np.flatnonzero(allowed[n, t])
            if not len(places):
                continue
            e = np.exp([naive_score(kind, layer, query[t, n], memory[s, n]) for s in places])
            weights[n, t, places] = e / e.sum()
            context[t, n] = weights[n, t] @ memory[:, n]
    return context, weights


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    lengths = np.array(draw(st.lists(st.integers(0, MEMORY), min_size=BATCH, max_size=BATCH)))
    mask = rng.random((BATCH, STEPS, MEMORY)) < 0.7
    query, memory = rng.standard_normal((STEPS, BATCH, 4)), rng.standard_normal((MEMORY, BATCH, 4))
    return rng, query, memory, lengths, mask


@pytest.mark.parametrize("kind", KINDS)
@given(problem=problems())
def test_against_a_naive_loop(kind, problem):
    rng, query, memory, lengths, mask = problem
    layer = build(kind, rng)
    allowed = mask & nn.length_mask(lengths, MEMORY)[:, None]
    expected, expected_weights = naive(kind, layer, query, memory, allowed)
    context, weights = layer(query, memory, lengths=lengths, mask=mask)
    np.testing.assert_allclose(weights.numpy(), expected_weights, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(context.numpy(), expected, rtol=1e-10, atol=1e-14)
    keys = layer.prepare(memory)  # made once, used at every step
    for t in range(STEPS):
        one, w = layer(query[t], memory, lengths=lengths, mask=mask[:, t], keys=keys)
        np.testing.assert_allclose(one.numpy(), expected[t], rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(w.numpy(), expected_weights[:, t], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", [*KINDS, "multihead"])
@given(problem=problems())
def test_padding_of_the_memory_changes_nothing(kind, problem):
    """Whatever finite garbage it holds, outputs and gradients stay, and its own are exactly 0."""
    rng, query, memory, lengths, _ = problem
    layer = (
        nn.MultiheadAttention(4, 2, rng=rng, dtype=np.float64)
        if kind == "multihead"
        else build(kind, rng)
    )
    weights = rng.standard_normal((STEPS, BATCH, 4))

    def run(garbage):
        padded = memory.copy()
        for n, length in enumerate(lengths):
            padded[length:, n] = garbage
        q, m = (tgs.tensor(a, requires_grad=True) for a in (query, padded))
        args = (q, m, m) if kind == "multihead" else (q, m)
        y, _ = layer(*args, lengths=lengths)
        found = tgs.grad((y * weights).sum(), [*layer.parameters(), q, m], allow_unused=True)
        return y.numpy(), [None if g is None else g.numpy() for g in found]

    y, gradients = run(0.0)
    y2, gradients2 = run(3.5)
    np.testing.assert_array_equal(y, y2)
    for n, length in enumerate(lengths):
        assert not gradients2[-1][length:, n].any()
    for a, b in zip(gradients, gradients2, strict=True):
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [*KINDS, "multihead"])
@given(problem=problems())
def test_composed_runs_step_by_step_and_gives_the_same(kind, problem):
    """Context, weights and every gradient; and each step's weights are a node of that step."""
    rng, query, memory, lengths, mask = problem
    many = kind == "multihead"
    layer = nn.MultiheadAttention(4, 2, rng=rng, dtype=np.float64) if many else build(kind, rng)
    cotangents = rng.standard_normal((STEPS, BATCH, 4)), rng.standard_normal(MEMORY)

    def run():
        q, m = (tgs.tensor(a, requires_grad=True) for a in (query, memory))
        y, weights = layer(*((q, m, m) if many else (q, m)), lengths=lengths, mask=mask)
        total = (y * cotangents[0]).sum() + (weights * cotangents[1]).sum()
        leaves = [*layer.parameters(), q, m]
        found = tgs.grad(total, leaves, allow_unused=True)
        return [y, weights, *(g for g in found if g is not None)]

    class Listener:
        def __init__(self):
            self.steps = []

        def recorded(self, node, value):
            if node.name in {"softmax", "masked_softmax"}:
                self.steps.append(node.scope.step)

        def received(self, node, cotangent):
            pass

    whole = run()
    listener = Listener()
    with tgs.composed(), tgs.observe(listener):
        stepwise = run()
    assert listener.steps == list(range(STEPS))
    for a, b in zip(whole, stepwise, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-10, atol=1e-13)


def test_dropped_weights_are_the_same_composed():
    x = np.random.default_rng(1).standard_normal((4, 2, 6))
    found = []
    for mode in (tgs.enable_grad(), tgs.composed()):
        layer = nn.MultiheadAttention(6, 3, 0.5, rng=np.random.default_rng(0), dtype=np.float64)
        with mode:
            found.append(layer(x, x, x)[0].numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_causal_attention_cannot_see_the_future():
    rng = np.random.default_rng(0)
    layer = nn.MultiheadAttention(6, 3, rng=rng, dtype=np.float64)
    x = tgs.tensor(rng.standard_normal((4, 2, 6)), requires_grad=True)
    y, weights = layer(x, x, x, causal=True)
    assert not np.triu(weights.numpy(), 1).any()
    np.testing.assert_allclose(weights.numpy().sum(axis=-1), 1)
    for t in range(4):
        reach = tgs.grad(y[t].sum(), x, retain_graph=True).numpy()
        assert not reach[t + 1 :].any() and reach[: t + 1].all()


def test_gradients_of_every_attention_by_central_differences():
    rng = np.random.default_rng(0)
    query, memory = rng.standard_normal((STEPS, BATCH, 4)), rng.standard_normal((MEMORY, BATCH, 4))
    weights = rng.standard_normal((STEPS, BATCH, 4))
    for layer in [nn.MultiheadAttention(4, 2, rng=rng, dtype=np.float64)] + [
        build(kind, rng) for kind in KINDS
    ]:
        for parameter in layer.parameters():

            def loss(layer=layer):
                args = (memory, memory) if isinstance(layer, nn.MultiheadAttention) else (memory,)
                return (layer(query, *args, lengths=[5, 2])[0] * weights).sum()

            found = tgs.grad(loss(), parameter).numpy()
            direction = rng.standard_normal(parameter.shape)
            kept, values = parameter.numpy(), []
            for eps in (1e-5, -1e-5):
                parameter.data = kept + eps * direction
                values.append(loss().item())
            parameter.data = kept
            slope = (values[0] - values[1]) / 2e-5
            assert np.sum(found * direction) == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_bad_input_is_explained():
    rng = np.random.default_rng(0)
    memory = np.zeros((MEMORY, BATCH, 4))
    dot = nn.DotAttention()
    with pytest.raises(ShapeError, match="MultiplicativeAttention for different sizes"):
        dot(np.zeros((BATCH, 3)), memory)
    with pytest.raises(ShapeError, match="as the query has 3 rows"):
        dot(np.zeros((3, 4)), memory)
    with pytest.raises(ShapeError, match=r"booleans of shape \(2, 3, 5\)"):
        dot(np.zeros((STEPS, BATCH, 4)), memory, mask=np.ones((2, 5), bool))
    with pytest.raises(IndexRangeError, match="0 <= length <= 5"):
        dot(np.zeros((BATCH, 4)), memory, lengths=[6, 1])
    with pytest.raises(ShapeError, match=r"lengths"):
        dot(np.zeros((BATCH, 4)), memory, lengths=[1, 1, 1])
    with pytest.raises(ConfigError, match="a divisor of embed_dim, 6"):
        nn.MultiheadAttention(6, 4, rng=rng)


def attention_by_loops(query, key, value, mask):
    """softmax(Q K' / sqrt(D)) V of one sequence, entry by entry."""
    context = np.zeros((len(query), value.shape[1]))
    weights = np.zeros((len(query), len(key)))
    for t, q in enumerate(query):
        seen = [s for s in range(len(key)) if mask[t, s]]
        scores = [sum(q[d] * key[s, d] for d in range(len(q))) / len(q) ** 0.5 for s in seen]
        shares = [np.exp(score) for score in scores]
        for s, share in zip(seen, shares, strict=True):
            weights[t, s] = share / sum(shares)
            context[t] += weights[t, s] * value[s]
    return context, weights


@given(data=st.data(), batch=st.lists(st.integers(1, 2), max_size=2), masked=st.booleans())
def test_scaled_dot_product_attention_equals_loops(data, batch, masked):
    t, s, d, e = (data.draw(st.integers(1, 3)) for _ in range(4))
    query, key, value = (data.draw(arrays((*batch, *shape))) for shape in [(t, d), (s, d), (s, e)])
    mask = np.ones((*batch, t, s), bool)
    if masked:
        for place in np.ndindex(mask.shape[:-1]):
            mask[place] = data.draw(st.lists(st.booleans(), min_size=s, max_size=s).filter(any))
    given_mask = mask if masked else None
    context, weights = tgs.scaled_dot_product_attention(query, key, value, given_mask)
    for place in np.ndindex(*batch):
        parts = (each[place] for each in (query, key, value, mask))
        expected_context, expected_weights = attention_by_loops(*parts)
        np.testing.assert_allclose(context.data[place], expected_context, atol=1e-12)
        np.testing.assert_allclose(weights.data[place], expected_weights, atol=1e-12)
    gradcheck(
        lambda *xs: tgs.scaled_dot_product_attention(*xs, given_mask)[0],
        query, key, value, check="directional", order=2,
    )  # fmt: skip
