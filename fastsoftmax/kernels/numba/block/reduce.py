"""The reduction of a gradient: its slabs are added up and scaled and the penalty is added, in one pass over memory.

The sums of a slab are (k, n), those of sparse X (1, n k); the result is in the order of theta, (n, k). Threads take
pieces of the values. `REDUCE_VALUES` at a time are added up in float64, in the L1 cache, and stored in the dtype of the
result. The gradient of dense X is small and left to one thread: NumPy's ten calls took 15 us, as long as a whole pass
over 1,000 x 50 in float32, k = 3.

Sums that are kept in float32 for a while go the same way within a pass: `flush` adds them to those in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ...contract import Sums
from ..microkernels.memory import at, given, kernel, pointer, read, take_ticket, write
from ..microkernels.tile import ceil_div
from ..runtime.compile import compiled
from ..runtime.pool import MAX_THREADS, run
from ..runtime.record import Launch, Record, address_of, place_parts
from ..runtime.views import open_record

REDUCE_VALUES = 1024
LARGEST = np.finfo(np.float64).max  # float32 values overflow to infinity, above it
PIECES = 4  # for each thread, so that a thread that starts late reduces fewer of them


def gradient(sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray, n_threads: int) -> tuple[bool, bool]:
    """See `fastsoftmax.kernels.contract`."""
    grad = sums.grad
    assert grad is not None
    lines, length = (1, out.size) if sums.by_feature else grad.shape[1:]
    size, n_threads = lines * length, n_threads if sums.by_feature else 1
    template, workers, spare = _template(len(grad), lines, length, out.itemsize, n_threads)
    try:
        launch = spare.pop()
    except IndexError:  # no test before: another thread may take the last one meanwhile
        launch = Launch(*template)
    record = launch.record
    record.grad, record.theta, record.out = address_of(grad), address_of(theta), address_of(out)
    record.bias_grad = address_of(sums.bias) if out.size > size else 0
    record.l2, record.scale, record.ticket = l2, sums.scale, 0
    run(compiled(make_work, grad.dtype, out.dtype), launch.address, workers)
    finite, stored = not record.wrong, not record.wrongly_stored
    if finite and stored and workers == 1:
        spare.append(launch)
    return finite, stored


@functools.lru_cache(maxsize=256)
def _template(
    slabs: int, lines: int, length: int, itemsize: int, n_threads: int
) -> tuple[tuple[Record, int], int, list[Launch]]:
    """The record without arrays, its size with scratch, the number of workers; and launches of one worker that may be
    used again, since to make one takes as long as to reduce a small gradient."""
    workers = min(n_threads, ceil_div(lines * length, REDUCE_VALUES), MAX_THREADS)
    pieces = PIECES * workers if workers > 1 else 1
    record = Record(slabs=slabs, k=lines, n=length, pieces=pieces, result_itemsize=itemsize)
    return (record, place_parts(record, {"totals": REDUCE_VALUES}, workers=workers)), workers, []


def make_work(digest: str, zeros: tuple[Any, ...]) -> Callable[[int, int], None]:
    """What threads call to reduce a gradient; ``zeros`` have the dtypes of the sums and of the result. See
    `runtime/compile.py` for ``digest``."""
    zero, stored = zeros

    def work(record: int, worker: int) -> None:
        """Take pieces of the values until there are none."""
        digest  # noqa: B018 - only so that it is part of the closure
        job, s = open_record(record, worker, stored, stored)
        grad, out, k, n = pointer(job.grad, zero), pointer(job.out, stored), job.k, job.n
        while True:
            piece = take_ticket(job.ticket)
            if piece >= job.pieces:
                return
            first, end = piece * n // job.pieces, (piece + 1) * n // job.pieces
            for c in range(k):
                reduce_gradient(job, s.totals, at(grad, c * n), k * n, first, end, job.theta, at(out, c), c, k)
            if piece == 0 and given(job.bias_grad):
                none = pointer(np.int64(0), stored)
                reduce_gradient(job, s.totals, job.bias_grad, k, 0, k, none, at(out, n * k), 0, 1)

    return work


@kernel
def reduce_gradient(
    job: Any, totals: Any, grad: Any, slab_step: int, first: int, end: int, theta: Any, out: Any, place: int, step: int
) -> None:
    """out[i * step] = scale * (sum over the slabs p of grad[p * slab_step + i]) + l2 theta[place + i * step] for
    first <= i < end. Tells whether a scaled sum is not finite, or a value that is stored."""
    wrong, wrongly_stored, scale, l2 = False, False, job.scale, job.l2
    for begin in range(first, end, REDUCE_VALUES):
        count = min(REDUCE_VALUES, end - begin)
        for i in range(count):
            write(totals, i, read(grad, begin + i))
        for p in range(1, job.slabs):
            flush(at(grad, p * slab_step + begin), count, totals)
        for i in range(count):
            value = read(totals, i) * scale
            wrong |= not abs(value) <= LARGEST
            write(totals, i, value)
        if given(theta):
            penalized = at(theta, place + begin * step)
            for i in range(count):
                write(totals, i, read(totals, i) + l2 * read(penalized, i * step))
        stored = at(out, begin * step)
        for i in range(count):
            write(stored, i * step, read(totals, i))
            wrongly_stored |= not abs(read(stored, i * step)) <= LARGEST
    if wrong:
        write(job.wrong, 0, 1)
    if wrongly_stored:
        write(job.wrongly_stored, 0, 1)


@kernel
def flush(G: Any, count: int, grad: Any) -> None:
    """Add running sums to float64 sums."""
    for i in range(count):
        write(grad, i, read(grad, i) + read(G, i))


@kernel
def clear(G: Any, count: int) -> None:
    """``count`` zeros."""
    for i in range(count):
        write(G, i, 0.0)


@kernel
def flush_hot_columns(job: Any, blocks: int, first: int, end: int, grad: int, hot_grad: int) -> None:
    """Move the sums of those hot columns in first .. end that are due after so many blocks into float64."""
    G, out, k = pointer(grad, job.data), pointer(hot_grad, np.float64(0)), job.k
    for level in range(job.hot_levels):
        if blocks % (1 << level) != 0:
            return
        stop = read(job.hot_starts, level + 1)
        for h in range(lower_bound(job.hot_columns, read(job.hot_starts, level), stop, first), stop):
            j = read(job.hot_columns, h)
            if j >= end:
                break
            flush(at(G, j * k), k, at(out, h * k))
            clear(at(G, j * k), k)


@kernel
def lower_bound(indices: Any, start: int, stop: int, column: int) -> int:
    """The first entry of start .. stop whose column is at least ``column``: by bisection, at the end by counting."""
    while stop - start > 64:
        middle = (start + stop) // 2
        if read(indices, middle) < column:
            start = middle + 1
        else:
            stop = middle
    count = 0
    for e in range(start, stop):
        count += read(indices, e) < column
    return start + count
