"""Measurements: ``python -m benchmarks.run`` beside other libraries, the others of ours alone."""
