"""What recurrent kernels stand on: threads, settings, strips, and compiled loops."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.support.recurrent import KINDS, make_layer
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.kernels import shards
from tinygrad_seq.kernels.products import Product

KERNELS = "TINYGRAD_SEQ_KERNELS"
FEWER = settings(max_examples=max(settings.default.max_examples // 5, 1))


@pytest.fixture(autouse=True)
def settings_restored():
    kernels, threads = tgs.config.kernels, tgs.config.threads
    yield
    tgs.config.kernels, tgs.config.threads = kernels, threads


def blas_threads():
    return [each.get_num_threads() for each in shards._libraries(len(sys.modules))]


def run_program(code, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )


# -- threads ---------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 7))
@FEWER
def test_shares_cover_every_row_once(rows, shares):
    seen = np.zeros(rows, int)
    lock = threading.Lock()

    def work(first, last):
        with lock:
            seen[first:last] += 1

    shards.in_shards(work, rows, min(shares, rows))
    assert (seen == 1).all()


@pytest.mark.parametrize("bad", [0, 3])
def test_an_error_of_one_thread_is_raised_and_blas_gets_its_threads_back(bad):
    before = blas_threads()
    ran = []

    def work(first, last):
        ran.append(first)
        if first == bad:
            raise ZeroDivisionError(first)

    with pytest.raises(ZeroDivisionError):
        shards.in_shards(work, 4, 4)
    assert sorted(ran) == [0, 1, 2, 3]
    assert blas_threads() == before


def test_runs_on_several_threads_at_once_leave_blas_as_it_was():
    before = blas_threads()
    tgs.config.threads = 2
    layer = nn.GRU(8, 64, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((10, 100, 8)).astype(np.float32)
    wanted, results = layer(x)[0].numpy(), []
    many = [threading.Thread(target=lambda: results.append(layer(x)[0].numpy())) for _ in range(6)]
    for each in many:
        each.start()
    for each in many:
        each.join()
    assert len(results) == 6
    for found in results:
        np.testing.assert_array_equal(found, wanted)
    assert blas_threads() == before


def test_an_interrupt_while_blas_is_told_leaves_it_as_it_was(monkeypatch):
    class Library:
        threads = 8

        def get_num_threads(self):
            return self.threads

        def set_num_threads(self, threads):
            self.threads = threads
            if threads == 1 and interrupted:
                raise KeyboardInterrupt

    library, interrupted = Library(), True
    monkeypatch.setattr(shards, "_libraries", lambda modules: [library])
    with pytest.raises(KeyboardInterrupt):
        shards.in_shards(lambda first, last: None, 4, 2)
    assert library.threads == 8
    interrupted = False
    ran = []
    shards.in_shards(lambda first, last: ran.append(library.threads), 4, 2)
    assert (ran, library.threads) == ([1, 1], 8)


def test_a_blas_that_is_loaded_later_is_held_too():
    run_program(
        "import numpy as np, threadpoolctl, tinygrad_seq as tgs; from tinygrad_seq import nn\n"
        "from tinygrad_seq.kernels import shards\n"
        "def threads(*_):\n"
        "    found = threadpoolctl.ThreadpoolController().select(user_api='blas')\n"
        "    seen.append([each['num_threads'] for each in found.info()])\n"
        "seen, x = [], np.zeros((9, 1, 3), np.float32)\n"
        "for tgs.config.kernels in ('numpy', 'compiled'):\n"
        "    nn.RNN(3, 4)(x)\n"
        "    shards.in_shards(threads, 1, 1)\n"
        "assert len(seen[1]) == 2 and {*seen[0], *seen[1]} == {1}, seen\n"
    )


def test_layers_run_when_the_interpreter_starts_no_more_threads():
    """As from a thread that outlives the main one, or from what runs at exit."""
    code = (
        "import atexit, threading, time, numpy as np, tinygrad_seq as tgs\n"
        "from tinygrad_seq import nn\n"
        "tgs.config.threads = 3\n"
        "layer, x = nn.GRU(4, 64), np.ones((3, 200, 4), np.float32)\n"
        "wanted = layer(x)[0].numpy()\n"
        "def again():\n"
        "    threading.main_thread().join(); time.sleep(0.1)\n"
        "    print(np.array_equal(layer(x)[0].numpy(), wanted))\n"
        "atexit.register(lambda: print(np.array_equal(layer(x)[0].numpy(), wanted)))\n"
        "threading.Thread(target=again).start()\n"
    )
    assert run_program(code).stdout.split() == ["True", "True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    tgs.config.threads = 2
    layer = nn.LSTM(8, 64, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((5, 100, 8)).astype(np.float32)
    wanted = layer(x)[0].numpy()  # the threads of this process are there now
    process = os.fork()
    if not process:
        os._exit(0 if np.array_equal(layer(x)[0].numpy(), wanted) else 1)
    assert os.waitpid(process, 0)[1] == 0


def test_what_numpy_does_at_overflow_is_the_same_on_every_thread():
    tgs.config.threads, tgs.config.kernels = 3, "numpy"
    layer = nn.RNN(4, 64, nonlinearity="relu", rng=np.random.default_rng(0))
    layer.weight_hh_l0.writable()[:] = 1e30
    x = np.ones((4, 300, 4), np.float32)
    x[:, :250] = 0  # what overflows is in the share of the last thread
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        layer(x)


# -- settings --------------------------------------------------------------------------------------


def test_settings_that_make_no_sense_are_refused_and_change_nothing():
    before = repr(tgs.config)
    for name, value in (
        ("threads", 0),
        ("threads", 1.5),
        ("kernels", "cuda"),
        ("kernels", None),
        ("thread", 2),
    ):
        with pytest.raises(ConfigError, match=name):
            setattr(tgs.config, name, value)
    assert repr(tgs.config) == before


def test_what_is_not_installed_is_not_chosen(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tinygrad-seq\[fast\]"):
        tgs.config.kernels = "compiled"
    assert type(tgs.config)().kernels == "numpy"


def test_the_environment_decides_until_the_program_does(monkeypatch):
    monkeypatch.setenv("TINYGRAD_SEQ_KERNELS", "numpy")
    monkeypatch.setenv("TINYGRAD_SEQ_THREADS", "3")
    fresh = type(tgs.config)()
    assert (fresh.kernels, fresh.threads) == ("numpy", 3)
    fresh.threads = 2
    assert fresh.threads == 2
    monkeypatch.setenv("TINYGRAD_SEQ_KERNELS", "fast")
    monkeypatch.setenv("TINYGRAD_SEQ_THREADS", "many")
    wrong = type(tgs.config)()
    with pytest.raises(ConfigError, match="TINYGRAD_SEQ_KERNELS"):
        wrong.kernels  # noqa: B018
    with pytest.raises(ConfigError, match="TINYGRAD_SEQ_THREADS"):
        wrong.threads  # noqa: B018


# -- results ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 7, 40])
@pytest.mark.parametrize("hidden", [3, 96, 250, 256])
def test_strips_multiply_as_whole_blocks_do(rows, hidden):
    rng = np.random.default_rng(0)
    blocks, left = rng.standard_normal((3, hidden, hidden)), rng.standard_normal((rows, hidden))
    product, out = Product(blocks, rows), np.empty((3, rows, hidden))
    product(left, out)
    np.testing.assert_allclose(out, left @ blocks, rtol=1e-12, atol=1e-12)
    each = rng.standard_normal((3, rows, hidden))
    product(each, out)
    np.testing.assert_allclose(out, each @ blocks, rtol=1e-12, atol=1e-12)
    product[1:](each[1:], out[1:])
    np.testing.assert_allclose(out, each @ blocks, rtol=1e-12, atol=1e-12)


def results(layer, x, **options):
    """Outputs, last states and all gradients of one run."""
    x = tgs.tensor(x, requires_grad=True)
    layer.zero_grad()
    y, state = layer(x, **options)
    weight = np.random.default_rng(5).standard_normal(y.shape)
    (y * weight.astype(y.dtype)).sum().backward()
    found = [y.numpy(), *(part.numpy() for part in state), x.grad]
    return [np.array(part) for part in [*found, *(p.grad for p in layer.parameters())]]


@pytest.mark.parametrize("hidden", [3, 250])  # the second has its loops run as Python
@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
@settings(max_examples=5, deadline=None)
def test_compiled_kernels_equal_numpys_on_any_number_of_threads(kind, hidden, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    batch = data.draw(st.sampled_from([1, 5, 40]))
    layer = make_layer(kind, 3, hidden, 1, rng, bidirectional=data.draw(st.booleans()))
    if data.draw(st.booleans()):
        layer.checkpoint = 2
    x = rng.standard_normal((9, batch, 3))
    options = {}
    if data.draw(st.booleans()):
        options["lengths"] = rng.integers(0, 10, batch)
    if data.draw(st.booleans()):
        options["reset"] = rng.random((9, batch)) < 0.2
    found = []
    for kernels, threads in (("numpy", 1), ("numpy", 3), ("compiled", 1), ("compiled", 3)):
        tgs.config.kernels, tgs.config.threads = kernels, threads
        found.append(results(layer, x, **options))
        for first, again in zip(found[-1], results(layer, x, **options), strict=True):
            np.testing.assert_array_equal(first, again)
    for other in found[1:]:
        for first, again in zip(found[0], other, strict=True):
            np.testing.assert_allclose(first, again, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernels", ["numpy", "compiled"])
def test_single_precision_is_close_and_nan_stays_nan(kind, kernels):
    rng = np.random.default_rng(0)
    layer = make_layer(kind, 4, 20, 1, rng)
    x = 3 * rng.standard_normal((10, 9, 4))
    exact = results(layer, x)
    tgs.config.kernels = kernels
    single = make_layer(kind, 4, 20, 1, np.random.default_rng(0), dtype=np.float32)
    single.load_state_dict({k: v.astype(np.float32) for k, v in layer.state_dict().items()})
    for wide, narrow in zip(exact, results(single, x.astype(np.float32)), strict=True):
        np.testing.assert_allclose(wide, narrow, rtol=2e-4, atol=2e-5)
    x = x.astype(np.float32)
    x[2, 4, 1] = np.nan
    y, dx = (results(single, x)[k] for k in (0, -1 - len(list(single.parameters()))))
    assert np.isnan(y[2:, 4]).all()
    assert not np.isnan(y[:, :4]).any() and not np.isnan(y[:2]).any()
    assert np.isnan(dx[:, 4]).any()
    assert not np.isnan(dx[:, :4]).any()


@pytest.mark.parametrize("kernels", ["numpy", "compiled"])
def test_nan_goes_where_it_goes_step_by_step(kernels):
    tgs.config.kernels = kernels
    for kind in KINDS:
        for name in ("weight_xh_l0", "weight_hh_l0", "bias_l0"):
            layer = make_layer(kind, 3, 4, 1, np.random.default_rng(0))
            getattr(layer, name).writable().flat[1] = np.nan
            x = np.random.default_rng(1).standard_normal((9, 2, 3))
            found = results(layer, x)
            with tgs.composed():
                wanted = results(layer, x)
            for one, other in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(np.isnan(one), np.isnan(other))


def test_compiled_tanh_is_one_at_infinity():
    from tinygrad_seq.kernels.compiled.parts import compiled, tanh

    @compiled
    def squashed(x):
        for j in range(x.size):
            x[j] = tanh(x[j])
        return x

    ends = np.array([np.inf, -np.inf, 8, -8, 0, np.nan], np.float32)
    assert squashed(ends)[:5].tolist() == [1, -1, 1, -1, 0]
    x = np.linspace(-10, 10, 10_001, dtype=np.float32)
    np.testing.assert_allclose(squashed(x.copy()), np.tanh(x.astype(float)), rtol=4e-7)


def test_arrays_that_are_read_only_or_strided_compile_nothing_anew():
    from tinygrad_seq.kernels.compiled.gru import after_back, after_steps

    tgs.config.kernels = "compiled"
    layer = nn.GRU(3, 4, rng=np.random.default_rng(0))
    x, dy = np.ones((9, 2, 3), np.float32), np.ones((9, 2, 4), np.float32)
    layer(x)[0].backward(dy)
    before = len(after_steps.signatures), len(after_back.signatures)
    dy.flags.writeable = False
    layer(x)[0].backward(dy)
    layer.bias_hn_l0.data = np.zeros(8, np.float32)[::2]
    layer(x)[0].backward(dy)
    assert (len(after_steps.signatures), len(after_back.signatures)) == before


def test_a_planted_mistake_in_a_compiled_kernel_is_seen(monkeypatch):
    from tinygrad_seq.kernels.compiled import table
    from tinygrad_seq.kernels.lstm import KERNEL

    right = table.COMPILED[KERNEL]

    def wrong(dz, *rest, at):
        right.backward(dz, *rest, at=at)
        dz[1] *= 1.001

    rng = np.random.default_rng(0)
    layer, x = make_layer("lstm", 3, 4, 1, rng), rng.standard_normal((9, 2, 3))
    tgs.config.kernels = "numpy"
    wanted = results(layer, x)
    tgs.config.kernels = "compiled"
    monkeypatch.setitem(table.COMPILED, KERNEL, right._replace(backward=wrong))
    found = results(layer, x)
    assert any(abs(a - b).max() > 1e-5 for a, b in zip(wanted, found, strict=True))


def test_the_first_compilation_is_announced_and_no_other(tmp_path):
    code = (
        "import numpy as np; from tinygrad_seq import nn\n"
        "from tinygrad_seq.kernels.compiled import table; table._PATIENCE = {}\n"
        "nn.RNN(3, 4)(np.zeros((9, 1, 3), np.float32))[0].sum().backward()"
    )
    settings = {"NUMBA_CACHE_DIR": str(tmp_path), KERNELS: "compiled"}
    said = [
        run_program(code.format(patience), **settings).stderr.splitlines()
        for patience in (0.1, 20)  # what was kept on disk does not take so long
    ]
    assert list(tmp_path.rglob("*.nbc"))
    assert len(said[0]) <= 2 and all("Numba compiles rnn_" in line for line in said[0])
    assert said[0] and not said[1]


def test_loops_are_compiled_where_they_cannot_be_kept():
    from tinygrad_seq.kernels.compiled.parts import compiled

    def twice(x):
        return 2 * x

    nowhere = twice.__code__.replace(co_filename="<no file, beside which to keep it>")
    twice = compiled(types.FunctionType(nowhere, {}))
    assert twice(2) == 4
    assert twice.stats.cache_path is None
