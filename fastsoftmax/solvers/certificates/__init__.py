"""Proofs: how far a value is above the minimum at most, whether there is a minimum at all."""
