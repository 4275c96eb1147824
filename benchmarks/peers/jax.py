"""JAX: everything compiled by jit, time by lax.scan, one product for the inputs of all steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import rows
from benchmarks.peers import Job, Jobs
from benchmarks.rows import Row, Values


def lstm(p: Any, at: str, state: Any, z: Any) -> Any:
    h, c = state
    i, f, o, g = jnp.split(z + h @ p[f"weight_hh{at}"], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru(p: Any, at: str, state: Any, z: Any) -> Any:
    (h,) = state
    H = h.shape[-1]
    back = h @ p[f"weight_hh{at}"]
    r, u = jnp.split(jax.nn.sigmoid(z[..., : 2 * H] + back[..., : 2 * H]), 2, axis=-1)
    n = jnp.tanh(z[..., 2 * H :] + r * (back[..., 2 * H :] + p[f"bias_hn{at}"]))
    return ((1 - u) * n + u * h,)


def rnn(p: Any, at: str, state: Any, z: Any) -> Any:
    return (jnp.tanh(z + state[0] @ p[f"weight_hh{at}"]),)


CELLS: dict[str, Callable[..., Any]] = {"lstm": lstm, "gru": gru, "rnn": rnn}


def layer(row: Row, p: Any, name: str, x: Any, states: Any) -> Any:
    """All layers and directions over x (T, N, F); a state per layer and direction."""
    p = {key.removeprefix(f"{name}."): w for key, w in p.items() if key.startswith(f"{name}.")}
    lasts, cell = [], CELLS[row.kind]
    for k in range(row.sizes.layers):
        outs = []
        for end in ("", "_reverse") if row.job == "bidirectional" else ("",):
            at = f"_l{k}{end}"
            z = x @ p[f"weight_xh{at}"] + p[f"bias{at}"]

            def body(state: Any, z_t: Any, at: str = at) -> Any:
                state = cell(p, at, state, z_t)
                return state, state[0]

            last, y = lax.scan(body, states[len(lasts)], z, reverse=bool(end))
            lasts.append(last)
            outs.append(y)
        x = jnp.concatenate(outs, axis=-1) if len(outs) > 1 else outs[0]
    return x, lasts


def zeros(row: Row) -> Any:
    """States to start from."""
    parts = 2 if row.kind == "lstm" else 1
    places = row.sizes.layers * (2 if row.job == "bidirectional" else 1)
    return [(jnp.zeros((row.sizes.N, row.sizes.H)),) * parts] * places


def head(p: Any, y: Any) -> Any:
    return y @ p["head.weight"] + p["head.bias"]


def cross_entropy(logits: Any, targets: Any) -> Any:
    logp = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(logp, targets[..., None], -1))


def model(row: Row, p: Any, tokens: Any, states: Any) -> Any:
    y, states = layer(row, p, "rnn", p["embedding.weight"][tokens], states)
    return head(p, y), states


def loss(row: Row, p: Any, tokens: Any, targets: Any, states: Any) -> Any:
    logits, states = model(row, p, tokens, states)
    return cross_entropy(logits, targets), states


def translation(row: Row, p: Any, source: Any, begun: Any, targets: Any) -> Any:
    memory, states = layer(row, p, "encoder", p["source.weight"][source], zeros(row))
    y, _ = layer(row, p, "decoder", p["target.weight"][begun], states)
    weights = jax.nn.softmax(jnp.einsum("tnh,snh->nts", y, memory), axis=-1)
    context = jnp.einsum("nts,snh->tnh", weights, memory)
    both = jnp.concatenate([context, y], axis=-1) @ p["combine.weight"] + p["combine.bias"]
    return cross_entropy(head(p, jnp.tanh(both)), targets)


# -- jobs ------------------------------------------------------------------------------------------


def start(row: Row) -> dict[str, Any]:
    return {name: jnp.asarray(w) for name, w in rows.weights(row).items()}


def learning(compiled: Callable[[Any], Any], p: Any) -> Job:
    """A loss and all its gradients."""

    def run() -> float:
        return float(jax.block_until_ready(compiled(p))[0])

    def check() -> Values:
        value, gradients = compiled(p)
        return {"loss": value, **gradients}

    return Job(run, check)


def step(row: Row) -> Job:
    given = [jnp.asarray(a) for a in rows.data(row)[:2]]

    @jax.jit
    def compiled(p: Any, tokens: Any, targets: Any) -> Any:
        return jax.value_and_grad(lambda p: loss(row, p, tokens, targets, zeros(row))[0])(p)

    return learning(lambda p: compiled(p, *given), start(row))


def forward(row: Row) -> Job:
    p, (tokens, targets) = start(row), (jnp.asarray(a) for a in rows.data(row)[:2])
    compiled = jax.jit(lambda *given: loss(row, *given, zeros(row))[0])

    def run() -> float:
        return float(compiled(p, tokens, targets))

    return Job(run, lambda: {"loss": run()})


def iteration(row: Row) -> Job:
    p, text = start(row), rows.data(row).text
    moments = [{name: jnp.zeros_like(w) for name, w in p.items()} for _ in range(2)]
    states, k = jax.tree.map(jnp.copy, zeros(row)), 0  # apart: they are donated

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(p: Any, moments: Any, states: Any, t: Any, tokens: Any, targets: Any) -> Any:
        found = jax.value_and_grad(partial(loss, row), has_aux=True)(p, tokens, targets, states)
        (value, states), g = found
        norm = jnp.sqrt(sum(jnp.vdot(each, each) for each in g.values()))
        factor = jnp.minimum(1.0, 1.0 / norm)
        first = {n: 0.9 * m + 0.1 * factor * g[n] for n, m in moments[0].items()}
        second = {n: 0.999 * v + 0.001 * (factor * g[n]) ** 2 for n, v in moments[1].items()}
        rate, long = 2e-3 / (1 - 0.9**t), 1 - 0.999**t
        p = {n: w - rate * first[n] / (jnp.sqrt(second[n] / long) + 1e-8) for n, w in p.items()}
        return value, p, [first, second], states

    def run() -> float:
        nonlocal p, moments, states, k
        window = map(jnp.asarray, rows.window(text, k))
        k += 1
        value, p, moments, states = update(p, moments, states, float(k), *window)
        return float(jax.block_until_ready((value, p))[0])

    return Job(run, lambda: {"losses": [run() for _ in range(5)]})


def write(row: Row) -> Job:
    row = row._replace(size=",".join(map(str, row.sizes._replace(T=1, N=1))))
    p = start(row)

    @partial(jax.jit, static_argnums=3)
    def character(key: Any, token: Any, states: Any, draw: bool) -> Any:
        logits, states = model(row, p, token[None, None], states)
        key, now = jax.random.split(key)
        drawn = jax.random.categorical(now, logits[0, 0]) if draw else logits[0, 0].argmax()
        return key, drawn, states

    def run(draw: bool = True) -> list[int]:
        key, token, states, written = jax.random.key(0), jnp.asarray(0), zeros(row), []
        for _ in range(rows.WRITTEN):
            key, token, states = character(key, token, states, draw)
            written.append(int(token))
        return written

    return Job(run, lambda: {"likeliest": np.array(run(draw=False))})


def translate(row: Row) -> Job:
    given = rows.data(row)
    arrays = [jnp.asarray(a) for a in (given.tokens, given.text[: row.sizes.T], given.targets)]
    compiled = jax.jit(jax.value_and_grad(partial(translation, row)))
    return learning(lambda p: compiled(p, *arrays), start(row))


JOBS: Jobs = {
    **dict.fromkeys(("step", "bidirectional", "first", "memory"), step),
    "forward": forward,
    "iteration": iteration,
    "write": write,
    "translate": translate,
}
