"""What valid calls are made of: small arrays, layers, models, runs; new ones each time."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_seq as tgs
from demos import lab
from tinygrad_seq import celltext, charlm, data, flow, nn, optim, train, viz

T, N, I, H, V = 3, 2, 2, 3, 4  # noqa: E741  (the size of an input)
TEXT = "the cat sat on the mat; the dog sat on the log.\n" * 8
IDS = np.arange(T * N).reshape(T, N) % V
SMALL = {"hidden": 4, "layers": 1, "dropout": 0.0, "seq_length": 5, "batch": 2, "minutes": None}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def array(*shape: int) -> np.ndarray[Any, Any]:
    return rng().uniform(0.2, 0.8, shape)


def x(*shape: int) -> tgs.Tensor:
    return tgs.tensor(array(*(shape or (2, 3))), requires_grad=True)


def f4(*shape: int) -> np.ndarray[Any, Any]:
    return array(*shape).astype(np.float32)


def lstm(**options: Any) -> nn.LSTM:
    return nn.LSTM(I, H, rng=rng(), **options)


def gru(size: int = I) -> nn.GRU:
    return nn.GRU(size, H, rng=rng())


def linear(grads: bool = True) -> nn.Linear:
    made = nn.Linear(I, H, rng=rng())
    for parameter in made.parameters():
        parameter.grad = np.ones_like(parameter.data) if grads else None
    return made


def parameters() -> list[tgs.Tensor]:
    return list(linear().parameters())


def sgd() -> optim.SGD:
    return optim.SGD(parameters(), lr=0.1)


def h(layers: int = 1) -> tgs.Tensor:
    return tgs.tensor(f4(layers, N, H))


def decoder(attention: bool = True) -> nn.Decoder:
    found = nn.AdditiveAttention(H, H, 2, rng=rng()) if attention else None
    return nn.Decoder(gru(V), V, found, H if attention else None, rng=rng())


def char_lm() -> charlm.CharLM:
    return charlm.CharLM(V, 4, 1, rng=rng())


def options(**changes: Any) -> charlm.CharOptions:
    Path("text.txt").write_text(TEXT)
    return charlm.CharOptions(**{**SMALL, "text": "text.txt", "steps": 2, "evals": 1, **changes})


def char_run() -> charlm.CharRun:
    return charlm.CharRun(options())


def folder() -> str:
    return f"run-{len(list(Path.cwd().iterdir()))}"


def held_out() -> charlm.HeldOut:
    return charlm.HeldOut(train.Evaluation(1.0, 10), train.Evaluation(1.1, 10))


def saved() -> str:
    char_run().save("saved.safetensors")
    return "saved.safetensors"


def report() -> train.StepReport:
    return train.StepReport(1, 0.5, 1.0, 1.0, 1.0, 10, 100.0, 0.1)


def step(tokens: Any, state: Any) -> Any:
    return tgs.one_hot((np.asarray(tokens) + 1) % V, V), state


def model(inputs: Any, state: Any) -> Any:
    return inputs * 1.0, state


def windows() -> list[Any]:
    return [(IDS, IDS, [True, False])]


def squares(value: Any) -> Any:
    return (value * value).sum()


def trained() -> tuple[Any, ...]:
    made = char_lm()
    return made, windows(), optim.SGD(made.parameters(), lr=0.1)


def adding() -> tuple[lab.Adding, nn.Module]:
    return lab.Adding(4), nn.ManyToOne(gru(), 1, rng=rng())


def gradient_flow() -> flow.GradientFlow:
    layer = gru()
    return flow.gradient_flow(lambda: layer(f4(T, N, I))[0].sum())


def drawn() -> viz.Drawing:
    return viz.draw(tgs.tanh(x()).sum())


def cell_text() -> celltext.CellText:
    return celltext.cell_text(char_lm(), "abcd" * 3, data.Vocabulary("abcd"))


def namespace(**changes: Any) -> argparse.Namespace:
    given = {"resume": None, "out": None, "run_name": None, "quiet": True}
    return argparse.Namespace(**{**given, **SMALL, "steps": 1, **changes})


Given = tuple[tuple[Any, ...], dict[str, Any]]


def g(*args: Any, **named: Any) -> Given:
    """Arguments, as one writes them in a call."""
    return args, named
