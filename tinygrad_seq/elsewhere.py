"""What does here the job of a name that PyTorch's users look for and do not find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinygrad_seq.errors import MissingNameError


def _each(advice: Mapping[str, str]) -> dict[str, str]:
    """Advice by name, where several names may share one."""
    return {name: what for names, what in advice.items() for name in names.split()}


_BCE = "(tgs.logaddexp(x, 0) - x * y).mean(), of logits x and targets y in [0, 1]"
_ARRAY = "tgs.tensor(np.{}, dtype=np.float32)"
_CLIP = "optim.clip_grad_norm_(parameters, bound)"
_LENGTHS = "layer(x, lengths=lengths)"
_OBSERVE = "tgs.observe(observer), "
_OWN_SCHEDULE = "a subclass of optim.LRScheduler with lr_at(self, base_lr, t)"
_SEQUENCE = "optim.SequentialLR(optimizer, schedules, milestones)"

FUNCTIONS = _each(
    {
        "abs": "tgs.absolute(x), or abs(x)",
        "arange": _ARRAY.format("arange(n)"),
        "argmax": "x.argmax(), or np.argmax(x)",
        "argmin": "x.argmin(), or np.argmin(x)",
        "binary_cross_entropy_with_logits": _BCE,
        "bmm mm": "tgs.matmul(x, y), or x @ y",
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
)
LAYERS = _each(
    {
        "BCEWithLogitsLoss": _BCE,
        "BatchNorm1d": "nn.LayerNorm(size): over the features of each step, not over the batch",
        "CrossEntropyLoss NLLLoss": "tgs.cross_entropy(logits, targets)",
        "Flatten": "x.reshape(n, -1)",
        "Identity": "nn.Sequential()",
        "L1Loss": "tgs.absolute(x - y).mean()",
        "LogSoftmax": "tgs.log_softmax(x, axis=-1)",
        "MSELoss": "tgs.mse_loss(x, y)",
        "ModuleDict": "an attribute for each, or nn.ModuleList([a, b]) and a dict of positions",
        "ParameterList": "an attribute for each parameter: setattr(self, f'w{k}', nn.Parameter(w))",
        "RMSNorm": "nn.LayerNorm(size)",
        "ReLU": "tgs.relu(x)",
        "Sigmoid": "tgs.sigmoid(x)",
        "Softmax": "tgs.softmax(x, axis=-1)",
        "Tanh": "tgs.tanh(x)",
        "functional": "tgs: tgs.relu(x), tgs.cross_entropy(logits, targets)",
        "pack_padded_sequence pad_packed_sequence": _LENGTHS,
        "utils": "optim.clip_grad_norm_(parameters, bound), or for padded sequences " + _LENGTHS,
    }
)
MODULES = _each(
    {
        "add_module register_module": "setattr(model, name, module)",
        "apply": "for part in model.modules(): ...",
        "bfloat16 half": "model.astype(np.float32): smaller floats are not computed in",
        "buffers named_buffers": "plain attributes: arrays are no part of the state dict",
        "children named_children": "model.named_modules(), itself included",
        "cpu cuda": "model: there is one device",
        "double": "model.astype(np.float64)",
        "float": "model.astype(np.float32)",
        "get_parameter": "dict(model.named_parameters())[name]",
        "get_submodule": "dict(model.named_modules())[name]",
        "register_buffer": "model.name = array: a plain attribute, no part of the state dict",
        "register_forward_hook register_forward_pre_hook": _OBSERVE + "told of every node recorded",
        "register_full_backward_hook": _OBSERVE + "or register_hook of a tensor",
        "register_parameter": "setattr(model, name, nn.Parameter(array))",
        "requires_grad_": "for p in model.parameters(): p.requires_grad = False",
        "to": "model.astype(dtype), and nothing for a device: there is one",
        "type": "model.astype(dtype)",
    }
)
_INITIAL = {
    "constant_": "np.full(shape, value, np.float32)",
    "eye_": "np.eye(n, dtype=np.float32)",
    "kaiming_normal_": "nn.init.normal(rng, shape, (2 / fan_in) ** 0.5, np.float32)",
    "kaiming_uniform_": "nn.init.uniform(rng, shape, (6 / fan_in) ** 0.5, np.float32)",
    "normal_": "nn.init.normal(rng, shape, std, np.float32)",
    "ones_": "np.ones(shape, np.float32)",
    "orthogonal_": "nn.init.orthogonal(rng, n)",
    "uniform_": "nn.init.uniform(rng, shape, bound, np.float32)",
    "xavier_normal_": "nn.init.normal(rng, shape, (2 / (fan_in + fan_out)) ** 0.5, np.float32)",
    "xavier_uniform_": "nn.init.glorot_uniform(rng, fan_in, fan_out)",
    "zeros_": "np.zeros(shape, np.float32)",
}
INITIALISERS = {name: f"layer.weight.data = {array}" for name, array in _INITIAL.items()}
INITIALISERS["calculate_gain"] = "5 / 3 for tanh, 2 ** 0.5 for relu, 1 for sigmoid"
OPTIMISERS = _each(
    {
        "Adadelta": "optim.RMSprop(params)",
        "Adamax NAdam": "optim.Adam(params)",
        "ChainedScheduler": "step one schedule after the other: they chain",
        "ConstantLR CyclicLR LambdaLR MultiStepLR MultiplicativeLR PolynomialLR": _OWN_SCHEDULE,
        "CosineAnnealingWarmRestarts OneCycleLR": _SEQUENCE,
        "RAdam": "optim.Adam(params), and optim.LinearLR(optimizer) for a warm-up",
        "clip_grad_adaptive_ clip_grad_norm_each_ clip_grad_squared_norm_": _CLIP,
        "lr_scheduler": "optim: optim.StepLR(optimizer, step_size)",
    }
)
KEYWORDS = _each(
    {
        "attn_mask key_padding_mask": "mask=, True for what may be attended to, or lengths=",
        "capturable differentiable foreach fused": "leave it out: there is one way to compute it",
        "closure": "call loss.backward() before step()",
        "device": "leave it out: there is one device",
        "error_if_nonfinite": "nonfinite='raise', the default, or nonfinite='skip'",
        "hx": "state=",
        "inplace": "leave it out: operations never write into their operands",
        "is_causal": "causal=",
        "last_epoch": "leave it out: load_state_dict() of a schedule goes on from where it was",
        "maximize": "leave it out, and negate the loss",
        "need_weights": "leave it out: the weights are always returned",
        "normalized_shape": "size=, of the last axis",
        "padding_idx": "leave it out: lengths= of a layer and ignore_index= of a loss skip padding",
        "recurse": "leave it out: parts of parts are always included",
        "set_to_none": "leave it out: gradients become None",
        "strict": "leave it out, and for some names only: {**model.state_dict(), **some}",
        "verbose": "leave it out, and print get_last_lr()",
    }
)
METHODS = _each(
    {
        "amax": "x.max(axis)",
        "amin": "x.min(axis)",
        "bmm matmul mm": "x @ y",
        "chunk": "tgs.split(x, n, axis)",
        "clamp": "x.clip(low, high)",
        "contiguous": "x: its memory order is not yours to keep",
        "copy_ fill_": "x.writable()[...] = value",
        "cpu cuda": "x: there is one device",
        "device": "nothing: there is one device",
        "dim": "x.ndim",
        "double": "x.astype(np.float64)",
        "expand": "tgs.broadcast_to(x, shape)",
        "expand_as": "tgs.broadcast_to(x, y.shape)",
        "flip": "tgs.flip(x, axis)",
        "float": "x.astype(np.float32)",
        "gather": "tgs.gather(x, axis, index)",
        "grad_fn": "x.node",
        "int": "x.astype(np.int32)",
        "long": "x.astype(np.int64)",
        "masked_fill": "tgs.where(mask, value, x)",
        "neg": "-x",
        "numel": "x.size",
        "sort": "tgs.sort(x, axis)",
        "split": "tgs.split(x, positions, axis), at positions as NumPy's",
        "t": "x.T",
        "to": "x.astype(dtype), and nothing for a device: there is one",
        "type": "x.dtype, or x.astype(dtype)",
        "type_as": "x.astype(y.dtype)",
        "unbind": "list(x)",
        "zero_": "x.writable()[...] = 0",
    }
)
_SIGNS = "add + sub - mul * div / pow ** eq == ne != lt < le <= gt > ge >="
METHODS |= {n: f"x {sign} y" for n, sign in zip(*[iter(_SIGNS.split())] * 2, strict=True)}

# What has moved within this package, or out of it to stand beside the demos.
_LAB = "from demos.lab import {}, in the source of this package"
_MODELS = """
    CharLM CharOptions CharRun HeldOut Machine Monitor Outcome PRESETS draw_char_lm fit generate
    learning_rate load_char_lm machine sample write_report"""
_STUDIES = "Comparison Progress Verdict compare_truncations judge learn task_loss task_model"
_TASKS = """
    IGNORE AddNumbers Adding CopyMemory Dates Dyck EmbeddedReber TaskBatch TaskPairs
    TemporalOrder"""
TRAINING = {
    **{name: f"tinygrad_seq.charlm.{name}" for name in _MODELS.split()},
    **{name: _LAB.format(name) for name in _STUDIES.split()},
    **_each({"Truncated truncated_bptt": "train.tbptt(model, windows, optimizer, k=k1, k2=k2)"}),
}
DATA = {name: _LAB.format(name) for name in _TASKS.split()}
DRAWING = {name: f"tinygrad_seq.celltext.{name}" for name in ("CellText", "cell_text")}


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
