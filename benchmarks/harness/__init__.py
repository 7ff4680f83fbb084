"""How to measure: cases, the machine and its limits, checks, timing, records."""
