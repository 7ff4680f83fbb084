"""Loops over the slabs of a chunk of rows, by NumPy arrays of a whole slab."""
