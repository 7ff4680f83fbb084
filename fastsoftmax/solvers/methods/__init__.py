"""The methods, a file each: `solve(run)` chooses the points."""
