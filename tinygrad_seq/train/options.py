"""The options of a training run, the presets, and the learning rate that follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from tinygrad_seq.errors import ConfigError

__all__ = ["PRESETS", "CharOptions", "learning_rate"]

_CHOICES = {
    "model": ("lstm", "gru", "rnn"),
    "optimizer": ("adam", "adamw", "rmsprop", "adagrad", "sgd"),
    "schedule": ("cosine", "decay", "constant"),
    "clip_by": ("norm", "value"),
    "nonfinite": ("raise", "skip"),
}
_COUNTS = ("hidden", "layers", "seq_length", "batch", "evals")
_BUDGETS = ("steps", "epochs", "minutes")
RATES = {"adam": 1e-2, "adamw": 1e-2, "rmsprop": 2e-3, "adagrad": 0.1, "sgd": 0.5}
# How a run is watched and how long it goes on may change when it is resumed; the rest may not.
CHANGEABLE = frozenset(
    {*_BUDGETS, "evals", "eval_every", "temperature", "prime", "sample_length", "text"}
)

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "shakespeare": {
        "hidden": 256,
        "layers": 1,
        "seq_length": 64,
        "batch": 32,
        "dropout": 0.1,
        "lr": 0.015,
        "validation": 111_540,
        "minutes": 3.0,
        "evals": 6,
    },
    "char-rnn": {
        "optimizer": "rmsprop",
        "lr": 2e-3,
        "schedule": "decay",
        "clip": 5.0,
        "clip_by": "value",
        "dropout": 0.0,
        "seq_length": 50,
        "batch": 50,
        "validation": 0.05,
        "minutes": None,
        "epochs": 50.0,
    },
    "min-char-rnn": {
        "model": "rnn",
        "hidden": 100,
        "layers": 1,
        "dropout": 0.0,
        "seq_length": 25,
        "batch": 1,
        "optimizer": "adagrad",
        "lr": 0.1,
        "schedule": "constant",
        "clip": 5.0,
        "clip_by": "value",
    },
    "fast": {"hidden": 32, "layers": 1, "dropout": 0.0, "minutes": None, "steps": 100, "evals": 2},
}
"""Options that differ from the defaults, by name.

``shakespeare``: our baseline on Tiny Shakespeare, with nanoGPT's split. ``char-rnn`` and
``min-char-rnn``: the settings of Karpathy's programs; their losses were sums over the window,
ours is the mean, which RMSprop and Adagrad do not notice. ``fast``: a look at everything that a
run leaves, in seconds; it has learnt little.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CharOptions:
    """What a run of the character model is made from: with the text, all that determines it.

    Attributes
    ----------
    text : str or None
        UTF-8 file to learn; None is the language reference that Python carries.
    validation : float or int
        Fraction, or exact number, of characters at the end that are held out.
    model, hidden, layers, dropout
        See :class:`~tinygrad_seq.train.CharLM`.
    seq_length, batch : int
        T, steps per update, over which gradients go back; and N, parallel streams.
    seed : int
        Of initial weights, dropout and samples.
    optimizer : {"adam", "adamw", "rmsprop", "adagrad", "sgd"}
        RMSprop with alpha 0.95 and SGD with momentum 0.9; otherwise the usual options.
    lr : float or None
        Base learning rate; None is what suits the optimiser (1e-2 for Adam).
    weight_decay : float
        Decay of the weights.
    schedule : {"cosine", "decay", "constant"}
        ``cosine`` goes from lr to 0 over the whole run. ``decay`` multiplies by `lr_decay` after
        each epoch, from epoch `lr_decay_after` on (char-rnn).
    warmup : float
        Fraction of the run over which the rate rises from near 0 to where the schedule is.
    clip : float
        Bound of the gradients; 0 is none.
    clip_by : {"norm", "value"}
        Whether it bounds their global norm or each entry.
    nonfinite : {"raise", "skip"}
        Stop, or leave the update out, at a NaN or an infinity.
    steps, epochs, minutes : optional
        The length of the run: whichever ends first. Minutes count everything but the last
        validation; a schedule follows the clock then.
    evals : int
        Validations, samples and checkpoints in a run, evenly spread.
    eval_every : int or None
        Updates between them instead.
    temperature, prime, sample_length
        Of the samples; see :func:`~tinygrad_seq.train.generate`.

    Raises
    ------
    ConfigError
        For a value that cannot work.

    Examples
    --------
    >>> from tinygrad_seq import train
    >>> options = train.CharOptions.preset("shakespeare", minutes=1.0)
    >>> options.hidden, options.validation, options.minutes
    (256, 111540, 1.0)
    """

    text: str | None = None
    validation: float = 0.1
    model: str = "lstm"
    hidden: int = 128
    layers: int = 2
    dropout: float = 0.2
    seq_length: int = 50
    batch: int = 32
    seed: int = 0
    optimizer: str = "adam"
    lr: float | None = None
    weight_decay: float = 0.0
    schedule: str = "cosine"
    lr_decay: float = 0.97
    lr_decay_after: int = 10
    warmup: float = 0.0
    clip: float = 1.0
    clip_by: str = "norm"
    nonfinite: str = "raise"
    steps: int | None = None
    epochs: float | None = None
    minutes: float | None = 2.0
    evals: int = 10
    eval_every: int | None = None
    temperature: float = 0.8
    prime: str = ""
    sample_length: int = 300

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                _refuse(name, " or ".join(map(repr, allowed)), getattr(self, name))
        if self.lr is None:
            object.__setattr__(self, "lr", RATES[self.optimizer])
        for name in _COUNTS:
            _number(name, getattr(self, name), low=1, integer=True)
        for name in ("sample_length", "lr_decay_after", "seed"):
            _number(name, getattr(self, name), low=0, integer=True)
        for name in ("lr", "weight_decay", "lr_decay", "clip", "temperature"):
            _number(name, getattr(self, name), low=0)
        for name in ("dropout", "warmup"):
            _number(name, getattr(self, name), low=0, below=1)
        for name in (*_BUDGETS, "eval_every"):
            value = getattr(self, name)
            if value is not None:
                _number(name, value, low=0, integer=name in ("steps", "eval_every"))
                if value == 0:
                    _refuse(name, "above 0", value)
        if all(getattr(self, name) is None for name in _BUDGETS):
            raise ConfigError("a run needs an end", expected="steps, epochs or minutes")

    @classmethod
    def preset(cls, name: str = "default", **changes: Any) -> CharOptions:
        """Options of a preset, with changes; a length given here replaces the preset's.

        Raises
        ------
        ConfigError
            For a preset or an option that there is not.
        """
        if name not in PRESETS:
            raise ConfigError("there is no such preset", expected=", ".join(PRESETS), got=name)
        options = dict(PRESETS[name])
        if any(changes.get(budget) is not None for budget in _BUDGETS):
            options.update(dict.fromkeys(_BUDGETS))
        return cls.from_dict({**options, **changes})

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> CharOptions:
        """Options from a dict, as :meth:`to_dict` gives it; unknown names are refused."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ConfigError("unknown option", expected=", ".join(known), got=", ".join(unknown))
        return cls(**options)

    def to_dict(self) -> dict[str, Any]:
        """All options as JSON-able values."""
        return asdict(self)

    def resumed(self, **changes: Any) -> CharOptions:
        """These options with the changes that a resumed run may have.

        Raises
        ------
        ConfigError
            For a change that would make it another run.
        """
        fixed = [k for k, v in changes.items() if k not in CHANGEABLE and v != getattr(self, k)]
        if fixed:
            raise ConfigError(
                f"a resumed run cannot change {', '.join(fixed)}",
                expected=", ".join(f"{name}={getattr(self, name)!r}" for name in fixed),
                got=", ".join(f"{name}={changes[name]!r}" for name in fixed),
                hint=f"leave them out, or start anew; these may change: "
                f"{', '.join(sorted(CHANGEABLE))}",
            )
        if any(changes.get(budget) is not None for budget in _BUDGETS):
            changes = {**dict.fromkeys(_BUDGETS), **changes}
        return replace(self, **changes)


def learning_rate(options: CharOptions, progress: float, epochs: float) -> float:
    """The rate for the next update, after a fraction `progress` of the run and so many epochs.

    Examples
    --------
    >>> from tinygrad_seq import train
    >>> options = train.CharOptions(lr=0.004, schedule="cosine")
    >>> [round(train.learning_rate(options, p, 0.0), 6) for p in (0.0, 0.5, 1.0)]
    [0.004, 0.002, 0.0]
    """
    progress = min(max(progress, 0.0), 1.0)
    rate = float(options.lr or 0.0)
    if options.schedule == "cosine":
        rate *= (1.0 + math.cos(math.pi * progress)) / 2.0
    elif options.schedule == "decay":
        rate *= options.lr_decay ** max(0, int(epochs) - options.lr_decay_after + 1)
    if options.warmup:
        rate *= min(1.0, max(progress / options.warmup, 0.01))
    return rate


def _number(
    name: str, value: Any, *, low: float, below: float = math.inf, integer: bool = False
) -> None:
    kind = int if integer else (int, float)
    fits = isinstance(value, kind) and not isinstance(value, bool) and low <= value < below
    if not fits:
        expected = f"{'an integer' if integer else 'a number'} of at least {low:g}"
        _refuse(name, expected + (f", below {below:g}" if below < math.inf else ""), value)


def _refuse(name: str, expected: str, got: Any) -> None:
    raise ConfigError(f"option {name}", expected=expected, got=repr(got))
