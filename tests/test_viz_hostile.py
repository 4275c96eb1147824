"""Hostile options of drawings and gradient flow: a result, or an error of the project."""

from __future__ import annotations

import json
import math
import os
import re
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.viz_models import Model, composed_loss
from tinygrad_seq import celltext, charlm, data, flow, nn, viz
from tinygrad_seq.errors import ConfigError, RenderError, TinygradSeqError

TEXT = 'say "hello" we'


def itself() -> list:
    made: list = []
    made.append(made)
    return made


VALUES = {
    "None": lambda: None,
    "True": lambda: True,
    "0": lambda: 0,
    "-1": lambda: -1,
    "7": lambda: 7,
    "2**70": lambda: 2**70,
    "10**400": lambda: 10**400,
    "1.5": lambda: 1.5,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "1j": lambda: 1j,
    "''": str,
    "'x'": lambda: "x",
    "b'x'": lambda: b"x",
    "nul": lambda: "a\0b",
    "surrogate": lambda: "\ud800",
    "[]": list,
    "{}": dict,
    "{1, 2}": lambda: {1, 2},
    "ragged": lambda: [[1, 2], [3]],
    "mixed": lambda: [1, "a", None],
    "a list in itself": itself,
    "generator": lambda: (i for i in range(3)),
    "endless": count,
    "lambda": lambda: lambda *a, **k: None,
    "type": lambda: dict,
    "object": object,
    "module": lambda: nn.Linear(2, 3, rng=np.random.default_rng(0)),
    "constant": lambda: tgs.tensor([1.0, 2.0]),
    "leaf": lambda: tgs.tensor([1.0, 2.0], requires_grad=True),
    "recorded": lambda: tgs.tensor([1.0, 2.0], requires_grad=True) * 2,
    "0-d": lambda: np.array(3.0),
    "(0, 3)": lambda: np.zeros((0, 3)),
    "text array": lambda: np.array(["a"]),
    "objects": lambda: np.array([None, 1], object),
    "complex": lambda: np.zeros((2, 2), complex),
    "swapped": lambda: np.zeros((2, 2), ">f8"),
    "nan array": lambda: np.full((3, 2, 2), np.nan),
    "inf array": lambda: np.full((3, 2, 2), np.inf),
    "int64": lambda: np.int64(1),
    "path": lambda: Path("x"),
    "trace": viz.Trace,
    "drawing": lambda: viz.Drawing("digraph {}"),
}


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    """What is called: by name, a function of keywords and the keywords that work."""
    rnn = nn.RNN(3, 4, rng=np.random.default_rng(0))
    x = np.ones((3, 2, 3), np.float32)
    loss = rnn(x)[0].sum()

    def summed(*_):
        return rnn(x)[0].sum()

    drawing = viz.draw(loss)
    vocabulary = data.Vocabulary.from_text(TEXT)
    model = charlm.CharLM(len(vocabulary), 4, 1, rng=np.random.default_rng(0))
    seen = celltext.cell_text(model, TEXT, vocabulary, horizon=2)
    unit = seen.correlations("blank")[0]
    found = flow.gradient_flow(summed)
    folder = tmp_path_factory.mktemp("hostile")

    def into(save):
        def call(path, **options):
            back = Path.cwd()
            os.chdir(folder)
            try:
                save(path, **options)
            finally:
                os.chdir(back)

        return call

    drawn = {
        "results": loss,
        "view": "rolled",
        "level": "op",
        "depth": 1,
        "direction": "forward",
        "trace": None,
        "clip": None,
        "sample": 0,
        "head": None,
        "weights": None,
        "title": "",
        "inputs": None,
        "outputs": None,
        "rankdir": "TB",
        "width": 9.0,
        "font": "Courier",
        "theme": "dark",
        "legend": True,
        "max_items": 900,
        "timeout": 9.0,
    }
    weights = {"weights": np.full((2, 3, 2, 2), 0.5), "source": "ab", "target": ["c", "d"]}
    read = {"model": model, "text": TEXT, "vocabulary": vocabulary, "quantities": None}

    return {
        "draw": (viz.draw, drawn),
        "theme": (
            lambda **theme: viz.draw(loss, theme=theme),
            {"name": "dark", "ink": "#123456", "h": "#123456", "heat": ["#123456", "#654321"]},
        ),
        "label": (lambda it: viz.draw(loss, inputs=[it] * 3, outputs={"": "abc"}), {"it": "a"}),
        "several": (lambda one: viz.draw([loss, one]), {"one": loss}),
        "draw_model": (
            lambda model, x, **options: viz.draw_model(model, x, **options),
            {"model": rnn, "x": x, "keywords": {}, "loss": summed, "trace": None},
        ),
        "loss returns": (lambda it: viz.draw_model(rnn, x, loss=lambda _: it), {"it": summed()}),
        "model returns": (lambda it: viz.draw_model(lambda: it), {"it": loss}),
        "draw_alignment": (
            viz.draw_alignment,
            {**weights, "sample": 0, "head": None, "theme": "light"},
        ),
        "Drawing": (viz.Drawing, {"dot": "", "title": "", "timeout": 1, "theme": "dark"}),
        "data": (viz.Drawing, {"dot": "", "data": None, "smaller": ""}),
        "png": (drawing.png, {"dpi": 40}),
        "save": (into(drawing.save), {"path": "a.gv", "dpi": 40}),
        "cell_text": (
            celltext.cell_text,
            {**read, "properties": None, "horizon": 1, "target": "next", "title": ""},
        ),
        "property": (
            lambda it: celltext.cell_text(model, TEXT, vocabulary, properties={"p": it}, horizon=0),
            {"it": [0.0] * len(TEXT)},
        ),
        "correlations": (seen.correlations, {"name": "blank", "top": 2}),
        "address": (seen.address, {"name": "blank", "found": unit}),
        "page": (into(seen.save), {"path": "a.html"}),
        "recorded": (viz.Trace().recorded, {"node": loss.node, "value": np.ones(2)}),
        "collected": (viz.Trace().collected, {"leaf": loss.node, "gradient": np.ones(2)}),
        "gradient_flow": (flow.gradient_flow, {"run": summed}),
        "run returns": (lambda it: flow.gradient_flow(lambda: summed() * it), {"it": 1.0}),
        "layer": (lambda name: found[name], {"name": "l0"}),
        "spectra": (found["l0"].spectra, {"weight": None}),
        "contribution": (found["l0"].contribution, {"t": 0, "weight": None}),
        "contribution_norms": (found["l0"].contribution_norms, {"weight": None}),
        "lyapunov": (flow.lyapunov_exponents, {"jacobians": np.ones((3, 2, 2))}),
        "products": (flow.product_singular_values, {"jacobians": np.ones((3, 2, 2))}),
        "Spectrum": (flow.Spectrum.of, {"weight": np.eye(2)}),
    }


NAMES = [
    *(
        "draw",
        "theme",
        "label",
        "several",
        "draw_model",
        "loss returns",
        "model returns",
        "draw_alignment",
    ),
    *("Drawing", "data", "png", "save", "cell_text", "property", "correlations", "address"),
    *("page", "recorded", "collected", "gradient_flow", "run returns", "layer", "spectra"),
    *("contribution", "contribution_norms", "lyapunov", "products", "Spectrum"),
]
OF_OTHERS = {
    ("draw_model", "x"),  # what a layer is called with is a matter of the layer,
    ("run returns", "it"),  # and of operators; what a type says when it is called, of the type
}


def raw_errors(name, call, valid):
    """The calls, with one value exchanged in each, that end in an error not the project's."""
    found = []
    for option in valid:
        for said, value in VALUES.items():
            given = {**valid, option: value()}
            try:
                call(**given)
            except TinygradSeqError:
                pass
            except Exception as error:
                found.append(f"{name}({option}={said}): {type(error).__name__}: {error}")
    others = [f"{one}({option}=" for one, option in OF_OTHERS]
    return [
        line
        for line in found
        if "=type)" not in line and not any(line.startswith(other) for other in others)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_values_end_in_a_result_or_in_an_error_of_the_project(subjects, name):
    assert subjects.keys() == set(NAMES)
    call, valid = subjects[name]
    call(**valid)
    assert raw_errors(name, call, valid) == []


def test_the_check_finds_a_raw_error():
    assert len(raw_errors("planted", lambda x: x + 1, {"x": 1})) > 20


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        ("dpi", [-3, 0, 35, 2401, math.nan, math.inf, "144", None, True, 10**400]),
        ("timeout", [0, -1, math.nan, math.inf, 1e9, "5", None]),
        ("max_items", [0, -5, 1.5, math.nan, "9", None, True]),
        ("depth", [-1, 0.5, "1", True, math.nan]),
        ("sample", [0.0, "0", None, True]),
        ("head", [0.0, "0", True]),
        ("trace", [0, {}, "trace", viz.Trace]),
        ("clip", [0, "clip", (1.0, 2.0)]),
        ("theme", ["pink", None, 0, ["light"]]),
        ("view", ["Rolled", None, 0, ["rolled"]]),
    ],
)
def test_options_out_of_range_are_refused_by_name(option, bad, tmp_path):
    loss, _ = composed_loss(Model(), 2)
    save = viz.draw(loss).save
    for value in bad:
        with pytest.raises(ConfigError, match=f"{option}(.|\n)*expected: "):
            save(tmp_path / "a.svg", dpi=value) if option == "dpi" else viz.draw(
                loss, **{option: value}
            )
    assert list(tmp_path.iterdir()) == []


# -- files ----------------------------------------------------------------------------------------


@pytest.fixture
def drawing():
    return composed_loss(Model(), 2)[0].draw(view="rolled")


def test_a_file_survives_a_save_that_fails(drawing, tmp_path, monkeypatch):
    kept = tmp_path / "a.svg"
    kept.write_text("precious")
    source = tmp_path / "a.gv"
    source.write_text("this too")
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RenderError, match="no renderer"):
        drawing.save(kept)
    assert (kept.read_text(), source.read_text()) == ("precious", "this too")

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:9])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigError, match=r"cannot be written(.|\n)*No space left"):
        drawing.save(source)
    assert source.read_text() == "this too"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gv", "a.svg"]


def test_saving_keeps_links_and_permissions(drawing, tmp_path):
    target, link = tmp_path / "target.gv", tmp_path / "link.gv"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    assert drawing.save(link) == link
    assert link.is_symlink() and target.read_text("utf-8") == drawing.dot
    assert target.stat().st_mode & 0o777 == 0o640
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "a", "a.jpeg", ".gv", b"a.gv", None, 3, "no/such/folder.gv", "a\0b.gv"),
        *("\ud800.gv", "y" * 300 + ".gv", "folder.gv", "folder.gv/"),
    ],
)
def test_places_that_are_no_files_are_refused(drawing, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.gv").mkdir()
    with pytest.raises(ConfigError, match=r"Drawing\.save"):
        drawing.save(path)
    assert [found.name for found in tmp_path.rglob("*")] == ["folder.gv"]


def test_text_and_path_objects_name_files(drawing, tmp_path):
    for path in (str(tmp_path / "a.GV"), tmp_path / "b.gv"):
        assert drawing.save(path) == Path(path)
        assert Path(path).read_text("utf-8") == drawing.dot


# -- what was traced, or freed --------------------------------------------------------------------


@pytest.mark.parametrize("norm", [math.nan, math.inf, 0.0, 1e-320, 1e-200, 1e300])
@pytest.mark.parametrize("other", [math.nan, math.inf, 0.0, 1e-200, 1.0, 1e300])
def test_any_norm_can_be_drawn(norm, other):
    trace = viz.Trace()
    loss, _ = composed_loss(Model("LSTM", 1), 3, trace=trace)
    for index, seq in enumerate(trace.gradients):
        size = norm if index % 2 else other
        trace.gradients[seq] = trace.values[seq] = size
    trace.contributions = dict.fromkeys(trace.contributions, norm)
    for level in ("module", "cell", "op"):
        drawing = viz.draw(loss, trace=trace, level=level)
        assert "#" in drawing.dot
        assert json.loads(json.dumps(drawing._data, allow_nan=False))


def test_steps_may_have_any_number():
    trace, w = viz.Trace(), tgs.tensor(1.0, requires_grad=True)
    h = w
    with tgs.observe(trace):
        for step in (-(10**12), 0, 3, 10**15):
            with tgs.scope(path="own", layer=0, step=step):
                h = tgs.tanh(h * w).tag("h")
    for view in ("unrolled", "elided", "rolled"):
        assert viz.draw(h, view=view, trace=trace).title.endswith(
            "1,001,000,000,000,001 time steps"
        )


class Clip:
    """What a clipping of gradients that ran away reports."""

    norm, factor = math.nan, 1.0


def test_a_clipping_of_what_is_not_finite_is_drawn():
    loss, _ = composed_loss(Model(), 2)
    assert "|g| = nan" in viz.draw(loss, clip=Clip()).dot


def test_flow_of_a_model_that_ran_away_is_told():
    rnn = nn.RNN(3, 4, rng=np.random.default_rng(0))
    rnn.weight_hh_l0.writable()[:] = np.nan
    with np.errstate(all="ignore"):
        found = flow.gradient_flow(lambda: rnn(np.ones((4, 2, 3), np.float32))[0].sum())
    assert re.match("loss nan", str(found))
    assert found["l0"].spectra() == {}
    with pytest.raises(TinygradSeqError, match="finite"):
        found["l0"].lyapunov()
