"""What does here the job of a name that PyTorch's users look for and do not find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    "BatchNorm1d": "nn.LayerNorm(size): over the features of each step, not over the batch",
    "CrossEntropyLoss": "tgs.cross_entropy(logits, targets)",
    "Flatten": "x.reshape(n, -1)",
    "Identity": "nn.Sequential()",
    "L1Loss": "tgs.absolute(x - y).mean()",
    "LogSoftmax": "tgs.log_softmax(x, axis=-1)",
    "MSELoss": "tgs.mse_loss(x, y)",
    "ModuleDict": "an attribute for each, or nn.ModuleList([a, b]) and a dict of positions",
    "NLLLoss": "tgs.cross_entropy(logits, targets)",
    "ParameterList": "an attribute for each parameter: setattr(self, f'w{k}', nn.Parameter(w))",
    "RMSNorm": "nn.LayerNorm(size)",
    "ReLU": "tgs.relu(x)",
    "Sigmoid": "tgs.sigmoid(x)",
    "Softmax": "tgs.softmax(x, axis=-1)",
    "Tanh": "tgs.tanh(x)",
    "functional": "tgs: tgs.relu(x), tgs.cross_entropy(logits, targets)",
    "pack_padded_sequence": _LENGTHS,
    "pad_packed_sequence": _LENGTHS,
    "utils": "optim.clip_grad_norm_(parameters, bound), or for padded sequences " + _LENGTHS,
}
_EACH = "for p in model.parameters(): p.requires_grad = False"
_CHILDREN = "model.named_modules(), itself included"
MODULES: Mapping[str, str] = {
    "add_module": "setattr(model, name, module)",
    "apply": "for part in model.modules(): ...",
    "bfloat16": "model.astype(np.float32): smaller floats are not computed in",
    "buffers": "plain attributes: arrays are no part of the state dict",
    "children": _CHILDREN,
    "cpu": "model: there is one device",
    "cuda": "model: there is one device",
    "double": "model.astype(np.float64)",
    "float": "model.astype(np.float32)",
    "get_parameter": "dict(model.named_parameters())[name]",
    "get_submodule": "dict(model.named_modules())[name]",
    "half": "model.astype(np.float32): smaller floats are not computed in",
    "named_buffers": "plain attributes: arrays are no part of the state dict",
    "named_children": _CHILDREN,
    "register_buffer": "model.name = array: a plain attribute, no part of the state dict",
    "register_forward_hook": "tgs.observe(observer), told of every node recorded",
    "register_forward_pre_hook": "tgs.observe(observer), told of every node recorded",
    "register_full_backward_hook": "tgs.observe(observer), or register_hook of a tensor",
    "register_module": "setattr(model, name, module)",
    "register_parameter": "setattr(model, name, nn.Parameter(array))",
    "requires_grad_": _EACH,
    "to": "model.astype(dtype), and nothing for a device: there is one",
    "type": "model.astype(dtype)",
}
_INIT = "layer.weight.data = "
INITIALISERS: Mapping[str, str] = {
    "calculate_gain": "5 / 3 for tanh, 2 ** 0.5 for relu, 1 for sigmoid",
    "constant_": _INIT + "np.full(shape, value, np.float32)",
    "eye_": _INIT + "np.eye(n, dtype=np.float32)",
    "kaiming_normal_": _INIT + "nn.init.normal(rng, shape, (2 / fan_in) ** 0.5, np.float32)",
    "kaiming_uniform_": _INIT + "nn.init.uniform(rng, shape, (6 / fan_in) ** 0.5, np.float32)",
    "normal_": _INIT + "nn.init.normal(rng, shape, std, np.float32)",
    "ones_": _INIT + "np.ones(shape, np.float32)",
    "orthogonal_": _INIT + "nn.init.orthogonal(rng, n)",
    "uniform_": _INIT + "nn.init.uniform(rng, shape, bound, np.float32)",
    "xavier_normal_": _INIT
    + "nn.init.normal(rng, shape, (2 / (fan_in + fan_out)) ** 0.5, np.float32)",
    "xavier_uniform_": _INIT + "nn.init.glorot_uniform(rng, fan_in, fan_out)",
    "zeros_": _INIT + "np.zeros(shape, np.float32)",
}
_ONE_AFTER_OTHER = "optim.SequentialLR(optimizer, schedules, milestones)"
_OWN_SCHEDULE = "a subclass of optim.LRScheduler with lr_at(self, base_lr, t)"
OPTIMISERS: Mapping[str, str] = {
    "Adadelta": "optim.RMSprop(params)",
    "Adamax": "optim.Adam(params)",
    "ChainedScheduler": "step one schedule after the other: they chain",
    "ConstantLR": _OWN_SCHEDULE,
    "CosineAnnealingWarmRestarts": _ONE_AFTER_OTHER,
    "CyclicLR": _OWN_SCHEDULE,
    "LambdaLR": _OWN_SCHEDULE,
    "MultiStepLR": _OWN_SCHEDULE,
    "MultiplicativeLR": _OWN_SCHEDULE,
    "NAdam": "optim.Adam(params)",
    "OneCycleLR": _ONE_AFTER_OTHER,
    "PolynomialLR": _OWN_SCHEDULE,
    "RAdam": "optim.Adam(params), and optim.LinearLR(optimizer) for a warm-up",
    "lr_scheduler": "optim: optim.StepLR(optimizer, step_size)",
}
_NO_DEVICE = "leave it out: there is one device"
_ONE_WAY = "leave it out: there is one way to compute it"
_MASKS = "mask=, True for what may be attended to, or lengths="
_NEW_RATE = "leave it out: load_state_dict() of a schedule goes on from where it was"
KEYWORDS: Mapping[str, str] = {
    "attn_mask": _MASKS,
    "capturable": _ONE_WAY,
    "closure": "call loss.backward() before step()",
    "device": _NO_DEVICE,
    "differentiable": _ONE_WAY,
    "error_if_nonfinite": "nonfinite='raise', the default, or nonfinite='skip'",
    "foreach": _ONE_WAY,
    "fused": _ONE_WAY,
    "hx": "state=",
    "inplace": "leave it out: operations never write into their operands",
    "is_causal": "causal=",
    "key_padding_mask": _MASKS,
    "last_epoch": _NEW_RATE,
    "maximize": "leave it out, and negate the loss",
    "need_weights": "leave it out: the weights are always returned",
    "normalized_shape": "size=, of the last axis",
    "padding_idx": "leave it out: lengths= of a layer and ignore_index= of a loss skip padding",
    "recurse": "leave it out: parts of parts are always included",
    "set_to_none": "leave it out: gradients become None",
    "strict": "leave it out, and for some names only: {**model.state_dict(), **some}",
    "verbose": "leave it out, and print get_last_lr()",
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

# What has moved within this package.
TRAINING: Mapping[str, str] = {
    name: f"tinygrad_seq.charlm.{name}"
    for name in (
        "CharLM",
        "CharOptions",
        "CharRun",
        "HeldOut",
        "Machine",
        "Monitor",
        "Outcome",
        "PRESETS",
        "draw_char_lm",
        "fit",
        "generate",
        "learning_rate",
        "load_char_lm",
        "machine",
        "sample",
        "write_report",
    )
}
DRAWING: Mapping[str, str] = {
    name: f"tinygrad_seq.celltext.{name}" for name in ("CellText", "cell_text")
}


def missing(where: str, name: str, known: Mapping[str, str]) -> MissingNameError:
    """The error for a name that a module, or a class, lacks."""
    return MissingNameError(f"{where} has no attribute {name!r}", hint=known.get(name))


class Elsewhere:
    """A name of PyTorch's that a class has not: to look it up says what does its job here.

    One for each name: with a ``__getattr__`` Python finds all other attributes slower, too, and
    a step composed of single operations took 4 % longer.
    """

    __slots__ = ("known", "name")

    def __init__(self, name: str, known: Mapping[str, str]) -> None:
        self.name, self.known = name, known

    def __get__(self, found: Any, kind: type) -> Any:
        raise missing(f"{kind.__name__!r} object", self.name, self.known)


def answer(kind: type, known: Mapping[str, str]) -> None:
    """Have a class answer so to all names of a table."""
    for name in known:
        setattr(kind, name, Elsewhere(name, known))
