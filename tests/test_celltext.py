"""What cell_text records: true gates, true correlations, true gradients of the prediction."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.cells import CELLS
from tests.viz_models import Model
from tinygrad_seq import data, nn
from tinygrad_seq.celltext import cell_text, page
from tinygrad_seq.celltext import read as reading
from tinygrad_seq.celltext.read import connectivity, read
from tinygrad_seq.errors import ConfigError, DataError, GraphError, NonFiniteError, ShapeError

TEXT = 'a "b(c[d])" Ab\n  12\n\n"e) f'
VOCABULARY = data.Vocabulary.from_text(TEXT)
V = len(VOCABULARY)
IDS = VOCABULARY.encode(TEXT)
LSTM_ROLES = set("hcifog") | {"tanh_c"}


class Embedded(nn.Module):
    """A model that looks its tokens up in a table."""

    def __init__(self, steps_apart=False):
        super().__init__()
        rng = np.random.default_rng(3)
        self.table = nn.Embedding(V, 4, rng=rng)
        self.rnn = nn.GRU(4, 5, num_layers=2, rng=rng)
        self.head = nn.Linear(5, V, rng=rng)
        self.steps_apart = steps_apart

    def forward(self, tokens, state=None):
        rows = self.table(tokens)
        if self.steps_apart:
            rows = tgs.stack([self.table(row) for row in tokens])
        y, state = self.rnn(rows, state)
        return self.head(y), state


def model(kind="LSTM", layers=2, hidden=4):
    made = Model(kind, layers, V, hidden).astype(np.float64)
    rng = np.random.default_rng(5)
    for parameter in made.parameters():  # biases too, and weights large enough to matter
        parameter.data = rng.normal(size=parameter.shape)
    return made


# -- the gates ------------------------------------------------------------------------------------


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm_by_hand(made):
    """Every gate of every layer, from the notes' equations."""
    found, below = {}, np.eye(V)[IDS]
    for layer in range(2):
        w_xh, w_hh, b = (w.numpy() for w in made.rnn.layer_weights(layer))
        h, c, rows = np.zeros(4), np.zeros(4), []
        for x in below:
            i, f, o, g = np.split(x @ w_xh + h @ w_hh + b, 4)
            i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
            c = f * c + i * g
            h = o * np.tanh(c)
            rows.append({"h": h, "c": c, "tanh_c": np.tanh(c), "i": i, "f": f, "o": o, "g": g})
        for role in LSTM_ROLES:
            found[f"rnn.l{layer}", role] = np.array([row[role] for row in rows])
        below = found[f"rnn.l{layer}", "h"]
    return found


def test_lstm_gates_are_those_of_the_equations():
    made = model()
    found = read(made, IDS, LSTM_ROLES)
    expected = lstm_by_hand(made)
    assert found.values.keys() == expected.keys()
    assert found.gates == {key for key in expected if key[1] in "ifo"}
    for key, values in expected.items():
        np.testing.assert_allclose(found.values[key], values, rtol=0, atol=1e-12)
    logits = expected["rnn.l1", "h"] @ made.head.weight.numpy() + made.head.bias.numpy()
    np.testing.assert_allclose(found.logits, logits, atol=1e-12)
    np.testing.assert_allclose(found.states[-1].c[1, 0], expected["rnn.l1", "c"][-1], atol=1e-12)


@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_gates_are_those_of_the_equations(reset_after):
    rng = np.random.default_rng(1)

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(V, 4, 2, reset_after=reset_after, rng=rng, dtype=np.float64)
            self.head = nn.Linear(4, V, rng=rng, dtype=np.float64)

        def forward(self, tokens, state=None):
            y, state = self.rnn(tokens, state)
            return self.head(y), state

    made = Gated()
    for parameter in made.parameters():
        parameter.data = rng.normal(size=parameter.shape)
    found = read(made, IDS).values
    assert {role for _, role in found} == {"h", "r", "z", "n"}
    below = np.eye(V)[IDS]
    for layer in range(2):
        w_xh, w_hh, b = (w.numpy() for w in made.rnn.layer_weights(layer))
        inner = getattr(made.rnn, f"bias_hn_l{layer}").numpy() if reset_after else np.zeros(4)
        h = np.zeros(4)
        for t, x in enumerate(below):
            zx, zh = x @ w_xh + b, h @ w_hh
            r, u = sigmoid(zx[:4] + zh[:4]), sigmoid(zx[4:8] + zh[4:8])
            recurrent = r * (zh[8:] + inner) if reset_after else (r * h) @ w_hh[:, 8:]
            n = np.tanh(zx[8:] + recurrent)
            h = (1 - u) * n + u * h
            for role, value in {"h": h, "r": r, "z": u, "n": n}.items():
                np.testing.assert_allclose(found[f"rnn.l{layer}", role][t], value, atol=1e-12)
        below = found[f"rnn.l{layer}", "h"]


def test_rnn_has_its_state_and_a_loop_of_ones_own_is_read_by_its_tags():
    assert {role for _, role in read(model("RNN"), IDS, LSTM_ROLES).values} == {"h"}

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            rng = np.random.default_rng(0)
            self.cells = nn.ModuleList([nn.LSTMCell(V, V, rng=rng), nn.LSTMCell(V, V, rng=rng)])

        def forward(self, tokens, state=None):
            states = [None, None] if state is None else list(state)
            out = []
            for row in tokens:
                y = row
                for k, cell in enumerate(self.cells):
                    states[k] = cell(y, states[k])
                    y = states[k][0]
                out.append(y)
            return tgs.stack(out), states

    found = cell_text(Loop(), TEXT, VOCABULARY, horizon=3)
    assert len({layer for layer, _ in found.values}) == 2
    assert {role for _, role in found.values} == LSTM_ROLES - {"c"}
    assert found.connectivity.shape == (len(TEXT), 3)


@pytest.mark.parametrize(
    ("cell", "roles", "gates"),
    [
        ("MGUCell", "h f n", "f"),
        ("PeepholeCell", "h c", ""),
        ("IRNNCell", "h", ""),
        ("ThreeStateCell", "fast slow count", ""),
        ("LSTMCell", "h tanh_c i f o g", "ifo"),
        ("GRUCell", "h r z n", "rz"),
    ],
)
def test_states_and_gates_of_any_cell_are_shown(cell, roles, gates):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            rng = np.random.default_rng(0)
            self.rnn = nn.Recurrent(lambda size: CELLS[cell](size, 4, rng=rng), V, 2)
            self.head = nn.Linear(self.rnn.cell_at(0).output_size, V, rng=rng)

        def forward(self, tokens, state=None):
            y, state = self.rnn(tokens, state)
            return self.head(y), state

    made = Own()
    seen = cell_text(made, TEXT, VOCABULARY, horizon=3)
    assert list(seen.values) == [(f"rnn.l{k}", role) for k in range(2) for role in roles.split()]
    assert seen.gates == {(f"rnn.l{k}", role) for k in range(2) for role in gates}
    _, state = made(IDS[:, None])
    for part, role in zip(state, made.rnn.cell_at(0).states, strict=True):
        if ("rnn.l0", role) in seen.values:  # c is not, where tanh(c) stands for it
            last = seen.values["rnn.l0", role][-1]
            np.testing.assert_allclose(last, part.numpy()[0, 0], atol=1e-6)
    assert seen.html()


def test_what_else_was_tagged_can_be_asked_for():
    assert {role for _, role in read(model("GRU"), IDS, ["kept", "h"]).values} == {"kept", "h"}


def test_reading_leaves_the_model_alone():
    made = nn.Sequential([nn.Dropout(0.5, rng=np.random.default_rng(0))])
    made.append(model())
    made.forward = lambda tokens, state=None: made[1](tokens, state)
    before = {name: rng.bit_generator.state for name, rng in made.generators().items()}
    weights = {name: p.numpy() for name, p in made.named_parameters()}
    cell_text(made, TEXT, VOCABULARY)
    assert made.training and made[0].training
    assert {name: rng.bit_generator.state for name, rng in made.generators().items()} == before
    for name, parameter in made.named_parameters():
        assert parameter.grad is None
        np.testing.assert_array_equal(parameter.numpy(), weights[name])


# -- connectivity ---------------------------------------------------------------------------------


def norms_by_differences(log_p, rows, step=1e-6):
    """Norm of d log_p / d row for every row (T, V), by central differences, all in one batch."""
    steps, symbols = rows.shape
    nudges = step * np.eye(rows.size).reshape(rows.size, steps, symbols)
    moved = np.concatenate([rows + nudges, rows - nudges]).swapaxes(0, 1)  # (T, N, V)
    up, down = np.split(log_p(moved), 2)
    return np.linalg.norm(((up - down) / (2 * step)).reshape(steps, symbols), axis=1)


def log_softmax(logits):
    top = logits.max(axis=-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("horizon", [4, 1000])
def test_connectivity_is_the_derivative_of_the_log_probability(kind, horizon):
    made = model(kind)
    found = cell_text(made, TEXT, VOCABULARY, horizon=horizon)
    rows = np.eye(V)[IDS]
    assert found.connectivity.shape == (len(IDS), min(horizon, len(IDS)))
    for t in (0, 2, 5, len(IDS) - 1):
        target = IDS[t + 1] if t + 1 < len(IDS) else found.log_probabilities[t].argmax()

        def log_p(x, t=t, target=target):
            return log_softmax(made(x)[0].numpy()[t])[:, target]

        expected = norms_by_differences(log_p, rows[: t + 1])[::-1]
        reached = found.connectivity[t]
        seen = min(horizon, t + 1)
        np.testing.assert_allclose(reached[:seen], expected[:seen], rtol=1e-6, atol=1e-8)
        assert np.isnan(reached[seen:]).all()
        assert reached[0] > 0


@pytest.mark.parametrize("steps_apart", [False, True])
def test_connectivity_through_an_embedding_is_that_of_the_one_hot_row(steps_apart):
    made = Embedded(steps_apart).astype(np.float64)
    found = cell_text(made, TEXT, VOCABULARY, horizon=5, target="likeliest")
    table = made.table.weight.numpy()
    t = 9

    def log_p(x):
        y, _ = made.rnn(x @ table)
        return log_softmax(made.head(y).numpy()[t])[:, found.log_probabilities[t].argmax()]

    expected = norms_by_differences(log_p, np.eye(V)[IDS][: t + 1])[::-1]
    np.testing.assert_allclose(found.connectivity[t], expected[:5], rtol=1e-6, atol=1e-9)


def test_batches_of_positions_do_not_matter(monkeypatch):
    made = model()
    seen = read(made, IDS, ["h"])
    targets = np.roll(IDS, -1)
    whole = connectivity(made, IDS, targets, seen, 6)
    monkeypatch.setattr(reading, "_BATCH", 1)
    np.testing.assert_allclose(connectivity(made, IDS, targets, seen, 6), whole, rtol=1e-10)
    wrong = connectivity(made, IDS, np.roll(targets, 1), seen, 6)
    assert not np.allclose(wrong, whole, equal_nan=True)


# -- correlations --------------------------------------------------------------------------------


def test_a_unit_that_follows_a_property_is_found():
    """A cell made to count brackets: its forget gate open, fed by ( and )."""
    made = model(layers=1)
    for parameter in made.rnn.parameters():
        parameter.writable()[:] *= 0.1
    w_xh, w_hh, b = made.rnn.layer_weights(0)
    unit = 2
    for gate, bias in enumerate((4.0, 9.0, 0.0, 0.0)):  # i, f, o, g
        column = gate * 4 + unit
        w_xh.writable()[:, column], w_hh.writable()[:, column] = 0.0, 0.0
        b.writable()[column] = bias
    for symbol, change in (("(", 0.5), ("[", 0.5), (")", -0.5), ("]", -0.5)):
        w_xh.writable()[VOCABULARY.encode(symbol)[0], 3 * 4 + unit] = change
    seen = cell_text(made, "a (b [c] d) e (f) [g [a (b) c] d] " * 4, VOCABULARY2)
    best = seen.correlations("bracket depth")[0]
    assert (best.layer, best.unit) == ("rnn.l0", unit) and best.quantity in {"h", "tanh_c"}
    assert best.r > 0.98 and best.first > 0.98 and best.second > 0.98


VOCABULARY2 = data.Vocabulary(VOCABULARY.symbols, unknown="replace", replacement="e")


# -- the page's data, and refusals ----------------------------------------------------------------


def test_the_page_holds_the_values_to_its_precision():
    seen = cell_text(model(), TEXT, VOCABULARY)
    sheet = page._page_data(seen)
    letters = page._ALPHABET
    for block in sheet["blocks"]:
        values = seen.values[block["layer"], block["role"]]
        count = len(IDS)
        assert block["units"] == 4
        text = sheet["values"][block["start"] : block["start"] + values.size]
        shares = np.array([letters.index(one) for one in text]).reshape(4, count).T / 62
        shown = shares if block["gate"] else 2 * shares - 1
        np.testing.assert_allclose(shown, values, atol=0.0081 if block["gate"] else 0.0162)
    assert len(sheet["values"]) == sum(values.size for values in seen.values.values())
    guesses = np.array(sheet["guesses"]).reshape(len(IDS), 5)
    order = np.sort(seen.log_probabilities, axis=1)[:, ::-1]
    picked = np.take_along_axis(seen.log_probabilities, guesses, axis=1)
    np.testing.assert_array_equal(picked, order[:, :5])
    np.testing.assert_allclose(np.exp(seen.log_probabilities).sum(axis=1), 1)


def test_unbounded_units_are_scaled():
    made = model("RNN")
    made.rnn.nonlinearity = "relu"
    seen = cell_text(made, TEXT, VOCABULARY)
    top = max(block["top"] for block in page._page_data(seen)["blocks"])
    assert top == np.abs(seen.values["rnn.l1", "h"]).max() or top > 1


def test_every_symbol_can_be_seen():
    shown = [page.legible(one) for one in " \n\t\r\x00\x1b\x7f"]
    assert shown == [
        "␣",
        "↵",
        "⇥",
        "␍",
        "␀",
        "␛",
        "␡",
    ]
    assert page.legible("\u200b") == "U+200B" and page.legible("\u00a0") == "U+00A0"
    assert page.legible("\ud800") == "U+D800" and page.legible("\u202e") == "U+202E"
    assert page.legible("\u0301") == "◌\u0301"
    assert [page.legible(one) for one in "a<é時ж🙂"] == list("a<é時ж🙂")


class Untagged(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(V, V, rng=np.random.default_rng(0))

    def forward(self, tokens, state=None):
        return self.head(tgs.one_hot(tokens, V)), tgs.tensor(np.zeros((1, 1, 1), np.float32))


class Inside(Untagged):
    """Makes its one-hot rows itself: nothing to differentiate to."""

    def forward(self, tokens, state=None):
        logits, state = super().forward(tokens)
        return logits.tag("h"), state


def lost():
    made = model()
    made.head.bias.writable()[0] = np.inf
    return made


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.rnn = nn.RNN(V, 3, bidirectional=True, rng=rng)
        self.head = nn.Linear(6, V, rng=rng)

    def forward(self, tokens, state=None):
        y, state = self.rnn(tokens, state)
        return self.head(y), state


@pytest.mark.parametrize(
    ("call", "kind", "match"),
    [
        (lambda: cell_text(model(), "a", VOCABULARY), DataError, "at least 2"),
        (lambda: cell_text(model(), "a~", VOCABULARY), DataError, "'~'"),
        (lambda: cell_text(model(), TEXT, VOCABULARY, horizon=-1), ConfigError, "horizon"),
        (lambda: cell_text(model(), TEXT, VOCABULARY, target="top"), ConfigError, "likeliest"),
        (lambda: cell_text(model(), TEXT, VOCABULARY, quantities=["k"]), ConfigError, "tanh_c"),
        (lambda: cell_text(model(), TEXT, VOCABULARY, quantities=[]), ConfigError, "none"),
        (lambda: cell_text(Untagged(), TEXT, VOCABULARY), GraphError, "tag"),
        (lambda: cell_text(Inside(), TEXT, VOCABULARY), ConfigError, "horizon=0"),
        (lambda: cell_text(lost(), TEXT, VOCABULARY), NonFiniteError, "after 0 steps"),
        (lambda: cell_text(Both(), TEXT, VOCABULARY), ConfigError, "backwards"),
        (lambda: cell_text(model(), "ab", data.Vocabulary("ab")), ShapeError, "2 symbols"),
        (lambda: cell_text(model(), TEXT, VOCABULARY, horizon=2.5), ConfigError, "2.5"),
        (lambda: cell_text(model(), TEXT, VOCABULARY, horizon=True), ConfigError, "True"),
        (
            lambda: cell_text(
                model(), "ab", VOCABULARY, properties={"own": lambda text: [0, np.nan]}
            ),
            NonFiniteError,
            "'own'.*(\n.*)*nan at 1",
        ),
    ],
)
def test_refusals_say_what_to_do(call, kind, match):
    with pytest.raises(kind, match=match):
        call()
