"""Properties of a text, character by character, and the units that follow them."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_seq.celltext.properties import PROPERTIES, correlate, text_properties
from tinygrad_seq.errors import ShapeError

TEXT = 'a "b(c[d])" Ab\n  12\n\n"e) f'


def test_properties_of_a_text():
    found = text_properties(list(TEXT))
    #        a "b(c[d])" Ab\n  12\n\n"e) f
    rows = {
        "inside quotes": "00111111110000000000" + "0" + "11111",
        "position in the line": [*range(1, 15), 0, 1, 2, 3, 4, 0, 0, 1, 2, 3, 4, 5],
        "bracket depth": "00001122100000000000" + "0" + "00000",
        "indentation": [0] * 15 + [1, 2, 2, 2] + [0] * 7,
    }
    assert found.keys() == PROPERTIES.keys()
    for name, expected in rows.items():
        assert found[name].tolist() == [float(one) for one in expected], name
    words = [len(word) for word in ("a", "b", "c", "d", "Ab", "e", "f")]
    assert found["start of a word"].sum() == len(words)
    assert found["position in the word"].max() == 2
    assert found["upper case"].sum() == 1 and found["digit"].sum() == 2
    assert found["blank"].sum() == sum(one.isspace() for one in TEXT)
    own = text_properties("abc", {"n": [1, 2, 3], "code": lambda text: [ord(one) for one in text]})
    assert own["n"].tolist() == [1, 2, 3] and own["code"].tolist() == [97, 98, 99]
    with pytest.raises(ShapeError, match="'n'"):
        text_properties("abc", {"n": [1, 2]})


def test_correlations_are_numpy_s_and_the_strongest_come_first():
    rng = np.random.default_rng(0)
    target = rng.normal(size=40)
    values = {
        ("l0", "h"): rng.normal(size=(40, 6)).astype(np.float32),
        ("l0", "o"): rng.normal(size=(40, 6)),
        ("l1", "h"): np.stack([target * -2 + 0.1, np.ones(40)], axis=1),
    }
    found = correlate(values, target, top=100)
    assert found[0][:3] == ("l1", "h", 0) and found[0].r == pytest.approx(-1)
    assert len(found) == 6 + 1  # each unit once; the constant one not at all
    assert [abs(one.r) for one in found] == sorted((abs(one.r) for one in found), reverse=True)
    for layer, role, unit, *r in found:
        column = values[layer, role][:, unit].astype(np.float64)
        parts = (slice(None), slice(20), slice(20, None))
        expected = [np.corrcoef(column[part], target[part])[0, 1] for part in parts]
        np.testing.assert_allclose(r, expected, rtol=1e-9)
        for other in ("h", "o"):
            if (layer, other) in values:
                rival = np.corrcoef(values[layer, other][:, unit], target)[0, 1]
                assert abs(rival) <= abs(r[0]) + 1e-12
    assert correlate(values, np.ones(40)) == []
    lone = np.zeros(40)
    lone[3] = 1.0  # constant in the second half
    assert np.isnan(correlate(values, lone)[0].second)
