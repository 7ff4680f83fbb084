"""Arrays of any library as arrays of NumPy, that share their memory wherever it is the CPU's.

An array is known by what it offers, so that none of these libraries need be installed: ``__array__`` (PyTorch, JAX,
xarray, columns of pandas, polars and pyarrow), ``__dlpack__``, or Arrow data (``__arrow_c_array__``,
``__arrow_c_stream__``), which pyarrow reads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _extras
from .bfloat16 import bits_of, is_bfloat16

# Devices of DLPack whose memory the CPU reads: its own, and what CUDA and ROCm have pinned or manage.
_CPU_READS = (1, 3, 11, 13)
# What NumPy itself can read.
_READABLE = ("__array__", "__array_interface__", "__array_struct__", "__buffer__")
_OFFERS = ("__dlpack__", "__arrow_c_array__", "__arrow_c_stream__")


def as_array(value: Any, name: str) -> np.ndarray:
    """What a caller gave as an array; nothing is copied that has an array's memory.

    Raises
    ------
    TypeError
        For an array that has a mask, is not in the CPU's memory, requires a gradient, or that NumPy cannot read, as one
        of bfloat16: see `as_array_or_bits`.
    ValueError
        For lists of different lengths.
    """
    if type(value) is np.ndarray and value.dtype.kind != "V":
        return value
    if is_bfloat16(value):
        raise TypeError(f"{name} is in bfloat16, which NumPy does not have; float32 is wanted")
    _require_plain(value, name)
    kind = type(value)
    try:
        return np.asarray(_readable(value))
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} is no array of equally long rows: {error}") from error
    except (TypeError, RuntimeError, BufferError) as error:
        raise TypeError(f"{name} is a {kind.__name__} that NumPy cannot read: {error}") from error


def as_array_or_bits(value: Any, name: str) -> np.ndarray:
    """`as_array`; of an array of bfloat16 its bits, as `bfloat16.bits_of` returns them."""
    if not is_bfloat16(value):
        return as_array(value, name)
    _require_plain(value, name)
    return bits_of(value)


def offers_memory(value: Any) -> bool:
    """Whether a value has an array's memory that NumPy does not find by itself: by DLPack or as Arrow data."""
    kind = type(value)
    return not _is_readable(kind) and any(hasattr(kind, way) for way in _OFFERS)


def _is_readable(kind: type) -> bool:
    return any(hasattr(kind, way) for way in _READABLE)


def _readable(value: Any) -> Any:
    """The value itself, or the same memory as something that NumPy can read."""
    kind = type(value)
    if _is_readable(kind):
        return value
    if hasattr(kind, "__dlpack__"):
        return np.from_dlpack(value)
    if hasattr(kind, "__arrow_c_array__"):
        return _extras.load("pyarrow", f"an array of type {kind.__name__}").array(value)
    if hasattr(kind, "__arrow_c_stream__"):
        return _extras.load("pyarrow", f"an array of type {kind.__name__}").chunked_array(value)
    return value


def _require_plain(value: Any, name: str) -> None:
    """Raise for an array that has a mask, requires a gradient, or is not in the CPU's memory."""
    if np.ma.isMaskedArray(value):
        raise TypeError(
            f"{name} is a masked array; one without a mask is wanted (.filled() or .compressed() make one of it)"
        )
    kind = type(value)
    if getattr(value, "requires_grad", False) is True:
        raise TypeError(f"{name} is a {kind.__name__} that requires a gradient, which would stop here; use .detach()")
    if hasattr(kind, "__dlpack_device__"):
        _require_cpu(value, name)


def _require_cpu(value: Any, name: str) -> None:
    """Raise for an array on another device, whose copy the caller should ask for, not get unawares."""
    try:
        device, _ = value.__dlpack_device__()
    except Exception:  # of kinds that DLPack does not know, such as "meta"; NumPy then says what is wrong
        return
    if int(device) not in _CPU_READS:
        where = getattr(value, "device", f"device {int(device)} of DLPack")
        raise TypeError(
            f"{name} is a {type(value).__name__} on {where}; one in the CPU's memory is wanted, such as .cpu() makes"
        )
