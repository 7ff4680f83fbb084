"""What predictions make of the logits of a block.

A function of its own, since only predictions need it: 1 s of the first pass. See `numba_compile.compiled_function`.
"""

import numpy as np

from .numba_job import LABEL, LOG_PROBA, PROBA
from .numba_lanes import at, kernel, pointer, read, write
from .numba_pack import store_rows
from .numba_rows import label_rows, log_proba_rows, proba_rows


def make_predict(digest):
    """The function; see `numba_pass` for ``digest``."""

    def predict_rows(task, H, U, ld, k, row, r, best, place):
        """Labels (int64), or what else the task says, for rows row .. row + r of the array at the address ``place``. U
        and best are scratch."""
        digest  # noqa: B018 - only so that it is part of the closure
        if task == LABEL:
            label_rows(H, ld, k, r, best)
            write_labels(best, row, r, pointer(place, np.int64(0)))
            return
        if task == PROBA:
            proba_rows(H, ld, k, r)
        elif task == LOG_PROBA:
            log_proba_rows(H, U, ld, k, r)
        store_rows(H, ld, k, r, 1.0, at(pointer(place, read(H, 0)), row * k), k)

    return predict_rows


@kernel
def write_labels(best, row, r, out):
    for i in range(r):
        write(out, row + i, np.int64(read(best, i)))
