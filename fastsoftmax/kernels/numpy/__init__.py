"""The NumPy wing: the contract by the plain formulas of `fastsoftmax.reference`, to check the other wings against."""
