"""What the demos share: options, a training loop, the look of their pictures, how they end."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_seq import Tensor, nn, optim

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, RED, GREEN, ORANGE, PURPLE = "#1f5fa8", "#b03a2e", "#2e8b57", "#d68910", "#8e44ad"


def parser(doc: str, name: str, fast: str) -> argparse.ArgumentParser:
    """A demo's options: `--fast`, which does `fast`, and `--out`, runs/`name`.png by default."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--fast", action="store_true", help=fast)
    made.add_argument(
        "--out",
        type=Path,
        default=Path(f"runs/{name}.png"),
        help="the picture (default: %(default)s)",
    )
    return made


def updates(
    model: nn.Module, loss_of_batch: Callable[[], Tensor], count: int, lr: float
) -> Iterator[tuple[int, float]]:
    """Train a model, and yield (update, loss) after each update.

    Adam with a rate that falls from `lr` to 0 along a cosine; gradients clipped at norm 1.
    """
    optimizer = optim.Adam(model.parameters(), lr=lr)
    schedule = optim.CosineAnnealingLR(optimizer, count)
    for update in range(1, count + 1):
        loss = loss_of_batch()
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield update, loss.item()


def figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; no window is opened."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def matrix(axes: Any, values: Any, columns: Any, rows: Any) -> None:
    """Numbers from 0 to 1 as squares of blue, under names for columns and rows."""
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    for k in range(1, max(len(columns), len(rows))):
        if k < len(columns):
            axes.axvline(k - 0.5, color="0.93", lw=0.6)
        if k < len(rows):
            axes.axhline(k - 0.5, color="0.93", lw=0.6)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def tidy(*axes: Any) -> None:
    """Take away the frame lines that carry no scale."""
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Write the picture, making its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def look_for(text: str, path: Path) -> None:
    """The end of every demo: what the picture shows, and where it is."""
    print(f"\nLook for: {text} -> {path}")
