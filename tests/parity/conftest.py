"""One thread for PyTorch: its pool gains nothing at these sizes, and waits where cores are few."""

from __future__ import annotations

import importlib.util

collect_ignore: list[str] = []

if importlib.util.find_spec("torch") is not None:
    import torch

    torch.set_num_threads(1)
else:
    collect_ignore += ["peers.py"]  # the files with tests say themselves why they are skipped
