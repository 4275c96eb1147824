"""Agreement with PyTorch: every optimiser, every schedule, both clips."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed (make parity)")
lr_scheduler = torch.optim.lr_scheduler

from tests.parity import peers  # noqa: E402  (needs PyTorch)

STEPS = 20
TOLERANCE = {np.float64: 1e-12, np.float32: 2e-6}
SHAPES = [(5, 7), (7,), ()]


def pair(values: list[np.ndarray]) -> tuple[list[Any], list[Any]]:
    """The same parameters in both libraries."""
    ours = [tgs.tensor(value, requires_grad=True) for value in values]
    theirs = [torch.from_numpy(value.copy()).requires_grad_() for value in values]
    return ours, theirs


def set_grads(ours: list[Any], theirs: list[Any], grads: list[np.ndarray | None]) -> None:
    for a, b, grad in zip(ours, theirs, grads, strict=True):
        a.grad = None if grad is None else grad.copy()
        b.grad = None if grad is None else torch.from_numpy(grad.copy())


def draw(seed: int, dtype: type, shapes: Any = SHAPES) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


OPTIMISERS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.9, "weight_decay": 0.1, "eps": 1e-3}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "alpha": 0.9, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "betas": (0.5, 0.9), "weight_decay": 0.3}),
    ("AdamW", {"lr": 0.1, "amsgrad": True}),
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("name", "options"), OPTIMISERS)
def test_optimisers_agree(name, options, dtype):
    ours, theirs = pair(draw(0, dtype))
    first = getattr(optim, name)(
        [{"params": ours[:1]}, {"params": ours[1:], "lr": 0.03}], **options
    )
    second = getattr(torch.optim, name)(
        [{"params": theirs[:1]}, {"params": theirs[1:], "lr": 0.03}], **options
    )
    for t in range(STEPS):
        grads: list[Any] = draw(t + 1, dtype)
        grads[1] = None if t % 5 == 2 else grads[1]
        set_grads(ours, theirs, grads)
        first.step()
        second.step()
        for a, b in zip(ours, theirs, strict=True):
            scale = 1 + np.abs(b.detach().numpy())
            assert np.max(np.abs(a.data - b.detach().numpy()) / scale) < TOLERANCE[dtype], t


CURVE = {np.float64: 1e-9, np.float32: 1e-3}
"""Of the losses along a training curve, relative: rounding errors are trained on."""


@pytest.mark.parametrize("dtype", CURVE)
@pytest.mark.parametrize(("name", "options"), OPTIMISERS)
def test_two_hundred_steps_of_training(name, options, dtype):
    """A character LSTM from equal weights and batches, under every optimiser: the same losses.

    In float32 with small steps: at large ones rounding errors grow a thousandfold on the way.
    How far they may grow in float64 is seen on a second model, a rounding error away at first.
    """
    if dtype is np.float32:
        options = {**options, "lr": 0.001}
    vocab, hidden = 7, 6
    rng = np.random.default_rng(0)
    layer = nn.LSTM(vocab, hidden, rng=rng, dtype=dtype)
    model = nn.ManyToMany(layer, vocab, rng=rng)
    nudged = copy.deepcopy(model)
    for parameter in nudged.parameters():
        parameter.data = parameter.numpy() * dtype(1 + 4 * np.finfo(dtype).eps)
    named = {k: torch.from_numpy(p.numpy()).requires_grad_() for k, p in model.named_parameters()}
    peer = peers.many_to_many(peers.layer(torch.nn.LSTM, hidden))
    first = getattr(optim, name)(model.parameters(), **options)
    second = getattr(torch.optim, name)(named.values(), **options)
    third = getattr(optim, name)(nudged.parameters(), **options)
    apart = 0.0
    text = np.cumsum(rng.integers(0, 2, (6, 4)), axis=0) % vocab
    losses = []
    for step in range(200):
        tokens, targets = (text[:-1] + step % 3) % vocab, (text[1:] + step % 3) % vocab
        loss = tgs.cross_entropy(model(tokens)[0], targets)
        first.zero_grad()
        loss.backward()
        first.step()
        onehot = torch.from_numpy(np.eye(vocab, dtype=dtype)[tokens])
        logits = peer(named, onehot)[0].reshape(-1, vocab)
        expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets.reshape(-1)))
        second.zero_grad()
        expected.backward()
        second.step()
        losses.append(loss.item())
        other = tgs.cross_entropy(nudged(tokens)[0], targets)
        third.zero_grad()
        other.backward()
        third.step()
        apart = max(apart, 10 * abs(other.item() - loss.item()))
        allowed = apart if dtype is np.float64 else 0.0
        assert losses[-1] == pytest.approx(expected.item(), rel=CURVE[dtype], abs=allowed), step
    assert losses[-1] < losses[1]  # the same batch


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "RMSprop", "Adam", "AdamW"])
def test_defaults_agree(name):
    ours, theirs = pair(draw(0, np.float32))
    first = getattr(optim, name)(ours).param_groups[0]
    second = getattr(torch.optim, name)(theirs).param_groups[0]
    for option, value in first.items():
        if option != "params":
            assert second[option] == value, option


SCHEDULES = {
    "step": lambda m, o: m.StepLR(o, 3, 0.5),
    "exponential": lambda m, o: m.ExponentialLR(o, 0.9),
    "cosine": lambda m, o: m.CosineAnnealingLR(o, 20),
    "cosine with minimum, past its end": lambda m, o: m.CosineAnnealingLR(o, 6, eta_min=0.01),
    "linear": lambda m, o: m.LinearLR(o),
    "linear down": lambda m, o: m.LinearLR(o, 0.9, 0.2, 11),
    "warm-up, then cosine": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, total_iters=5), m.CosineAnnealingLR(o, 10)], [5]
    ),
    "three in sequence": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.5, total_iters=4), m.StepLR(o, 2), m.ExponentialLR(o, 0.8)], [4, 9]
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_agree(name):
    ours, theirs = pair(draw(0, np.float32))
    groups = [{"lr": 0.3}, {"lr": 0.07}, {"lr": 2.0}]
    first = optim.SGD([{"params": p, **g} for p, g in zip(ours, groups, strict=True)])
    second = torch.optim.SGD([{"params": p, **g} for p, g in zip(theirs, groups, strict=True)])
    mine, reference = SCHEDULES[name](optim, first), SCHEDULES[name](lr_scheduler, second)
    for t in range(STEPS):
        assert mine.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-9, abs=1e-12), t
        first.step()
        second.step()
        mine.step()
        reference.step()
    assert mine.get_last_lr() == pytest.approx([group["lr"] for group in second.param_groups])


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"factor": 0.5, "patience": 0, "cooldown": 2},
        {"factor": 0.5, "patience": 1, "threshold": 0.05, "min_lr": 0.02},
    ],
)
def test_plateau_agrees(mode, threshold_mode, options):
    ours, theirs = pair(draw(0, np.float32))
    settings = {"mode": mode, "threshold_mode": threshold_mode, **options}
    first, second = optim.SGD(ours, lr=0.1), torch.optim.SGD(theirs, lr=0.1)
    mine = optim.ReduceLROnPlateau(first, **settings)
    reference = lr_scheduler.ReduceLROnPlateau(second, **settings)
    for metric in np.random.default_rng(0).uniform(0.5, 1.5, 3 * STEPS).round(1):
        mine.step(float(metric))
        reference.step(float(metric))
        assert mine.get_last_lr() == pytest.approx([g["lr"] for g in second.param_groups])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("bound", [0.5, 5.0, 1e6])
def test_norm_clipping_agrees(bound, order, dtype):
    for seed in range(STEPS):
        ours, theirs = pair(draw(0, dtype))
        set_grads(ours, theirs, [np.asarray(grad * dtype(seed)) for grad in draw(seed, dtype)])
        report = optim.clip_grad_norm_(ours, bound, order)
        norm = torch.nn.utils.clip_grad_norm_(theirs, bound, order)
        assert report.norm == pytest.approx(norm.item(), rel=1e-6)
        for a, b in zip(ours, theirs, strict=True):
            # PyTorch divides by norm + 1e-6.
            assert np.allclose(a.grad, b.grad.numpy(), rtol=5e-6, atol=0)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_value_clipping_agrees(dtype):
    for seed in range(STEPS):
        ours, theirs = pair(draw(0, dtype))
        set_grads(ours, theirs, draw(seed, dtype))
        optim.clip_grad_value_(ours, 0.7)
        torch.nn.utils.clip_grad_value_(theirs, 0.7)
        for a, b in zip(ours, theirs, strict=True):
            assert np.allclose(a.grad, b.grad.numpy(), rtol=2e-7, atol=0)
