"""Drawings one can adapt: title, labels, direction, width, font, colours, key."""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.cells import ThreeStateCell
from tests.drawn import Box, boxes, crossed
from tests.viz_models import Model, composed_loss, tokens
from tinygrad_seq import nn, viz
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.viz.picture.shapes import Line, corners_of, rounded
from tinygrad_seq.viz.picture.style import THEMES


@pytest.fixture(scope="module")
def run() -> tuple[tgs.Tensor, viz.Trace]:
    trace = viz.Trace()
    return composed_loss(Model("LSTM", 2), 5, trace=trace)[0], trace


@pytest.fixture
def loss(run) -> tgs.Tensor:
    return run[0]


@pytest.fixture
def trace(run) -> viz.Trace:
    return run[1]


def timeless() -> tgs.Tensor:
    w = tgs.tensor([2.0, 3.0], requires_grad=True)
    return tgs.tanh(w * w).sum()


def at(drawing: viz.Drawing) -> dict[str, Box]:
    return {box.name: box for box in boxes(drawing)}


def labels(drawing: viz.Drawing, of: str) -> dict[str, str]:
    """Texts of the labels of inputs (x) or outputs (y), by time axis and step."""
    found = re.findall(rf'^\s*"label:{of}(\d+@\d+)" \[.*? label="([^"]*)"', drawing.dot, re.M)
    return dict(found)


# -- title ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ["loss", "timeless"])
@pytest.mark.parametrize("rankdir", ["LR", "TB"])
def test_a_title_is_written_over_the_picture_and_names_file_and_page(request, make, rankdir):
    graph = request.getfixturevalue("loss") if make == "loss" else timeless()
    drawing = viz.draw(graph, title='x < "y" & z\\n', rankdir=rankdir)
    assert drawing.title == 'x < "y" & z\\n'
    svg = ET.fromstring(drawing.svg())
    name = "{http://www.w3.org/2000/svg}"
    heights = [(float(text.get("y")), "".join(text.itertext())) for text in svg.iter(f"{name}text")]
    assert min(heights)[1] == drawing.title
    assert drawing.title in {"".join(title.itertext()) for title in svg.iter(f"{name}title")}
    assert "<title>x &lt; &quot;y&quot; &amp; z\\n</title>" in drawing.html()


def test_without_a_title_nothing_is_written(loss):
    assert viz.draw(loss, title=None).dot == viz.draw(loss, title="").dot == viz.draw(loss).dot


# -- labels ---------------------------------------------------------------------------------------


def test_labels_stand_under_inputs_and_over_outputs(loss):
    drawing = viz.draw(loss, inputs="hello", outputs=["a", "longer label", 3, None, 2.5])
    assert list(labels(drawing, "x").values()) == list("hello")
    assert list(labels(drawing, "y").values()) == ["a", "longer label", "3", "None", "2.5"]
    found = at(drawing)
    for t in range(5):
        x, y = found[f"x:rnn[0]@{t}"], found[f"head@{t}"]
        below, above = found[f"label:x0@{t}"], found[f"label:y0@{t}"]
        assert below.x == x.x and below.y < x.y - 10
        assert above.y > y.y + y.height / 2 and above.x - above.width / 2 > y.x
    assert crossed(drawing) == set() and not overlaps(drawing)
    assert "label:" not in viz.draw(loss).dot


@pytest.mark.parametrize("level", ["module", "cell", "op"])
@pytest.mark.parametrize("what", ["inputs", "outputs"])
def test_a_wrong_number_of_labels_is_refused_by_the_number_of_steps(loss, what, level):
    for given in ("four", "sixsix", []):
        if given:
            with pytest.raises(ConfigError, match=rf"draw: {what}\n.*5 labels, one for each time"):
                viz.draw(loss, **{what: given}, level=level, view="elided")
    assert viz.draw(loss, **{what: []}).dot == viz.draw(loss).dot


def test_an_elided_view_labels_the_steps_that_it_shows(loss):
    drawing = viz.draw(loss, view="elided", inputs="hello", outputs="world", level="cell")
    assert labels(drawing, "x") == {"0@0": "h", "0@1": "e", "0@4": "o"}
    assert labels(drawing, "y") == {"0@0": "w", "0@1": "o", "0@4": "d"}


def test_a_rolled_view_has_no_labels(loss):
    plain = viz.draw(loss, view="rolled").dot
    assert viz.draw(loss, view="rolled", inputs="hello", outputs="any").dot == plain


def test_windows_and_steps_counted_by_twos_are_labelled_by_their_own_steps():
    w = tgs.tensor(1.0, requires_grad=True)
    h = w * 0.0
    for t in (3, 5, 7, 9, 11, 13):
        with tgs.scope(path="rnn", step=t):
            h = tgs.tanh(h + w).tag("h")
    for view in ("unrolled", "elided"):
        told = labels(viz.draw(h, view=view, inputs="abcdef"), "x")
        assert told["0@3"] == "a" and told["0@5"] == "b" and told["0@13"] == "f"
    with pytest.raises(ConfigError, match="6 labels"):
        viz.draw(h, inputs="ab", view="elided")


@pytest.mark.parametrize(("given", "shown"), [(" ", "␣"), ("\n", "↵"), ("\t", "⇥"), ("", "∅")])
def test_what_nobody_would_see_has_a_sign(loss, given, shown):
    assert labels(viz.draw(loss, inputs=[given] * 5), "x")["0@0"] == shown


def test_inputs_without_a_shape_are_labelled_below_everything():
    rng = np.random.default_rng(0)
    y, _ = nn.LSTM(4, 3, rng=rng)(nn.Embedding(5, 4, rng=rng)(tokens(4)))
    drawing = viz.draw(y.sum(), inputs="abcd")
    found = at(drawing)
    low = min(box.y - box.height / 2 for box in found.values() if box.width > 200)
    assert all(found[f"label:x0@{t}"].y < low for t in range(4))
    assert crossed(drawing) == set() and not overlaps(drawing)


def translator(kind="GRU", layers=1, attend="after"):
    rng, layer = np.random.default_rng(0), getattr(nn, kind)
    attention = nn.AdditiveAttention(4, 4, 3, rng=rng)
    read = 10 if attend == "before" or attend == "feeding" else 6
    decoder = layer(read, 4, layers, rng=rng)
    decoder = nn.Decoder(decoder, 6, attention, 4, attend=attend, rng=rng)
    return nn.Seq2Seq(layer(5, 4, layers, rng=rng), decoder, rng=rng)


def translated(model=None, **options):
    source, target = tokens(3) % 5, tokens(4) % 5
    return viz.draw_model(model or translator(), source, target, **options)


def test_labels_of_several_time_axes_go_by_their_names():
    drawing = translated(inputs={"encoder": "abc", "decoder": "defg"}, outputs="hijk")
    assert list(labels(drawing, "x").values()) == list("abcdefg")
    assert labels(drawing, "y") == {f"1@{t}": "hijk"[t] for t in range(4)}
    assert labels(translated(inputs="abc"), "x") == {f"0@{t}": "abc"[t] for t in range(3)}
    with pytest.raises(ConfigError, match=r"4 labels, one for each time step of 'decoder'"):
        translated(outputs="abc")
    with pytest.raises(ConfigError, match=r"no time axis(.|\n)*'encoder' or 'decoder'(.|\n)*'dec'"):
        translated(inputs={"dec": "abcd"})


def test_without_time_there_is_nothing_to_label():
    with pytest.raises(ConfigError, match=r"inputs and outputs(.|\n)*no(thing|ne).*time step"):
        viz.draw(timeless(), inputs="a")


def test_labels_are_several():
    for given in (3, np.array(3), tgs.tensor(2.0)):
        with pytest.raises(ConfigError, match="a string, or a sequence with a label per time step"):
            viz.draw(timeless(), inputs=given)


# -- direction ------------------------------------------------------------------------------------


def overlaps(drawing: viz.Drawing) -> list[tuple[str, str]]:
    """Shapes that lie on one another, stripes on their own box apart."""
    return [
        (a.name, b.name)
        for a, b in combinations(boxes(drawing), 2)
        if abs(a.x - b.x) < (a.width + b.width) / 2 - 1
        and abs(a.y - b.y) < (a.height + b.height) / 2 - 1
        and a.name.partition("#")[0] != b.name.partition("#")[0]
    ]


def shapes_and_wires(drawing: viz.Drawing) -> tuple[list[str], list[str]]:
    lines = [line.strip() for line in drawing.dot.splitlines()]
    wires = [line.partition(" [")[0] for line in lines if " -> " in line]
    return sorted(box.name for box in boxes(drawing)), wires


CASES = [
    *((view, level, "forward") for view in ("unrolled", "elided") for level in ("module", "cell")),
    *(("rolled", level, "forward") for level in ("module", "cell")),
    *((view, level, "both") for view in ("unrolled", "elided") for level in ("module", "cell")),
    ("elided", "op", "forward"),
]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize(("view", "level", "direction"), CASES)
def test_time_down_the_page_shows_the_same_with_nothing_on_anything_else(
    kind, view, level, direction
):
    trace = viz.Trace()
    graph = composed_loss(Model(kind, 2), 5, trace=trace)[0]
    options = {"view": view, "level": level, "direction": direction, "trace": trace}
    options |= {"inputs": ["a", "bc", "def", "gh", "longer than all"], "outputs": "lmnop"}
    across, down = (viz.draw(graph, rankdir=rankdir, **options) for rankdir in ("LR", "TB"))
    assert shapes_and_wires(across) == shapes_and_wires(down)
    assert set(overlaps(down)) <= set(overlaps(across))
    assert {end[:2] for end in crossed(down)} <= {end[:2] for end in crossed(across)}


def test_time_runs_down_the_page(loss, trace):
    drawing = viz.draw(loss, rankdir="TB", trace=trace)
    frames = re.findall(
        r'graph \[bb="([-\d.,]+)", lp="([-\d.,]+)",\n.*label="t = (\d)"', drawing.dot
    )
    rows = [tuple(map(float, box.split(","))) for box, _, _ in frames]
    assert [step for *_, step in frames] == list("01234")
    for (_, bottom, _, _), (left, low, right, top) in pairwise(rows):
        assert top < bottom and low < top and right > left
    found = at(drawing)
    for t in range(5):
        lower, upper = found[f"rnn[0]@{t}"], found[f"rnn[1]@{t}"]
        assert lower.x < upper.x and lower.y == upper.y
        stripe = found[f"rnn[0]@{t}#c"]
        assert abs(stripe.x - lower.x) < 1 and stripe.width > 70 > stripe.height


@pytest.mark.parametrize("attend", ["after", "feeding", "before"])
@pytest.mark.parametrize("level", ["module", "cell"])
@pytest.mark.parametrize("rankdir", ["LR", "TB"])
def test_attention_and_two_time_axes_in_either_direction(rankdir, level, attend):
    model = translator("LSTM", 2, attend)
    drawing = translated(model, rankdir=rankdir, level=level, inputs="abc", outputs="defg")
    assert crossed(drawing) == set() and not overlaps(drawing)
    assert "edge-attention" in drawing.dot


def test_lines_are_rounded_anew_at_the_same_corners():
    corners = [(0.0, 0.0), (0.0, 30.0), (5.0, 30.0), (5.0, 31.0), (60.0, 31.0)]
    for several in (corners, corners[:2], corners[1:]):
        found = corners_of(rounded(several, 0.7), several[-1])
        np.testing.assert_allclose(found, several, atol=1e-9)


@pytest.mark.parametrize("level", ["module", "cell"])
def test_text_fits_into_boxes_down_the_page(loss, level):
    drawing = viz.draw(loss, rankdir="TB", level=level)
    pattern = r"width=([\d.]+), height=[\d.]+, label=\"([^\"]+)\", fontsize=([\d.]+).*shape=box"
    found = re.findall(pattern, drawing.dot)
    for width, text, size in found:
        assert Line(text, float(size)).width <= 72 * float(width) + 1
    assert found


def test_without_time_results_stand_on_the_right():
    assert "rankdir=LR" in viz.draw(timeless(), rankdir="TB").dot
    assert "rankdir=BT" in viz.draw(timeless()).dot


def test_other_directions_are_refused(loss):
    with pytest.raises(ConfigError, match=r"draw: rankdir is unknown(.|\n)*'LR' or 'TB'"):
        viz.draw(loss, rankdir="BT")


# -- width ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ["loss", "timeless"])
@pytest.mark.parametrize("width", [4, 13.3])
def test_a_width_in_inches_holds_in_every_format(request, make, width):
    graph = request.getfixturevalue("loss") if make == "loss" else timeless()
    plain, drawing = viz.draw(graph), viz.draw(graph, width=width)

    def size(svg):
        return [
            float(side) for side in re.search(r'width="([\d.]+)pt" height="([\d.]+)', svg).groups()
        ]

    (wide, high), before = size(drawing.svg()), size(plain.svg())
    assert wide == pytest.approx(72 * width, abs=1)
    assert wide / high == pytest.approx(before[0] / before[1], rel=0.02)
    for dpi in (72, 150):
        pixels = struct.unpack(">II", drawing.png(dpi)[16:24])
        assert pixels == pytest.approx((width * dpi, high * dpi / 72), abs=3)
    page = re.search(rb"/MediaBox ?\[ ?0 0 ([\d.]+) ([\d.]+) ?\]", drawing.pdf())
    assert float(page[1]) == pytest.approx(wide, abs=2)
    assert f'viewBox="0.00 0.00 {wide:.0f}.' in drawing.html()


# -- font -----------------------------------------------------------------------------------------


def test_a_font_of_ones_own_comes_before_those_that_take_its_place(loss):
    for graph in (loss, timeless()):
        text = viz.draw(graph, font="Courier New", title="t").dot
        assert 'fontname="Courier New,Helvetica,' in text
        assert 'fontname="Helvetica' not in text
    assert 'font-family="Courier New,' in viz.draw(loss, font="Courier New").svg()


def test_letters_of_a_typewriter_fit():
    """They are 0.6 of their size wide, all of them."""
    assert Line("any text", 10).width >= 0.6 * 10 * len("any text")
    assert Line("猫が", 10).width >= 2 * 10 and Line("∂L/∂h … 0", 10).width == 10 * 0.6 * 9


@pytest.mark.parametrize("font", ["", 'a"b', "a;b", "x\\"])
def test_what_is_no_family_is_refused(loss, font):
    with pytest.raises(ConfigError, match="draw: font"):
        viz.draw(loss, font=font)


def test_the_key_has_room_for_a_typewriters_letters(loss, trace):
    drawing = viz.draw(loss, trace=trace, font="Courier New")
    key = [box for box in boxes(drawing) if box.name.startswith("key:")]
    assert key[0].width == pytest.approx(Line("gradient norm, log scale:", 10).width, abs=0.5)


# -- colours --------------------------------------------------------------------------------------


def test_colours_of_ones_own_by_what_they_mean(loss, trace):
    own = {"weight": "#010203", "gate_fill": "#040506", "c": "#070809", "h_fill": "#0a0b0c"}
    text = viz.draw(loss, level="cell", theme=own).dot
    for color in own.values():
        assert color in text
    light = THEMES["light"]
    assert light.gate_fill not in text and f'color="{light.c}"' not in text
    assert light.h in text and light.background in text
    dark = viz.draw(loss, theme={"name": "dark", "ink": "#fefefe"})
    assert THEMES["dark"].background in dark.dot and "#fefefe" in dark.dot
    assert "color-scheme: dark" in dark.html()
    heat = viz.draw(loss, trace=trace, theme={"heat": ["#000000", "#ff0000"]}).dot
    assert 'fillcolor="#ff0000"' in heat and "#000000" in heat


def test_states_are_coloured_by_name():
    rng = np.random.default_rng(0)
    layer = nn.Recurrent(lambda size: ThreeStateCell(size, 3, rng=rng), 4)
    x = np.ones((3, 1, 4), np.float32)
    text = viz.draw_model(layer, x, theme={"slow": "#010203", "count": "#040506"}).dot
    assert "#010203" in text and "#040506" in text
    assert THEMES["light"].c not in text and THEMES["light"].h in text
    with pytest.raises(ConfigError, match=r"'slower'(.|\n)*fast_fill"):
        viz.draw_model(layer, x, theme={"slower": "#010203"})


@pytest.mark.parametrize(
    ("theme", "said"),
    [
        ({"wieght": "#000000"}, r"'wieght' is no meaning of a colour\n.*'name', .*weight"),
        ({"weight": "red"}, r"'weight'\n.*a colour as '#rrggbb'\n.*'red'"),
        ({"weight": '#000000"'}, "a colour as"),
        ({"heat": "#000000"}, "two colours or more"),
        ({"heat": ["#000000", "x"]}, r"'heat'\[1\]"),
        ({"name": "pink"}, r"'name' is unknown\n.*'light' or 'dark'"),
        ("pink", r"'light' or 'dark'(.|\n)*or a mapping"),
    ],
)
def test_unknown_colours_and_meanings_are_refused(loss, theme, said):
    with pytest.raises(ConfigError, match=said):
        viz.draw(loss, theme=theme)


def test_an_alignment_takes_colours_too():
    drawing = viz.draw_alignment([[0.0, 1.0]], theme={"alignment": ["#111111", "#eeeeee"]})
    assert 'fillcolor="#111111"' in drawing.dot and 'fillcolor="#eeeeee"' in drawing.dot
    with pytest.raises(ConfigError, match="draw_alignment: theme: 'h2'"):
        viz.draw_alignment([[0.0, 1.0]], theme={"h2": "#111111"})


# -- key ------------------------------------------------------------------------------------------


def test_the_key_can_be_left_out(loss, trace):
    with_key, without = (viz.draw(loss, trace=trace, legend=legend).dot for legend in (True, False))
    assert '"key:0"' in with_key and '"key:' not in without
    with pytest.raises(ConfigError, match="draw: legend is not a switch"):
        viz.draw(loss, legend="no")


def test_every_option_goes_through_a_model_and_a_tensor(loss):
    options = {"title": "t", "inputs": "abc", "rankdir": "TB", "width": 5.0, "legend": False}
    model, x = Model("RNN"), tokens(3)
    drawing = viz.draw_model(model, x, outputs="abc", **options)
    assert drawing.title == "t" and len(labels(drawing, "x")) == len(labels(drawing, "y")) == 3
    assert loss.draw(**{**options, "inputs": "abcde"}).title == "t"
