"""From what callers hand over to rows that kernels read: checked arrays, files and sources."""
