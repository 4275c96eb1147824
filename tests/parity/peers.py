"""The layers of ``tinygrad_seq.nn`` once more, in PyTorch, from the same named arrays.

A peer is a function of the parameters by name (in our layout, as PyTorch leaves) and of inputs.
Where PyTorch has the layer, the peer calls it, and rearranges the weights on the way, so that the
gradients come back in our layout; elsewhere it is the published equation in PyTorch's operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tinygrad_seq.kernels.gates import gate

F = torch.nn.functional
call = torch.func.functional_call
Named = dict[str, Any]


def within(p: Named, prefix: str) -> Named:
    """The parameters of one part, by their names in it."""
    return {name[len(prefix) + 1 :]: w for name, w in p.items() if name.startswith(f"{prefix}.")}


def reordered(w: Any, hidden: int) -> Any:
    """Columns i, f, o, g (ours) as rows i, f, g, o (PyTorch's); of an RNN and a GRU as they are."""
    if w.shape[-1] == 4 * hidden:
        w = torch.cat([w[..., gate(name, hidden)] for name in "ifgo"], -1)
    return w.T if w.ndim == 2 else w


def weights_of(p: Named, suffix: str, hidden: int, names: tuple[str, str, str]) -> Named:
    """One layer's weights under PyTorch's names; its second bias is 0 but for the GRU's."""
    w_xh, w_hh, bias = (p[f"{name}{suffix}"] for name in names)
    second = torch.zeros_like(bias)
    if f"bias_hn{suffix}" in p:
        second = torch.cat([second[: 2 * hidden], p[f"bias_hn{suffix}"]])
    found = {
        f"weight_ih{suffix}": reordered(w_xh, hidden),
        f"weight_hh{suffix}": reordered(w_hh, hidden),
        f"bias_ih{suffix}": reordered(bias, hidden),
        f"bias_hh{suffix}": second,
    }
    if f"weight_hr{suffix}" in p:
        found[f"weight_hr{suffix}"] = p[f"weight_hr{suffix}"].T
    return found


NAMES = ("weight_xh", "weight_hh", "bias")


def cell(kind: Any, hidden: int, **options: Any) -> Callable[..., Any]:
    """PyTorch's cell."""

    def run(p: Named, x: Any, *state: Any) -> Any:
        made = kind(x.shape[-1], hidden, dtype=x.dtype, **options)
        return call(made, weights_of(p, "", hidden, NAMES), (x, _one_or_two(state)))

    return run


def layer(kind: Any, hidden: int, **options: Any) -> Callable[..., Any]:
    """PyTorch's recurrent layer; gives the outputs and the parts of the last state."""

    def run(p: Named, x: Any, *state: Any, lengths: Any = None) -> Any:
        size = x.shape[-1]
        made = kind(size, hidden, dtype=x.dtype, **options)
        found: Named = {}
        for k in range(options.get("num_layers", 1)):
            for end in ("", "_reverse") if options.get("bidirectional") else ("",):
                found |= weights_of(p, f"_l{k}{end}", hidden, NAMES)
        fed = x
        if lengths is not None:
            fed = torch.nn.utils.rnn.pack_padded_sequence(
                x, torch.tensor(lengths), enforce_sorted=False
            )
        y, last = call(made, found, (fed, _one_or_two(state)))
        if lengths is not None:
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=len(x))
        return (y, *(last if isinstance(last, tuple) else (last,)))

    return run


def _one_or_two(state: Any) -> Any:
    return None if not state else state if len(state) == 2 else state[0]


def gru_before_step(p: Named, x: Any, h: Any, suffix: str = "") -> Any:
    """A GRU that resets before the product (Cho et al., 2014), which PyTorch does not have."""
    w_xh, w_hh, bias = (p[f"{name}{suffix}"] for name in NAMES)
    size = h.shape[-1]
    inputs = x @ w_xh + bias
    rz = torch.sigmoid(inputs[:, : 2 * size] + h @ w_hh[:, : 2 * size])
    r, z = rz[:, :size], rz[:, size:]
    n = torch.tanh(inputs[:, 2 * size :] + (r * h) @ w_hh[:, 2 * size :])
    return (1 - z) * n + z * h


def gru_before(p: Named, x: Any, h: Any) -> Any:
    """All steps of :func:`gru_before_step`, in one layer."""
    steps, h = [], h[0]
    for x_t in x:
        h = gru_before_step(p, x_t, h, "_l0")
        steps.append(h)
    return torch.stack(steps), h[None]


def normalised_lstm(p: Named, x: Any, h: Any, c: Any) -> Any:
    """An LSTM whose sums and cell are layer-normalised (Ba et al., 2016), in one layer."""

    def norm(name: str, value: Any) -> Any:
        part = within(p, f"norm_{name}_l0")
        return F.layer_norm(value, value.shape[-1:], part["weight"], part["bias"])

    steps, h, c = [], h[0], c[0]
    hidden = h.shape[-1]
    for x_t in x:
        z = norm("x", x_t @ p["weight_xh_l0"]) + norm("h", h @ p["weight_hh_l0"]) + p["bias_l0"]
        i, f, o = (torch.sigmoid(z[:, gate(name, hidden)]) for name in "ifo")
        c = f * c + i * torch.tanh(z[:, gate("g", hidden)])
        h = o * torch.tanh(norm("c", c))
        steps.append(h)
    return torch.stack(steps), h[None], c[None]


def linear(p: Named, x: Any) -> Any:
    """PyTorch's linear layer, whose weight is the transpose of ours."""
    return F.linear(x, p["weight"].T, p.get("bias"))


def dropout(p: float, seed: int, shared: bool = False) -> Callable[..., Any]:
    """What dropout does, with the mask that our layer draws from this seed."""

    def run(_: Named, x: Any) -> Any:
        shape = (1, *x.shape[1:]) if shared else tuple(x.shape)
        kept = np.random.default_rng(seed).random(shape, np.float32) >= p
        return x * torch.from_numpy(kept) / (1 - p)

    return run


# -- attention ------------------------------------------------------------------------------------


def look_up(scores: Any, memory: Any, lengths: Any) -> Any:
    """Context (T, N, M) and weights (N, T, S) from scores (N, T, S)."""
    if lengths is not None:
        beyond = torch.arange(len(memory)) >= torch.tensor(lengths)[:, None]
        scores = scores.masked_fill(beyond[:, None], -torch.inf)
    weights = torch.softmax(scores, -1)
    return torch.einsum("nts,snm->tnm", weights, memory), weights


def additive(p: Named, query: Any, memory: Any, lengths: Any = None) -> Any:
    """Bahdanau et al., 2015."""
    queries = query @ p["query.weight"]
    keys = memory @ p["memory.weight"] + p["memory.bias"]
    total = torch.tanh(queries.transpose(0, 1)[:, :, None] + keys.transpose(0, 1)[:, None])
    return look_up(total @ p["v"], memory, lengths)


def dot(scale: bool = False) -> Callable[..., Any]:
    """Luong et al., 2015."""

    def run(_: Named, query: Any, memory: Any, lengths: Any = None) -> Any:
        scores = torch.einsum("tnm,snm->nts", query, memory)
        return look_up(scores / memory.shape[-1] ** 0.5 if scale else scores, memory, lengths)

    return run


def multiplicative(p: Named, query: Any, memory: Any, lengths: Any = None) -> Any:
    """Luong et al., 2015, "general"."""
    return look_up(torch.einsum("tnq,mq,snm->nts", query, p["weight"], memory), memory, lengths)


def multihead(heads: int) -> Callable[..., Any]:
    """PyTorch's multi-head attention, with its own weights for queries, keys and values."""

    def run(p: Named, query: Any, key: Any, value: Any) -> Any:
        parts = ("query", "key", "value")
        return F.multi_head_attention_forward(
            query, key, value, query.shape[-1], heads, None,
            torch.cat([p[f"{part}.bias"] for part in parts]), None, None, False, 0.0,
            p["out.weight"].T, p["out.bias"], use_separate_proj_weight=True,
            q_proj_weight=p["query.weight"].T, k_proj_weight=p["key.weight"].T,
            v_proj_weight=p["value.weight"].T, average_attn_weights=False,
        )  # fmt: skip

    return run


# -- the wirings of the notes ----------------------------------------------------------------------


def many_to_one(recurrent: Callable[..., Any]) -> Callable[..., Any]:
    """The last states of both directions, through a readout."""

    def run(p: Named, x: Any, lengths: Any = None) -> Any:
        _, h, *_ = recurrent(within(p, "recurrent"), x, lengths=lengths)
        return linear(within(p, "head"), torch.cat([h[-2], h[-1]], -1))

    return run


def many_to_many(recurrent: Callable[..., Any]) -> Callable[..., Any]:
    """A readout at every step."""

    def run(p: Named, x: Any) -> Any:
        y, *state = recurrent(within(p, "recurrent"), x)
        return (linear(within(p, "head"), y), *state)

    return run


def decoder(recurrent: Callable[..., Any], attend: Any = None) -> Callable[..., Any]:
    """A readout at every step, of an attentional state where there is a memory."""

    def run(p: Named, x: Any, *state: Any, memory: Any = None, lengths: Any = None) -> Any:
        y, *last = recurrent(within(p, "recurrent"), x, *state)
        if attend is None:
            return (linear(within(p, "head"), y), *last)
        context, weights = attend(within(p, "attention"), y, memory, lengths)
        y = torch.tanh(linear(within(p, "combine"), torch.cat([context, y], -1)))
        return (linear(within(p, "head"), y), *last, weights)

    return run


def stepwise_decoder(
    recurrent: Callable[..., Any], attend: Callable[..., Any], before: bool
) -> Callable[..., Any]:
    """One that reads the context (before the step), or what it made of it (a step later)."""

    def run(p: Named, x: Any, *state: Any, memory: Any, lengths: Any = None) -> Any:
        fed = torch.zeros_like(state[0][-1:])
        vectors, found = [], []
        for x_t in x.split(1):
            if before:
                fed, weights = attend(within(p, "attention"), state[0][-1:], memory, lengths)
            y, *state = recurrent(within(p, "recurrent"), torch.cat([x_t, fed], -1), *state)
            context = fed
            if not before:
                context, weights = attend(within(p, "attention"), y, memory, lengths)
            fed = torch.tanh(linear(within(p, "combine"), torch.cat([context, y], -1)))
            vectors.append(fed)
            found.append(weights)
        last = state if before else (*state, fed[0])
        return (linear(within(p, "head"), torch.cat(vectors)), *last, torch.cat(found, 1))

    return run


def one_to_many(decode: Callable[..., Any], layers: int, hidden: int) -> Callable[..., Any]:
    """A vector makes the first state of a decoder."""

    def run(p: Named, vector: Any, x: Any) -> Any:
        made = torch.tanh(linear(within(p, "start"), vector))
        parts = made.reshape(len(vector), -1, layers, hidden).permute(1, 2, 0, 3).contiguous()
        return decode(within(p, "decoder"), x, *parts)

    return run


def seq2seq(encode: Callable[..., Any], decode: Callable[..., Any]) -> Callable[..., Any]:
    """A bidirectional encoder whose joined states start an attentional decoder."""

    def run(p: Named, source: Any, x: Any, lengths: Any = None) -> Any:
        memory, *state = encode(within(p, "encoder"), source, lengths=lengths)
        bridge = within(p, "bridge")
        state = [
            torch.tanh(linear(bridge, torch.cat([part[0::2], part[1::2]], -1))) for part in state
        ]
        return decode(within(p, "decoder"), x, *state, memory=memory, lengths=lengths)

    return run
