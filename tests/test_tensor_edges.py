"""What a refused operation must leave as it was, and other edges of tensors and modes."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn
from tinygrad_seq.errors import DtypeError, GraphError, ShapeError


def test_a_refused_in_place_operator_leaves_the_graph_usable() -> None:
    w = tgs.tensor([1.0, 2.0], requires_grad=True)
    y = (w * w).sum()
    with tgs.no_grad(), pytest.raises((ShapeError, ValueError)):
        w += np.ones(3, np.float32)
    with tgs.no_grad(), pytest.raises(ShapeError, match="does not fit the tensor"):
        w += np.ones((3, 2), np.float32)
    assert w.version == 0
    y.backward()
    np.testing.assert_array_equal(w.grad, [2.0, 4.0])


def test_an_input_asked_for_twice_gets_memory_of_its_own_twice() -> None:
    x = tgs.tensor([1.0, 2.0], requires_grad=True)
    a, b = tgs.grad((x * x).sum(), [x, x])
    a.writable()[:] = 9
    assert b.tolist() == [2.0, 4.0]


def test_each_output_wants_a_cotangent() -> None:
    x = tgs.tensor(1.0, requires_grad=True)
    with pytest.raises(ShapeError, match="one per output, 2"):
        tgs.grad([x * 2, x * 3], [x], [1.0])


def test_modes_decorate_functions_in_every_thread() -> None:
    w = tgs.tensor(1.0, requires_grad=True)
    inside: list[bool] = []
    both = threading.Barrier(2)

    @tgs.no_grad()
    def quiet() -> None:
        both.wait()
        inside.append((w * 2).requires_grad)
        both.wait()

    threads = [threading.Thread(target=quiet) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == [False, False]
    assert (w * 2).requires_grad


def test_numpy_reads_named_states_and_refuses_to_write_tensors() -> None:
    state = nn.LSTMState(tgs.tensor([2.0, 1.0]), tgs.tensor([1.0, 1.0]))
    assert np.lexsort(state).tolist() == [1, 0]
    with pytest.raises(GraphError, match="behind the graph"):
        np.copyto(dst=tgs.tensor([1.0]), src=np.ones(1))


def test_constant_gradients_of_scalars_are_tensors_under_create_graph() -> None:
    x = tgs.tensor(np.array(0.4), requires_grad=True)
    g = tgs.grad(np.abs(x - 1.0) + np.abs(x), x, create_graph=True)
    assert isinstance(g, tgs.Tensor) and g.item() == 0.0


def test_mt_transposes_every_matrix_of_a_stack() -> None:
    x = tgs.tensor(np.arange(12.0).reshape(2, 2, 3), requires_grad=True)
    weight = np.arange(12.0).reshape(2, 3, 2)
    assert np.array_equal(x.mT.numpy(), x.numpy().mT)
    (x.mT * weight).sum().backward()
    assert np.array_equal(x.grad, weight.mT)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 2)])
def test_data_of_any_other_shape_is_refused(shape) -> None:
    x = tgs.tensor([1.0, 2.0])
    with pytest.raises(ShapeError, match=r"assignment to \.data"):
        x.data = np.ones(shape, np.float32)
    with pytest.raises(DtypeError, match=r"assignment to \.data"):
        x.data = np.ones(2)
    assert x.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("shapes", [((), ()), ((2,), (2,))])
def test_a_refused_mixture_names_the_dtypes_that_are_mixed(shapes) -> None:
    single, double = (np.ones(s, d) for s, d in zip(shapes, (np.float32, np.float64), strict=True))
    with pytest.raises(DtypeError, match="got: float32 and float64"):
        tgs.maximum(tgs.tensor(single), tgs.tensor(double))
