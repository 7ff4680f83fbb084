"""What a share of a pass is called with: the address of a record of 8-byte numbers.

    a cache line    the ticket, which all threads count up, and what changes between the phases of a pass
    job, layouts    named tuples, field after field
    scratch         of one worker after another, and what they share

Python packs a record in a microsecond or two, and compiled code may call with it. Arguments would have to be unpacked
one by one at each call (5 us for the 50 of a dense pass), by Python alone.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ...contract import Parameters, RowOutputs, Rows, Sums
from ..microkernels.prefetch import Fetch
from ..microkernels.simd import INT64, element_type

LINE = 64
# What the first line holds. ``ROW`` is where a phase begins.
TICKET, PHASE, ROW = range(3)
FIRST = struct.Struct("=qqq")
# What the jobs of dense and of sparse passes begin with: addresses, 0 for an array that is not there, and two numbers.
COMMON = (
    "ticket scratch y w soft theta bias direction direction_bias loss grad bias_grad out row_loss row_label "
    "smoothing scale"
)
FLOATS = {"smoothing", "scale", "l2"}
NESTED = {("Job", "fetch"): Fetch}  # by the kind they are in


# ---------------------------------------------------------------------------------- reading


@intrinsic
def unpack(typingctx, address, kind):
    """The named tuple of that kind at the address."""
    numbers = named_tuple(kind.instance_class)

    def emit(context, builder, sig, args):
        return emit_unpack(context, builder, args[0], numbers)

    return numbers(types.intp, kind), emit


def named_tuple(kind):
    """The Numba type of a named tuple of numbers: float64 for `FLOATS`, else int64."""
    return types.BaseTuple.from_types([field_type(kind, name) for name in kind._fields], kind)


def field_type(kind, name):
    nested = NESTED.get((kind.__name__, name))
    return named_tuple(nested) if nested else types.float64 if name in FLOATS else types.int64


def emit_unpack(context, builder, address, kind):
    values = []
    for field in kind.types:
        if isinstance(field, types.BaseNamedTuple):
            values.append(emit_unpack(context, builder, address, field))
            size = record_bytes(field.instance_class)
        else:
            element = INT64 if field == types.int64 else element_type(field)
            values.append(builder.load(builder.inttoptr(address, element.as_pointer())))
            size = 8
        address = builder.add(address, ir.Constant(INT64, size))
    return context.make_tuple(builder, kind, values)


@functools.cache
def record_bytes(kind: type) -> int:
    nested = [NESTED.get((kind.__name__, name)) for name in kind._fields]
    return sum(record_bytes(inner) if inner else 8 for inner in nested)


# ---------------------------------------------------------------------------------- writing


@functools.cache
def packer(names: tuple[str, ...]) -> struct.Struct:
    """Packs numbers of these names."""
    return struct.Struct("=" + "".join("d" if name in FLOATS else "q" for name in names))


def pack(*numbers: Any) -> bytes:
    """Named tuples as compiled code unpacks them."""
    return b"".join(packer(names).pack(*values) for names, values in map(flat, numbers))


def flat(numbers: Any) -> tuple[tuple[str, ...], list[Any]]:
    """Names and values of a named tuple, nested ones in their place."""
    names: list[str] = []
    values: list[Any] = []
    for name, value in zip(numbers._fields, numbers, strict=True):
        inner = flat(value) if (type(numbers).__name__, name) in NESTED else ((name,), [value])
        names.extend(inner[0])
        values.extend(inner[1])
    return tuple(names), values


class Record:
    """The memory of a record that begins with the fields ``names``, goes on with ``rest``, and of its scratch."""

    __slots__ = ("_memory", "address", "scratch")

    def __init__(self, names: tuple[str, ...], values: Iterable[Any], rest: bytes = b"", scratch: int = 0) -> None:
        """``values`` are those after ticket and scratch, ``scratch`` the bytes of that."""
        form = packer(names)
        end = LINE + form.size + len(rest)
        start = -(-end // LINE) * LINE
        self._memory, self.address = new_scratch(start + scratch)
        self.scratch = self.address + start
        form.pack_into(self._memory, LINE, self.address, self.scratch, *values)
        self._memory.data[LINE + form.size : end] = rest
        self.begin()

    def begin(self, phase: int = 0, row: int = 0) -> None:
        """Tickets from 0 on, for this phase."""
        FIRST.pack_into(self._memory, 0, 0, phase, row)

    @property
    def first(self) -> tuple[int, ...]:
        """What the first line holds."""
        return FIRST.unpack_from(self._memory)


def common_fields(
    rows: Rows,
    sums: Sums,
    params: Parameters | None = None,
    direction: Parameters | None = None,
    out: np.ndarray | None = None,
    outputs: RowOutputs | None = None,
) -> tuple[Any, ...]:
    """`COMMON`, but for the first two."""
    return (
        address_of(rows.y),
        address_of(rows.w),
        address_of(rows.soft),
        address_of(params and params.theta),
        address_of(params and params.bias),
        address_of(direction and direction.theta),
        address_of(direction and direction.bias),
        address_of(sums.loss),
        address_of(sums.grad),
        address_of(sums.bias),
        address_of(out),
        address_of(outputs and outputs.loss),
        address_of(outputs and outputs.label),
        rows.smoothing,
        sums.scale,
    )


def new_scratch(size: int) -> tuple[np.ndarray, int]:
    """Memory that begins with a cache line, and its address."""
    memory = np.empty(size + LINE, np.uint8)
    address = address_of(memory)
    skipped = -address % LINE
    return memory[skipped : skipped + size], address + skipped


def address_of(array: np.ndarray | None) -> int:
    """Where a contiguous array begins; 0 for None."""
    if array is None:
        return 0
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # 0.3 us, NumPy's own way 1
    except (TypeError, ValueError):  # read-only, or empty
        assert array.flags.c_contiguous
        return array.ctypes.data
