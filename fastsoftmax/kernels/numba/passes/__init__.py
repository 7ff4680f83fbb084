"""Loops over the blocks of a slab."""
