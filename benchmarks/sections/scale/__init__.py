"""Data larger than the memory of a process, or than one machine."""
