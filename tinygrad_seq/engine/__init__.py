"""The autodiff engine: nodes, recording, the backward walk, and context-local modes.

It knows no operation: rules come to it inside :class:`~tinygrad_seq.engine.op.Op` records.
"""
