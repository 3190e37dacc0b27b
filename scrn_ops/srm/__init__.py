"""Aggregate offsets, sample, refine (Eqs. 3 and 4)."""
