"""Agreement with PyTorch: recurrent layers, their gradients, and a training curve."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn, optim
from tinygrad_seq.kernels.gates import gate

torch = pytest.importorskip("torch", reason="PyTorch is not installed (make parity)")

TOLERANCE = {np.float64: 1e-11, np.float32: 2e-5}


def torch_order(array: np.ndarray, hidden: int) -> np.ndarray:
    """Columns i, f, o, g (ours) as i, f, g, o (PyTorch's); an RNN's as they are."""
    if array.shape[-1] == hidden:
        return array
    return np.concatenate([array[..., gate(name, hidden)] for name in "ifgo"], axis=-1)


def twins(kind: str, size: int, hidden: int, layers: int, dtype: type):
    """The same layer in both libraries, with equal weights (PyTorch's second bias at 0)."""
    rng = np.random.default_rng(0)
    if kind == "lstm":
        ours = nn.LSTM(size, hidden, layers, rng=rng, dtype=dtype)
        theirs = torch.nn.LSTM(size, hidden, layers)
    else:
        ours = nn.RNN(size, hidden, layers, kind, rng=rng, dtype=dtype)
        theirs = torch.nn.RNN(size, hidden, layers, nonlinearity=kind)
    theirs = theirs.to(torch.float64 if dtype is np.float64 else torch.float32)
    with torch.no_grad():
        for k in range(layers):
            w_xh, w_hh, b = (torch_order(w.numpy(), hidden) for w in ours.layer_weights(k))
            for name, value in (("weight_ih", w_xh.T), ("weight_hh", w_hh.T), ("bias_ih", b)):
                getattr(theirs, f"{name}_l{k}").copy_(torch.from_numpy(value.copy()))
            getattr(theirs, f"bias_hh_l{k}").zero_()
    return ours, theirs


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["tanh", "relu", "lstm"])
def test_values_and_every_gradient(kind, layers, dtype):
    ours, theirs = twins(kind, 5, 7, layers, dtype)
    rng = np.random.default_rng(1)
    values = rng.standard_normal((11, 3, 5)).astype(dtype)
    starts = [rng.standard_normal((layers, 3, 7)).astype(dtype) for _ in ours.state_type._fields]
    x = tgs.tensor(values, requires_grad=True)
    parts = [tgs.tensor(part, requires_grad=True) for part in starts]
    y, state = ours(x, ours.state_type(*parts))
    weights = [rng.standard_normal(p.shape).astype(dtype) for p in (y, *state)]
    sum((p * w).sum() for p, w in zip((y, *state), weights, strict=True)).backward()

    tx = torch.from_numpy(values).requires_grad_()
    tparts = [torch.from_numpy(part).requires_grad_() for part in starts]
    ty, tstate = theirs(tx, tuple(tparts) if kind == "lstm" else tparts[0])
    outs = [ty, *(tstate if kind == "lstm" else [tstate])]
    sum((p * torch.from_numpy(w)).sum() for p, w in zip(outs, weights, strict=True)).backward()

    pairs = [(y.numpy(), ty), *((a.numpy(), b) for a, b in zip(state, outs[1:], strict=True))]
    pairs += [(x.grad, tx.grad), *((a.grad, b.grad) for a, b in zip(parts, tparts, strict=True))]
    for k in range(layers):
        w_xh, w_hh, b = (torch_order(w.grad, 7) for w in ours.layer_weights(k))
        for name, value in (
            ("weight_ih", w_xh.T),
            ("weight_hh", w_hh.T),
            ("bias_ih", b),
            ("bias_hh", b),
        ):
            pairs.append((value, getattr(theirs, f"{name}_l{k}").grad))
    for mine, other in pairs:
        expected = other.detach().numpy()
        scale = max(np.abs(expected).max(), 1)
        np.testing.assert_allclose(mine / scale, expected / scale, atol=TOLERANCE[dtype], rtol=0)


def test_two_hundred_step_training_curve():
    """Character LSTM, equal weights, batches, clipping and Adam: the same losses, in float64."""
    vocab, hidden = 11, 16
    rng = np.random.default_rng(2)
    ours, theirs = twins("lstm", vocab, hidden, 1, np.float64)
    head = nn.Linear(hidden, vocab, rng=rng, dtype=np.float64)
    thead = torch.nn.Linear(hidden, vocab, dtype=torch.float64)
    with torch.no_grad():
        thead.weight.copy_(torch.from_numpy(head.weight.numpy().T.copy()))
        thead.bias.zero_()
    parameters = [*ours.parameters(), *head.parameters()]
    tparameters = [*theirs.parameters(), *thead.parameters()]
    theirs.bias_hh_l0.requires_grad_(False)  # we have one bias per layer
    tparameters = [p for p in tparameters if p.requires_grad]
    optimizer, toptimizer = optim.Adam(parameters, lr=1e-2), torch.optim.Adam(tparameters, lr=1e-2)
    text = rng.integers(0, vocab, (201 * 8, 4)) % (1 + rng.integers(0, vocab, (1, 4)))
    state, tstate = None, None
    for step in range(200):
        tokens, targets = text[8 * step : 8 * step + 8], text[8 * step + 1 : 8 * step + 9]
        y, state = ours(tokens, state)
        loss = tgs.cross_entropy(head(y), targets)
        optimizer.zero_grad()
        loss.backward()
        report = optim.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
        state = state.detach()
        onehot = torch.eye(vocab, dtype=torch.float64)[torch.from_numpy(tokens)]
        ty, tstate = theirs(onehot, tstate)
        tloss = torch.nn.functional.cross_entropy(
            thead(ty).reshape(-1, vocab), torch.from_numpy(targets).reshape(-1)
        )
        toptimizer.zero_grad()
        tloss.backward()
        tnorm = torch.nn.utils.clip_grad_norm_(tparameters, 0.5)
        toptimizer.step()
        tstate = tuple(part.detach() for part in tstate)
        # PyTorch divides by norm + 1e-6: a small, steady difference in every clipped step.
        assert loss.item() == pytest.approx(tloss.item(), rel=1e-5)
        assert report.norm == pytest.approx(float(tnorm), rel=1e-4)
    assert loss.item() < 0.8 * np.log(vocab)  # it did learn something
