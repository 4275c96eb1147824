"""A valid call of every public method and operator: its arguments, and objects to call it on."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.cells import FLAT, OURS
from tests.hostile_parts import (
    IDS,
    Given,
    H,
    I,
    N,
    T,
    array,
    cell_text,
    drawn,
    f4,
    g,
    gradient_flow,
    h,
    linear,
    parameters,
    report,
    rng,
    saved,
    sgd,
    trained,
    x,
)
from tinygrad_seq import data, nn, optim, train

# -- objects, whose methods are called ------------------------------------------------------------

INSTANCES: dict[str, Callable[[], Any]] = {
    "Tensor": lambda: x(1, 1),
    "train.TBPTT": lambda: train.tbptt(*trained(), k=2),
    "flow.GradientFlow": gradient_flow,
    "flow.Track": lambda: gradient_flow()["l0"],
    "celltext.CellText": cell_text,
    "viz.Drawing": drawn,
    "nn.Sequential": lambda: nn.Sequential(linear()),
}
ABSTRACT = {"nn.Attention", "optim.LRScheduler", "optim.Optimizer", "train.TBPTT"}
"""What nobody makes: it is tried through what derives from it, or returns it."""
NO_METHODS = {
    # what the engine tells an observer
    ("anomaly", "recorded"),
    ("anomaly", "received"),
    ("viz.Trace", "recorded"),
    ("viz.Trace", "received"),
    ("viz.Trace", "collected"),
    # what only classes derived from these have
    ("nn.Module", "forward"),
    ("nn.Cell", "forward"),
    ("nn.Cell", "columns"),
    *((f"nn.{name}", "columns") for name, kind in OURS.items() if not kind.gates),
    ("nn.ModuleList", "forward"),
    ("optim.ReduceLROnPlateau", "lr_at"),
    ("optim.SequentialLR", "lr_at"),
}


def run_of(kind: Any) -> Given:
    """A run of one of our layers."""
    layer = kind(I, H)
    state = layer.state_type(*[h() for _ in layer.state_sizes])
    return g(f4(T, N, I), state, lengths=[3, 1], reset=[True, False])


def step_of(kind: Any) -> Given:
    """A step of one of our cells."""
    parts = [f4(N, H) for _ in kind(I, H).states]
    return g(f4(N, I), parts[0] if len(parts) == 1 else tuple(parts))


METHODS: dict[str, Callable[[], Given]] = {
    "Tensor.astype": lambda: g(np.float32),
    "Tensor.register_hook": lambda: g(lambda g: g),
    "Tensor.backward": lambda: g(array(1, 1)),
    "Tensor.tag": lambda: g("h"),
    "Tensor.reshape": lambda: g(1, -1),
    "Tensor.transpose": lambda: g(1, 0),
    "Tensor.swapaxes": lambda: g(0, 1),
    "Tensor.unsqueeze": lambda: g(1),
    "Tensor.repeat": lambda: g(2),
    "Tensor.cumsum": lambda: g(0),
    "Tensor.cumprod": lambda: g(0),
    "Tensor.dot": lambda: g(x(1, 2)),
    "Tensor.argmax": lambda: g(axis=1),
    "Tensor.argmin": lambda: g(axis=1),
    "Tensor.argsort": lambda: g(axis=1),
    "Tensor.clip": lambda: g(0.1, 0.5),
    **{f"{name}.forward": partial(run_of, kind) for name, kind in FLAT.items()},
    **{f"{name}.forward": partial(step_of, kind) for name, kind in OURS.items()},
    "Recurrent.layer_weights": lambda: g(0),
    "Recurrent.stacked_weight": lambda: g(0),
    "Recurrent.cell_at": lambda: g(0),
    **{f"{name}.columns": partial(g, *kind.gates[:1]) for name, kind in OURS.items()},
    "Cell.stepper": lambda: g(N),
    "Recurrent.top": lambda: g(nn.GRUState(h()), N),
    "Recurrent.zero_state": lambda: g(N),
    "AdditiveAttention.forward": lambda: g(f4(N, H), f4(T, N, I), lengths=[3, 1]),
    "MultiplicativeAttention.forward": lambda: g(f4(N, H), f4(T, N, I), lengths=[3, 1]),
    "DotAttention.forward": lambda: g(f4(N, H), f4(T, N, H), lengths=[3, 1]),
    "Attention.prepare": lambda: g(f4(T, N, I)),
    "AdditiveAttention.prepare": lambda: g(f4(T, N, I)),
    "MultiplicativeAttention.prepare": lambda: g(f4(T, N, I)),
    "Attention.prepared": lambda: g(f4(T, N, I)),
    "DotAttention.score": lambda: g(f4(1, N, H), f4(T, N, H)),
    "AdditiveAttention.score": lambda: g(f4(1, N, H), f4(T, N, 2)),
    "MultiplicativeAttention.score": lambda: g(f4(1, N, H), f4(T, N, H)),
    "MultiheadAttention.forward": lambda: g(f4(2, N, 4), f4(T, N, 4), f4(T, N, 4), causal=False),
    "Decoder.forward": lambda: g(IDS % I, nn.GRUState(h()), memory=f4(T, N, H), lengths=[3, 1]),
    "Decoder.fed_size_of": lambda: g("after", H, I),
    "Seq2Seq.forward": lambda: g(f4(T, N, I), IDS, lengths=[3, 1]),
    "Seq2Seq.encode": lambda: g(f4(T, N, I), lengths=[3, 1]),
    "Seq2Seq.generate": lambda: g(f4(T, N, I), 0, end=1, max_steps=2),
    "Seq2Seq.beam_search": lambda: g(f4(T, N, I), 0, end=1, width=2, max_steps=2),
    "OneToMany.initial_state": lambda: g(f4(N, I)),
    "OneToMany.forward": lambda: g(f4(N, I), IDS),
    "OneToMany.generate": lambda: g(f4(N, I), 0, end=1, max_steps=2),
    "OneToMany.beam_search": lambda: g(f4(N, I), 0, end=1, width=2, max_steps=2),
    "ManyToOne.forward": lambda: g(f4(T, N, I), lengths=[3, 1]),
    "ManyToMany.forward": lambda: g(f4(T, N, I), nn.GRUState(h()), lengths=[3, 1]),
    "Dropout.forward": lambda: g(f4(N, I)),
    "VariationalDropout.forward": lambda: g(f4(T, N, I)),
    "Embedding.forward": lambda: g(IDS),
    "LayerNorm.forward": lambda: g(f4(N, I)),
    "Linear.forward": lambda: g(f4(N, I)),
    "Sequential.forward": lambda: g(f4(N, I)),
    "Module.load_state_dict": lambda: g(nn.GRU(I, H, rng=rng()).state_dict()),
    "Module.astype": lambda: g(np.float64),
    "ModuleList.append": lambda: g(linear()),
    "CharLM.forward": lambda: g(IDS),
    "Optimizer.add_param_group": lambda: g({"params": parameters(), "lr": 0.1}),
    "Optimizer.load_state_dict": lambda: g(sgd().state_dict()),
    "LRScheduler.load_state_dict": lambda: g(optim.CosineAnnealingLR(sgd(), 10).state_dict()),
    **{f"{name}.lr_at": lambda: g(0.1, 3) for name in dir(optim)},
    "ReduceLROnPlateau.step": lambda: g(0.5),
    "Vocabulary.encode": lambda: g("abc"),
    "Vocabulary.decode": lambda: g([0, 1]),
    "Vocabulary.from_json": lambda: g(data.Vocabulary("ab").to_json()),
    "Vocabulary.from_text": lambda: g("abc"),
    "Streams.stream": lambda: g(1),
    "Streams.window_count": lambda: g(3),
    "Streams.windows": lambda: g(3, start=1, drop_last=True),
    "EmbeddedReber.string": lambda: g(rng()),
    "EmbeddedReber.encode": lambda: g("BTE"),
    "EmbeddedReber.legal": lambda: g("BTBTXSETE"),
    "EmbeddedReber.closing": lambda: g(IDS),
    "Dyck.closing": lambda: g(IDS),
    "Dyck.depth": lambda: g(IDS),
    "_Pairs.encode": lambda: g("12"),
    "_Pairs.decode": lambda: g([1, 2]),
    "CharOptions.preset": lambda: g("fast", steps=2),
    "CharOptions.from_dict": lambda: g({"hidden": 3}),
    "CharOptions.resumed": lambda: g(steps=3),
    "CharRun.save": lambda: g("run.safetensors"),
    "CharRun.resume": lambda: g(saved(), steps=3),
    "MetricsTable.write": lambda: g({"step": 1, "loss": 0.5}),
    "MetricsTable.read": lambda: (train.MetricsTable("t.csv", ["step"]), g("t.csv"))[1],
    "MetricsTable.column": lambda: (train.MetricsTable("t.csv", ["a", "b"]), g("t.csv", "a", "b"))[
        1
    ],
    "Monitor.record": lambda: g(report(), None),
    "Monitor.say": lambda: g("line"),
    "Machine.hint": lambda: g(64),
    "Track.contribution": lambda: g(1),
    "Spectrum.of": lambda: g(array(2, 2)),
    "CellText.correlations": lambda: g("position in the word"),
    "CellText.address": lambda: g("position in the word", cell_text().telling()[1]),
    "GradientError.advising": lambda: g("do it"),
    "TinygradSeqError.advising": lambda: g("do it"),
    "CellText.save": lambda: g("page.html"),
    "Drawing.save": lambda: g("drawing.gv"),
    "RandomDraw.integer": lambda: g(0, 3),
    "RandomDraw.choice": lambda: g([1, 2]),
    "RandomDraw.broadcastable": lambda: g(2),
    "RandomDraw.array": lambda: g((2, 3)),
    **{
        f"{name}.{method}": lambda: g(2, rng())
        for name in ("Adding", "CopyMemory", "TemporalOrder", "EmbeddedReber", "Dyck", "_Pairs")
        for method in ("batch", "pairs")
    },
    **{f"{name}.pair": lambda: g(rng()) for name in ("AddNumbers", "Dates", "_Pairs")},
}

RULING = (np.ma.MaskedArray, np.matrix)
"""They answer by themselves where they come first."""

OPERATORS: dict[str, Callable[..., Any]] = {
    "t + v": lambda t, v: t + v,
    "v + t": lambda t, v: None if isinstance(v, RULING) else v + t,
    "t - v": lambda t, v: t - v,
    "t * v": lambda t, v: t * v,
    "v * t": lambda t, v: None if isinstance(v, RULING) else v * t,
    "t / v": lambda t, v: t / v,
    "v / t": lambda t, v: None if isinstance(v, RULING) else v / t,
    "t ** v": lambda t, v: t**v,
    "v ** t": lambda t, v: None if isinstance(v, RULING) else v**t,
    "t @ v": lambda t, v: t @ v,
    "t // v": lambda t, v: t // v,
    "t % v": lambda t, v: t % v,
    "divmod(t, v)": divmod,
    "t < v": lambda t, v: t < v,
    "t >= v": lambda t, v: t >= v,
    "t == v": lambda t, v: t == v,
    "t != v": lambda t, v: t != v,
    "t[v]": lambda t, v: t[v],
    "t[v, 0]": lambda t, v: t[v, 0],
    "t[v:]": lambda t, v: t[v:],
    "v in t": lambda t, v: v in t,
    "t += v": lambda t, v: operator.iadd(t, v),
    "t[0] = v": lambda t, v: operator.setitem(t, 0, v),
    "round(t, v)": round,
    "format(t, v)": lambda t, v: format(t, v) if isinstance(v, str) else "",
    "t.data = v": lambda t, v: setattr(t, "data", v),
    "t.grad = v": lambda t, v: setattr(t, "grad", v),
    "t.requires_grad = v": lambda t, v: setattr(t, "requires_grad", v),
    "t.name = v": lambda t, v: (setattr(t, "name", v), repr(t * 1.0)),
    "np.add(t, v)": np.add,
    "np.sum(t, v)": np.sum,
    "np.concatenate([t, v])": lambda t, v: np.concatenate([t, v]),
    "np.where(v, t, t)": lambda t, v: np.where(v, t, t),
    "np.reshape(t, v)": np.reshape,
    "np.transpose(t, v)": np.transpose,
    "np.einsum(v, t, t)": lambda t, v: np.einsum(v, t, t),
    "np.clip(t, v, v)": lambda t, v: np.clip(t, v, v),
}
UNARY: dict[str, Callable[[Any], Any]] = {
    "+t": lambda t: +t,
    "-t": lambda t: -t,
    "abs(t)": abs,
    "round(t)": round,
    "copy": lambda t: t.copy(),
    "iter": list,
    "len": len,
    "float": float,
    "int": int,
    "bool": bool,
    "complex": complex,
    "hash": hash,
    "index": operator.index,
    "reversed": lambda t: list(reversed(t)),
}
