"""Benchmarks: ``python -m benchmarks`` for the ops, ``python -m benchmarks.demo`` for a picture,
``python -m benchmarks.network`` for the whole network."""
