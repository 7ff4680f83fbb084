"""How to measure: cases, the machine and its limits, checks of answers, timing, records on disk."""
