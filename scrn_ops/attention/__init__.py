"""Whitened disentangled non-local attention (Eqs. 8 and 9).

``docs/attention.md`` has the derivation, the choice of the path and the figures.
"""
