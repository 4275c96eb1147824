"""The public names: what `import tinygrad_seq as tgs` gives, now and when asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tinygrad_seq as tgs

ROOMS = ("data", "flow", "nn", "optim", "testing", "train", "viz")


def test_every_public_name_exists():
    assert len(set(tgs.__all__)) == len(tgs.__all__)
    for name in tgs.__all__:
        assert getattr(tgs, name) is not None


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_imported_when_asked_for(room):
    code = (
        "import sys, tinygrad_seq as tgs\n"
        f"assert 'tinygrad_seq.{room}' not in sys.modules, 'imported too early'\n"
        f"assert tgs.{room}.__name__ == 'tinygrad_seq.{room}'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="'tinygrad_seq' has no attribute 'nnn'"):
        tgs.nnn  # noqa: B018


def test_helpers_of_operations_are_not_public():
    """The public names of operations follow from their functions: nobody lists them."""
    assert not {"at_least_1d", "record", "np"} & set(tgs.__all__)
