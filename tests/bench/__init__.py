"""Benchmarks: each figure is a ratio against a baseline in the same run. `python -m tests.bench --help`."""
