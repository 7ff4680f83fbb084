"""Fused passes over rows: what a backend must do (`contract`), how a pass is cut (`plan`), the table of `backends`."""
