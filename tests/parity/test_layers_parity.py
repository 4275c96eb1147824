"""Agreement with PyTorch: every layer and cell, its gradients, and 200 steps of training it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed (make parity)")
F = torch.nn.functional

from tests.parity import peers  # noqa: E402  (needs PyTorch)

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")

TOLERANCE = {np.float64: 1e-11, np.float32: 2e-5}
"""Of values and gradients: largest error relative to the largest entry (or to 1)."""
CURVE = {np.float64: 1e-9, np.float32: 1e-3}
"""Of losses along 200 steps of training, relative: rounding errors are trained on."""
STEPS = 200
T, N, I, H = 4, 3, 5, 4  # noqa: E741  (the size of an input)
LENGTHS = [4, 2, 3]
SEED = 11


class Case(NamedTuple):
    make: Callable[..., nn.Module]
    """``make(rng=..., dtype=...)``."""
    peer: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    """Of the inputs that are drawn; a row of ids is written as a shape ending in None."""
    state: Callable[..., Any] | None = None
    """Makes the state our layer takes of the inputs after the first."""
    options: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    lr: float = 0.05
    """Of training; smaller where rounding errors grow fast, as they do behind small spreads."""


def steps_of(kind: Any) -> Any:
    return lambda *parts: (kind(*parts),)


SEQUENCE, STATE = (T, N, I), (1, N, H)
torch_nn = torch.nn
BOTH = {"num_layers": 2, "bidirectional": True}


def stepwise(attend: str) -> Case:
    """Additive attention that goes into the steps of a decoder of two layers."""
    fed = nn.Decoder.fed_size_of(attend, H, 2 * H)
    return Case(
        lambda **o: nn.Seq2Seq(
            nn.LSTM(I, H, 2, bidirectional=True, **o),
            nn.Decoder(
                nn.LSTM(6 + fed, H, 2, **o), 6, nn.AdditiveAttention(H, 2 * H, 5, **o), 2 * H,
                attend=attend, rng=o["rng"],
            ),
            rng=o["rng"],
        ),
        peers.seq2seq(
            peers.layer(torch_nn.LSTM, H, bidirectional=True, num_layers=2),
            peers.stepwise_decoder(
                peers.layer(torch_nn.LSTM, H, num_layers=2), peers.additive, attend == "before"
            ),
        ),
        (SEQUENCE, (3, N, 6)), None, {"lengths": LENGTHS},
    )  # fmt: skip


CASES: dict[str, Case] = {
    "Linear": Case(lambda **o: nn.Linear(I, H, **o), peers.linear, (SEQUENCE,)),
    "Linear without bias": Case(
        lambda **o: nn.Linear(I, H, bias=False, **o), peers.linear, (SEQUENCE,)
    ),
    "Embedding": Case(
        lambda **o: nn.Embedding(7, H, **o),
        lambda p, ids: F.embedding(ids, p["weight"]), ((T, N, None),),
    ),
    "LayerNorm": Case(
        lambda rng, dtype: nn.LayerNorm(I, dtype=dtype),
        lambda p, x: F.layer_norm(x, (I,), p["weight"], p["bias"]), (SEQUENCE,),
    ),
    "Dropout": Case(
        lambda **o: nn.Dropout(0.4, rng=np.random.default_rng(SEED)),
        peers.dropout(0.4, SEED), (SEQUENCE,),
    ),
    "VariationalDropout": Case(
        lambda **o: nn.VariationalDropout(0.4, rng=np.random.default_rng(SEED)),
        peers.dropout(0.4, SEED, shared=True), (SEQUENCE,),
    ),
    "RNNCell": Case(
        lambda **o: nn.RNNCell(I, H, **o), peers.cell(torch_nn.RNNCell, H), ((N, I), (N, H))
    ),
    "RNNCell relu": Case(
        lambda **o: nn.RNNCell(I, H, nonlinearity="relu", **o),
        peers.cell(torch_nn.RNNCell, H, nonlinearity="relu"), ((N, I), (N, H)),
    ),
    "LSTMCell": Case(
        lambda **o: nn.LSTMCell(I, H, **o), peers.cell(torch_nn.LSTMCell, H),
        ((N, I), (N, H), (N, H)), lambda h, c: ((h, c),),
    ),
    "GRUCell": Case(
        lambda **o: nn.GRUCell(I, H, **o), peers.cell(torch_nn.GRUCell, H), ((N, I), (N, H))
    ),
    "GRUCell reset before": Case(
        lambda **o: nn.GRUCell(I, H, reset_after=False, **o), peers.gru_before_step,
        ((N, I), (N, H)),
    ),
    "RNN": Case(
        lambda **o: nn.RNN(I, H, **o, **BOTH), peers.layer(torch_nn.RNN, H, **BOTH),
        (SEQUENCE, (4, N, H)), steps_of(nn.RNNState),
    ),
    "RNN relu": Case(
        lambda **o: nn.RNN(I, H, nonlinearity="relu", **o),
        peers.layer(torch_nn.RNN, H, nonlinearity="relu"), (SEQUENCE, STATE), steps_of(nn.RNNState),
    ),
    "LSTM": Case(
        lambda **o: nn.LSTM(I, H, **o, **BOTH), peers.layer(torch_nn.LSTM, H, **BOTH),
        (SEQUENCE, (4, N, H), (4, N, H)), steps_of(nn.LSTMState),
    ),
    "LSTM lengths": Case(
        lambda **o: nn.LSTM(I, H, **o), peers.layer(torch_nn.LSTM, H),
        (SEQUENCE, STATE, STATE), steps_of(nn.LSTMState), {"lengths": LENGTHS},
    ),
    "LSTM projected": Case(
        lambda **o: nn.LSTM(I, H, proj_size=3, **o), peers.layer(torch_nn.LSTM, H, proj_size=3),
        (SEQUENCE, (1, N, 3), STATE), steps_of(nn.LSTMState),
    ),
    "LSTM normalised": Case(
        lambda **o: nn.LSTM(I, H, layer_norm=True, **o), peers.normalised_lstm,
        (SEQUENCE, STATE, STATE), steps_of(nn.LSTMState), lr=0.01,
    ),
    "GRU": Case(
        lambda **o: nn.GRU(I, H, **o, **BOTH), peers.layer(torch_nn.GRU, H, **BOTH),
        (SEQUENCE, (4, N, H)), steps_of(nn.GRUState),
    ),
    "GRU reset before": Case(
        lambda **o: nn.GRU(I, H, reset_after=False, **o), peers.gru_before,
        (SEQUENCE, STATE), steps_of(nn.GRUState),
    ),
    "DotAttention": Case(
        lambda **o: nn.DotAttention(), peers.dot(), ((2, N, I), SEQUENCE), None,
        {"lengths": LENGTHS},
    ),
    "DotAttention scaled": Case(
        lambda **o: nn.DotAttention(scale=True), peers.dot(True), ((2, N, I), SEQUENCE)
    ),
    "MultiplicativeAttention": Case(
        lambda **o: nn.MultiplicativeAttention(H, I, **o), peers.multiplicative,
        ((2, N, H), SEQUENCE), None, {"lengths": LENGTHS},
    ),
    "AdditiveAttention": Case(
        lambda **o: nn.AdditiveAttention(H, I, 6, **o), peers.additive,
        ((2, N, H), SEQUENCE), None, {"lengths": LENGTHS},
    ),
    "MultiheadAttention": Case(
        lambda **o: nn.MultiheadAttention(8, 2, kdim=I, vdim=6, **o), peers.multihead(2),
        ((2, N, 8), SEQUENCE, (T, N, 6)),
    ),
    "ManyToOne": Case(
        lambda **o: nn.ManyToOne(nn.GRU(I, H, bidirectional=True, **o), 3, rng=o["rng"]),
        peers.many_to_one(peers.layer(torch_nn.GRU, H, bidirectional=True)), (SEQUENCE,),
        None, {"lengths": LENGTHS},
    ),
    "ManyToMany": Case(
        lambda **o: nn.ManyToMany(nn.LSTM(I, H, **o, **BOTH), 3, rng=o["rng"]),
        peers.many_to_many(peers.layer(torch_nn.LSTM, H, **BOTH)), (SEQUENCE,),
    ),
    "Decoder": Case(
        lambda **o: nn.Decoder(nn.LSTM(I, H, **o), 3, rng=o["rng"]),
        peers.decoder(peers.layer(torch_nn.LSTM, H)), (SEQUENCE, STATE, STATE),
        steps_of(nn.LSTMState),
    ),
    "OneToMany": Case(
        lambda **o: nn.OneToMany(
            6, nn.Decoder(nn.LSTM(I, H, 2, **o), 3, rng=o["rng"]), rng=o["rng"]
        ),
        peers.one_to_many(peers.decoder(peers.layer(torch_nn.LSTM, H, num_layers=2)), 2, H),
        ((N, 6), SEQUENCE),
    ),
    "Seq2Seq": Case(
        lambda **o: nn.Seq2Seq(
            nn.GRU(I, H, bidirectional=True, **o),
            nn.Decoder(
                nn.GRU(6, H, **o), 3, nn.AdditiveAttention(H, 2 * H, 5, **o), 2 * H, rng=o["rng"]
            ),
            rng=o["rng"],
        ),
        peers.seq2seq(
            peers.layer(torch_nn.GRU, H, bidirectional=True),
            peers.decoder(peers.layer(torch_nn.GRU, H), peers.additive),
        ),
        (SEQUENCE, (2, N, 6)), None, {"lengths": LENGTHS},
    ),
    "Seq2Seq feeding": stepwise("feeding"),
    "Seq2Seq before": stepwise("before"),
}  # fmt: skip


def flat(values: Any) -> list[Any]:
    """Tensors of either library in nested tuples, in order; None left out."""
    if isinstance(values, (tuple, list)):
        return [part for value in values for part in flat(value)]
    return [] if values is None else [values]


def drawn(shapes: Any, rng: np.random.Generator, dtype: type) -> list[np.ndarray]:
    return [
        rng.integers(0, 7, shape[:-1])
        if shape[-1] is None
        else rng.standard_normal(shape).astype(dtype)
        for shape in shapes
    ]


def twins(case: Case, dtype: type) -> tuple[nn.Module, dict[str, Any]]:
    """Our layer, with every parameter drawn anew, and the same values as PyTorch leaves."""
    rng = np.random.default_rng(0)
    made = case.make(rng=rng, dtype=dtype)
    named = dict(made.named_parameters())
    for parameter in named.values():
        noise = 0.3 * rng.standard_normal(parameter.shape)
        parameter.data = (parameter.numpy() + noise).astype(dtype)
    theirs = {name: torch.from_numpy(p.numpy()).requires_grad_() for name, p in named.items()}
    return made, theirs


def run_ours(made: nn.Module, case: Case, inputs: list[Any]) -> list[Any]:
    first, *rest = inputs
    if case.state is not None:
        rest = list(case.state(*rest))
    return flat(made(first, *rest, **case.options))


def assert_close(what: str, ours: Any, theirs: Any, tolerance: float) -> None:
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    assert ours.dtype == theirs.dtype, what
    scale = max(1.0, float(np.max(np.abs(theirs), initial=0.0)))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale, err_msg=what)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_values_and_every_gradient(name: str, dtype: type) -> None:
    case = CASES[name]
    rng = np.random.default_rng(1)
    made, theirs = twins(case, dtype)
    arrays = drawn(case.shapes, rng, dtype)
    ours = [tgs.tensor(a, requires_grad=True) if a.dtype == dtype else a for a in arrays]
    given = [torch.from_numpy(a) for a in arrays]
    for t in given:
        t.requires_grad_(t.is_floating_point())
    outs, expected = run_ours(made, case, ours), flat(case.peer(theirs, *given, **case.options))
    assert len(outs) == len(expected)
    weights = [rng.standard_normal(out.shape).astype(dtype) for out in outs]
    sum((o * w).sum() for o, w in zip(outs, weights, strict=True)).backward()
    sum((o * torch.from_numpy(w)).sum() for o, w in zip(expected, weights, strict=True)).backward()
    for k, (mine, other) in enumerate(zip(outs, expected, strict=True)):
        assert_close(f"output {k}", mine.numpy(), other, TOLERANCE[dtype])
    for parameter, leaf in theirs.items():
        mine = dict(made.named_parameters())[parameter].grad
        assert_close(parameter, mine, leaf.grad, TOLERANCE[dtype])
    for k, (mine, other) in enumerate(zip(ours, given, strict=True)):
        if other.requires_grad:
            assert_close(f"input {k}", mine.grad, other.grad, TOLERANCE[dtype])


TRAINED = [name for name in CASES if "Dropout" not in name and "DotAttention" not in name]
"""Those with parameters."""


@pytest.mark.parametrize("dtype", CURVE)
@pytest.mark.parametrize("name", TRAINED)
def test_two_hundred_steps_of_training(name: str, dtype: type) -> None:
    """Equal weights and batches: the same losses all along, on the way to a lower one."""
    case = CASES[name]
    rng = np.random.default_rng(2)
    made, theirs = twins(case, dtype)
    ours = optim.SGD(made.parameters(), lr=case.lr)
    peer = torch.optim.SGD(theirs.values(), lr=case.lr)
    goals = None
    losses = []
    for step in range(STEPS):
        arrays = drawn(case.shapes, np.random.default_rng(step % 4), dtype)
        outs = run_ours(made, case, arrays)
        if goals is None:
            goals = [rng.uniform(-1, 1, out.shape).astype(dtype) for out in outs]
        loss = sum(tgs.mse_loss(o, goal) for o, goal in zip(outs, goals, strict=True))
        ours.zero_grad()
        loss.backward()
        ours.step()
        given = [torch.from_numpy(a) for a in arrays]
        outs = flat(case.peer(theirs, *given, **case.options))
        expected = sum(
            F.mse_loss(o, torch.from_numpy(goal)) for o, goal in zip(outs, goals, strict=True)
        )
        peer.zero_grad()
        expected.backward()
        peer.step()
        losses.append(loss.item())
        assert losses[-1] == pytest.approx(expected.item(), rel=CURVE[dtype]), step
    assert np.mean(losses[-4:]) < 0.97 * np.mean(losses[:4])
