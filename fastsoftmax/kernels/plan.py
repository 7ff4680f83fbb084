"""How a pass is cut up: rows per block, slabs, chunks, threads. Every tuning constant lives here.

Nothing in a plan depends on the number of threads, so neither does a single bit of a result:
a chunk of rows is always cut into the same slabs, each slab is always summed in the same
order, and the slabs are always added up in the order of their numbers. Threads only decide who
works on which slab.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .contract import CONVERTED_BYTES
from .machine import cache_bytes

# Rows in a block: a multiple of four AVX-512 vectors (32 rows in float64, 64 in float32), so that tiles
# are whole. The block, its transposed copy, the block after it (fetched meanwhile) and the logits
# share the L2 cache: 60k x 784 in float64 took 3,030 cycles a row with 128 rows and 2,200 with 64.
BLOCK_BYTES = 256
BLOCK_MAX = 128
# ... but of very many features a block holds fewer, so that it is still in L3 when its rows are read again: 5,000 x
# 20,000, k = 5, float64, takes 42, 43, 53 ms in Cython and 46, 65, 105 in Numba with 8, 16, 32 rows (1.3 to 5 MB).
WIDE_BYTES = 2 << 20
# ... or, where the gradient itself does not fit in L2, more: every block streams it through the cache. 20k x 1024, k =
# 1000 with 32, 128, 192, 256, 320 rows: float64 1,020, 869, 834, 858, 838 ms in Cython and 1,250, 981, 987, 912, 911 in
# Numba; float32 (128 and up) 419, 412, 413, 407 and 462, 450, 443, 433. In F order with 96, 128, 256, 320 rows: float64
# 872, 859, 827, 819 and 965, 934, 880, 853.
LARGE_BYTES = 5 << 19
LARGE_MAX = 320
VECTOR_BYTES = 64
L2_SHARE = 0.9
# Logits of two classes this far apart are taken for each other by loads that follow a store, in Cython, which therefore
# has another ``COLUMN_BYTES``: 30,000 x 50, k = 400, uint8 takes 16.8, 18.5, 16.6 ms with 448, 512, 576 rows.
ALIASED_BYTES = 2048

# Slabs a pass is cut into at most: enough to balance the load on dozens of cores, few enough
# that summing them costs nothing beside a pass.
SLABS_MAX = 64
# ... where their gradients, which one thread clears and adds up, are more than this together: 16, or two for each core
# there is, used or not. 60k x 784, k = 10, takes 9.95, 9.6, 9.4 ms in float32 with 64, 32, 16 slabs, 19.5, 19.35, 19.1
# in float64; 50k x 512, k = 100, 51.4, 49.6, 48.8 in float32. 500k x 50, k = 3, whose gradients are small, gains
# nothing.
FEW_BYTES, FEW_SLABS = 1 << 20, 16
# Private gradients of all slabs together. Past this they cost memory traffic, then memory.
SLAB_BYTES = 64 << 20
# A slab shorter than this spends its time on zeroing and summing its gradient.
SLAB_ROWS_MIN = 512

# Rows in a block that all threads share (class-parallel): each block streams the whole gradient and
# theta through the cache, so that more rows are less traffic, but k logits a row should stay in L3. 2,048 x
# 512 with 16,000 classes in float32: 433, 394, 366, 374 ms with 64, 128, 256, 512 rows.
SHARED_BLOCK = 256
# Slabs a gradient must be small enough for, and classes enough to keep cores busy, if not.
SLABS_MIN = 4
SHARED_CLASSES = 512

# A chunk is what one kernel call works on, about a tenth of a second (with huge gradients, a second or two), so that
# Ctrl-C and progress callbacks are served promptly. Shorter chunks cut slabs into pieces of a few blocks, each of which
# starts without having been fetched ahead: 60k x 784 in float64 took 10 % longer in chunks of 64 MB.
CHUNK_BYTES = 1 << 30
CHUNK_FLOPS = 2e10
# ... or `FLUSH_ROWS` rows a slab, because where a slab's rows end its gradient is added up: 20k x 1024, k = 1000,
# float64 takes 920 ms in chunks of 5,000 rows (8 slabs of 640 rows), 868 in two and 840 in one of 20,000.

# Gram matrices of all pairs of classes, of all slabs together, and slabs at least: a Hessian of 10,000 parameters then
# has 800 MB of them, as much as itself.
PAIR_BYTES = 256 << 20
PAIR_SLABS_MIN, PAIR_SLABS_MAX = 2, 16
# Rows of a block of a Hessian, where two copies of it by columns fit in L2: the more, the less often the matrices go
# through the cache. No power of two: the columns would share a few sets of L1. n = 100, k = 3 takes one thread 790,
# 820, 720 ns a row in Cython and 1,190, 910, 890 in Numba with 128, 192, 320 rows.
PAIR_BLOCKS = 320, 192

# A thread that gets less work than this may cost more than it saves: little on a quiet machine, where passes that
# follow each other find it awake (10,000 x 20, k = 5 takes 370 us on one thread, 160 to 240 on two; 10,000 x 50, k = 3
# 430 and 220), but far more on a busy one: 107 passes over 1,797 digits took 6 s with two threads that waited for each
# other, 0.7 s with one.
THREAD_FLOPS = 3e6

# Sparse X. Entries a column should have for each private gradient, so that zeroing and adding up the gradients costs
# little beside filling them. 118k x 20k with 106 entries a column and k = 45 took, that included, 43 ms with 9
# gradients, 36 with 4 and 32 with a shared one; 2M x 5,000 with 7,600 a column and k = 5 took 109 and 142 ms with 16
# and a shared one.
SPARSE_ENTRIES = 32
# Slabs at most: 110 and 109 ms with 8 and 16 in the last case.
SPARSE_SLABS_MAX = 16
# Entries a row costs besides its own.
ROW_ENTRIES = 8
# Bytes of the residuals of a run of rows that a feature-parallel pass keeps in cache between its two phases. Short
# runs stay in L2, long ones have fewer barriers: 118k x 168k with 2.2M entries and k = 45 in float64 took one thread
# 88, 101 and 91 ms with 0.5, 2 and 14 MB, and two threads 44, 42 and 40 ms.
SHARED_BYTES = 1 << 20
CACHE_LINE = 64  # a row of residuals takes a vector at least
# Entries a walk over a large theta or gradient looks ahead by, in Numba. 200k x 10^6 with 6 million entries, k = 100:
# at best 363, 326, 320 ms in float64 and 235, 226, 229 in float32 with 16, 24, 32. Medians differ by less than noise.
ENTRIES_AHEAD = 24

# Entries of a column that are summed in float32, where they are spread evenly over the rows: moving the sums on to
# float64 costs about as much as an entry.
FLOAT32_TERMS = 256

# float32 products are summed in float32 over at most this many rows, then added to float64: block by block, so that
# 4,096 rows are chains of 128 + 32 additions, and 1,024 would be 128 + 8.
FLUSH_ROWS = 4096


@dataclass(frozen=True)
class Plan:
    """The cut of one problem; see the module's docstring.

    Attributes
    ----------
    block : int
        Rows that go through the cache together.
    slabs : int
        Row ranges with a loss and a gradient of their own.
    chunk : int
        Rows given to one kernel call.
    flush_rows : int
        Rows whose products are summed before they go into the float64 slab (a multiple of `block`): float32 at most
        `FLUSH_ROWS`.
    threads : int
        The most threads that are worth waking; results do not depend on how many there are.
    strategy : str
        "row-parallel": each slab owns a gradient. "class-parallel": the gradient is large, and
        threads share one by splitting the classes of each block. "feature-parallel", of sparse X: threads
        share one gradient by splitting the features, phase after phase.
    phase_rows : int
        Rows of a phase of a feature-parallel pass: threads work out their residuals, then add them column by column.
    """

    block: int
    slabs: int
    chunk: int
    flush_rows: int
    threads: int
    strategy: str = "row-parallel"
    phase_rows: int = 0

    def slabs_of(self, rows: int) -> int:
        """Slabs of a chunk that have rows: the first ones."""
        return min(self.slabs, -(-rows // self.block))

    def slab_ranges(self, rows: int) -> list[tuple[int, int, int]]:
        """(slab, first row, end row) for the slabs of a chunk that have rows.

        They differ by a block at most: 20,000 rows in 8 slabs of 20 blocks, but for the last, made one of two threads
        wait for 2 % of the time.
        """
        slabs, blocks = self.slabs_of(rows), -(-rows // self.block)
        starts = [min(slab * blocks // slabs * self.block, rows) for slab in range(slabs + 1)]
        return [(slab, a, b) for slab, (a, b) in enumerate(pairwise(starts))]

    def sparse_slabs(self, indptr: np.ndarray) -> np.ndarray:
        """Row where each slab of a sparse chunk begins, and the chunk's end: int64 (slabs + 1,).

        Slabs get the same work, not the same rows: an entry counts 1, a row (its softmax) `ROW_ENTRIES` besides. The
        rows are searched by halves: an array of their work took 6 to 10 ms for 3.3M rows, a search 0.3.
        """
        rows = len(indptr) - 1
        if self.slabs == 1:
            return np.array([0, rows], np.int64)
        wanted = (indptr[rows] + ROW_ENTRIES * rows) * np.arange(self.slabs + 1) / self.slabs
        starts, after = np.zeros(self.slabs + 1, np.int64), np.full(self.slabs + 1, rows)
        while (starts < after).any():
            middle = (starts + after) // 2
            short = indptr[middle] + ROW_ENTRIES * middle < wanted
            starts, after = np.where(short, middle + 1, starts), np.where(short, after, middle)
        starts = np.minimum(-(-starts // self.block) * self.block, rows)
        starts[0], starts[-1] = 0, rows
        out: np.ndarray = starts.astype(np.int64)
        return out


def make_plan(
    m: int,
    n: int,
    k: int,
    dtype: np.dtype,
    *,
    block: int | None = None,
    slabs: int | None = None,
    chunk: int | None = None,
    strategy: str | None = None,
    gradient: bool = True,
    converted: bool = False,
    column_bytes: int = 0,
) -> Plan:
    """The plan for m rows of n features and k classes.

    ``gradient=False`` is for passes that sum none (predictions), ``converted`` for sources that copy each chunk,
    ``column_bytes`` for X in F order: so much of each column is in a block (a backend's ``COLUMN_BYTES``); the other
    keywords override single choices (tests do).
    """
    itemsize = np.dtype(dtype).itemsize
    fitting_slabs = SLAB_BYTES // (n * k * 8) if gradient else SLABS_MAX
    if strategy is None:
        shared = fitting_slabs < SLABS_MIN and k >= SHARED_CLASSES
        strategy = "class-parallel" if shared else "row-parallel"
    if strategy == "class-parallel":
        block, slabs = block or SHARED_BLOCK, 1
    lanes = VECTOR_BYTES // itemsize
    if block is None:
        block = _rows_of_large(n, k, itemsize) or (
            _rows_by_columns(n, k, column_bytes, itemsize) if column_bytes else _rows_per_block(n, k, itemsize)
        )
    block = -(-block // lanes) * lanes
    if slabs is None:
        by_rows = -(-m // SLAB_ROWS_MIN)
        most = max(FEW_BYTES // (n * k * 8), FEW_SLABS, 2 * (os.cpu_count() or 1)) if gradient else SLABS_MAX
        slabs = int(max(1, min(SLABS_MAX, most, max(fitting_slabs, SLABS_MIN), by_rows)))
    if chunk is None:
        by_bytes = (CONVERTED_BYTES if converted else CHUNK_BYTES) // (n * itemsize)
        by_flops = max(int(CHUNK_FLOPS / max(1, 4 * n * k)), slabs * FLUSH_ROWS)
        chunks = -(-m // max(min(by_bytes, by_flops), slabs * block))
        chunk = -(-m // (chunks * slabs * block)) * slabs * block
    flush_rows = max(block, (FLUSH_ROWS if itemsize == 4 else chunk) // block * block)
    # Softmax costs a logit as much as ten features: 50,000 x 10, k = 3 takes 1.05 ms on one thread, 0.65 on two.
    threads = max(1, int(4.0 * min(m, chunk) * (n + 10) * k / THREAD_FLOPS))
    return Plan(block=block, slabs=slabs, chunk=chunk, flush_rows=flush_rows, threads=threads, strategy=strategy)


def make_hessian_plan(m: int, n: int, k: int, *, block: int | None = None, chunk: int | None = None) -> Plan:
    """The plan of the exact Hessian for m rows that are converted to float64, the bias's column being one of the n."""
    matrices = k * (k - 1) // 2 * n * n
    slabs = min(max(PAIR_BYTES // (8 * matrices), PAIR_SLABS_MIN), PAIR_SLABS_MAX)
    if block is None:
        fit = int(L2_SHARE * cache_bytes()["L2"]) // ((3 * n + k) * 8)
        block = next((rows for rows in PAIR_BLOCKS if rows <= fit), None)
    return make_plan(
        m,
        n,
        k,
        np.dtype(np.float64),
        block=block,
        slabs=int(max(1, min(slabs, -(-m // SLAB_ROWS_MIN)))),
        chunk=chunk,
        strategy="row-parallel",
        converted=True,
    )


def make_sparse_plan(
    m: int,
    n: int,
    k: int,
    nnz: int,
    dtype: np.dtype,
    *,
    block: int | None = None,
    slabs: int | None = None,
    chunk: int | None = None,
    strategy: str | None = None,
    gradient: bool = True,
) -> Plan:
    """The plan for m sparse rows with nnz entries in all; see `make_plan`.

    Private gradients pay where they are small beside the entries they add up; else all threads share one.
    """
    itemsize = np.dtype(dtype).itemsize
    fitting_slabs = min(SLAB_BYTES // (n * k * 8), nnz // (SPARSE_ENTRIES * n)) if gradient else SLABS_MAX
    if strategy is None:
        strategy = "row-parallel" if fitting_slabs >= SLABS_MIN or m <= SLAB_ROWS_MIN else "feature-parallel"
    whole = BLOCK_BYTES // itemsize
    block = -(-(block or _sparse_rows_per_block(k, itemsize)) // whole) * whole
    if strategy == "feature-parallel":
        slabs = 1
    elif slabs is None:
        slabs = int(max(1, min(SPARSE_SLABS_MAX, max(fitting_slabs, 1), -(-m // SLAB_ROWS_MIN))))
    per_row = max(1.0, nnz / m) * k + 10 * k
    if chunk is None:
        chunk = max(int(CHUNK_FLOPS / 10 / (4 * per_row)), slabs * block)
        chunk = -(-chunk // (slabs * block)) * slabs * block
    phase_rows = max(1, SHARED_BYTES // max(k * itemsize, CACHE_LINE) // block) * block
    threads = max(1, int(4.0 * min(m, chunk) * per_row / THREAD_FLOPS))
    return Plan(block, slabs, chunk, flush_rows=block, threads=threads, strategy=strategy, phase_rows=phase_rows)


def hot_columns(load: np.ndarray, rows: int, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """`Hot.columns` and `Hot.starts` for float32 X of that many rows, load[j] entries before column j.

    A column is moved to float64 after each `FLOAT32_TERMS` entries or so, and after `FLUSH_ROWS` rows, or where the
    rows of a slab or a chunk end, at the latest; one that never is has at most as many entries as `SPARSE_SLABS_MAX`
    times `FLOAT32_TERMS`: both are 4,096.
    """
    counts = np.diff(load)
    hot = np.flatnonzero(counts > FLOAT32_TERMS * plan.slabs)
    blocks = FLOAT32_TERMS * rows / (plan.block * counts[hot])
    level = np.log2(np.clip(blocks, 1, max(1, FLUSH_ROWS // plan.block))).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(np.bincount(level))])
    return hot[np.argsort(level, kind="stable")].astype(np.int64), starts.astype(np.int64)


def _sparse_rows_per_block(k: int, itemsize: int) -> int:
    """As many rows, up to 128, as let the logits in both orders stay in half of L2."""
    multiple = BLOCK_BYTES // itemsize
    fit = cache_bytes()["L2"] // 2 // (2 * k * itemsize)
    return int(np.clip(fit // multiple * multiple, multiple, BLOCK_MAX))


def _rows_of_large(n: int, k: int, itemsize: int) -> int:
    """Rows of a block where the gradient does not fit in L2; 0 where it does, or the features are too many."""
    multiple = BLOCK_BYTES // itemsize
    rows = LARGE_BYTES // (n * itemsize) // multiple * multiple
    return min(rows, LARGE_MAX) if n * k * itemsize > cache_bytes()["L2"] and rows >= BLOCK_MAX else 0


def _rows_per_block(n: int, k: int, itemsize: int) -> int:
    """As many rows, up to 128, as let two blocks, a transposed copy and the logits fit in L2, or a block in L3."""
    multiple, lanes = BLOCK_BYTES // itemsize, VECTOR_BYTES // itemsize
    fit = int(L2_SHARE * cache_bytes()["L2"]) // ((3 * n + k) * itemsize)
    if fit < multiple:
        return int(np.clip(WIDE_BYTES // (n * itemsize) // lanes * lanes, lanes, multiple))
    return min(fit // multiple * multiple, BLOCK_MAX)


def _rows_by_columns(n: int, k: int, column_bytes: int, itemsize: int) -> int:
    """Rows of a block of F-order X: long pieces of columns, which are pages apart, as far as one and its logits fit."""
    fit = int(L2_SHARE * cache_bytes()["L2"]) // ((n + k) * itemsize)
    multiple = BLOCK_BYTES // itemsize
    rows = max(multiple, min(column_bytes // itemsize, fit) // multiple * multiple)
    return rows - multiple if rows * itemsize == ALIASED_BYTES < column_bytes else rows
