"""What a share of a pass is called with: the address of a `Record`, one for dense, sparse and all other passes.

    a cache line    the ticket, which all threads count up, and what changes from one phase of a pass to the next
    fields          what the pass works on: numbers, and addresses of arrays and of compiled functions
    parts           where the parts of a worker's scratch begin
    scratch         what the workers share, then that of one worker after the other

`FIELDS` and `PARTS` are its only description. Python fills in the fields as attributes of a `ctypes` structure, by name
and in a microsecond or two; fifty arguments would take 5 us to unpack at each call, and only Python could pass them.
Compiled code reads the same names (`views.py`). No field changes while a share runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from ...contract import Parameters, RowOutputs, Rows, Sums
from ..microkernels.prefetch import PrefetchPlan

LINE = 64

# ------------------------------------------------------------------------------- description


class Array(NamedTuple):
    """The address of an array, 0 for none; compiled code sees a pointer to its numbers."""

    dtype: Any


class Inline(NamedTuple):
    """So many int64 in the record itself; compiled code sees a pointer to them."""

    numbers: int


INT, FLOAT = types.int64, types.float64
VALUE, INDEX = "value", "index"  # dtypes that compiled code is made for: of the computation, of the indices of sparse X
VALUES, DOUBLES, LABELS, POSITIONS = Array(VALUE), Array(types.float64), Array(types.int32), Array(types.int64)

FIELDS: dict[str, Any] = {
    # The first cache line.
    "ticket": Inline(1),
    "phase": INT,
    "row": INT,  # at which the phase begins
    "wrong": Inline(1),  # of a reduction: whether a scaled sum is not finite
    "wrongly_stored": Inline(1),  # and whether a value of the result is not
    "rest_of_the_line": Inline(3),
    # What a call brings with it: see `contract.py`.
    "X": VALUES,  # its address alone where X is narrow
    "y": LABELS,
    "w": DOUBLES,
    "fold": LABELS,
    "soft": VALUES,
    "smoothing": FLOAT,
    "theta": VALUES,
    "bias": VALUES,
    "direction": VALUES,
    "direction_bias": VALUES,
    "left_out": LABELS,
    "loss": DOUBLES,
    "grad": INT,  # an address: of numbers of `grad_itemsize`
    "bias_grad": DOUBLES,
    "held": DOUBLES,
    "scale": FLOAT,
    "out": INT,  # an address
    "dX": VALUES,
    "row_loss": VALUES,
    "row_label": POSITIONS,
    # What passes of one shape share: first what dense and sparse passes both have.
    "task": INT,  # one of those in `block/job.py`
    "n": INT,
    "k": INT,  # of all models together
    "rows": INT,
    "models": INT,
    "y_step": INT,  # from one model's labels to the next's; 0 where they share them
    "w_step": INT,
    "targets": INT,  # whether the loss has a target for each class: soft ones, or smoothed labels
    "result_itemsize": INT,  # of theta, logits, residuals
    "grad_itemsize": INT,
    "block": INT,
    "slabs": INT,
    "ld": INT,  # elements from one class of H to the next
    "predict": INT,  # the function that turns logits into predictions
    "residual_of_targets": INT,  # the softmax step of soft and smoothed targets
    # Dense X.
    "source_type": INT,  # one of `SOURCE_TYPES`
    "itemsize": INT,
    "row_step": INT,  # in elements
    "feature_step": INT,
    "flush_rows": INT,
    "claim": INT,  # slabs that a worker takes at once
    "convert": INT,  # the function that converts a block of a narrow source type
    "transpose_bytes": INT,  # likewise, rows of bytes as columns
    "prefetch": Inline(len(PrefetchPlan._fields)),
    # How the products of a block of dense X are made, as `strategy.py` chooses. Numba compiles every branch of a
    # function, so what only some passes call are functions by themselves, 0 where this one does not call it.
    "tiles": INT,  # the table of register tiles, `tile.py`
    "row_group": INT,  # rows whose panels stay in L2 while theta passes by
    "forward_by_dots": INT,  # `dot_tile.py`
    "backward_by_dots": INT,
    "kc_blocks": INT,
    "forward_by_kc_blocks": INT,
    "class_lane_forward": INT,  # `few_classes.py`
    "narrow_backward": INT,
    # Sparse X, a `Csr`, and its `Hot` columns.
    "indptr": POSITIONS,
    "indices": Array(INDEX),
    "data": VALUES,
    "entries": INT,
    "step": INT,  # elements from one row of R and D to the next
    "theta_distance": INT,  # how many entries later than the current one rows of theta are prefetched for
    "grad_distance": INT,
    "hot_columns": POSITIONS,
    "hot_starts": POSITIONS,
    "hot_levels": INT,
    "hot_grad": INT,  # an address
    "hot_size": INT,  # bytes of hot_grad of one slab
    "starts": POSITIONS,  # row-parallel: rows starts[p] .. starts[p + 1] are slab p
    "phase_rows": INT,
    "cuts": POSITIONS,  # feature-parallel: columns cuts[p] .. cuts[p + 1] are range p
    "ranges": INT,
    # The end of a gradient, `block/reduce.py`.
    "l2": FLOAT,
    "pieces": INT,
}

PARTS: dict[str, Any] = {
    "P": VALUE,  # X with rows in the lanes, for the forward product
    "Q": VALUE,  # a panel of X with features in the lanes, for the backward product
    "S": VALUE,  # a staged block: X converted
    "R": VALUE,  # class-parallel: rows that may be read to a whole register; sparse: logits, then D, by rows
    "H": VALUE,  # logits, then residuals D: H[c * ld + i]
    "U": VALUE,  # logits along the direction, or targets, or exponentials
    "W": VALUE,  # weighted columns of X, for pairs of classes
    "G": VALUE,  # float32 sums of products, before they are flushed into float64
    "theta": VALUE,  # as the micro-kernels read it
    "direction": VALUE,
    "bias": VALUE,
    "direction_bias": VALUE,
    "zeros": VALUE,
    "labels": VALUE,  # of the rows of the block, as numbers of the dtype of the computation
    "best": VALUE,  # the class of the largest logit
    "losses": VALUE,
    "loss": types.float64,
    "w": types.float64,
    "fold_w": types.float64,  # weights without the rows that a model leaves out
    "prefetch": types.int64,
    # Of class-parallel passes; `tops` to `mass`, and `best`, are (groups, ld).
    "tops": VALUE,  # the largest logit of each group, then the group's factor
    "sums": VALUE,  # of the exponentials of each group
    # Of each group, the logit of the label, or half of sum_c t_c (top - H_c), or sum_c exp(H_c - top) U_c.
    "more": VALUE,
    "mass": VALUE,  # of each group, the sum of the targets
    "targets": VALUE,  # of one group
    "share": VALUE,  # what a row's exponentials are multiplied by, but for the factors of the groups
    "mean": VALUE,  # of the logits along the direction, under the softmax
    "top_label": VALUE,
    # Of sparse passes: the entries of each row in a range of columns, and what is kept of two phases.
    "low": types.int64,
    "high": types.int64,
    "kept_D": VALUE,
    "kept_losses": types.float64,  # of each block
    "kept_sums": types.float64,  # the column sums of D of each block
    "totals": types.float64,  # of a gradient that is reduced
}


def _ctype(kind: Any) -> Any:
    if isinstance(kind, Inline):
        return ctypes.c_int64 * kind.numbers if kind.numbers > 1 else ctypes.c_int64
    return ctypes.c_double if kind is FLOAT else ctypes.c_int64


class Record(ctypes.Structure):
    """The fields, then the places of the parts: for each, where it begins and how far it is to the next worker's."""

    _fields_ = [*((name, _ctype(kind)) for name, kind in FIELDS.items()), ("parts", ctypes.c_int64 * (2 * len(PARTS)))]


TEMPLATE_BYTES = ctypes.sizeof(Record)
RECORD_BYTES = -(-TEMPLATE_BYTES // LINE) * LINE
NUMBERS = {name: i for i, name in enumerate(PARTS)}

# ---------------------------------------------------------------------------------- writing


def place_parts(record: Record, own: dict[str, int], shared: dict[str, int] | None = None, workers: int = 1) -> int:
    """Write where parts of so many numbers each begin, each at a cache line; returns the bytes of record and scratch.

    What all workers share comes first.
    """
    end = RECORD_BYTES
    for parts in (shared or {}, own):
        begin = end
        for name, count in parts.items():
            size = record.result_itemsize if PARTS[name] == VALUE else 8
            record.parts[2 * NUMBERS[name]] = end
            end += -(-count * size // LINE) * LINE
    for name in own:
        record.parts[2 * NUMBERS[name] + 1] = end - begin
    return begin + workers * (end - begin)


class Launch:
    """The memory of one call: a copy of ``template``, and scratch, ``size`` bytes in all. Its ``record`` is to get the
    arrays of the call."""

    __slots__ = ("_memory", "address", "record")

    def __init__(self, template: Record, size: int) -> None:
        self._memory, address = new_scratch(size)
        ctypes.memmove(address, ctypes.addressof(template), TEMPLATE_BYTES)
        self.record, self.address = Record.from_address(address), address

    def begin(self, phase: int, row: int) -> None:
        """Begin a phase: tickets count from 0 again."""
        record = self.record
        record.ticket, record.phase, record.row = 0, phase, row


def set_arrays(
    record: Record,
    rows: Rows,
    sums: Sums,
    params: Parameters | None = None,
    direction: Parameters | None = None,
    out: np.ndarray | None = None,
    outputs: RowOutputs | None = None,
) -> None:
    """The arrays and numbers that a call brings with it, but for X. What it has not stays 0."""
    record.scale, record.loss, record.smoothing = sums.scale, address_of(sums.loss), rows.smoothing
    if sums.grad is not None:
        record.grad, record.bias_grad = address_of(sums.grad), address_of(sums.bias)
    if sums.held is not None:
        record.held = address_of(sums.held)
    if rows.y is not None:
        record.y = address_of(rows.y)
        record.y_step = rows.y.shape[1] if rows.y.ndim == 2 else 0
    if rows.w is not None:
        record.w = address_of(rows.w)
        record.w_step = rows.w.shape[1] if rows.w.ndim == 2 else 0
    if rows.soft is not None:
        record.soft = address_of(rows.soft)
    if out is not None:
        record.out = address_of(out)
    if params is not None:
        record.theta, record.bias = address_of(params.theta), address_of(params.bias)
        if rows.fold is not None:
            record.fold, record.left_out = address_of(rows.fold), address_of(params.left_out)
    if direction is not None:
        record.direction, record.direction_bias = address_of(direction.theta), address_of(direction.bias)
    if outputs is not None:
        record.row_loss, record.row_label = address_of(outputs.loss), address_of(outputs.label)
        record.dX = address_of(outputs.dX)


def new_scratch(size: int) -> tuple[np.ndarray, int]:
    """Memory that begins with a cache line, and its address."""
    memory = np.empty(size + LINE, np.uint8)
    address = address_of(memory)
    skipped = -address % LINE
    return memory[skipped : skipped + size], address + skipped


_addressof: Callable[[Any], int] = ctypes.addressof
_char_of: Any = ctypes.c_char.from_buffer


def address_of(array: np.ndarray | None) -> int:
    """Where a contiguous array begins; 0 for None."""
    if array is None:
        return 0
    try:
        return _addressof(_char_of(array))  # takes 0.25 us, array.ctypes.data 1 us
    except (TypeError, ValueError):  # for arrays that are read-only or empty
        assert array.flags.c_contiguous
        return array.ctypes.data
