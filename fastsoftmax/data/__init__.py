"""From what a caller gives to rows that kernels read: `validation`, `files` and `sources`."""
