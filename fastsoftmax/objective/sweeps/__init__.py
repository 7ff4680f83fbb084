"""What an objective's passes add up besides value and gradient: `rows` for all of them, `curvature` and `design`."""
