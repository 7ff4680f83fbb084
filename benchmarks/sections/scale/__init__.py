"""Data beyond one machine's memory: `larger_than_memory`, files that are read anew in each pass."""
