"""Layers and models."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from tinygrad_seq import elsewhere as _elsewhere
from tinygrad_seq.nn import init
from tinygrad_seq.nn.attention import (
    AdditiveAttention,
    Attention,
    DotAttention,
    MultiplicativeAttention,
    causal_mask,
    length_mask,
)
from tinygrad_seq.nn.cells.cell import Cell
from tinygrad_seq.nn.cells.gru import GRU, GRUCell
from tinygrad_seq.nn.cells.lstm import LSTM, LSTMCell
from tinygrad_seq.nn.cells.rnn import RNN, RNNCell
from tinygrad_seq.nn.decode import Generated, beam_search, generate
from tinygrad_seq.nn.decoder import Decoded, Decoder, FedState
from tinygrad_seq.nn.evaluation import evaluating
from tinygrad_seq.nn.layers import Dropout, Embedding, Linear
from tinygrad_seq.nn.lists import ModuleList, Sequential
from tinygrad_seq.nn.module import Module, Parameter
from tinygrad_seq.nn.multihead import MultiheadAttention
from tinygrad_seq.nn.norm import LayerNorm, VariationalDropout
from tinygrad_seq.nn.recurrent import Recurrent
from tinygrad_seq.nn.seq2seq import Seq2Seq
from tinygrad_seq.nn.state import GRUState, LSTMState, RNNState, detach, reset_rows, select_rows
from tinygrad_seq.nn.wirings import ManyToMany, ManyToOne, OneToMany

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdditiveAttention",
    "Attention",
    "Cell",
    "Decoded",
    "Decoder",
    "DotAttention",
    "Dropout",
    "Embedding",
    "FedState",
    "GRUCell",
    "GRUState",
    "Generated",
    "LSTMCell",
    "LSTMState",
    "LayerNorm",
    "Linear",
    "ManyToMany",
    "ManyToOne",
    "Module",
    "ModuleList",
    "MultiheadAttention",
    "MultiplicativeAttention",
    "OneToMany",
    "Parameter",
    "RNNCell",
    "RNNState",
    "Recurrent",
    "Seq2Seq",
    "Sequential",
    "VariationalDropout",
    "beam_search",
    "causal_mask",
    "detach",
    "evaluating",
    "generate",
    "init",
    "length_mask",
    "reset_rows",
    "select_rows",
]

if not _TYPE_CHECKING:  # type checkers know of a missing name themselves

    def __getattr__(name: str) -> None:
        raise _elsewhere.missing(f"module {__name__!r}", name, _elsewhere.LAYERS)
