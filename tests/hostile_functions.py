"""A valid call of every public function and class, by name: its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import tinygrad_seq as tgs
from demos import lab
from tests.cells import FLAT, OURS
from tests.hostile_parts import (
    IDS,
    SMALL,
    Given,
    H,
    I,
    N,
    T,
    V,
    adding,
    array,
    char_lm,
    char_run,
    decoder,
    f4,
    folder,
    g,
    gru,
    h,
    held_out,
    linear,
    lstm,
    namespace,
    options,
    parameters,
    rng,
    saved,
    sgd,
    squares,
    step,
    trained,
    x,
)
from tinygrad_seq import charlm, data, nn, optim, train, viz
from tinygrad_seq.ops import OPS


def of_cells() -> dict[str, Callable[[], Given]]:
    """Steps of our cells and what runs them over a sequence, by their signatures."""
    found: dict[str, Callable[[], Given]] = {}
    for name, kind in OURS.items():
        cell = kind(I, H)
        wide = cell.blocks * H
        shapes = {"weight_xh": (I, wide), "weight_hh": (H, wide), "bias": (wide,)}
        shapes |= dict.fromkeys(cell.states, (N, H))
        for what, rows in (("step", (N,)), ("sequence", (T, N))):
            function = getattr(tgs, f"{name.removesuffix('Cell').lower()}_{what}", None)
            if function is not None:
                known = {**shapes, "x": (*rows, I)}
                found[function.__name__] = partial(operands, function, known)
    return found


def operands(function: Callable[..., object], shapes: dict[str, tuple[int, ...]]) -> Given:
    """What has a known shape, options as they are, and what else is required, (H,)."""
    given: list[object] = []
    options: dict[str, object] = {}
    for each in inspect.signature(function).parameters.values():
        shape = shapes.get(each.name.rstrip("0"), (H,))
        if each.kind is each.VAR_KEYWORD:
            options = {"lengths": [3, 1], "reverse": True}
        elif each.default is not None:
            given.append(x(*shape) if each.default is each.empty else each.default)
    return g(*given, **options)


FUNCTIONS: dict[str, Callable[[], Given]] = {
    **of_cells(),
    # the package itself
    "Tensor": lambda: g([1.0, 2.0]),
    "tensor": lambda: g([1.0, 2.0]),
    "anomaly": g,
    "scope": lambda: g(path="p", layer=0, step=1, start=0),
    "steps": lambda: g(xs=[1.0, 2.0], start=1),
    "observe": lambda: g(viz.Trace()),
    "checkpoint": lambda: g(lambda a: tgs.tanh(a), x(), generators=[rng()]),
    "grad": lambda: (lambda leaf: g(squares(leaf), [leaf]))(x()),
    "hessian": lambda: g(squares, array(3)),
    "hvp": lambda: g(squares, array(3), array(3)),
    "jacobian": lambda: g(tgs.tanh, array(3)),
    "jvp": lambda: g(tgs.tanh, array(3), array(3)),
    "value_and_grad": lambda: g(lambda p: squares(p["w"]), {"w": array(3)}),
    "vjp": lambda: g(tgs.tanh, array(3), array(3)),
    # operations that are no record of their own, or spell their parameters otherwise
    "astype": lambda: g(x(), np.float32),
    "broadcast_to": lambda: g(x(1, 3), (2, 3)),
    "concatenate": lambda: g([x(), x()], 1),
    "cumprod": lambda: g(x(), 1),
    "diagonal": lambda: g(x()),
    "diff": lambda: g(x()),
    "einsum": lambda: g("ij,kj->ik", x(), x()),
    "expand_dims": lambda: g(x(), 1),
    "gather": lambda: g(x(), 1, [[0], [2]]),
    "moveaxis": lambda: g(x(), 0, 1),
    "mse_loss": lambda: g(x(), x()),
    "one_hot": lambda: g([0, 2], 3),
    "op": lambda: g(lambda g: g),
    "outer": lambda: g(x(2), x(3)),
    "pad": lambda: g(x(), 1, constant_values=0.5),
    "prod": lambda: g(x(), 0),
    "repeat": lambda: g(x(), 2, 0),
    "reshape": lambda: g(x(), (3, 2)),
    "roll": lambda: g(x(), 1, 0),
    "scaled_dot_product_attention": lambda: g(x(N, 2, H), x(N, T, H), x(N, T, H)),
    "sort": lambda: g(x()),
    "split": lambda: g(x(4), 2),
    "squeeze": lambda: g(x(1, 3), 0),
    "stack": lambda: g([x(), x()]),
    "std": lambda: g(x(), 0, 1),
    "swapaxes": lambda: g(x(), 0, 1),
    "take": lambda: g(x(4, 2), IDS),
    "tensordot": lambda: g(x(), x(3, 2), 1),
    "tile": lambda: g(x(), (2, 1)),
    "trace": lambda: g(x()),
    "tril": lambda: g(x()),
    "triu": lambda: g(x()),
    "var": lambda: g(x(), 0, 1),
    "where": lambda: g(np.eye(2, 3, dtype=bool), x(), x()),
    # nn
    **{f"nn.{name}": lambda: g(I, H, rng=rng()) for name in (*OURS, *FLAT)},
    "nn.AdditiveAttention": lambda: g(H, I, 2, rng=rng()),
    "nn.Decoded": lambda: g(x(), None, None),
    "nn.Decoder": lambda: g(gru(), V, nn.DotAttention(), H, rng=rng()),
    "nn.Embedding": lambda: g(V, I, rng=rng()),
    "nn.FedState": lambda: g(None, x()),
    "nn.GRUState": lambda: g(h()),
    "nn.Generated": lambda: g(IDS, np.ones(N), np.ones(N)),
    "nn.LSTMState": lambda: g(h(), h()),
    "nn.LayerNorm": lambda: g(I),
    "nn.Linear": lambda: g(I, H, rng=rng()),
    "nn.ManyToMany": lambda: g(gru(), V, rng=rng()),
    "nn.ManyToOne": lambda: g(gru(), V, rng=rng()),
    "nn.ModuleList": lambda: g([linear()]),
    "nn.MultiheadAttention": lambda: g(4, 2, rng=rng()),
    "nn.MultiplicativeAttention": lambda: g(H, I, rng=rng()),
    "nn.OneToMany": lambda: g(I, decoder(False), rng=rng()),
    "nn.Parameter": lambda: g([1.0]),
    "nn.Cell": lambda: g(I, H),
    "nn.Recurrent": lambda: g(nn.GRUCell(I, H, rng=rng())),
    "nn.RNNState": lambda: g(h()),
    "nn.Seq2Seq": lambda: g(gru(), decoder(), rng=rng()),
    "nn.Sequential": lambda: g(linear(), nn.Linear(H, 2, rng=rng())),
    "nn.beam_search": lambda: g(step, None, 1, 0, end=3, width=1),
    "nn.causal_mask": lambda: g(3),
    "nn.detach": lambda: g(nn.LSTMState(h(), h())),
    "nn.evaluating": lambda: g(linear()),
    "nn.generate": lambda: g(step, None, 1, 0, end=3, max_steps=3, temperature=0.5, rng=rng()),
    "nn.length_mask": lambda: g([3, 1], 3),
    "nn.reset_rows": lambda: g(nn.LSTMState(h(), h()), [True, False]),
    "nn.select_rows": lambda: g(nn.LSTMState(h(), h()), [1, 0, 0]),
    "init.chrono_": lambda: g(lstm(), 10, rng()),
    "init.generator": lambda: g(rng(), "here"),
    "init.glorot_uniform": lambda: g(rng(), 2, 3),
    "init.normal": lambda: g(rng(), (2, 3), 0.5, np.float32),
    "init.orthogonal": lambda: g(rng(), 3),
    "init.uniform": lambda: g(rng(), (2, 3), 0.5, np.float32),
    # optim
    **{
        f"optim.{name}": lambda: g(parameters())
        for name in ("SGD", "Adagrad", "Adam", "AdamW", "RMSprop")
    },
    "optim.ClipReport": lambda: g(1.0, 1.0, 1.0, True),
    "optim.CosineAnnealingLR": lambda: g(sgd(), 10),
    "optim.ExponentialLR": lambda: g(sgd(), 0.5),
    "optim.LinearLR": lambda: g(sgd()),
    "optim.ReduceLROnPlateau": lambda: g(sgd()),
    "optim.SequentialLR": lambda: (lambda o: g(o, [optim.StepLR(o, 1), optim.StepLR(o, 2)], [3]))(
        sgd()
    ),
    "optim.StepLR": lambda: g(sgd(), 3),
    "lab.clip_grad_adaptive_": lambda: g(parameters()),
    "optim.clip_grad_norm_": lambda: g(parameters(), 0.5),
    "lab.clip_grad_norm_each_": lambda: g([parameters()], 0.5),
    "lab.clip_grad_squared_norm_": lambda: g(parameters(), 0.5),
    "optim.clip_grad_value_": lambda: g(parameters(), 0.5),
    # data
    "lab.AddNumbers": lambda: g(2),
    "lab.Adding": lambda: g(4),
    "lab.CopyMemory": lambda: g(3, 2, 2),
    "lab.Dyck": lambda: g(6, 2, 2),
    "lab.EmbeddedReber": g,
    "data.Streams": lambda: g(np.arange(20), 2),
    "lab.TaskBatch": lambda: g(IDS, IDS),
    "lab.TaskPairs": lambda: g(IDS, [1, 2], IDS),
    "lab.TemporalOrder": lambda: g(20, 2),
    "data.Vocabulary": lambda: g("abc", unknown="replace", replacement="?"),
    "data.Window": lambda: g(IDS, IDS),
    "data.ngram_cross_entropy": lambda: g("abab", "aba", 1),
    "data.ngram_entropy": lambda: g("ababab", 1),
    "data.read_text": lambda: (options(), g("text.txt"))[1],
    "data.split_text": lambda: g("ab" * 20),
    # train
    "train.BPTT": lambda: g(1.0, None, [], 3),
    "charlm.CharLM": lambda: g(V, 4, 1, rng=rng()),
    "charlm.CharOptions": lambda: g(**SMALL, steps=1),
    "charlm.CharRun": lambda: g(options()),
    "lab.Comparison": lambda: g(1, 2, 0.1, 0.9, 1.0, 10, {}),
    "train.Evaluation": lambda: g(1.0, 10),
    "charlm.HeldOut": lambda: g(train.Evaluation(1.0, 10), train.Evaluation(1.0, 10)),
    "charlm.Machine": lambda: g("blas", 2, "2", 0.5),
    "train.MetricsTable": lambda: g("table.csv", ["step", "loss"]),
    "charlm.Monitor": lambda: g(char_run(), folder(), say=lambda line: None, bar=False),
    "charlm.Outcome": lambda: g(held_out(), 0),
    "lab.Progress": lambda: g(1, 0.5, 0.5, 0, False),
    "train.StepReport": lambda: g(1, 0.5, 1.0, 1.0, 1.0, 10, 100.0, 0.1),
    "lab.Truncated": lambda: g(1, 0.5, 1, 1, None),
    "lab.Verdict": lambda: g(0.5, np.ones(2, bool)),
    "train.bptt": lambda: (lambda w: g(lambda t, s: (s * w, (s * w).sum()), x(3), 4, [w]))(x(3)),
    "lab.compare_truncations": lambda: g(char_lm(), IDS, IDS, [(1, 2)]),
    "charlm.draw_char_lm": lambda: g(char_lm(), [0, 1, 2]),
    "train.evaluate": lambda: g(char_lm(), np.arange(9) % V, reset_every=4),
    "train.evaluating": lambda: g(linear()),
    "train.first_run": lambda: g(5, 2),
    "charlm.fit": lambda: g(char_run(), folder(), say=lambda line: None, bar=False),
    "train.forward_steps": lambda: g(5, 2),
    "charlm.generate": lambda: g(
        char_lm(), data.Vocabulary("abcd"), 3, prime="a", temperature=0.5, rng=rng()
    ),
    "charlm.sample": lambda: g(
        char_lm(), data.Vocabulary("abcd"), 3, prime="a", temperature=0.5, rng=rng()
    ),
    "lab.judge": lambda: g(*adding(), lab.Adding(4).batch(2, rng())),
    "lab.learn": lambda: g(*adding(), sgd(), rng(), batch=2, recent=4),
    "charlm.learning_rate": lambda: g(options(warmup=0.1), 0.5, 1.0),
    "charlm.load_char_lm": lambda: g(saved()),
    "train.load_checkpoint": lambda: g(saved()),
    "train.save_checkpoint": lambda: g("made.safetensors", {"a": np.ones(2), "rng": rng()}),
    "lab.task_loss": lambda: g(adding()[1], lab.Adding(4).batch(2, rng())),
    "lab.task_model": lambda: g(lab.Adding(4), gru(), rng=rng()),
    "train.tbptt": lambda: (lambda m, w, o: g(m, w, o, k=2, k2=4, clip_norm=1.0))(*trained()),
    "lab.truncated_bptt": lambda: g(*trained()[:2], 1, 2),
    "charlm.write_report": lambda: (
        lambda run, folder: (
            charlm.fit(run, folder, say=lambda line: None, bar=False),
            g(run, folder, held_out()),
        )[1]
    )(char_run(), folder()),
    # flow
    "flow.GradientFlow": lambda: g(0.5, {}, {}),
    "flow.Spectrum": lambda: g(np.ones(2), np.ones(2)),
    "flow.Track": lambda: g(*[None] * 17),
    "flow.gradient_flow": lambda: (lambda layer: g(lambda: layer(f4(T, N, I))[0].sum()))(gru()),
    "flow.lyapunov_exponents": lambda: g(array(5, 2, 2)),
    "flow.product_singular_values": lambda: g(array(5, 2, 2)),
    # viz
    "celltext.CellText": lambda: g("t", ("a",), IDS[:, 0], {}, np.ones(3), None, {}, "next"),
    "viz.Drawing": lambda: g("digraph { a }"),
    "celltext.cell_text": lambda: g(char_lm(), "abcd", data.Vocabulary("abcd")),
    "viz.draw": lambda: g(tgs.tanh(x()).sum()),
    "viz.draw_alignment": lambda: g(array(1, 2, 3), ["a", "b", "c"], ["d", "e"]),
    "viz.draw_model": lambda: g(gru(), f4(T, N, I), loss=lambda out: out[0].sum()),
    # testing
    "testing.GradcheckReport": lambda: g("complex", 3, 0.1),
    "testing.GradientError": lambda: g("what"),
    "testing.RandomDraw": lambda: g(rng()),
    "testing.check_layer": lambda: g(nn.Linear(I, 1, rng=rng(), dtype=np.float64), array(1, I)),
    "testing.check_op": lambda: g(OPS["tanh"], [array(2)]),
    "testing.gradcheck": lambda: g(tgs.tanh, array(2)),
    "testing.layer_step": lambda: g(nn.RNNCell(I, H, rng=rng(), dtype=np.float64)),
    "testing.rtrl": lambda: g(
        lambda p, _, s: p["w"] * s,
        lambda p, s, y: s[0],
        {"w": np.array(0.2)},
        [0.0, 1.0],
        [0.0, 1.0],
        np.array([0.9]),
    ),
    "testing.rtrl_layer": lambda: g(
        nn.GRU(I, 2, rng=rng(), dtype=np.float64), array(2, 1, I), array(2, 1, 2)
    ),
    # commands
    "commands.announce": lambda: g(char_run(), Path("runs")),
    "commands.finish": lambda: g(char_run(), Path("runs"), charlm.Outcome(None, 2)),
    "commands.folder_of": lambda: g(namespace(), char_run()),
    "commands.guarded": lambda: g(lambda options: 0, namespace()),
    "commands.main": lambda: g(["sample", saved()]),
    "commands.open_run": lambda: g(namespace()),
    "commands.train_parser": lambda: g("words"),
}
