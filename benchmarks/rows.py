"""What is measured: the rows, their sizes, weights and data, alike for all contestants.

A row is named ``job:kind:size``, for instance ``step:lstm:char``, and may end in a condition:

    job        step, forward, iteration, write, translate, single, ... (`JOBS`)
    kind       lstm, gru, rnn
    size       a name of `SIZES`, or T,N,V,H,layers such as 50,50,65,128,2
    condition  threads=1, threads=2 or busy (beside a process that multiplies matrices)
"""

from __future__ import annotations

import re
from itertools import chain, product
from typing import NamedTuple

import numpy as np

Values = dict[str, np.ndarray]


class Sizes(NamedTuple):
    """Steps, rows of the batch, tokens, units, layers."""

    T: int
    N: int
    V: int
    H: int
    layers: int


SIZES = {
    "min": Sizes(25, 1, 65, 100, 1),
    "char": Sizes(50, 50, 65, 128, 2),
    "mid": Sizes(100, 32, 128, 256, 1),
    "big": Sizes(100, 50, 128, 512, 2),
    "wide": Sizes(64, 32, 65, 256, 1),
    "pairs": Sizes(30, 32, 65, 128, 1),
    "square": Sizes(1, 2048, 2048, 2048, 1),
}
JOBS = {
    "step": "training step: embedding, layers, readout, cross-entropy, all gradients",
    "forward": "the same without gradients",
    "iteration": "complete iteration: batch, training step, clipping, Adam, state carried on",
    "write": "writing characters one at a time, each drawn; microseconds per character",
    "translate": "training step of encoder and decoder with dot-product attention",
    "single": "training step of an LSTM written by hand from single operations",
    "bidirectional": "training step in both directions",
    "ragged": "training step on rows of different lengths (PyTorch: packed sequences)",
    "projected": "training step with proj_size = H / 2",
    "normalised": "training step with layer normalisation (PyTorch: from single operations)",
    "first": "a process that imports, builds, makes one training step and ends",
    "memory": "most memory of the process in three training steps, above the imports; MiB",
    "product": "one float32 product of square matrices, for the roofline",
}
UNITS = {"write": "us", "memory": "MiB"}  # others: ms
WRITTEN = 100  # characters in a run of "write"
WINDOWS = 8  # of text in an "iteration"
BLOCKS = {"lstm": 4, "gru": 3, "rnn": 1}
"""Columns of the weights, in units of H: i f o g; r z n; h."""
BASE = Sizes(50, 32, 65, 128, 1)
SCALED = {
    "T": (25, 50, 100, 200, 400),
    "N": (8, 16, 32, 64, 128),
    "H": (64, 128, 256, 512),
    "layers": (1, 2, 3, 4),
}


class Row(NamedTuple):
    """One line of the table."""

    job: str
    kind: str
    size: str
    condition: str = ""

    @property
    def name(self) -> str:
        """What it is called."""
        return ":".join(filter(None, self))

    @property
    def sizes(self) -> Sizes:
        """T, N, V, H, layers."""
        return SIZES.get(self.size) or Sizes(*map(int, self.size.split(",")))

    @property
    def options(self) -> dict[str, int]:
        """Of the recurrent layer, as ours and PyTorch's take them."""
        changed = {"bidirectional": {"bidirectional": True}}
        return {**changed, "projected": {"proj_size": self.sizes.H // 2}}.get(self.job, {})

    @property
    def unit(self) -> str:
        """Of its results."""
        return UNITS.get(self.job, "ms")


def row(name: str) -> Row:
    """The row of a name."""
    shape = rf"({'|'.join(JOBS)}):({'|'.join(BLOCKS)}):({'|'.join(SIZES)}|\d+(,\d+){{4}})"
    if not re.fullmatch(rf"{shape}(:busy|:threads=\d+)?", name):
        raise ValueError(f"{name!r} is no row: job:kind:size, and a condition ({__name__} has all)")
    return Row(*name.split(":"))


def scaled() -> dict[str, list[str]]:
    """For each size that is varied, the rows that differ in it alone."""
    return {
        axis: [f"step:lstm:{','.join(map(str, BASE._replace(**{axis: n})))}" for n in values]
        for axis, values in SCALED.items()
    }


def names(jobs: str, kinds: str, sizes: str) -> list[str]:
    """Rows of all combinations."""
    return [":".join(parts) for parts in product(jobs.split(), kinds.split(), sizes.split())]


GROUPS = {
    "Training step": names("step", "lstm gru rnn", "min char mid big"),
    "Around the step": [
        *names("iteration", "lstm", "char wide min"),
        *names("forward", "lstm gru rnn", "char mid"),
        *names("write", "lstm gru rnn", "char"),
    ],
    "Other models": [
        *("translate:lstm:pairs", "single:lstm:min"),
        *names("bidirectional ragged projected normalised", "lstm", "char"),
    ],
    "Threads, and a second process": [
        *names("step", "lstm", "char:threads=1 char:threads=2 big:threads=1 big:threads=2"),
        *names("step", "lstm", "char:busy mid:busy"),
    ],
    "Whole processes": ["first:lstm:min", "memory:lstm:big", "product:lstm:square"],
    "One size at a time": list(dict.fromkeys(chain(*scaled().values()))),
}
"""The rows of the table, by what they show."""

QUICK = [
    *names("step", "lstm", "min char mid"),
    *("step:gru:char", "step:rnn:char", "iteration:lstm:char", "forward:lstm:char"),
    *("write:lstm:char", "single:lstm:min"),
]


def flops(row: Row) -> float:
    """Of the products in a run, as they are written: two per multiplication, forward and back."""
    T, N, V, H, layers = row.sizes
    if row.job == "product":
        return 2.0 * N * V * H
    return 3 * 2.0 * T * N * H * (2 * layers * BLOCKS[row.kind] * H + V)


def layer_shapes(row: Row, name: str) -> dict[str, tuple[int, ...]]:
    """Weights of one recurrent layer under our names: (inputs, outputs), gates side by side."""
    *_, H, layers = row.sizes
    wide, found = BLOCKS[row.kind] * H, {}
    ends = ("", "_reverse") if row.job == "bidirectional" else ("",)
    out = H // 2 if row.job == "projected" else H
    for k, end in product(range(layers), ends):
        at = f"_l{k}{end}"
        found[f"{name}.weight_xh{at}"] = (len(ends) * out if k else H, wide)
        found[f"{name}.weight_hh{at}"] = (out, wide)
        found[f"{name}.bias{at}"] = (wide,)
        if row.kind == "gru":
            found[f"{name}.bias_hn{at}"] = (H,)
        if row.job == "projected":
            found[f"{name}.weight_hr{at}"] = (H, out)
        if row.job == "normalised":
            for part, size in (("x", wide), ("h", wide), ("c", H)):
                found |= {
                    f"{name}.norm_{part}{at}.{which}": (size,) for which in ("weight", "bias")
                }
    return found


def weights(row: Row) -> Values:
    """The same values for every contestant, as large as those that PyTorch starts from."""
    _, _, V, H, _ = row.sizes
    out = {"bidirectional": 2 * H, "projected": H // 2}.get(row.job, H)
    if row.job == "translate":
        shapes = {"source.weight": (V, H), "target.weight": (V, H)}
        shapes |= layer_shapes(row, "encoder") | layer_shapes(row, "decoder")
        shapes |= {"combine.weight": (2 * H, H), "combine.bias": (H,)}
    elif row.job == "single":
        shapes = {"xh": (V, 4 * H), "hh": (H, 4 * H), "b": (4 * H,)}
    else:
        shapes = {"embedding.weight": (V, H), **layer_shapes(row, "rnn")}
    shapes |= {"head.weight": (out, V), "head.bias": (V,)}
    rng = np.random.default_rng(0)
    bound = H**-0.5
    found = {name: rng.uniform(-bound, bound, size) for name, size in shapes.items()}
    return {
        name: (value + (name.endswith("weight") and "norm_" in name)).astype(np.float32)
        for name, value in found.items()
    }


class Data(NamedTuple):
    """Integers (T, N); -100 marks a target that does not count."""

    tokens: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray
    """(N,) steps that count: all of them but in a ragged row."""
    text: np.ndarray
    """(WINDOWS * T + 1, N), for rows that read on."""


def data(row: Row) -> Data:
    """The same tokens for every contestant."""
    T, N, V, _, _ = row.sizes
    rng = np.random.default_rng(1)
    tokens, targets = rng.integers(0, V, (T, N)), rng.integers(0, V, (T, N))
    lengths = np.full(N, T)
    if row.job == "ragged":
        lengths[1:] = rng.integers(1, T + 1, N - 1)
        targets[np.arange(T)[:, None] >= lengths] = -100
    return Data(tokens, targets, lengths, rng.integers(0, V, (WINDOWS * T + 1, N)))


def window(text: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and targets of the k-th window of a text, which goes round."""
    T = len(text) // WINDOWS
    at = k % WINDOWS * T
    return text[at : at + T], text[at + 1 : at + T + 1]
