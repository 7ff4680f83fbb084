"""What is said where the system refuses threads."""

from __future__ import annotations

import warnings

_said = False


def warn_of_refused_threads(granted: int, wanted: int) -> None:
    """Warn, once in a process, that work goes on with fewer threads than asked for; results are the same."""
    global _said
    if _said:
        return
    _said = True
    warnings.warn(
        f"the system refuses further threads: work goes on with {granted} of the {wanted} threads asked for "
        "(ulimit -u, pids.max of the control group, and memory limit them)",
        RuntimeWarning,
        stacklevel=3,
    )
