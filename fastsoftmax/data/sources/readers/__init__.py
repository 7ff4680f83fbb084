"""Readers of data that need not fit into memory, by the kind of file: `reader` says what one is."""
