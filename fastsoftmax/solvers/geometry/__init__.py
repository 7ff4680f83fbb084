"""Metrics: in what units a gradient is long, and what an exact Hessian knows."""
