"""Compilation, the record that compiled code is called with, and the threads."""
