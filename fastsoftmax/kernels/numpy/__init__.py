"""The NumPy wing: the contract by the plain formulas, for checking."""
