"""Proofs: an upper bound on how far a value is above the minimum, and whether there is a minimum at all."""
