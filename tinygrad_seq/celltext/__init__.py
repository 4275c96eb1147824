"""Texts coloured by what the units of a model do."""

from tinygrad_seq.celltext.page import CellText, cell_text

__all__ = ["CellText", "cell_text"]
