"""Proofs: how far above the minimum a point can be, and whether there is a minimum."""
