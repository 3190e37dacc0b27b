"""Benchmarks: ``python -m benchmarks`` for the ops, ``python -m benchmarks.network`` for the whole
network. The modules of this folder are commands; the rooms below hold what they are made of."""
