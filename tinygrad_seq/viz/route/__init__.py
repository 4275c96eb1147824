"""Which way the wires go."""
