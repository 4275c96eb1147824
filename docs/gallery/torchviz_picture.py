"""What torchviz makes of a two-layer LSTM of PyTorch cells over five steps: torchviz.gv.

Needs PyTorch and torchviz (``pip install torch torchviz``), so it is run by hand and its output
is kept: ``python docs/gallery/torchviz_picture.py``. The gallery renders the kept text.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torchviz import make_dot

STEPS, LAYERS, VOCABULARY, HIDDEN, BATCH = 5, 2, 65, 128, 50


class Model(torch.nn.Module):
    """Tokens to logits through LSTM cells, step by step: the model of the gallery."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [VOCABULARY, *[HIDDEN] * (LAYERS - 1)]
        self.cells = torch.nn.ModuleList(torch.nn.LSTMCell(size, HIDDEN) for size in sizes)
        self.head = torch.nn.Linear(HIDDEN, VOCABULARY)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean loss over the steps."""
        one_hot = torch.nn.functional.one_hot(tokens, VOCABULARY).float()
        states = [(torch.zeros(BATCH, HIDDEN), torch.zeros(BATCH, HIDDEN)) for _ in self.cells]
        losses = []
        for t in range(STEPS):
            x = one_hot[t]
            for k, cell in enumerate(self.cells):
                states[k] = cell(x, states[k])
                x = states[k][0]
            losses.append(torch.nn.functional.cross_entropy(self.head(x), targets[t]))
        return torch.stack(losses).mean()


def main() -> None:
    """Write the text beside this file."""
    torch.manual_seed(0)
    model = Model()
    tokens = torch.randint(VOCABULARY, (STEPS + 1, BATCH))
    graph = make_dot(model(tokens[:-1], tokens[1:]), params=dict(model.named_parameters()))
    # Its nodes are named by memory address; numbers in order of appearance are the same each time.
    text, numbers = graph.source, {}
    for word in text.replace("\t", " ").split():
        if word.isdigit() and len(word) > 9:
            numbers.setdefault(word, f"n{len(numbers)}")
    for address, number in numbers.items():
        text = text.replace(address, number)
    Path(__file__).with_name("torchviz.gv").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
