"""The loss of a block by targets other than labels: soft ones, or smoothed.

A function of its own, since few passes need it: 1.3 s of the first one. See `numba_compile.compiled_function`.
"""

import numpy as np

from .numba_lanes import at, kernel, lanes, pointer, read, write
from .numba_pack import gather_strip, transpose_strip
from .numba_rows import label_targets, smooth, soft_loss_rows


def make_soft_loss(digest):
    """The function; see `numba_pass` for ``digest``."""

    def soft_loss_of_block(soft, smoothing, row, r, labels, k, U, H, ld, w, scale, want_grad, losses, loss):
        """H becomes D; the loss of each row, and in ``loss`` their sum, weighted and scaled. U is scratch."""
        digest  # noqa: B018 - only so that it is part of the closure
        load_targets(soft, smoothing, k, row, r, labels, np.int64(0), k, U, ld)
        write(loss, 0, soft_loss_rows(H, U, ld, k, r, w, scale, want_grad != 0, losses))

    return soft_loss_of_block


@kernel
def load_targets(soft, smoothing, all_classes, row, r, labels, first, k, t, ld):
    """Targets of classes first .. first + k, smoothed, for the rows of a block: t[c, i]. ``soft`` is the address of an
    array (m, all_classes), or 0."""
    eps_share = smoothing / all_classes
    if not soft:
        label_targets(t, ld, k, r, labels, first, smoothing, eps_share)
        return
    width = lanes(t)
    start = at(pointer(soft, read(t, 0)), row * all_classes + first)
    for i in range(0, r, width):
        if k >= width and r - i >= width:
            transpose_strip(at(start, i * all_classes), all_classes, k, at(t, i), ld, np.int64(0))
        else:
            gather_strip(at(start, i * all_classes), np.int64(1), all_classes, k, min(width, r - i), at(t, i), ld)
    if smoothing != 0.0:
        smooth(t, ld, k, r, smoothing, eps_share)
