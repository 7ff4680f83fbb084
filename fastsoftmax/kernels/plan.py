"""How a pass is cut up: the one drawing of it, and its constants. Those that differ by CPU are in `tuning.py`.

    X   chunk | chunk | ...     rows that Python hands to one kernel call: Ctrl-C and callbacks are served in between
         |
         +-- slab | slab | ...  rows with a loss and a gradient of their own; a thread claims a few at a time
              |
              +-- block | ...   rows that go through the L2 cache together: pack, forward, softmax, backward
                   |
                   +-- tile     part of a product that stays in registers: vectors of lanes x scalars

Products of float32 are summed in float32 over ``flush_rows`` rows, then added to the slab's float64 sums. Where X is in
F order and has many features, both products of a block walk it in KC blocks, a range of features after the other.

A plan says nothing of threads, so no bit of a result depends on their number: a chunk is always cut into the same
slabs, each slab is summed in the order of its blocks, and slabs are added in the order of their numbers. Threads decide
only who works on which slab.

Figures are milliseconds of a pass (loss and gradient, two threads) on an AMD Zen 4, unless they say otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from .contract import AS_ROWS, CONVERTED_BYTES, Layout
from .machine import cache_bytes
from .tuning import Tuning, tuning

# ---------------------------------------------------------------------------------------------- rows of a block

# A block has a multiple of so many bytes of a column: four AVX-512 vectors, 32 rows in float64 and 64 in float32, so
# that register tiles are whole. How many rows it has at most is in `tuning.py`.
BLOCK_BYTES = 256
VECTOR_BYTES = 64
# With very many features not even BLOCK_BYTES of each fit in L2. A block then holds fewer rows, so that it is still in
# L3 when its rows are read a second time. 5,000 x 20,000, k = 5, float64, with 8, 16, 32 rows (1.3 to 5 MB): 42, 43, 53
# ms in Cython and 46, 65, 105 in Numba.
WIDE_BYTES = 2 << 20
# Avoid a class stride of 2,048 bytes in the logits: it aliases in store-to-load forwarding. Cython, with 30,000 x 50, k
# = 400, uint8, takes 16.8, 18.5, 16.6 ms in blocks of 448, 512, 576 rows; hence its other ``column_bytes``.
ALIASED_BYTES = 2048

# ------------------------------------------------------------------------------------------------------- slabs

# Slabs of a chunk at most: enough to balance dozens of cores, few enough that adding them up costs nothing.
SLABS_MAX = 64
# Where the gradients of all slabs exceed FEW_BYTES, slabs are FEW_SLABS, or two for each core of the machine, used or
# not: one thread clears and adds up the gradients. 60k x 784, k = 10, with 64, 32, 16 slabs: float32 9.95, 9.6, 9.4 ms,
# float64 19.5, 19.35, 19.1. 50k x 512, k = 100, float32: 51.4, 49.6, 48.8. Small gradients gain nothing (500k x 50).
FEW_BYTES, FEW_SLABS = 1 << 20, 16
# All private gradients together: beyond this they cost memory traffic, then memory.
SLAB_BYTES = 64 << 20
# A shorter slab spends its time on clearing and adding its gradient.
SLAB_ROWS_MIN = 512

# Class-parallel, where fewer than SLABS_MIN private gradients fit and there are SHARED_CLASSES classes or more to keep
# the cores busy: all threads share one gradient and one block of SHARED_BLOCK rows. Each block streams gradient and
# theta through the cache, so that more rows mean less traffic, but k logits a row should stay in L3. 2,048 x 512 with
# 16,000 classes, float32, in blocks of 64, 128, 256, 512 rows: 433, 394, 366, 374 ms.
SLABS_MIN = 4
SHARED_CLASSES = 512
SHARED_BLOCK = 256

# ------------------------------------------------------------------------------------------------------ chunks

# A chunk takes about a tenth of a second (with huge gradients, a second or two), so that Ctrl-C and callbacks are
# served promptly. Each chunk's slabs begin without having been prefetched: 60k x 784 in float64 took 10 % longer in
# chunks of 64 MB.
CHUNK_BYTES = 1 << 30
CHUNK_FLOPS = 2e10
# Class-parallel chunks, each of which adds the gradient once more. 4,000 x 512 with 32,000 classes, float32, take 639
# ms in chunks of 1,024 rows and in one, and answer Ctrl-C after 160.
SHARED_FLOPS = 6e10

# -------------------------------------------------------------------------------------------------- exact Hessian

# Gram matrices of all pairs of classes in all slabs, and how many slabs at least and at most: a Hessian of 10,000
# parameters then takes 800 MB for them, as much as for itself.
PAIR_BYTES = 256 << 20
PAIR_SLABS_MIN, PAIR_SLABS_MAX = 2, 16
# Rows of a block, if two copies of it by columns fit in L2: the more, the less often the matrices go through the cache.
# Not a power of two, whose columns would share a few sets of L1. n = 100, k = 3, one thread, with 128, 192, 320 rows:
# 790, 820, 720 ns a row in Cython and 1,190, 910, 890 in Numba.
PAIR_BLOCKS = 320, 192

# ------------------------------------------------------------------------------------------------------ threads

# Operations that a thread should get. Waking threads for less gains little on a quiet machine (10,000 x 20, k = 5: 370
# us on one thread, 160 to 240 on two) and loses much on a busy one: 107 passes over 1,797 digits took 6 s with two
# threads that waited for each other, 0.7 s with one.
THREAD_FLOPS = 3e6

# ---------------------------------------------------------------------------------------------------- sparse rows

# Rows of a block at most.
SPARSE_BLOCK_MAX = 128
# Entries that a column should have for each private gradient, so that clearing and adding up the gradients costs little
# beside filling them. 118k x 20k with 106 entries a column, k = 45: 43 ms with 9 gradients, 36 with 4, 32 with one that
# all threads share. 2M x 5,000 with 7,600 a column, k = 5: 109 ms with 16 gradients, 142 with a shared one.
SPARSE_ENTRIES = 32
# Slabs at most; the last case takes 110 ms with 8, 109 with 16.
SPARSE_SLABS_MAX = 16
# What a row costs, its softmax above all, in entries.
ROW_ENTRIES = 8
# Feature-parallel: bytes of the residuals of a phase, which stay in cache until they are added column by column. Fewer
# stay in L2, more mean fewer barriers. 118k x 168k with 2.2M entries, k = 45, float64, with 0.5, 2, 14 MB: 88, 101, 91
# ms on one thread, 44, 42, 40 on two.
SHARED_BYTES = 1 << 20
CACHE_LINE = 64  # a row of residuals takes a line at least
# Numba: entries that walks over a large theta or gradient prefetch ahead. 200k x 10^6 with 6 million entries, k = 100,
# best times with 16, 24, 32: 363, 326, 320 ms in float64 and 235, 226, 229 in float32. Medians differ by less than
# noise.
ENTRIES_AHEAD = 24
# Entries of a column that are summed in float32 before they go into float64, if spread evenly over the rows. Moving
# them costs about as much as an entry.
FLOAT32_TERMS = 256

# Rows until float32 sums go into float64. Sums are made block by block, so that 4,096 rows are chains of 128 + 32
# additions, and 1,024 rows would be 128 + 8. A chunk has as many rows in each slab, because the gradient is also added
# where a slab's rows end: 20k x 1024, k = 1000, float64 takes 920 ms in chunks of 5,000 rows, 868 in two and 840 in
# one.
FLUSH_ROWS = 4096


@dataclass(frozen=True)
class Plan:
    """The cut of one problem; see the module's docstring.

    Attributes
    ----------
    block : int
        Rows that go through the cache together.
    slabs : int
        Ranges of a chunk's rows with a loss and a gradient of their own.
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
    precision : str
        "exact", or what else matrix units may compute with: see `units.PARTS`.
    chosen : dict
        A backend's cache of what `strategy.choose_products` answered for passes with this plan.
    """

    block: int
    slabs: int
    chunk: int
    flush_rows: int
    threads: int
    strategy: str = "row-parallel"
    phase_rows: int = 0
    precision: str = "exact"
    chosen: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.strategy}, {self.slabs} slabs in chunks of {self.chunk:,} rows, up to {self.threads} threads"

    def slabs_of(self, rows: int) -> int:
        """Slabs of a chunk that have rows: the first ones."""
        return min(self.slabs, -(-rows // self.block))

    def slab_ranges(self, rows: int) -> list[tuple[int, int, int]]:
        """(slab, first row, end row) for the slabs of a chunk that have rows.

        They differ by one block at most. When all but the last had 20 blocks, 20,000 rows in 8 slabs made one of two
        threads wait for 2 % of the time.
        """
        slabs, blocks = self.slabs_of(rows), -(-rows // self.block)
        starts = [min(slab * blocks // slabs * self.block, rows) for slab in range(slabs + 1)]
        return [(slab, a, b) for slab, (a, b) in enumerate(pairwise(starts))]

    def sparse_slabs(self, indptr: np.ndarray) -> np.ndarray:
        """Row where each slab of a sparse chunk begins, and the chunk's end: int64 (slabs + 1,).

        Slabs get the same work, not the same rows: an entry counts 1, a row (its softmax) `ROW_ENTRIES` besides. The
        rows are found by bisection, in 0.3 ms for 3.3M rows; an array of the work of each row took 6 to 10.
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
    layout: Layout = AS_ROWS,
    wing: str = "cython",
) -> Plan:
    """The plan for m rows of n features and k classes.

    ``gradient=False`` is for passes that sum none (predictions), ``layout`` says how X lies, ``wing`` is the name of
    the backend in `tuning.py`; the other keywords override single choices (tests do).
    """
    itemsize, row = np.dtype(dtype).itemsize, tuning()
    fitting_slabs = SLAB_BYTES // (n * k * 8) if gradient else SLABS_MAX
    if strategy is None:
        shared = fitting_slabs < SLABS_MIN and k >= SHARED_CLASSES
        strategy = "class-parallel" if shared else "row-parallel"
    if strategy == "class-parallel":
        block, slabs = block or SHARED_BLOCK, 1
    lanes = VECTOR_BYTES // itemsize
    if block is None:
        block = _rows_of_large(n, k, itemsize, row) or (
            _rows_by_columns(n, k, itemsize, row, wing)
            if layout.by_column or layout.itemsize == 1 and n <= row.wing(wing).byte_columns
            else _rows_per_block(n, k, itemsize, row)
        )
    block = -(-block // lanes) * lanes
    if slabs is None:
        by_rows = -(-m // SLAB_ROWS_MIN)
        most = max(FEW_BYTES // (n * k * 8), FEW_SLABS, 2 * (os.cpu_count() or 1)) if gradient else SLABS_MAX
        slabs = int(max(1, min(SLABS_MAX, most, max(fitting_slabs, SLABS_MIN), by_rows)))
    if chunk is None:
        most_bytes = CONVERTED_BYTES if layout.converted else CHUNK_BYTES
        by_bytes = min(most_bytes, layout.chunk_bytes or most_bytes) // (n * itemsize)
        shared = strategy == "class-parallel"
        flops, least = (SHARED_FLOPS, block) if shared else (CHUNK_FLOPS, slabs * FLUSH_ROWS)
        by_flops = max(int(flops / max(1, 4 * n * k)), least)
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
        fit = int(tuning().l2_share * cache_bytes()["L2"]) // ((3 * n + k) * 8)
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
        layout=Layout(converted=True),
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
    return int(np.clip(fit // multiple * multiple, multiple, SPARSE_BLOCK_MAX))


def _rows_of_large(n: int, k: int, itemsize: int, row: Tuning) -> int:
    """Rows of a block where the gradient does not fit in L2; 0 where it does, or the features are too many."""
    multiple = BLOCK_BYTES // itemsize
    rows = row.large_bytes // (n * itemsize) // multiple * multiple
    large = n * k * itemsize > cache_bytes()["L2"] and rows >= row.block_max
    return min(rows, row.large_max) if large else 0


def _rows_per_block(n: int, k: int, itemsize: int, row: Tuning) -> int:
    """As many rows as let two blocks, a transposed copy and the logits fit in L2, or a block in L3."""
    multiple, lanes = BLOCK_BYTES // itemsize, VECTOR_BYTES // itemsize
    fit = int(row.l2_share * cache_bytes()["L2"]) // ((3 * n + k) * itemsize)
    if fit < multiple:
        return int(np.clip(WIDE_BYTES // (n * itemsize) // lanes * lanes, lanes, multiple))
    return min(fit // multiple * multiple, row.block_max)


def _rows_by_columns(n: int, k: int, itemsize: int, row: Tuning, wing: str) -> int:
    """Rows of a block of F-order X: long pieces of columns, which are pages apart, as far as one and its logits fit."""
    fit, wanted = int(row.l2_share * cache_bytes()["L2"]) // ((n + k) * itemsize), row.wing(wing).column_bytes
    multiple = BLOCK_BYTES // itemsize
    rows = max(multiple, min(wanted // itemsize, fit) // multiple * multiple)
    return rows - multiple if rows * itemsize == ALIASED_BYTES < wanted else rows


# Plans that are kept, each a few hundred bytes; callers with more shapes than that wait for new ones. Making a plan
# takes as long as a pass over 512 rows of 784 features and 10 classes.
MOST_PLANS = 1024
_plans: dict[Hashable, Plan] = {}


def kept_plan(key: Hashable, make: Callable[[], Plan]) -> Plan:
    """The plan with this key; made, and kept, where there is none. For calls that repeat their shapes on new rows."""
    plan = _plans.get(key)
    if plan is None:
        if len(_plans) >= MOST_PLANS:
            _plans.clear()
        plan = _plans.setdefault(key, make())
    return plan
