"""Fused passes over rows: the contract, the plan of a pass, and the backends that carry it out."""
