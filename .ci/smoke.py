"""A newcomer's first minute with the installed wheel: core dependencies only, no source tree."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import data, nn, optim

LIBRARIES_NOT_NEEDED = ("matplotlib", "pygraphviz", "hypothesis", "pytest", "torch")


class CharLM(nn.Module):
    def __init__(self, vocab, hidden, *, rng):
        super().__init__()
        self.rnn = nn.LSTM(vocab, hidden, rng=rng)
        self.head = nn.Linear(hidden, vocab, rng=rng)

    def forward(self, tokens, state=None):
        y, state = self.rnn(tokens, state)
        return self.head(y), state


def check_installation():
    home = Path(tgs.__file__).resolve()
    assert "site-packages" in home.parts, f"not the installed package: {home}"
    assert (home.parent / "py.typed").is_file()
    assert version("tinygrad-seq") == tgs.__version__
    present = [name for name in LIBRARIES_NOT_NEEDED if importlib.util.find_spec(name)]
    assert not present, f"this environment has more than the core: {present}"


def check_learning():
    """A small LSTM under truncated backpropagation learns more than symbol frequencies."""
    text = data.pydoc_topics()[:60_000].lower()
    vocabulary = data.Vocabulary.from_text(text)
    streams = data.Streams(vocabulary.encode(text), streams=16)
    model = CharLM(len(vocabulary), 48, rng=np.random.default_rng(0))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    losses, state = [], None
    for tokens, targets in streams.windows(25):
        logits, state = model(tokens, state)
        loss = tgs.cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state = state.detach()
        losses.append(loss.item())
    bits = np.array(losses) / np.log(2)
    frequencies = data.ngram_entropy(text, 0)
    assert abs(bits[0] - np.log2(len(vocabulary))) < 1.0, bits[0]
    assert bits[-20:].mean() < frequencies - 0.5, (bits[-20:].mean(), frequencies)
    print(
        f"learnt: {bits[0]:.2f} to {bits[-20:].mean():.2f} bits per character in {len(bits)} "
        f"windows (order-0 entropy {frequencies:.2f})"
    )
    return model


def check_drawing(model):
    """DOT text needs neither Graphviz nor an extra."""
    logits, _ = model(np.arange(6).reshape(3, 2))
    drawing = logits.sum().draw(view="unrolled")
    assert "digraph" in drawing.dot
    print(f"drew: {len(drawing.dot)} characters of DOT")


def check_command_line():
    """The installed command trains, keeps everything but the plots, samples and draws."""
    command = Path(sys.executable).with_name("tinygrad-seq")

    def call(*arguments):
        answer = subprocess.run(
            [command, *map(str, arguments)], check=True, capture_output=True, text=True
        )
        return answer.stdout

    assert tgs.__version__ in call("--version")
    with tempfile.TemporaryDirectory() as folder:
        text, run = Path(folder, "text.txt"), Path(folder, "run")
        text.write_text(data.pydoc_topics()[:50_000], "utf-8")
        size = ("--hidden", 16, "--layers", 1, "--batch", 8, "--steps", 30)
        call("train", "--text", text, "--out", run, "--quiet", *size)
        made = {path.name for path in run.iterdir()}
        wanted = {"checkpoint.safetensors", "metrics.csv", "samples.txt", "report.html"}
        assert wanted <= made, f"missing: {wanted - made}"
        assert made & {"unrolled.gv", "unrolled.svg"}, "neither a picture nor its DOT text"
        sample = call("sample", run, "--length", 40, "--seed", 1)
        assert sample == call("sample", run, "--length", 40, "--seed", 1)
        assert len(sample) == 40 + 1
        call("draw", run, "--view", "rolled", "--out", Path(folder, "rolled.gv"))
        assert Path(folder, "rolled.gv").read_text("utf-8").startswith("digraph")
        # With no renderer in reach: one error with both cures, and the text is kept.
        wanted = Path(folder, "picture.svg")
        refused = subprocess.run(
            [command, "draw", str(run), "--out", str(wanted)],
            env={**os.environ, "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode == 2, refused
        for cure in ("pip install pygraphviz", "install Graphviz", "picture.gv"):
            assert cure in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr and not wanted.exists()
        assert wanted.with_suffix(".gv").read_text("utf-8").startswith("digraph")
    print(f"ran: tinygrad-seq train, sample and draw; training left {', '.join(sorted(made))}")


def main():
    check_installation()
    model = check_learning()
    check_drawing(model)
    check_command_line()


if __name__ == "__main__":
    main()
