"""How far off results are: exp and log in ulp, and value and gradient of a pass by every peer, against wider types.

Nothing is timed, so that a busy machine gives the same figures.
"""

from __future__ import annotations

import numpy as np

from ...harness.records import Effort, Json, Say

# Of the longdouble that stands for the truth: that of x86 has 64.
BITS = np.finfo(np.longdouble).nmant + 1


def run(effort: Effort, say: Say) -> Json:
    """The records of `functions` and of `passes`."""
    from . import functions, passes

    if BITS < 64:
        return {"skipped": f"Not measured: longdouble has {BITS} bits here, and stands for the truth with 64 or more."}
    return {"functions": functions.run(effort.quick, say), "passes": passes.run(effort, say)}
