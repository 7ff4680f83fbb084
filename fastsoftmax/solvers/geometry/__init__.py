"""Metrics: changes of variable in which the objective has a curvature near 1, from bounds or exact Hessians."""
