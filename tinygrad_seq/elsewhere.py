"""What does here the job of a name that PyTorch's users look for and do not find."""

from __future__ import annotations

from collections.abc import Mapping

from tinygrad_seq.errors import MissingNameError

_ARRAY = "tgs.tensor(np.{}, dtype=np.float32)"

FUNCTIONS: Mapping[str, str] = {
    "abs": "tgs.absolute(x), or abs(x)",
    "arange": _ARRAY.format("arange(n)"),
    "bmm": "tgs.matmul(x, y), or x @ y",
    "cat": "tgs.concatenate([x, y], axis=0)",
    "clamp": "tgs.clip(x, low, high)",
    "device": "nothing: there is one device",
    "div": "tgs.divide(x, y), or x / y",
    "eye": _ARRAY.format("eye(n)"),
    "float32": "np.float32",
    "float64": "np.float64",
    "from_numpy": "tgs.tensor(array)",
    "full": _ARRAY.format("full(shape, value)"),
    "load": "train.load_checkpoint(path)",
    "manual_seed": "rng=np.random.default_rng(seed), to whatever draws",
    "mm": "tgs.matmul(x, y), or x @ y",
    "mul": "tgs.multiply(x, y), or x * y",
    "neg": "tgs.negative(x), or -x",
    "ones": _ARRAY.format("ones(shape)"),
    "pow": "tgs.power(x, y), or x ** y",
    "rand": _ARRAY.format("random.default_rng(seed).random(shape)"),
    "randn": _ARRAY.format("random.default_rng(seed).standard_normal(shape)"),
    "save": "train.save_checkpoint(path, ...)",
    "sub": "tgs.subtract(x, y), or x - y",
    "unsqueeze": "tgs.expand_dims(x, axis), or x[:, None]",
    "zeros": _ARRAY.format("zeros(shape)"),
}
LAYERS: Mapping[str, str] = {
    "CrossEntropyLoss": "tgs.cross_entropy(logits, targets)",
    "Flatten": "x.reshape(n, -1)",
    "MSELoss": "tgs.mse_loss(x, y)",
    "NLLLoss": "tgs.cross_entropy(logits, targets)",
    "ReLU": "tgs.relu(x)",
    "Sigmoid": "tgs.sigmoid(x)",
    "Softmax": "tgs.softmax(x, axis=-1)",
    "Tanh": "tgs.tanh(x)",
    "functional": "tgs: tgs.relu(x), tgs.cross_entropy(logits, targets)",
    "utils": "optim.clip_grad_norm_(parameters, bound)",
}


def missing(module: str, name: str, known: Mapping[str, str]) -> MissingNameError:
    """The error for a name that a module lacks."""
    what = f"module {module!r} has no attribute {name!r}"
    return MissingNameError(what, hint=known.get(name))
