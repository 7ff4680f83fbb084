"""The methods, one to a file: ``solve(run)`` chooses the points. `subsample` gives some of them a start."""
