"""The checks of what is given: their rules, and that what is refused has cost nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from demos.lab import Adding, CopyMemory
from tinygrad_seq import checks, nn, train
from tinygrad_seq.errors import ConfigError, DtypeError, IndexRangeError, ShapeError, shown


def test_counts_are_python_integers_that_numpy_can_count_with() -> None:
    found = checks.count(1)("n", np.uint8(200))
    assert type(found) is int
    assert found == 200
    for wrong in (0, True, 1.0, "1", 2**63, 10**5000, np.timedelta64(1), None):
        with pytest.raises(ConfigError, match=r"n is out of range\n  expected: an integer >= 1"):
            checks.count(1)("n", wrong)
    with pytest.raises(ConfigError, match="an integer >= 2, at most 3"):
        checks.count(2, 3)("n", 4)


def test_indices_of_either_sign() -> None:
    assert checks.index_of("k", np.int8(-3)) == -3
    for wrong in (2**63, -(2**64), True, 1.0, None):
        with pytest.raises(ConfigError, match="an integer"):
            checks.index_of("k", wrong)


def test_numpy_durations_are_no_numbers() -> None:
    with pytest.raises(ConfigError):
        checks.non_negative("x", np.timedelta64(1))


@pytest.mark.parametrize("nothing", [3, 2.5, None, "text", b"bytes", np.array(1.0), object()])
def test_what_is_no_sequence(nothing: Any) -> None:
    with pytest.raises(ConfigError, match="a sequence of names"):
        checks.sequence_of("names", nothing, "names")


def test_paths() -> None:
    assert checks.path_of("path", "a/b") == Path("a/b")
    assert checks.path_of("path", Path("a")) == Path("a")
    for wrong in ("", b"a", 3, None, ["a"]):
        with pytest.raises(ConfigError, match="a path"):
            checks.path_of("path", wrong)


def test_objects_and_functions() -> None:
    assert checks.instance_of("x", 3, (int, str)) == 3
    with pytest.raises(ConfigError, match="expected: a int or str"):
        checks.instance_of("x", 3.0, (int, str))
    with pytest.raises(ConfigError, match="expected: f"):
        checks.callable_of("x", 3, "f(x)")
    with pytest.raises(ConfigError, match="default_rng"):
        checks.generator_of("rng", 0)


def test_shapes_that_no_memory_holds() -> None:
    checks.require_room("x", 1000, 1000)
    with pytest.raises(ConfigError, match="GiB"):
        checks.require_room("x", 2**31, 2**31)
    with pytest.raises(ConfigError, match="hidden_size"):
        nn.LSTM(3, 2**63)
    with pytest.raises(ConfigError, match="GiB"):
        nn.LSTM(3, 2**31 - 1)
    with pytest.raises(ConfigError, match="GiB"):
        nn.causal_mask(2**30)
    with pytest.raises(ConfigError, match="num_layers"):
        nn.RNN(3, 4, 10**9)


def test_small_integers_of_numpy_do_not_wrap() -> None:
    lstm = nn.LSTM(3, np.uint8(100), rng=np.random.default_rng(0))
    assert lstm.weight_hh_l0.shape == (100, 400)
    assert type(lstm.hidden_size) is int
    assert CopyMemory(np.uint8(200), width=np.uint8(100)).length == 400
    attention = nn.MultiheadAttention(np.uint8(128), np.uint8(2), rng=np.random.default_rng(0))
    assert attention.query.weight.shape == (128, 128)


# -- what is refused changes nothing ---------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: nn.LSTM(3, 4, dtype="complex64", rng=rng),
        lambda rng: nn.GRU(3, 4, reset_after=1, rng=rng),
        lambda rng: nn.MultiheadAttention(4, 2, 1.5, rng=rng),
        lambda rng: nn.AdditiveAttention(3, 0, 4, rng=rng),
        lambda rng: nn.init.normal(rng, (2, 3), -1.0, np.float32),
        lambda rng: nn.init.uniform(rng, (2, 3), 1.0, np.float16),
        lambda rng: Adding(4).batch(0, rng),
    ],
)
def test_a_refused_layer_draws_no_number(make: Any) -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    with pytest.raises((ConfigError, DtypeError)):
        make(rng)
    assert rng.bit_generator.state == before


def test_a_refused_wiring_leaves_its_parts_alone() -> None:
    rng = np.random.default_rng(0)
    layer = nn.GRU(3, 4, rng=rng)
    before = dict(vars(layer))
    for make in (
        lambda: nn.Decoder(layer, 0, rng=rng),
        lambda: nn.Decoder(layer, attention=3, rng=rng),
        lambda: nn.ManyToOne(layer, "x", rng=rng),
        lambda: nn.ManyToMany(layer, 3, rng=0),
    ):
        with pytest.raises(ConfigError):
            make()
        assert vars(layer) == before


def test_rows_of_a_state() -> None:
    state = nn.RNNState(tgs.tensor(np.ones((1, 3, 1), np.float32)))
    for rows in ([1, 2, 0], ["a", "", "c"], [1.0, 0.0, 1.0]):
        with pytest.raises(DtypeError, match="booleans"):
            nn.reset_rows(state, rows)
    with pytest.raises(DtypeError, match="integers"):
        nn.select_rows(state, [True, False, True])
    with pytest.raises(IndexRangeError, match="select_rows"):
        nn.select_rows(state, [3])
    with pytest.raises(ShapeError, match="select_rows"):
        nn.select_rows(tgs.tensor([1.0]), [0])


def test_nests_that_hold_themselves(tmp_path: Path) -> None:
    nest: list[Any] = []
    nest.append(nest)
    with pytest.raises(ConfigError, match="holds itself"):
        nn.detach(nest)
    with pytest.raises(ConfigError, match="holds itself"):
        train.save_checkpoint(tmp_path / "c.safetensors", {"a": nest})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value",
    [np.ma.masked_array([1.0, 2.0], [0, 1]), np.longdouble(1.0), 1j, 10**5000],
    ids=["masked", "longdouble", "complex", "long"],
)
def test_what_a_checkpoint_would_lose(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ConfigError, match="save_checkpoint"):
        train.save_checkpoint(tmp_path / "c.safetensors", {"a": [value]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("axes", [0, 1, 2])
def test_attention_names_what_has_the_wrong_rank(axes: int) -> None:
    wrong = np.ones((2,) * axes, np.float32)
    right = np.ones((3, 2, 4), np.float32)
    attend = nn.MultiheadAttention(4, 2, rng=np.random.default_rng(0))
    for place, given in enumerate(
        ((wrong, right, right), (right, wrong, right), (right, right, wrong))
    ):
        with pytest.raises(ShapeError, match=("query", "key", "value")[place]):
            attend(*given)
    with pytest.raises(ShapeError, match="memory"):
        nn.DotAttention()(right, wrong)
    if axes < 2:
        with pytest.raises(ShapeError, match="query"):
            nn.DotAttention()(wrong, right)


def test_values_that_cannot_be_shown() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown(Silent()) == "a Silent"
    with pytest.raises(ConfigError, match="got: a Silent"):
        checks.count(1)("n", Silent())
