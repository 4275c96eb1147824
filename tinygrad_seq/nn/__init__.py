"""Layers and models."""

from tinygrad_seq.nn import init
from tinygrad_seq.nn.attention import (
    AdditiveAttention,
    Attention,
    DotAttention,
    MultiheadAttention,
    MultiplicativeAttention,
    causal_mask,
    length_mask,
)
from tinygrad_seq.nn.cells import GRUCell, LSTMCell, RNNCell
from tinygrad_seq.nn.layers import Dropout, Embedding, Linear
from tinygrad_seq.nn.module import Module, ModuleList, Parameter, Sequential
from tinygrad_seq.nn.recurrent import GRU, LSTM, RNN
from tinygrad_seq.nn.state import GRUState, LSTMState, RNNState, detach, reset_rows

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdditiveAttention",
    "Attention",
    "DotAttention",
    "Dropout",
    "Embedding",
    "GRUCell",
    "GRUState",
    "LSTMCell",
    "LSTMState",
    "Linear",
    "Module",
    "ModuleList",
    "MultiheadAttention",
    "MultiplicativeAttention",
    "Parameter",
    "RNNCell",
    "RNNState",
    "Sequential",
    "causal_mask",
    "detach",
    "init",
    "length_mask",
    "reset_rows",
]
