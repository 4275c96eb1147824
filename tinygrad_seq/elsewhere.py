"""What does here the job of a name that PyTorch's users look for and do not find."""

from __future__ import annotations

from collections.abc import Mapping

from tinygrad_seq.errors import MissingNameError

_BCE = "(tgs.logaddexp(x, 0) - x * y).mean(), of logits x and targets y in [0, 1]"
_HERE = "x: there is one device"
_LENGTHS = "layer(x, lengths=lengths)"
_ARRAY = "tgs.tensor(np.{}, dtype=np.float32)"

FUNCTIONS: Mapping[str, str] = {
    "abs": "tgs.absolute(x), or abs(x)",
    "arange": _ARRAY.format("arange(n)"),
    "argmax": "x.argmax(), or np.argmax(x)",
    "argmin": "x.argmin(), or np.argmin(x)",
    "binary_cross_entropy_with_logits": _BCE,
    "bmm": "tgs.matmul(x, y), or x @ y",
    "cat": "tgs.concatenate([x, y], axis=0)",
    "clamp": "tgs.clip(x, low, high)",
    "device": "nothing: there is one device",
    "div": "tgs.divide(x, y), or x / y",
    "dot": "np.dot(x, y), or x @ y",
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
    "nll_loss": "tgs.cross_entropy(logits, targets)",
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
    "BCEWithLogitsLoss": _BCE,
    "CrossEntropyLoss": "tgs.cross_entropy(logits, targets)",
    "Flatten": "x.reshape(n, -1)",
    "MSELoss": "tgs.mse_loss(x, y)",
    "NLLLoss": "tgs.cross_entropy(logits, targets)",
    "ReLU": "tgs.relu(x)",
    "Sigmoid": "tgs.sigmoid(x)",
    "Softmax": "tgs.softmax(x, axis=-1)",
    "Tanh": "tgs.tanh(x)",
    "functional": "tgs: tgs.relu(x), tgs.cross_entropy(logits, targets)",
    "pack_padded_sequence": _LENGTHS,
    "pad_packed_sequence": _LENGTHS,
    "utils": "optim.clip_grad_norm_(parameters, bound), or for padded sequences " + _LENGTHS,
}
METHODS: Mapping[str, str] = {
    "add": "x + y",
    "amax": "x.max(axis)",
    "amin": "x.min(axis)",
    "bmm": "x @ y",
    "chunk": "tgs.split(x, n, axis)",
    "clamp": "x.clip(low, high)",
    "contiguous": "x: its memory order is not yours to keep",
    "copy_": "x.writable()[...] = value",
    "cpu": _HERE,
    "cuda": _HERE,
    "device": "nothing: there is one device",
    "dim": "x.ndim",
    "div": "x / y",
    "double": "x.astype(np.float64)",
    "eq": "x == y",
    "expand": "tgs.broadcast_to(x, shape)",
    "expand_as": "tgs.broadcast_to(x, y.shape)",
    "fill_": "x.writable()[...] = value",
    "flip": "tgs.flip(x, axis)",
    "float": "x.astype(np.float32)",
    "gather": "tgs.gather(x, axis, index)",
    "ge": "x >= y",
    "grad_fn": "x.node",
    "gt": "x > y",
    "int": "x.astype(np.int32)",
    "le": "x <= y",
    "long": "x.astype(np.int64)",
    "lt": "x < y",
    "masked_fill": "tgs.where(mask, value, x)",
    "matmul": "x @ y",
    "mm": "x @ y",
    "mul": "x * y",
    "ne": "x != y",
    "neg": "-x",
    "numel": "x.size",
    "pow": "x ** y",
    "sort": "tgs.sort(x, axis)",
    "split": "tgs.split(x, positions, axis), at positions as NumPy's",
    "sub": "x - y",
    "t": "x.T",
    "to": "x.astype(dtype), and nothing for a device: there is one",
    "type": "x.dtype, or x.astype(dtype)",
    "type_as": "x.astype(y.dtype)",
    "unbind": "list(x)",
    "zero_": "x.writable()[...] = 0",
}


def missing(where: str, name: str, known: Mapping[str, str]) -> MissingNameError:
    """The error for a name that a module, or a class, lacks."""
    return MissingNameError(f"{where} has no attribute {name!r}", hint=known.get(name))
