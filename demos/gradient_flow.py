"""How far a gradient gets: singular values, the notes' claim, and the LSTM's exception.

    python demos/gradient_flow.py            # a few seconds; the picture goes to runs/
    python demos/gradient_flow.py --fast

The claim: if the largest singular value of W_hh is below 1 the gradient vanishes, if it is above 1
it may explode. Here it is put to the exact Jacobians dh_t/dh_{t-1} of tanh RNNs. Then an LSTM is
measured beside an RNN: along its cells the gradient is only multiplied by the forget gate.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import demokit
import numpy as np

from tinygrad_seq import flow, nn
from tinygrad_seq.nn import init

SCALES = (0.7, 0.9, 1.0, 1.1, 1.3)
FORGET = (0.0, 1.0, 3.0, 5.0)
COLOURS = ("#16417c", "#3b82c4", "#7a7a7a", "#e08e45", demokit.RED)


def measure(model: Any, steps: int, drive: float, seed: int = 1) -> flow.Track:
    """The gradient flow of the last state's sum, with noise of size `drive` as input."""
    x = drive * np.random.default_rng(seed).normal(size=(steps, 4, model.input_size))
    return flow.gradient_flow(lambda: model(x)[0][-1].sum())["l0"]


def tanh_rnn(scale: float, hidden: int) -> nn.RNN:
    """A tanh RNN whose W_hh has all its singular values at `scale`."""
    rng = np.random.default_rng(0)
    rnn = nn.RNN(3, hidden, rng=rng, dtype=np.float64)
    rnn.weight_hh_l0.data = scale * init.orthogonal(rng, hidden, dtype=np.float64)
    return rnn


def course(rate: float) -> str:
    """What becomes of a gradient that is multiplied by `rate` at every step, if it goes on so."""
    return "is carried" if abs(rate - 1) < 1e-3 else "vanishes" if rate < 1 else "explodes"


def largest(track: flow.Track) -> Any:
    """Largest singular value of the product of the last k Jacobians, by k; mean over the batch."""
    return flow.product_singular_values(track.jacobians())[..., 0].mean(axis=1)


def draw(claim: dict[Any, Any], exception: dict[str, flow.Track], path: Path) -> None:
    figure = demokit.figure(13, 8)
    (left, right), (rnn_axes, lstm_axes) = figure.subplots(2, 2)
    for (scale, drive), values in claim.items():
        lags = np.arange(1, len(values) + 1)
        colour = COLOURS[SCALES.index(scale)]
        if drive < 1:
            left.semilogy(lags, values, color=colour, lw=2, label=f"$\\sigma_{{max}}$ = {scale}")
            left.semilogy(lags, scale**lags, color=colour, lw=0.8, ls=":")
        else:
            label = f"{scale}, but saturated (large inputs)"
            left.semilogy(lags, values, "--", color=colour, lw=2, label=label)
    left.set_title("RNN: stretch of k steps, exact Jacobians (dotted: the bound $\\sigma^k$)")
    left.set(xlabel="steps k", ylabel="largest singular value", ylim=(1e-13, 1e12))
    greens = ("#c7e0b8", "#8fc28a", "#4b9a5f", "#14613a")
    for name, track in exception.items():
        colour = demokit.RED if name == "RNN" else greens[list(exception).index(name) - 1]
        right.semilogy(track.decay, color=colour, lw=2, label=f"{name} ({track.rate:.3f} per step)")
        if track.cell_decay is not None:
            right.semilogy(track.cell_decay, "--", color=colour, lw=1.2)
    right.set_title("LSTM: the last gradient carried back (dashed: along the cells alone)")
    right.set(xlabel="steps back", ylabel="fraction of its norm left", ylim=(1e-17, 1e3))
    right.axhline(0.01, color="0.6", lw=0.8, ls=":")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=9, loc="lower left")
    demokit.tidy(left, right)
    best = list(exception)[-1]
    shown = [(rnn_axes, "RNN", "dL/dh", exception["RNN"].dh)]
    shown += [(lstm_axes, best, "dL/dc", exception[best].dc)]
    for axes, name, what, values in shown:
        ink = np.log10(np.abs(values[:, 0].T) + 1e-30)
        image = axes.imshow(ink, aspect="auto", cmap="magma", vmin=-8, vmax=0, origin="lower")
        axes.set(title=f"{name}: log10 |{what}| of every unit", xlabel="step t", ylabel="unit")
    figure.colorbar(image, ax=[rnn_axes, lstm_axes], shrink=0.9, extend="min", pad=0.01)
    demokit.save(figure, path)


def main(arguments: list[str] | None = None) -> int:
    parser = demokit.parser(__doc__, "gradient_flow", "fewer units and steps")
    options = parser.parse_args(arguments)
    hidden, steps = (6, 40) if options.fast else (32, 100)

    print("the notes' claim, by exact Jacobians")
    claim = {}
    for scale, drive in [*((scale, 1e-8) for scale in SCALES), (1.3, 3.0)]:
        track = measure(tanh_rnn(scale, hidden), steps, drive)
        values = claim[scale, drive] = largest(track)
        growth = float(np.exp(track.lyapunov()[:, 0].mean()))
        print(
            f"  sigma_max {scale:.1f}, inputs of size {drive:<4g}: after {steps - 1} steps "
            f"{values[-1]:8.2g}, {growth:.3f} per step: {course(growth)}"
        )
    print(
        f"\nthe exception, over {steps} steps (carried: more than 1% is left, less than 100 times)"
    )
    exception = {"RNN": measure(nn.RNN(3, hidden, **_made()), steps, 1.0)}
    for bias in FORGET:
        lstm = nn.LSTM(3, hidden, forget_bias=bias, **_made())
        exception[f"LSTM, forget bias {bias:g}"] = measure(lstm, steps, 1.0)
    for name, track in exception.items():
        reach = "1%" if track.rate < 1 else "100 times"
        beyond = ", extrapolated" if track.horizon > steps - 1 else ""
        print(
            f"  {name:20} {track.verdict}, {track.rate:.3f} per step; "
            f"{reach} after {track.horizon:.0f} steps{beyond}"
            + (f"; {track.cell_rate:.3f} along the cells alone" if track.cell_rate else "")
        )
    draw(claim, exception, options.out)
    demokit.look_for(
        "below 1 every curve stays under its dotted bound; above 1 the gradient\n"
        "explodes while states are small, and vanishes where they saturate. Along the cells\n"
        "alone (dashed) the forget gates decide: open ones pass the gradient on, as a residual\n"
        "connection does, and never make it grow; what grows comes by way of h. Below, the\n"
        "RNN's gradient goes dark towards the left; the LSTM's cells are lit at the first step.\n"
        "(Dark at the right: cells so full that tanh(c) is flat there.)",
        options.out,
    )
    return 0


def _made() -> dict[str, Any]:
    return {"rng": np.random.default_rng(0), "dtype": np.float64}


if __name__ == "__main__":
    sys.exit(main())
