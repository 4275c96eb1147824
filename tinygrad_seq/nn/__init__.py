"""Layers and models."""

from tinygrad_seq.nn import init
from tinygrad_seq.nn.cells import LSTMCell, RNNCell
from tinygrad_seq.nn.layers import Dropout, Embedding, Linear
from tinygrad_seq.nn.module import Module, ModuleList, Parameter, Sequential
from tinygrad_seq.nn.recurrent import LSTM, RNN
from tinygrad_seq.nn.state import LSTMState, RNNState, detach, reset_rows

__all__ = [
    "LSTM",
    "RNN",
    "Dropout",
    "Embedding",
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
