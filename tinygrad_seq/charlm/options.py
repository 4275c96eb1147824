"""The options of a training run, the presets, and the learning rate that follows from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple

from tinygrad_seq import optim
from tinygrad_seq.charlm.model import LAYERS
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
from tinygrad_seq.data.text import share_or_count
from tinygrad_seq.errors import ConfigError

__all__ = ["PRESETS", "CharOptions", "learning_rate"]

BUDGETS = ("steps", "epochs", "minutes")
# How a run is watched and how long it goes on may change when it is resumed; the rest may not.
CHANGEABLE = frozenset(
    {*BUDGETS, "evals", "eval_every", "temperature", "prime", "sample_length", "text"}
)


class Recipe(NamedTuple):
    """An optimiser, the learning rate that suits it, and its other options."""

    kind: Callable[..., optim.Optimizer]
    lr: float
    options: Mapping[str, float] = {}


OPTIMIZERS: Mapping[str, Recipe] = {
    "adam": Recipe(optim.Adam, 1e-2),
    "adamw": Recipe(optim.AdamW, 1e-2),
    "rmsprop": Recipe(optim.RMSprop, 2e-3, {"alpha": 0.95}),
    "adagrad": Recipe(optim.Adagrad, 0.1),
    "sgd": Recipe(optim.SGD, 0.5, {"momentum": 0.9}),
}

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


def _words(name: str, value: Any) -> str:
    return instance_of(name, value, str)


def count_or_fraction(text: str) -> float:
    """``0.1`` is a fraction, ``111540`` a count."""
    return int(text) if text.strip().isdecimal() else float(text)


def _option(default: Any, rule: Rule | Iterable[str], text: str, **how: Any) -> Any:
    """A field: its default, its rule (or the words to choose from), its help on the command line.

    `how` is for argparse, whose ``type`` is that of the field where nothing else is said.
    """
    if not callable(rule):
        how["choices"] = tuple(rule)
        rule = choice(*rule)
    return field(default=default, metadata={"rule": rule, "help": text, "how": how})


GROUPS = {
    "text": "text",
    "model": "model",
    "seq_length": "training",
    "minutes": "length of the run (whichever ends first)",
    "evals": "watching",
}
"""Options on the command line: by the first of each group, its title."""

_RATES = ", ".join(f"{recipe.lr:g} for {name}" for name, recipe in OPTIMIZERS.items())


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

    text: str | None = _option(
        None,
        lambda name, value: str(path_of(name, value)),
        "UTF-8 file to learn; default: the language reference in Python",
        metavar="FILE",
    )
    validation: float = _option(
        0.1, share_or_count, "fraction, or exact count, held out at the end", type=count_or_fraction
    )
    model: str = _option(next(iter(LAYERS)), LAYERS, "recurrent layers")
    hidden: int = _option(128, size, "width of a layer", metavar="H")
    layers: int = _option(2, size, "stacked layers")
    dropout: float = _option(
        0.2, below_one, "probability of dropping a layer's output", metavar="P"
    )
    seq_length: int = _option(50, size, "steps per update that gradients go back over", metavar="T")
    batch: int = _option(32, size, "parallel streams of text", metavar="N")
    optimizer: str = _option("adam", OPTIMIZERS, "update rule")
    lr: float | None = _option(None, non_negative, f"learning rate (default: {_RATES})")
    weight_decay: float = _option(0.0, non_negative, "decay of the weights")
    schedule: str = _option(
        "cosine", ("cosine", "decay", "constant"), "course of the learning rate"
    )
    warmup: float = _option(
        0.0, below_one, "fraction of the run with a rising rate", metavar="FRACTION"
    )
    lr_decay: float = _option(0.97, non_negative, "factor per epoch, with --schedule decay")
    lr_decay_after: int = _option(
        10, count(0), "first epoch that ends with a decay", metavar="EPOCH"
    )
    clip: float = _option(1.0, non_negative, "bound of the gradients, 0 for none", metavar="BOUND")
    clip_by: str = _option("norm", ("norm", "value"), "bound their global norm, or each entry")
    nonfinite: str = _option(
        "raise", ("raise", "skip"), "at a NaN or infinity: stop, or leave the update out"
    )
    seed: int = _option(0, count(0), "of initial weights, dropout and samples")
    minutes: float | None = _option(
        2.0, positive, "time, validations included; the schedule follows the clock"
    )
    epochs: float | None = _option(None, positive, "passes over the training text")
    steps: int | None = _option(None, count(1), "updates")
    evals: int = _option(
        10, size, "validations, samples and checkpoints in the run", metavar="COUNT"
    )
    eval_every: int | None = _option(
        None, count(1), "updates between them instead", metavar="STEPS"
    )
    temperature: float = _option(0.8, non_negative, "of the samples")
    prime: str = _option("", _words, "text that samples begin with", metavar="TEXT")
    sample_length: int = _option(300, count(0), "characters in a sample", metavar="LENGTH")

    def __post_init__(self) -> None:
        for known in fields(self):
            value = getattr(self, known.name)
            if value is not None or not _optional(known):
                checked = known.metadata["rule"](f"option {known.name}", value)
                object.__setattr__(self, known.name, checked)
        if self.lr is None:
            object.__setattr__(self, "lr", OPTIMIZERS[self.optimizer].lr)
        if all(getattr(self, name) is None for name in BUDGETS):
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
        if any(changes.get(budget) is not None for budget in BUDGETS):
            options.update(dict.fromkeys(BUDGETS))
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
        if any(changes.get(budget) is not None for budget in BUDGETS):
            changes = {**dict.fromkeys(BUDGETS), **changes}
        return replace(self, **changes)


def _optional(known: Field[Any]) -> bool:
    return str(known.type).endswith("None")


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
