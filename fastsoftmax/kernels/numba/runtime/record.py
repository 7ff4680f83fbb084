"""What a share of a pass is called with: the address of a record of 8-byte numbers.

    a cache line    the ticket, which all threads count up, and what changes from one phase of a pass to the next
    job, layouts    named tuples of int and float, field after field
    scratch         of one worker after the other, and what they share

Python packs a record in a microsecond or two, and compiled code can call compiled code with it. Fifty arguments would
take 5 us to unpack at each call, and only Python could pass them.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import typing
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ...contract import Parameters, RowOutputs, Rows, Sums
from ..microkernels.memory import INT64
from ..microkernels.simd import element_type

LINE = 64
# The numbers in the first cache line: the next ticket, the phase, and the row at which the phase begins.
TICKET, PHASE, ROW = range(3)
FIRST = struct.Struct("=qqq")
# The first fields of the jobs of dense and of sparse passes: addresses (0 where there is no array), and two floats.
COMMON = (
    *("ticket", "scratch", "y", "w", "soft", "theta", "bias", "direction", "direction_bias"),
    *("loss", "grad", "bias_grad", "out", "row_loss", "row_label", "smoothing", "scale"),
)


# ---------------------------------------------------------------------------------- reading


@intrinsic
def unpack(typingctx: Any, address: Any, kind: Any) -> Any:
    """The named tuple of that kind at the address."""
    numbers = named_tuple(kind.instance_class)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return emit_unpack(context, builder, args[0], numbers)

    return numbers(types.intp, kind), emit


def named_tuple(kind: type) -> Any:
    """The Numba type of a named tuple: float64 for float, int64 for int, another tuple for a named tuple."""
    numbers = {int: types.int64, float: types.float64}
    fields = [numbers[field] if field in numbers else named_tuple(field) for field in field_types(kind)]
    return types.BaseTuple.from_types(fields, kind)


def emit_unpack(context: Any, builder: Any, address: Any, kind: Any) -> Any:
    """The LLVM value of the named tuple of the Numba type ``kind`` at the address."""
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


# ---------------------------------------------------------------------------------- writing


@functools.cache
def field_types(kind: type) -> tuple[type, ...]:
    """The types of the fields of a named tuple: int, float, or another named tuple."""
    return tuple(typing.get_type_hints(kind).values())


def letters(kind: type) -> str:
    """What the module `struct` calls the fields, nested ones in their place."""
    names = {int: "q", float: "d"}
    return "".join(names[field] if field in names else letters(field) for field in field_types(kind))


@functools.cache
def packer(kind: type, fields: int | None = None) -> struct.Struct:
    """Packs a named tuple, or only its first fields."""
    return struct.Struct("=" + letters(kind)[:fields])


def record_bytes(kind: type) -> int:
    """Bytes that a named tuple takes in a record."""
    return packer(kind).size


def pack(*numbers: Any) -> bytes:
    """Named tuples as compiled code unpacks them."""
    return b"".join(packer(values.__class__).pack(*flat(values)) for values in numbers)


def flat(numbers: Any) -> list[Any]:
    """The values of a named tuple, nested ones in their place."""
    values: list[Any] = []
    for value in numbers:
        values.extend(flat(value) if isinstance(value, tuple) else [value])
    return values


class Record:
    """The memory of a record: the first fields of a job of type ``kind``, then ``rest``, then scratch.

    ``values`` are those fields but for the ticket and the scratch; ``scratch`` is the number of bytes.
    """

    __slots__ = ("_memory", "address", "scratch")
    _memory: Any  # an array; NumPy's stubs do not call it a buffer before Python 3.12

    def __init__(self, kind: type, values: tuple[Any, ...], rest: bytes = b"", scratch: int = 0) -> None:
        form = packer(kind, 2 + len(values))
        end = LINE + form.size + len(rest)
        start = -(-end // LINE) * LINE
        self._memory, self.address = new_scratch(start + scratch)
        self.scratch = self.address + start
        form.pack_into(self._memory, LINE, self.address, self.scratch, *values)
        self._memory.data[LINE + form.size : end] = rest
        self.begin()

    def begin(self, phase: int = 0, row: int = 0) -> None:
        """Begin a phase: tickets count from 0 again."""
        FIRST.pack_into(self._memory, 0, 0, phase, row)

    @property
    def first(self) -> tuple[int, ...]:
        """The numbers in the first cache line."""
        return FIRST.unpack_from(self._memory)


def common_fields(
    rows: Rows,
    sums: Sums,
    params: Parameters | None = None,
    direction: Parameters | None = None,
    out: np.ndarray | None = None,
    outputs: RowOutputs | None = None,
) -> tuple[Any, ...]:
    """The values of `COMMON`, but for the ticket and the scratch."""
    return (
        address_of(rows.y),
        address_of(rows.w),
        address_of(rows.soft),
        address_of(None if params is None else params.theta),
        address_of(None if params is None else params.bias),
        address_of(None if direction is None else direction.theta),
        address_of(None if direction is None else direction.bias),
        address_of(sums.loss),
        address_of(sums.grad),
        address_of(sums.bias),
        address_of(out),
        address_of(None if outputs is None else outputs.loss),
        address_of(None if outputs is None else outputs.label),
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
        buffer: Any = array
        return ctypes.addressof(ctypes.c_char.from_buffer(buffer))  # takes 0.3 us, array.ctypes.data 1 us
    except (TypeError, ValueError):  # for arrays that are read-only or empty
        assert array.flags.c_contiguous
        return array.ctypes.data
