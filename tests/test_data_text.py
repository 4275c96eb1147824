"""Reading text, the vocabulary and the split, held against Python's own text layer."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq.data import Vocabulary, pydoc_topics, read_text, split_text
from tinygrad_seq.errors import (
    ConfigError,
    DataError,
    DtypeError,
    IndexRangeError,
    ShapeError,
)

ANY_CHARACTER = st.characters(exclude_categories=())  # lone surrogates and NUL included
ANY_TEXT = st.text(ANY_CHARACTER, min_size=1)


# -------------------------------------------------------------------- reading


@given(raw=st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)))
def test_read_text_is_pythons_strict_universal_newline_reading(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "read_text.txt"
    path.write_bytes(raw)
    try:
        # Not "utf-8-sig": its incremental decoder takes a cut-off byte-order mark for nothing.
        expected = io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8").read().removeprefix("\ufeff")
    except UnicodeDecodeError:
        with pytest.raises(DataError, match="is not UTF-8"):
            read_text(path)
        return
    if expected:
        assert read_text(path) == expected
        assert read_text(str(path)) == expected
    else:
        with pytest.raises(DataError, match="is empty"):
            read_text(path)
    assert path.read_bytes() == raw


def test_read_text_names_the_byte_that_is_not_utf8(tmp_path):
    path = tmp_path / "latin1.txt"
    path.write_bytes("\ufeffplain\nna".encode() + b"\xefve")
    with pytest.raises(DataError) as caught:
        read_text(path)
    message = str(caught.value)
    assert "latin1.txt" in message
    assert "byte 0xef at offset 11 (line 2)" in message
    assert path.read_bytes()[11] == 0xEF
    assert "iconv -f LATIN1" in message


def test_read_text_recognises_utf16(tmp_path):
    path = tmp_path / "windows.txt"
    path.write_text("hello", encoding="utf-16")
    with pytest.raises(DataError, match="iconv -f UTF-16"):
        read_text(path)


def test_read_text_says_why_a_file_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"there is no file .*absent\.txt"):
        read_text(tmp_path / "absent.txt")
    with pytest.raises(DataError, match="is a directory"):
        read_text(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_text("nul\0inside")
    (tmp_path / "bom-only").write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(DataError, match="is empty"):
        read_text(tmp_path / "bom-only")

    def refuse(self):  # the superuser may read everything, so file modes cannot be used here
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"cannot be read[\s\S]*Permission denied"):
        read_text(tmp_path / "secret")


def test_pydoc_topics_is_the_same_every_time_and_has_every_topic():
    from pydoc_data.topics import topics

    text = pydoc_topics()
    assert text == pydoc_topics()
    assert len(text) > 300_000
    assert len(text) == sum(map(len, topics.values())) + len(topics) - 1
    position = 0
    for name in sorted(topics):  # each topic, whole, in order
        assert text.startswith(topics[name], position)
        position += len(topics[name]) + 1


def test_pydoc_topics_says_when_the_distribution_left_it_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match=r"carries no pydoc_data[\s\S]*try: use a text file"):
        pydoc_topics()


# ----------------------------------------------------------------- vocabulary


@given(text=ANY_TEXT)
def test_decode_inverts_encode(text):
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert ids.shape == (len(text),)
    assert vocabulary.decode(ids) == text
    assert vocabulary.decode(ids.tolist()) == text
    assert vocabulary.decode(ids[0]) == text[0]


@given(text=ANY_TEXT)
def test_ids_are_ranks_in_code_point_order(text):
    vocabulary = Vocabulary.from_text(text)
    ranks = {symbol: rank for rank, symbol in enumerate(sorted(set(text)))}
    assert list(vocabulary.symbols) == list(ranks)
    assert len(vocabulary) == len(ranks)
    assert vocabulary.encode(text).tolist() == [ranks[symbol] for symbol in text]
    assert all(symbol in vocabulary for symbol in ranks)


@given(known=ANY_TEXT, text=st.text(ANY_CHARACTER), replacement=ANY_CHARACTER)
def test_unknown_policies(known, text, replacement):
    strangers = [position for position, symbol in enumerate(text) if symbol not in known]

    skipping = Vocabulary.from_text(known, unknown="skip")
    kept = "".join(symbol for symbol in text if symbol in known)
    assert skipping.decode(skipping.encode(text)) == kept

    replacing = Vocabulary.from_text(known, unknown="replace", replacement=replacement)
    assert replacement in replacing
    replaced = "".join(symbol if symbol in replacing else replacement for symbol in text)
    assert replacing.decode(replacing.encode(text)) == replaced

    strict = Vocabulary.from_text(known)
    if strangers:
        with pytest.raises(DataError, match=f"at position {strangers[0]} ") as caught:
            strict.encode(text)
        assert f"U+{ord(text[strangers[0]]):04X}" in str(caught.value)
        assert f"{len(strangers)} unknown of {len(text)}" in str(caught.value)
    else:
        assert strict.decode(strict.encode(text)) == text


def test_unknown_character_message_reads_well():
    with pytest.raises(DataError) as caught:
        Vocabulary("abc").encode("abécù")
    assert str(caught.value).splitlines() == [
        "Vocabulary.encode: the character 'é' (U+00E9 LATIN SMALL LETTER E WITH ACUTE) "
        "at position 2 is not in the vocabulary",
        "  expected: only the 3 symbols 'abc'",
        "  got: 2 unknown of 5 characters; also 'ù'",
        "  try: build the vocabulary from a text that has them, or give it a policy: "
        'unknown="skip", or unknown="replace" with replacement="?"',
    ]


@given(
    text=ANY_TEXT,
    policy=st.sampled_from([("error", None), ("skip", None), ("replace", "?")]),
)
def test_json_round_trip(text, policy):
    unknown, replacement = policy
    vocabulary = Vocabulary.from_text(text, unknown=unknown, replacement=replacement)
    written = vocabulary.to_json()
    assert written.isascii()  # safe in any file, whatever the symbols
    again = Vocabulary.from_json(written)
    assert again == vocabulary
    assert hash(again) == hash(vocabulary)
    assert again.encode(text).tolist() == vocabulary.encode(text).tolist()
    assert again != Vocabulary(vocabulary.symbols + "\U0010fffe", unknown="skip")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-1],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: json.dumps({**json.loads(text), "version": 2}),
        lambda text: json.dumps({**json.loads(text), "symbols": "ba"}),
        lambda text: json.dumps({**json.loads(text), "symbols": "aa"}),
        lambda text: json.dumps({**json.loads(text), "symbols": 7}),
        lambda text: json.dumps({**json.loads(text), "symbols": ""}),
        lambda text: json.dumps({**json.loads(text), "unknown": "ignore"}),
        lambda text: json.dumps({**json.loads(text), "replacement": "?"}),
        lambda text: None,
    ],
)
def test_damaged_json_is_refused(damage):
    with pytest.raises(DataError):
        Vocabulary.from_json(damage(Vocabulary("ab").to_json()))


def test_numbers_do_not_depend_on_the_hash_seed():
    program = (
        "from tinygrad_seq.data import Vocabulary, pydoc_topics\n"
        "v = Vocabulary.from_text(pydoc_topics()[:20_000] + 'éß漢')\n"
        "print(v.to_json(), v.encode('the éß').tolist())"
    )
    root = str(Path(tgs.__file__).parents[1])
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(answers) == 1
    assert "symbols" in answers.pop()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("",), DataError),
        (([],), DataError),
        ((["ab"],), DataError),
        (([1],), DataError),
        (("ab", "ignore"), ConfigError),
        (("ab", "replace"), ConfigError),
        (("ab", "replace", "??"), ConfigError),
        (("ab", "skip", "?"), ConfigError),
    ],
)
def test_vocabulary_refuses_bad_symbols_and_policies(arguments, error):
    names = ("symbols", "unknown", "replacement")
    with pytest.raises(error):
        Vocabulary(**dict(zip(names, arguments, strict=False)))


def test_encode_and_decode_refuse_what_they_cannot_mean():
    vocabulary = Vocabulary("abc")
    with pytest.raises(DataError, match="the text is empty"):
        Vocabulary.from_text("")
    with pytest.raises(DataError, match="a text is a str"):
        vocabulary.encode(b"abc")
    for wrong in ([0, 3], [-1], 7):
        with pytest.raises(IndexRangeError, match="0 to 2"):
            vocabulary.decode(wrong)
    with pytest.raises(DtypeError):
        vocabulary.decode([0.0])
    with pytest.raises(DtypeError):
        vocabulary.decode([True])
    with pytest.raises(ShapeError):
        vocabulary.decode([[0, 1]])
    assert vocabulary.decode([]) == vocabulary.decode(np.zeros(0, int)) == ""
    assert vocabulary.encode("").shape == (0,)
    assert "ab" not in vocabulary
    assert repr(vocabulary) == "Vocabulary(3 symbols 'abc', unknown='error')"


# ---------------------------------------------------------------------- split


@given(length=st.integers(4, 3000), tenths=st.integers(1, 9))
def test_split_parts_are_disjoint_and_make_up_the_text(length, tenths):
    ids = np.arange(length)
    expected = -(-length * tenths // 10)  # whole symbols, rounded up, in exact arithmetic
    if min(expected, length - expected) < 2:
        with pytest.raises(DataError, match="too short"):
            split_text(ids, tenths / 10)
        return
    train, validation = split_text(ids, tenths / 10)
    assert len(validation) == expected
    assert not set(train.tolist()) & set(validation.tolist())
    assert np.array_equal(np.concatenate([train, validation]), ids)


@given(text=st.text(min_size=4), data=st.data())
def test_split_by_count(text, data):
    count = data.draw(st.integers(2, len(text) - 2))
    train, validation = split_text(text, count)
    assert train + validation == text
    assert len(validation) == count
    assert split_text(text, np.int64(count)) == (train, validation)


def test_default_split_of_tiny_shakespeares_length_is_the_customary_one():
    train, validation = split_text(np.zeros(1_115_394, np.uint8))
    assert (len(train), len(validation)) == (1_003_854, 111_540)


@pytest.mark.parametrize("validation", [0, -1, 0.0, 1.0, 1.5, -0.1, True, "0.1", None, np.nan])
def test_split_refuses_sizes_without_a_meaning(validation):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split_text("abcdefgh", validation)


@pytest.mark.parametrize(("length", "validation"), [(3, 0.5), (10, 9), (10, 1), (10, 11), (0, 2)])
def test_split_refuses_parts_without_a_pair(length, validation):
    with pytest.raises(DataError, match=r"too short[\s\S]*at least 2 symbols on each side"):
        split_text("x" * length, validation)
    with pytest.raises(ShapeError):
        split_text(np.zeros((length, 2), int), validation)
