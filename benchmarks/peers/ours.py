"""This package."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_seq as tgs
from benchmarks import rows
from benchmarks.peers import Job, Jobs, composed, learning
from benchmarks.rows import Row
from tinygrad_seq import charlm, data, nn, optim

LAYERS: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Model(nn.Module):
    """Embedding, recurrent layers, readout."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        _, _, V, H, layers = row.sizes
        options = {**row.options, **({"layer_norm": True} if row.job == "normalised" else {})}
        self.embedding = nn.Embedding(V, H, rng=rng)
        self.rnn = LAYERS[row.kind](H, H, layers, rng=rng, **options)
        self.head = nn.Linear(self.rnn.output_size, V, rng=rng)

    def forward(self, tokens: Any, state: Any = None, lengths: Any = None) -> Any:
        y, state = self.rnn(self.embedding(tokens), state, lengths=lengths)
        return self.head(y), state


class Translator(nn.Module):
    """An encoder, and a decoder that looks into its outputs."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        _, _, V, H, layers = row.sizes
        self.source, self.target = (nn.Embedding(V, H, rng=rng) for _ in range(2))
        self.encoder, self.decoder = (LAYERS[row.kind](H, H, layers, rng=rng) for _ in range(2))
        decoder = nn.Decoder(self.decoder, V, nn.DotAttention(), rng=rng)
        self.combine, self.head = decoder.combine, decoder.head
        self.whole = nn.Seq2Seq(self.encoder, decoder, rng=rng)

    def forward(self, source: Any, tokens: Any) -> Any:
        return self.whole(self.source(source), self.target(tokens)).logits


def model_of(row: Row) -> Model:
    """With the weights that all contestants start from."""
    model = Model(row)
    model.load_state_dict(rows.weights(row))
    return model


def step(row: Row) -> Job:
    model, given = model_of(row), rows.data(row)
    lengths = given.lengths if row.job == "ragged" else None

    def loss() -> Any:
        return tgs.cross_entropy(model(given.tokens, lengths=lengths)[0], given.targets)

    return learning(dict(model.named_parameters()), loss)


def forward(row: Row) -> Job:
    model, given = model_of(row), rows.data(row)

    def run() -> float:
        with tgs.no_grad():
            return float(tgs.cross_entropy(model(given.tokens)[0], given.targets).item())

    return Job(run, lambda: {"loss": run()})


def iteration(row: Row) -> Job:
    model, text = model_of(row), rows.data(row).text
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    state, k = None, 0

    def run() -> float:
        nonlocal state, k
        tokens, targets = rows.window(text, k)
        optimizer.zero_grad()
        logits, state = model(tokens, state)
        loss = tgs.cross_entropy(logits, targets)
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state, k = state.detach(), k + 1
        return float(loss.item())

    return Job(run, lambda: {"losses": [run() for _ in range(5)]})


def write(row: Row) -> Job:
    model = model_of(row)
    vocabulary = data.Vocabulary([chr(0x4E00 + k) for k in range(row.sizes.V)])

    def run(temperature: float = 1.0) -> str:
        rng = np.random.default_rng(0)
        options: dict[str, Any] = {"temperature": temperature, "rng": rng}
        return charlm.sample(model, vocabulary, rows.WRITTEN, **options)

    return Job(run, lambda: {"likeliest": vocabulary.encode(run(0.0))})


def translate(row: Row) -> Job:
    model, given = Translator(row), rows.data(row)
    model.load_state_dict(rows.weights(row))
    begun = given.text[: row.sizes.T]

    def loss() -> Any:
        return tgs.cross_entropy(model(given.tokens, begun), given.targets)

    return learning(dict(model.named_parameters()), loss)


def multiply(row: Row) -> Job:
    _, N, V, H, _ = row.sizes
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(size, np.float32) for size in ((N, H), (H, V)))
    out = np.empty((N, V), np.float32)
    return Job(lambda: np.matmul(a, b, out=out), dict)


JOBS: Jobs = {
    **dict.fromkeys(("step", "bidirectional", "ragged", "projected", "normalised"), step),
    **dict.fromkeys(("first", "memory"), step),
    "forward": forward,
    "iteration": iteration,
    "write": write,
    "translate": translate,
    "single": composed.ours,
    "product": multiply,
}
