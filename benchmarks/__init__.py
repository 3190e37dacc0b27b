"""Benchmarks: ``python -m benchmarks`` for the ops, ``python -m benchmarks.demo`` for a picture."""
