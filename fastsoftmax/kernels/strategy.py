"""How the products of a block of dense rows are made: which micro-kernels, from which layout of X.

`choose_products` decides it, once for each shape of a pass, for all wings; they carry it out. Its cases, with the
micro-kernels of the forward and the backward product:

    rows, long beside the classes       dot, tile            X in place; `dot_tile`
    rows of bytes                       tile, dot            staged as columns
    rows, few classes                   class_lane, narrow   X in place; `few_classes`
    rows, all else                      tile, tile           a transposed copy for the forward product
    columns (F order), few classes      tile, dot            X in place
    columns, all else                   tile, tile           a transposed copy for the backward product
    columns longer than L2, few classes tile, dot            X in place, in KC blocks of the features
    float32, many classes, matrix units amx_tile, amx_tile   two copies, split into parts of bfloat16: see `units`

A class-parallel pass has tiles alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from . import units
from .machine import cache_bytes
from .plan import Plan
from .tuning import Tuning, WingTuning, tuning
from .units import parts_that_pay

# Classes (or features) that a register tile takes at most.
TILE_SCALARS = 6


class Block(NamedTuple):
    """What the choice depends on, beside the plan.

    Attributes
    ----------
    n, outputs : int
        Features, and rows of the gradient: the classes of all models, or the features of a Gram matrix.
    rows : int
        Of the chunk.
    row_step, feature_step, itemsize : int
        Of X, in bytes.
    by_column : bool
        Whether the block comes in columns: each column is contiguous, in X or once it is converted.
    size : int
        Bytes of a number of the computation.
    vector : int
        Bytes of a register.
    forward, backward : bool
        Whether the pass has these products, of X with theta and with the residuals.
    splits : bool
        Whether its products can walk the features in KC blocks.
    units : str
        The matrix units that the wing can use, of `units.UNITS`.
    exact_parts : int
        Parts of bfloat16 that X is exact in.
    """

    n: int
    outputs: int
    rows: int
    row_step: int
    feature_step: int
    itemsize: int
    by_column: bool
    size: int
    vector: int
    forward: bool = True
    backward: bool = True
    splits: bool = True
    units: str = ""
    exact_parts: int = 3

    @property
    def width(self) -> int:
        """Numbers in a register."""
        return self.vector // self.size

    @property
    def in_place(self) -> bool:
        """Whether X has the dtype of the computation and contiguous columns."""
        return self.by_column and self.itemsize == self.size == self.row_step

    @property
    def bytes_by_row(self) -> bool:
        """Whether `transpose_bytes` can read X."""
        by_row = self.feature_step == 1 and self.row_step >= self.n
        return self.itemsize == 1 and self.size == 4 and by_row and not self.by_column

    @property
    def adjacent(self) -> bool:
        """Whether rows follow each other and each fills a narrow vector."""
        near = self.feature_step == self.itemsize and 0 < self.row_step <= 2 * self.n * self.itemsize
        return near and self.n * self.size >= min(32, self.vector)

    def dots_pay(self, length: int) -> bool:
        """Whether inner products of lines of this length cost less than a transposed copy of the lines."""
        return self.outputs * self.width <= length


@dataclass(frozen=True)
class Products:
    """How the products of a block are made.

    Attributes
    ----------
    forward : str
        "tile", "dot", "class_lane" or "amx_tile".
    backward : str
        "tile", "dot", "narrow" or "amx_tile".
    block, flush_rows : int
        As in `Plan`; others where there are KC blocks or matrix units.
    kc_block : int
        Features of a KC block, about; 0 for all at once.
    transpose_bytes : bool
        Whether rows of bytes are staged as columns.
    class_lanes : int
        Lanes of a vector of classes.
    copy_panels : bool
        Whether the backward product by tiles packs each panel of rows. Cython only.
    row_group : int
        Rows that the forward product by tiles takes all classes with before the next ones; 0 for as many as the wing
        takes anyway, all of the block in Cython and a panel in Numba.
    class_chunk : int
        Classes that the backward product by tiles takes all features with before the next ones; 0 for all. Cython only.
    packing_share : float
        Where a step of a tile would have to prefetch more cache lines than this, packing prefetches too. Cython only.
    units : str
        What "amx_tile" runs on, of `units.UNITS`.
    forward_parts, backward_parts : int
        Parts of bfloat16 that "amx_tile" splits numbers into.
    """

    forward: str
    backward: str
    block: int
    flush_rows: int
    kc_block: int = 0
    transpose_bytes: bool = False
    class_lanes: int = 0
    copy_panels: bool = False
    row_group: int = 0
    class_chunk: int = 0
    packing_share: float = 1.0
    units: str = ""
    forward_parts: int = 0
    backward_parts: int = 0

    def __str__(self) -> str:
        notes = [f"{self.block} rows a block"]
        notes += [f"KC blocks of {self.kc_block} features"] if self.kc_block else []
        notes += ["bytes staged as columns"] if self.transpose_bytes else []
        notes += [f"{self.class_lanes} lanes for the classes"] if self.forward == "class_lane" else []
        notes += ["panels packed"] if self.copy_panels else []
        notes += [f"groups of {self.row_group} rows"] if self.row_group else []
        notes += [f"chunks of {self.class_chunk} classes"] if self.class_chunk else []
        parts = f"{self.forward_parts} and {self.backward_parts} parts of bfloat16"
        notes += [f"{parts} on {self.units}"] if self.units else []
        return f"forward by {self.forward}, backward by {self.backward}: {', '.join(notes)}"


def choose_products(plan: Plan, block: Block, wing: str) -> Products:
    """The products of a pass with this plan, for the backend named ``wing``."""
    row, caches = tuning(), cache_bytes()
    if plan.strategy == "class-parallel":
        return Products("tile", "tile", plan.block, plan.flush_rows, packing_share=row.wing(wing).packing_share)
    slabs = plan.slabs_of(block.rows)
    parts = parts_that_pay(block.units, plan.precision, block.exact_parts, block.n, block.outputs)
    if parts is not None and block.forward:
        return _by_units(plan, slabs, block, parts)
    return _choose(plan.block, plan.flush_rows, slabs, block, wing, row, caches["L2"], caches["L3"])


def _by_units(plan: Plan, slabs: int, b: Block, parts: tuple[int, int]) -> Products:
    """The products of a pass by matrix units."""
    rows = units.block_rows(b.rows, slabs, b.n, min(parts[0], b.exact_parts))
    return Products(
        "amx_tile",
        "amx_tile" if b.backward else "tile",
        rows,
        max(units.FLUSH_ROWS // rows, 1) * rows,
        row_group=units.ROW_GROUP,
        class_chunk=units.CLASS_CHUNK,
        units=b.units,
        forward_parts=parts[0],
        backward_parts=parts[1],
    )


@lru_cache(1024)
def _choose(rows: int, flush_rows: int, slabs: int, b: Block, wing: str, row: Tuning, L2: int, L3: int) -> Products:
    tiles, own = -(-b.outputs // TILE_SCALARS), row.wing(wing)
    crowded = 0 < own.crowded_tiles <= tiles and rows * b.n * b.size > own.crowded_bytes and not b.by_column
    plain = Products("tile", "tile", rows, flush_rows, copy_panels=crowded, packing_share=own.packing_share)
    if not b.forward:
        return plain
    row_group, class_chunk = _groups(rows, b, own)
    plain = replace(plain, row_group=row_group, class_chunk=class_chunk)
    if b.by_column:
        features = _kc_block(rows, slabs, b, wing, row, L2, L3)
        if features:
            rows = row.kc_block_rows[b.size == 8]
            flush_rows = max(flush_rows // rows, 1) * rows
        backward = "dot" if b.backward and b.dots_pay(rows) else "tile"
        return replace(plain, backward=backward, block=rows, flush_rows=flush_rows, kc_block=features)
    if b.n >= row.long_row * b.width and b.dots_pay(b.n):
        return replace(plain, forward="dot")
    if b.bytes_by_row and b.dots_pay(rows):
        return replace(plain, backward="dot" if b.backward else "tile", transpose_bytes=True)
    lanes = _class_lanes(b, wing, row)
    if lanes:
        return replace(plain, forward="class_lane", backward="narrow" if b.backward else "tile", class_lanes=lanes)
    return plain


def _groups(rows: int, b: Block, own: WingTuning) -> tuple[int, int]:
    """Where theta is larger than what stays in L2: the rows, and the classes, whose part of a product stays there."""
    if not own.group_bytes or b.n * b.outputs * b.size <= own.group_bytes:
        return 0, 0
    group, chunk = (max(1, own.group_bytes // (lines * b.size)) for lines in (b.n, rows))
    return group if group < rows else 0, chunk if chunk < b.outputs else 0


def _class_lanes(b: Block, wing: str, row: Tuning) -> int:
    """Lanes of a vector of all classes; 0 where there is none, or rows are better packed."""
    own = row.wing(wing)
    if not (own.stages_rows or b.adjacent):
        return 0
    lanes = max(4, 1 << (b.outputs - 1).bit_length(), min(own.least_lanes, b.width) if b.size == 8 else 4)
    wanted = ("d" if b.size == 8 else "f") in own.class_lane_dtypes
    return lanes if wanted and lanes <= b.width else 0


def _kc_block(rows: int, slabs: int, b: Block, wing: str, row: Tuning, L2: int, L3: int) -> int:
    """Features of a KC block, where L2 does not hold two blocks of columns but L3 holds those of several threads."""
    more = row.kc_block_rows[b.size == 8]
    size = more * b.n * b.size
    sized = b.splits and rows < more and more * slabs <= b.rows and L2 // 2 < size <= L3 // 4
    if not (sized and b.in_place and b.feature_step % 4096 and b.dots_pay(more)):
        return 0
    return max(1, row.wing(wing).kc_block_bytes // (more * b.size))
