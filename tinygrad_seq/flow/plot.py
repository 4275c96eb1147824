"""Pictures of a gradient's way back through time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.flow.track import FADED, Track

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_flow"]

COLOURS = ("#2a5caa", "#c8562b", "#3a8f5c", "#8a5aa5", "#b08a1e", "#4a9bb0")


def plot_flow(tracks: Iterable[Track]) -> Figure:
    """Four panels: norms per step, decay over lags, Pascanu's ratio, eigenvalues."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    ((norms, decay), (ratio, plane)) = figure.subplots(2, 2)
    for track, colour in zip(tracks, cycle(COLOURS), strict=False):
        norms.semilogy(_positive(track.dh_norm), color=colour, label=f"{track.name}: dL/dh")
        if track.dc_norm is not None:
            label = f"{track.name}: dL/dc"
            norms.semilogy(_positive(track.dc_norm), "--", color=colour, label=label)
        decay.semilogy(_positive(track.decay), color=colour, label=track.name)
        if track.cell_decay is not None:
            label = f"{track.name}: along the cells alone"
            decay.semilogy(_positive(track.cell_decay), "--", color=colour, label=label)
        ratio.plot(np.arange(1, track.steps), track.ratios, color=colour, label=track.name)
        for name in track.weights:
            for spectrum in track.spectra(name).values():
                values = spectrum.eigenvalues
                plane.plot(values.real, values.imag, "o", color=colour, alpha=0.6, ms=3.5, mew=0)
    _dress(norms, "gradient of each state", "step t", "norm over batch and units")
    _dress(decay, "the last gradient, carried back", "steps back", "fraction left")
    _dress(ratio, "Pascanu's ratio of each step", "step t", "stretch of the gradient")
    _dress(plane, "eigenvalues of the recurrent weights", "real", "imaginary")
    for level in (FADED, 1 / FADED):
        decay.axhline(level, color="0.6", lw=0.8, ls=":")
    ratio.axhline(1.0, color="0.6", lw=0.8, ls=":")
    circle = np.exp(2j * np.pi * np.linspace(0, 1, 200))
    plane.plot(circle.real, circle.imag, color="0.6", lw=0.8, ls=":")
    plane.set_aspect("equal", adjustable="datalim")
    for axes in (norms, decay):
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend(frameon=False, fontsize=9)
    return figure


def _positive(values: Any) -> Any:
    """Zeros have no place on a logarithmic axis."""
    return np.where(values > 0, values, np.nan)


def _dress(axes: Any, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
