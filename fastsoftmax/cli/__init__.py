"""The command `fastsoftmax`: what it prints and draws, and the benchmarks it runs."""
