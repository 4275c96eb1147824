"""The options of a training run, the presets, and the learning rate that follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral
from typing import Any, cast

from tinygrad_seq.checks import (
    Rule,
    below_one,
    choice,
    count,
    instance_of,
    non_negative,
    number,
    path_of,
    positive,
    shown,
    size,
)
from tinygrad_seq.errors import ConfigError

__all__ = ["PRESETS", "CharOptions", "learning_rate"]

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


def _share(name: str, value: Any) -> float:
    """Rule for a fraction, or a number of characters."""
    if isinstance(value, Integral):
        return cast("float", count(1)(name, value))
    return cast("float", number(0, 1, open_low=True, open_high=True)(name, value))


_RULES: Mapping[str, Rule] = {
    "text": lambda name, value: str(path_of(name, value)),
    "validation": _share,
    "model": choice("lstm", "gru", "rnn"),
    "optimizer": choice("adam", "adamw", "rmsprop", "adagrad", "sgd"),
    "schedule": choice("cosine", "decay", "constant"),
    "clip_by": choice("norm", "value"),
    "nonfinite": choice("raise", "skip"),
    **dict.fromkeys(("hidden", "layers", "seq_length", "batch", "evals"), size),
    **dict.fromkeys(("steps", "eval_every"), count(1)),
    **dict.fromkeys(("sample_length", "lr_decay_after", "seed"), count(0)),
    **dict.fromkeys(("lr", "weight_decay", "lr_decay", "clip", "temperature"), non_negative),
    **dict.fromkeys(("dropout", "warmup"), below_one),
    **dict.fromkeys(("epochs", "minutes"), positive),
    "prime": lambda name, value: instance_of(name, value, str),
}
_OPTIONAL = {"text", "lr", "eval_every", *_BUDGETS}


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
        See :class:`~tinygrad_seq.charlm.CharLM`.
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
        Of the samples; see :func:`~tinygrad_seq.charlm.generate`.

    Raises
    ------
    ConfigError
        For a value that cannot work.

    Examples
    --------
    >>> from tinygrad_seq import charlm, train
    >>> options = charlm.CharOptions.preset("shakespeare", minutes=1.0)
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
        for name, rule in _RULES.items():
            value = getattr(self, name)
            if value is not None or name not in _OPTIONAL:
                object.__setattr__(self, name, rule(f"option {name}", value))
        if self.lr is None:
            object.__setattr__(self, "lr", RATES[self.optimizer])
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
        if not isinstance(name, str) or name not in PRESETS:
            got = shown(name)
            raise ConfigError("there is no such preset", expected=", ".join(PRESETS), got=got)
        options = dict(PRESETS[name])
        if any(changes.get(budget) is not None for budget in _BUDGETS):
            options.update(dict.fromkeys(_BUDGETS))
        return cls.from_dict({**options, **changes})

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> CharOptions:
        """Options from a dict, as :meth:`to_dict` gives it; unknown names are refused."""
        known = [field.name for field in fields(cls)]
        given = instance_of("options", options, dict, hint="a dict of options by name")
        unknown = [shown(name) for name in given if name not in known]
        if unknown:
            raise ConfigError("unknown option", expected=", ".join(known), got=", ".join(unknown))
        return cls(**given)

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
        given = self.from_dict({**self.to_dict(), **changes}).to_dict()  # refuses what is wrong
        changes = {name: given[name] for name in changes}
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
    >>> from tinygrad_seq import charlm, train
    >>> options = charlm.CharOptions(lr=0.004, schedule="cosine")
    >>> [round(charlm.learning_rate(options, p, 0.0), 6) for p in (0.0, 0.5, 1.0)]
    [0.004, 0.002, 0.0]
    """
    instance_of("learning_rate: options", options, CharOptions)
    progress = min(max(number()("learning_rate: progress", progress), 0.0), 1.0)
    epochs = non_negative("learning_rate: epochs", epochs)
    rate = float(options.lr or 0.0)
    if options.schedule == "cosine":
        rate *= (1.0 + math.cos(math.pi * progress)) / 2.0
    elif options.schedule == "decay":
        rate *= options.lr_decay ** max(0, int(epochs) - options.lr_decay_after + 1)
    if options.warmup:
        rate *= min(1.0, max(progress / options.warmup, 0.01))
    return rate
