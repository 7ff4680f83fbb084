"""One minimization: `Run`, the loop that all solvers share, and `stopping`, which says when it is over."""

from .run import Run, Stop

__all__ = ["Run", "Stop"]
