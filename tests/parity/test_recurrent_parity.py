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
    """Columns i, f, o, g (ours) as i, f, g, o (PyTorch's); an RNN's and a GRU's as they are."""
    if array.shape[-1] != 4 * hidden:
        return array
    return np.concatenate([array[..., gate(name, hidden)] for name in "ifgo"], axis=-1)


def places(layer):
    """(suffix in our names and PyTorch's, layer, direction) of every layer."""
    for k in range(layer.num_layers):
        yield f"_l{k}", k, False
        if layer.bidirectional:
            yield f"_l{k}_reverse", k, True


def recurrent_bias(layer, suffix: str, get) -> np.ndarray:
    """PyTorch's second bias: 0 but for the GRU's inside the reset gate."""
    hidden = layer.hidden_size
    bias = np.zeros(max(len(layer.gates), 1) * hidden)
    if len(layer.gates) == 3:
        bias[2 * hidden :] = get(getattr(layer, f"bias_hn{suffix}"))
    return bias


def twins(kind: str, size: int, hidden: int, layers: int, dtype: type, both: bool = False):
    """The same layer in both libraries, with equal weights (PyTorch's second bias at 0)."""
    rng = np.random.default_rng(0)
    options = {"bidirectional": both}
    if kind == "lstm":
        ours = nn.LSTM(size, hidden, layers, rng=rng, dtype=dtype, **options)
        theirs = torch.nn.LSTM(size, hidden, layers, **options)
    elif kind == "gru":
        ours = nn.GRU(size, hidden, layers, rng=rng, dtype=dtype, **options)
        theirs = torch.nn.GRU(size, hidden, layers, **options)
    else:
        ours = nn.RNN(size, hidden, layers, kind, rng=rng, dtype=dtype, **options)
        theirs = torch.nn.RNN(size, hidden, layers, nonlinearity=kind, **options)
    for name, parameter in ours.named_parameters():
        if name.startswith("bias"):
            parameter.data = rng.standard_normal(parameter.shape).astype(dtype)
    theirs = theirs.to(torch.float64 if dtype is np.float64 else torch.float32)
    with torch.no_grad():
        for suffix, k, reverse in places(ours):
            weights = ours.layer_weights(k, reverse)
            w_xh, w_hh, b = (torch_order(w.numpy(), hidden) for w in weights)
            second = recurrent_bias(ours, suffix, lambda p: p.numpy())
            for name, value in (
                ("weight_ih", w_xh.T),
                ("weight_hh", w_hh.T),
                ("bias_ih", b),
                ("bias_hh", second),
            ):
                getattr(theirs, f"{name}{suffix}").copy_(torch.from_numpy(value.copy()))
    return ours, theirs


def run_both(ours, theirs, dtype, lengths=None):
    """Pairs (ours, PyTorch's) of every output and every gradient, from one random loss."""
    rng = np.random.default_rng(1)
    hidden, directions = ours.hidden_size, ours.directions
    values = rng.standard_normal((11, 4, ours.input_size)).astype(dtype)
    shape = (ours.num_layers * directions, 4, hidden)
    starts = [rng.standard_normal(shape).astype(dtype) for _ in ours.state_type._fields]
    x = tgs.tensor(values, requires_grad=True)
    parts = [tgs.tensor(part, requires_grad=True) for part in starts]
    y, state = ours(x, ours.state_type(*parts), lengths=lengths)
    weights = [rng.standard_normal(p.shape).astype(dtype) for p in (y, *state)]
    sum((p * w).sum() for p, w in zip((y, *state), weights, strict=True)).backward()

    tx = torch.from_numpy(values).requires_grad_()
    tparts = [torch.from_numpy(part).requires_grad_() for part in starts]
    fed = tx
    if lengths is not None:
        fed = torch.nn.utils.rnn.pack_padded_sequence(
            tx, torch.tensor(lengths), enforce_sorted=False
        )
    ty, tstate = theirs(fed, tuple(tparts) if len(tparts) == 2 else tparts[0])
    if lengths is not None:
        ty, _ = torch.nn.utils.rnn.pad_packed_sequence(ty, total_length=11)
    outs = [ty, *(tstate if len(tparts) == 2 else [tstate])]
    sum((p * torch.from_numpy(w)).sum() for p, w in zip(outs, weights, strict=True)).backward()

    pairs = [(y.numpy(), ty), *((a.numpy(), b) for a, b in zip(state, outs[1:], strict=True))]
    pairs += [(x.grad, tx.grad), *((a.grad, b.grad) for a, b in zip(parts, tparts, strict=True))]
    for suffix, k, reverse in places(ours):
        w_xh, w_hh, b = (torch_order(w.grad, hidden) for w in ours.layer_weights(k, reverse))
        found = {"weight_ih": w_xh.T, "weight_hh": w_hh.T, "bias_ih": b}
        if len(ours.gates) == 3:  # of r and z, both biases have the same gradient
            inner = recurrent_bias(ours, suffix, lambda p: p.grad)
            found["bias_hh"] = np.concatenate([b[: 2 * hidden], inner[2 * hidden :]])
        else:
            found["bias_hh"] = b
        pairs += [(v, getattr(theirs, f"{name}{suffix}").grad) for name, v in found.items()]
    return pairs


def agree(pairs, dtype):
    for mine, other in pairs:
        expected = other.detach().numpy()
        scale = max(np.abs(expected).max(), 1)
        np.testing.assert_allclose(mine / scale, expected / scale, atol=TOLERANCE[dtype], rtol=0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["tanh", "relu", "lstm", "gru"])
def test_values_and_every_gradient(kind, layers, both, dtype):
    ours, theirs = twins(kind, 5, 7, layers, dtype, both)
    agree(run_both(ours, theirs, dtype), dtype)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", ["tanh", "relu", "lstm", "gru"])
def test_packed_lengths(kind, both):
    """PyTorch packs, and knows no row of length 0."""
    ours, theirs = twins(kind, 5, 7, 2, np.float64, both)
    agree(run_both(ours, theirs, np.float64, lengths=[7, 11, 1, 4]), np.float64)


@pytest.mark.parametrize("kind", ["tanh", "lstm", "gru"])
def test_without_biases(kind):
    kinds = {"tanh": (nn.RNN, torch.nn.RNN), "lstm": (nn.LSTM, torch.nn.LSTM)}
    ours, theirs = kinds.get(kind, (nn.GRU, torch.nn.GRU))
    options = {"bias": False, "bidirectional": True}
    layer = ours(5, 7, 2, rng=np.random.default_rng(0), dtype=np.float64, **options)
    twin, pairs = theirs(5, 7, 2, dtype=torch.float64, **options), []
    with torch.no_grad():
        for suffix, k, reverse in places(layer):
            weights = layer.layer_weights(k, reverse)[:2]
            for name, weight in zip(("weight_ih", "weight_hh"), weights, strict=True):
                parameter = getattr(twin, f"{name}{suffix}")
                parameter.copy_(torch.from_numpy(torch_order(weight.numpy(), 7).T.copy()))
                pairs.append((weight, parameter))
    assert len(pairs) == len(list(layer.parameters())) == len(list(twin.parameters()))
    x = np.random.default_rng(1).standard_normal((6, 3, 5))
    y, (ty, _) = layer(x)[0], twin(torch.from_numpy(x))
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    agree([(y.numpy(), ty)], np.float64)
    agree([(torch_order(a.grad, 7).T, b.grad) for a, b in pairs], np.float64)


@pytest.mark.parametrize("both", [False, True])
def test_projections(both):
    rng = np.random.default_rng(0)
    options = {"proj_size": 4, "bidirectional": both}
    ours = nn.LSTM(5, 7, 2, rng=rng, dtype=np.float64, **options)
    theirs = torch.nn.LSTM(5, 7, 2, dtype=torch.float64, **options)
    pairs = []
    with torch.no_grad():
        for suffix, k, reverse in places(ours):
            weights = [*ours.layer_weights(k, reverse), getattr(ours, f"weight_hr{suffix}")]
            names = ("weight_ih", "weight_hh", "bias_ih", "weight_hr")
            for name, weight in zip(names, weights, strict=True):
                parameter = getattr(theirs, f"{name}{suffix}")
                pairs.append((weight, parameter))
                value = torch_order(weight.numpy(), 7).T.copy()
                parameter.copy_(torch.from_numpy(value))
            getattr(theirs, f"bias_hh{suffix}").zero_()
    x = rng.standard_normal((6, 3, 5))
    y, state = ours(x)
    ty, (th, tc) = theirs(torch.from_numpy(x))
    (y.sum() + (state.h * state.h).sum() + state.c.sum()).backward()
    (ty.sum() + (th * th).sum() + tc.sum()).backward()
    agree([(y.numpy(), ty), (state.h.numpy(), th), (state.c.numpy(), tc)], np.float64)
    agree([(torch_order(a.grad, 7).T, b.grad) for a, b in pairs], np.float64)


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
