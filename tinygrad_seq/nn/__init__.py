"""Layers and models."""

from tinygrad_seq.nn import init
from tinygrad_seq.nn.cells import GRUCell, LSTMCell, RNNCell
from tinygrad_seq.nn.layers import Dropout, Embedding, Linear
from tinygrad_seq.nn.module import Module, ModuleList, Parameter, Sequential
from tinygrad_seq.nn.recurrent import GRU, LSTM, RNN
from tinygrad_seq.nn.state import GRUState, LSTMState, RNNState, detach, reset_rows

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Dropout",
    "Embedding",
    "GRUCell",
    "GRUState",
    "LSTMCell",
    "LSTMState",
    "Linear",
    "Module",
    "ModuleList",
    "Parameter",
    "RNNCell",
    "RNNState",
    "Sequential",
    "detach",
    "init",
    "reset_rows",
]
