"""Checkpoints: one safetensors file, whose header carries the rest as JSON. No pickle.

What is not an array (options, counts, generator states, the vocabulary) is JSON in the file's
metadata, with a digest over everything, so one rename puts the whole checkpoint in place and a
damaged byte is noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_seq.checks import instance_of, path_of, shown
from tinygrad_seq.errors import CheckpointError, ConfigError
from tinygrad_seq.files import write
from tinygrad_seq.nn.state import STATES, state_type
from tinygrad_seq.tensor import Tensor

__all__ = ["load_checkpoint", "save_checkpoint"]

_FORMAT = "tinygrad_seq.checkpoint"
_VERSION = 1
_DEEPEST = 100
_TAG = "$kind"  # marks what JSON has no word for
_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")

Arrays = dict[str, np.ndarray[Any, Any]]


def save_checkpoint(path: str | os.PathLike[str], tree: Mapping[str, Any]) -> None:
    """Write a nest of values to `path`, all or nothing.

    Parameters
    ----------
    path : path-like
        The file, in an existing folder. Until the new one is complete the old one stays.
    tree : mapping
        Dicts with str keys, lists, tuples, arrays, tensors (as constants), recurrent states,
        :class:`numpy.random.Generator`, str, numbers, bool, None, to any depth.

    Raises
    ------
    ConfigError
        For something in the nest that cannot be saved; it says where.
    CheckpointError
        If the file cannot be written. What was there before is still there.

    Notes
    -----
    Arrays are saved in C order whatever their strides, in the machine's dtype.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from tinygrad_seq import train
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "last.safetensors")
    ...     train.save_checkpoint(
    ...         path, {"step": 7, "W": np.eye(2), "rng": np.random.default_rng(0)}
    ...     )
    ...     back = train.load_checkpoint(path)
    >>> back["step"], back["W"].tolist(), int(back["rng"].integers(100))
    (7, [[1.0, 0.0], [0.0, 1.0]], 85)
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save

    file = path_of("save_checkpoint: path", path)
    instance_of("save_checkpoint: tree", tree, Mapping)
    arrays: Arrays = {}
    encoded = _encode(tree, "", arrays)
    try:
        content = json.dumps(encoded)
    except ValueError as error:  # an integer of more digits than Python writes
        raise ConfigError("save_checkpoint: a value cannot be written", got=str(error)) from error
    metadata = {
        "format": _FORMAT,
        "version": str(_VERSION),
        "content": content,
        "digest": _digest(content, arrays),
    }
    try:
        raw = save(arrays, metadata=metadata)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ConfigError(
            "save_checkpoint: an array of a dtype that safetensors has no name for",
            expected="floats, integers or booleans",
            got=", ".join(sorted({str(a.dtype) for a in arrays.values()})),
        ) from error
    hint = (
        "check the folder, its permissions and the space left; an earlier checkpoint is still there"
    )
    write(file, raw, f"checkpoint {str(file)!r}", CheckpointError, hint)


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read back what :func:`save_checkpoint` wrote; generators come back as new ones.

    Raises
    ------
    CheckpointError
        The file is missing, unreadable, damaged, or was written by something else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    file = path_of("load_checkpoint: path", path)
    name = str(file)
    try:
        raw = file.read_bytes()
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {name!r} cannot be read",
            expected="a checkpoint",
            got=(error.strerror if isinstance(error, OSError) else None) or str(error),
            hint="check the path and its permissions",
        ) from error
    try:
        arrays = load(raw)
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        metadata = header.get("__metadata__") or {}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _unfit(name, f"no safetensors file: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise _unfit(name, "a safetensors file of another program")
    if metadata.get("version") != str(_VERSION):
        raise _unfit(name, f"version {metadata.get('version')}, this program reads {_VERSION}")
    content = metadata.get("content", "")
    if metadata.get("digest") != _digest(content, arrays):
        raise _unfit(name, "damaged content: its digest does not match")
    tree = _decode(json.loads(content), arrays, name)
    assert isinstance(tree, dict)
    return tree


def _unfit(name: str, got: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {name!r} cannot be used",
        expected="a complete checkpoint, unchanged",
        got=got,
        hint="use another checkpoint of the run, or start anew; the file was left as it is",
    )


# -- values <-> JSON and arrays -------------------------------------------------------------------


def _encode(value: Any, where: str, arrays: Arrays, level: int = 0) -> Any:
    """`value` as JSON, its arrays moved to `arrays` under names that say where they were."""
    if level > _DEEPEST:
        raise ConfigError(
            "save_checkpoint: a nest too deep",
            expected=f"at most {_DEEPEST} levels",
            got="more, or something that holds itself",
        )
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, np.generic) and not isinstance(value.item(), np.generic):
        return _encode(value.item(), where, arrays)
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        return {_TAG: "array", "name": _take_in(value, where, arrays)}
    if isinstance(value, Tensor):
        return {_TAG: "tensor", "name": _take_in(value.data, where, arrays)}
    if isinstance(value, np.random.Generator):
        return {_TAG: "generator", "state": _encode(value.bit_generator.state, where, arrays)}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == _TAG or not _is_whole(key):
                raise ConfigError(
                    f"save_checkpoint: a key in {where or 'the top'}",
                    expected=f"a str of whole characters, other than {_TAG!r}",
                    got=shown(key),
                )
        return {
            key: _encode(item, f"{where}/{key}", arrays, level + 1) for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        items = [_encode(item, f"{where}/{i}", arrays, level + 1) for i, item in enumerate(value)]
        if isinstance(value, list):
            return items
        fields = getattr(value, "_fields", None)
        if fields is None:
            return {_TAG: "tuple", "items": items}
        return {_TAG: type(value).__name__, "items": items, "fields": list(fields)}
    raise ConfigError(
        f"save_checkpoint: {where or 'the top'} cannot be saved",
        expected="dicts, lists, tuples, arrays, tensors, states, generators, str, numbers, None",
        got=type(value).__name__,
    )


def _is_whole(key: str) -> bool:
    """Whether it has no half character, a lone surrogate: no file can hold it as a name."""
    return not any("\ud800" <= character <= "\udfff" for character in key)


def _take_in(array: Any, where: str, arrays: Arrays) -> str:
    name = where.lstrip("/") or "array"
    while name in arrays or name == "__metadata__":  # where safetensors keeps its own
        name += "'"
    # safetensors writes memory as it lies: a transposed or strided array would come back
    # scrambled. (ascontiguousarray would make a 0-d array 1-d.)
    arrays[name] = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    return name


def _decode(value: Any, arrays: Arrays, file: str) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays, file) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(_TAG)
    if kind is None:
        return {key: _decode(item, arrays, file) for key, item in value.items()}
    if kind in ("array", "tensor"):
        array = arrays[value["name"]]
        return array if kind == "array" else Tensor(array)
    if kind == "generator":
        return _generator(_decode(value["state"], arrays, file), file)
    items = tuple(_decode(item, arrays, file) for item in value.get("items", ()))
    if kind == "tuple":
        return items
    if kind in STATES and value.get("fields", list(STATES[kind]._fields)) == list(
        STATES[kind]._fields
    ):
        return STATES[kind](*items)
    if "fields" in value:  # the state of a cell that is not ours
        return state_type(kind, tuple(value["fields"]))(*items)
    raise _unfit(file, f"a value of the unknown kind {kind!r}: a newer program wrote it")


def _generator(state: dict[str, Any], file: str) -> np.random.Generator:
    name = state.get("bit_generator")
    if name not in _BIT_GENERATORS:
        raise _unfit(file, f"a random generator of the unknown kind {name!r}")
    bits = getattr(np.random, name)(0)
    bits.state = state
    return np.random.Generator(bits)


def _digest(content: str, arrays: Arrays) -> str:
    found = hashlib.blake2b(content.encode(), digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()
