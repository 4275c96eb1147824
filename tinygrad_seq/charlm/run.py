"""One training run of a character model: its parts, where it stands, and its checkpoint."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_seq import optim
from tinygrad_seq.charlm.model import CharLM
from tinygrad_seq.charlm.options import OPTIMIZERS, CharOptions, learning_rate
from tinygrad_seq.charlm.sample import sample
from tinygrad_seq.checks import instance_of, path_of
from tinygrad_seq.data import Streams, Vocabulary, pydoc_topics, read_text, split_text
from tinygrad_seq.errors import CheckpointError, DataError, TinygradSeqError, advising
from tinygrad_seq.train.checkpoint import load_checkpoint, save_checkpoint
from tinygrad_seq.train.metrics import Evaluation, evaluate
from tinygrad_seq.train.tbptt import TBPTT, tbptt

__all__ = ["BEST", "LAST", "CharRun", "HeldOut", "load_char_lm"]

LAST, BEST = "checkpoint.safetensors", "best.safetensors"
FIXED_CONTEXT = 64  # the reset evaluation: what a model with this context sees
_KIND = "char_lm"


class HeldOut(NamedTuple):
    """A model on held-out text, both ways."""

    carried: Evaluation
    """The state is carried through the text: what a recurrent model is for."""
    reset: Evaluation
    """The state starts anew every 64 characters: comparable with a fixed context of 64."""


class CharRun:
    """The text, the model, the optimiser and the counters of a run.

    Making one reads the text and builds everything, and writes nothing. :func:`~tinygrad_seq.
    charlm.fit` runs it; ``demos/char_lm.py`` spells that loop out.

    Parameters
    ----------
    options : CharOptions
        What to build.

    Attributes
    ----------
    vocabulary : Vocabulary
        Of the whole text.
    train_text, held_out_text : str
        The two parts of the text.
    model : CharLM
    optimizer : Optimizer
    state
        The carried state, detached.
    step : int
        Updates so far: also the data cursor, since an update reads one window.
    seconds : float
        Training time so far.
    best : float or None
        Lowest held-out nats so far, state carried.
    origin : Path or None
        The checkpoint that a resumed run comes from.

    Examples
    --------
    >>> from tinygrad_seq import charlm, train
    >>> run = charlm.CharRun(charlm.CharOptions(hidden=8, layers=1, steps=2, minutes=None))
    >>> run.set_learning_rate(), run.progress
    (0.01, 0.0)
    >>> next(run.updates()).tokens  # one window of 50 steps, 32 streams
    1600
    """

    def __init__(self, options: CharOptions) -> None:
        self.options = instance_of("CharRun: options", options, CharOptions)
        text = pydoc_topics() if options.text is None else read_text(options.text)
        self.digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        self.vocabulary = Vocabulary.from_text(text)
        if len(self.vocabulary) < 2:
            raise DataError(
                "the text has one symbol alone",
                expected="at least 2 different characters, so that there is something to predict",
                got=f"{len(text):,} times {text[0]!r}",
                hint="check that it is the file that was meant",
            )
        with advising("use characters of the text in option prime"):
            self.vocabulary.encode(options.prime)  # refused now, not at the first sample
        self.train_text, self.held_out_text = split_text(text, options.validation)
        self.held_out_ids = self.vocabulary.encode(self.held_out_text)
        symbols, rows = len(self.train_text), options.batch
        hint = f"option seq_length of at most {symbols // rows - 1}, a smaller option batch"
        if symbols < 2 * rows:
            hint = f"option batch of at most {symbols // 2}"
        with advising(f"{hint}, or a longer text"):
            self.streams = Streams(self.vocabulary.encode(self.train_text), rows)
            self.windows_per_epoch = self.streams.window_count(options.seq_length, drop_last=True)
        self.model = build_model(options, len(self.vocabulary))
        self.optimizer = build_optimizer(options, self.model)
        self.step = 0
        self.seconds = 0.0
        self.state: Any = None
        self.best: float | None = None
        self.origin: Path | None = None

    @property
    def epoch(self) -> float:
        """Passes over the training text so far, with the fraction of the present one."""
        return self.step / self.windows_per_epoch

    @property
    def progress(self) -> float:
        """How much of the run is done, by the budget that is nearest its end: 1 is all."""
        options = self.options
        used = []
        if options.steps is not None:
            used.append(self.step / options.steps)
        if options.epochs is not None:
            used.append(self.step / max(1, round(options.epochs * self.windows_per_epoch)))
        if options.minutes is not None:
            used.append(self.seconds / (60.0 * options.minutes))
        return max(used)

    def windows(self) -> Iterator[Any]:
        """Windows from where the run stands, pass after pass, each pass from zero states."""
        epoch, start = divmod(self.step, self.windows_per_epoch)
        all_rows = np.ones(self.options.batch, bool)
        for number in itertools.count(epoch):
            windows = self.streams.windows(self.options.seq_length, start=start, drop_last=True)
            for index, (tokens, targets) in enumerate(windows, start):
                yield tokens, targets, all_rows if number and index == 0 else None
            start = 0

    def updates(self) -> TBPTT:
        """The updates from where the run stands; see :func:`~tinygrad_seq.train.tbptt`."""
        return tbptt(
            self.model,
            self.windows(),
            self.optimizer,
            k=self.options.seq_length,
            state=self.state,
            step=self.step,
            **self.clipping(),
        )

    def clipping(self) -> dict[str, Any]:
        """What :func:`~tinygrad_seq.train.tbptt` is to do about large and non-finite gradients."""
        options = self.options
        bound = {f"clip_{options.clip_by}": options.clip} if options.clip else {}
        return {"clip_norm": None, "clip_value": None, "nonfinite": options.nonfinite, **bound}

    def set_learning_rate(self) -> float:
        """Give the optimiser the rate for where the run stands."""
        rate = learning_rate(self.options, self.progress, self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def evaluate(self) -> HeldOut:
        """Measure the model on the held-out text, both ways."""
        return HeldOut(
            evaluate(self.model, self.held_out_ids),
            evaluate(self.model, self.held_out_ids, reset_every=FIXED_CONTEXT),
        )

    def sample(self, length: int | None = None) -> str:
        """A sample, prime text included; its draws follow from the seed and the step."""
        options = self.options
        rng = np.random.default_rng([options.seed, self.step])
        length = options.sample_length if length is None else length
        written = sample(
            self.model,
            self.vocabulary,
            length,
            prime=options.prime,
            temperature=options.temperature,
            rng=rng,
        )
        return options.prime + written

    # -- checkpoint -------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything that a resumed run needs."""
        save_checkpoint(
            path,
            {
                "kind": _KIND,
                "options": self.options.to_dict(),
                "vocabulary": self.vocabulary.to_json(),
                "text_sha256": self.digest,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "generators": self.model.generators(),
                "state": self.state,
                "step": self.step,
                "seconds": self.seconds,
                "best": self.best,
            },
        )

    @classmethod
    def resume(cls, path: str | os.PathLike[str], **changes: Any) -> CharRun:
        """Continue a run from its checkpoint (a file, or the folder of the run).

        Parameters
        ----------
        path : path-like
        **changes
            Options that may change: how long the run goes on, and how it is watched.

        Raises
        ------
        CheckpointError
            For a file that is no checkpoint of a run, or a text that is another one.
        ConfigError
            For an option that cannot change.
        """
        file = _file_of(path, LAST)
        saved = _read(file)
        run = cls(CharOptions.from_dict(saved["options"]).resumed(**changes))
        if run.digest != saved["text_sha256"]:
            raise CheckpointError(
                f"checkpoint {str(file)!r} belongs to another text",
                expected="the text that the run was started with, unchanged",
                got=run.options.text or "pydoc_data.topics of this Python",
                hint="name the file with --text if it has moved",
            )
        with _fitting(file):
            run._restore(saved)
        run.origin = file.resolve()
        return run

    def _restore(self, saved: dict[str, Any]) -> None:
        if Vocabulary.from_json(saved["vocabulary"]) != self.vocabulary:
            raise DataError("the vocabulary is not that of the text")
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for name, rng in self.model.generators().items():
            rng.bit_generator.state = saved["generators"][name].bit_generator.state
        self.state = saved["state"]
        self.step, self.seconds = int(saved["step"]), float(saved["seconds"])
        self.best = saved["best"]


def build_model(options: CharOptions, vocab: int) -> CharLM:
    """The model of the options, with initial weights from their seed."""
    return CharLM(
        vocab,
        options.hidden,
        options.layers,
        model=options.model,
        dropout=options.dropout,
        rng=np.random.default_rng(options.seed),
    )


def build_optimizer(options: CharOptions, model: CharLM) -> optim.Optimizer:
    """The optimiser of the options."""
    kind, _, more = OPTIMIZERS[options.optimizer]
    return kind(model.parameters(), lr=options.lr, weight_decay=options.weight_decay, **more)


def load_char_lm(path: str | os.PathLike[str]) -> tuple[CharLM, Vocabulary, CharOptions]:
    """A trained model to use, from a checkpoint or the folder of a run (its best one).

    Raises
    ------
    CheckpointError
        If there is none.
    """
    file = _file_of(path, BEST, LAST)
    saved = _read(file)
    with _fitting(file):
        options = CharOptions.from_dict(saved["options"])
        vocabulary = Vocabulary.from_json(saved["vocabulary"])
        model = build_model(options, len(vocabulary))
        model.load_state_dict(saved["model"])
    model.eval()
    return model, vocabulary, options


def _file_of(path: str | os.PathLike[str], *names: str) -> Path:
    """The file itself, or the first of `names` that a folder holds."""
    given = path_of("checkpoint: path", path)
    if not _exists(given):
        raise CheckpointError(
            f"checkpoint {str(given)!r} cannot be read",
            expected="the folder of a run, or one of its checkpoints",
            got=f"no such path, seen from {str(Path.cwd())!r}",
            hint=_near(given) or "check the spelling, or give the full path",
        )
    if not given.is_dir():
        return given
    found = next((given / name for name in names if (given / name).is_file()), None)
    if found is None:
        raise CheckpointError(
            f"no checkpoint in {str(given)!r}",
            expected=" or ".join(names),
            hint="name the folder of a run, or a checkpoint file",
        )
    return found


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, a NUL: nothing that there could be
        return False


def _near(missing: Path) -> str:
    """A path of almost this name that there is; empty if there is none."""
    folder = missing.parent
    names = [path.name for path in folder.iterdir()] if _exists(folder / ".") else []
    return "".join(str(folder / name) for name in difflib.get_close_matches(missing.name, names, 1))


def _read(file: Path) -> dict[str, Any]:
    saved = load_checkpoint(file)
    if saved.get("kind") != _KIND:
        raise CheckpointError(
            f"checkpoint {str(file)!r} is of something else",
            expected="a run of the character model",
            got=f"kind {saved.get('kind')!r} with {', '.join(sorted(saved))}",
        )
    return saved


@contextmanager
def _fitting(file: Path) -> Iterator[None]:
    """What a checkpoint lacks, or has of another kind, is the fault of the file."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, TinygradSeqError) as error:
        raise CheckpointError(
            f"checkpoint {str(file)!r} does not fit this program",
            expected="all entries of a run of the character model",
            got=f"{type(error).__name__}: {error}",
            hint="it may come from another version; the file was left as it is",
        ) from error
