"""Runs across pods that are hurt on purpose, for the tests beside this package and for `benchmarks/fault_matrix.py`."""
