"""PyTorch's own layers; where it has none, its operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, layer_norm

from benchmarks import rows
from benchmarks.peers import Job, Jobs, learning
from benchmarks.rows import Row

LAYERS: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Model(nn.Module):
    """Embedding, recurrent layers, readout."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        _, _, V, H, layers = row.sizes
        self.embedding = nn.Embedding(V, H)
        if row.job == "normalised":
            self.rnn: Any = Normalised(row)
        else:
            self.rnn = LAYERS[row.kind](H, H, layers, **row.options)
        width = row.options.get("proj_size", H) * (1 + ("bidirectional" in row.options))
        self.head = nn.Linear(width, V)

    def forward(self, tokens: Any, state: Any = None, lengths: Any = None) -> Any:
        x = self.embedding(tokens)
        if lengths is not None:
            x = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, state = self.rnn(x, state)
        if lengths is not None:
            y, _ = nn.utils.rnn.pad_packed_sequence(y, total_length=len(tokens))
        return self.head(y), state


class Normalised(nn.Module):
    """An LSTM with layer normalisation, in our layout (PyTorch has none)."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.layers = row.sizes.layers
        for name, shape in rows.layer_shapes(row, "rnn").items():
            self.register_parameter(flat(name), nn.Parameter(torch.empty(shape)))

    def forward(self, x: Any, _: Any) -> Any:
        p = self._parameters

        def norm(part: str, value: Any) -> Any:
            weight, bias = (p[f"norm_{part}_{which}"] for which in ("weight", "bias"))
            return layer_norm(value, value.shape[-1:], weight, bias)

        for k in range(self.layers):
            H = len(p[f"weight_hh_l{k}"])
            inputs = norm(f"x_l{k}", x @ p[f"weight_xh_l{k}"]) + p[f"bias_l{k}"]
            h = c = x.new_zeros(x.shape[1], H)
            states = []
            for z in inputs:
                z = z + norm(f"h_l{k}", h @ p[f"weight_hh_l{k}"])
                i, f, o = torch.sigmoid(z[:, : 3 * H]).chunk(3, dim=1)
                c = f * c + i * torch.tanh(z[:, 3 * H :])
                h = o * torch.tanh(norm(f"c_l{k}", c))
                states.append(h)
            x = torch.stack(states)
        return x, None


class Translator(nn.Module):
    """An encoder, and a decoder that looks into its outputs."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        _, _, V, H, layers = row.sizes
        self.source, self.target = nn.Embedding(V, H), nn.Embedding(V, H)
        self.encoder, self.decoder = (LAYERS[row.kind](H, H, layers) for _ in range(2))
        self.combine, self.head = nn.Linear(2 * H, H), nn.Linear(H, V)

    def forward(self, source: Any, tokens: Any) -> Any:
        memory, state = self.encoder(self.source(source))
        y, _ = self.decoder(self.target(tokens), state)
        looked = y.transpose(0, 1)
        weights = torch.softmax(looked @ memory.permute(1, 2, 0), -1)
        context = (weights @ memory.transpose(0, 1)).transpose(0, 1)
        return self.head(torch.tanh(self.combine(torch.cat([context, y], -1))))


# -- our names and layout --------------------------------------------------------------------------


def flat(name: str) -> str:
    """The name of a weight in `Normalised`: dots are for modules."""
    return name.removeprefix("rnn.").replace(".", "_")


def place(row: Row, name: str) -> tuple[str, slice]:
    """Their name of one of our weights, and which part of that is ours."""
    if row.job == "normalised" and name.startswith("rnn."):
        return f"rnn.{flat(name)}", slice(None)
    if "bias_hn" in name:
        return name.replace("bias_hn", "bias_hh"), slice(2 * row.sizes.H, None)
    return name.replace("weight_xh", "weight_ih").replace("bias_l", "bias_ih_l"), slice(None)


def ordered(row: Row, name: str, value: Any) -> Any:
    """Columns i f o g as i f g o, and back; others have one order."""
    if row.kind != "lstm" or not any(part in name for part in ("weight_xh", "weight_hh", "bias_l")):
        return value
    i, f, o, g = np.split(value, 4, axis=-1)
    return np.concatenate([i, f, g, o], axis=-1)


def as_ours(row: Row, name: str) -> bool:
    """Whether both have a weight in the same layout; else one is the other's transpose."""
    part = name.partition(".")[0]
    return part in ("embedding", "source", "target") or (row.job, part) == ("normalised", "rnn")


def loaded(row: Row, model: Any) -> Any:
    """With the weights that all contestants start from; second biases are 0."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in own.items():
            if "bias_hh" in name:
                parameter.zero_()
        for name, value in rows.weights(row).items():
            at, part = place(row, name)
            value = value if as_ours(row, name) else ordered(row, name, value).T
            own[at][part] = torch.from_numpy(np.ascontiguousarray(value))
    return model


def gradients(row: Row, model: nn.Module) -> rows.Values:
    """By our names, in our layout."""
    own, found = dict(model.named_parameters()), {}
    for name in rows.weights(row):
        at, part = place(row, name)
        value = own[at].grad[part].numpy()
        found[name] = value if as_ours(row, name) else ordered(row, name, value.T)
    return found


# -- jobs ------------------------------------------------------------------------------------------


def trained(row: Row, model: nn.Module, loss: Callable[[], Any]) -> Job:
    """A loss and all its gradients."""
    job = learning(dict(model.named_parameters()), loss)
    return Job(job.run, lambda: {"loss": job.run(), **gradients(row, model)})


def tensors(row: Row) -> rows.Data:
    return rows.Data(*map(torch.from_numpy, rows.data(row)))


def loss_of(logits: Any, targets: Any) -> Any:
    return cross_entropy(logits.flatten(0, 1), targets.flatten())


def step(row: Row) -> Job:
    model, given = loaded(row, Model(row)), tensors(row)
    lengths = given.lengths if row.job == "ragged" else None

    def loss() -> Any:
        return loss_of(model(given.tokens, lengths=lengths)[0], given.targets)

    return trained(row, model, loss)


def forward(row: Row) -> Job:
    model, given = loaded(row, Model(row)), tensors(row)

    def run() -> float:
        with torch.no_grad():
            return float(loss_of(model(given.tokens)[0], given.targets).item())

    return Job(run, lambda: {"loss": run()})


def iteration(row: Row) -> Job:
    model, text = loaded(row, Model(row)), rows.data(row).text
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    state: Any = None
    k = 0

    def run() -> float:
        nonlocal state, k
        tokens, targets = map(torch.from_numpy, rows.window(text, k))
        optimizer.zero_grad()
        logits, state = model(tokens, state)
        loss = loss_of(logits, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state = tuple(part.detach() for part in state) if row.kind == "lstm" else state.detach()
        k += 1
        return float(loss.item())

    return Job(run, lambda: {"losses": [run() for _ in range(5)]})


def write(row: Row) -> Job:
    model = loaded(row, Model(row)).eval()

    @torch.no_grad()
    def run(draw: bool = True) -> list[int]:
        token, state, written = torch.zeros(1, 1, dtype=torch.int64), None, []
        for _ in range(rows.WRITTEN):
            logits, state = model(token, state)
            if draw:
                token = torch.multinomial(torch.softmax(logits[0], -1), 1)
            else:
                token = logits[0].argmax(-1, keepdim=True)
            written.append(int(token.item()))
        return written

    return Job(run, lambda: {"likeliest": run(draw=False)})


def translate(row: Row) -> Job:
    model, given = loaded(row, Translator(row)), tensors(row)
    begun = given.text[: row.sizes.T]
    return trained(row, model, lambda: loss_of(model(given.tokens, begun), given.targets))


JOBS: Jobs = {
    **dict.fromkeys(("step", "bidirectional", "ragged", "projected", "normalised"), step),
    **dict.fromkeys(("first", "memory"), step),
    "forward": forward,
    "iteration": iteration,
    "write": write,
    "translate": translate,
}
