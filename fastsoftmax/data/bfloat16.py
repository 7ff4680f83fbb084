"""bfloat16, the upper half of a float32. NumPy has no dtype for it: arrays hold its bits, two bytes without a type.

Kernels read such arrays as they are. Whatever else works on rows takes what `as_numbers` makes of them.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

# What an array of bfloat16 has for a dtype. NumPy reads what ml_dtypes wrote to a file as such, too.
BFLOAT16 = np.dtype("V2")


def is_bfloat16(value: Any) -> bool:
    """Whether a value is an array of bfloat16: of PyTorch, of JAX, of the package ml_dtypes, or of its bits."""
    dtype = getattr(value, "dtype", None)
    return dtype == BFLOAT16 if type(dtype) is type(BFLOAT16) else str(dtype).endswith("bfloat16")


def bits_of(value: Any) -> np.ndarray:
    """The bits of an array of bfloat16, in its own memory, unless that is not aligned."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.resolve_neg().view(torch.int16).numpy()
    bits: np.ndarray = np.asarray(value).view(BFLOAT16)
    aligned = all(place % BFLOAT16.itemsize == 0 for place in (bits.ctypes.data, *bits.strides))
    return bits if aligned else bits.copy()


def as_numbers(X: Any) -> np.ndarray:
    """X itself, or the float32 numbers of bits of bfloat16, in an array of the same layout."""
    array = np.asarray(X)
    if array.dtype != BFLOAT16:
        return array
    wide = np.empty_like(array, np.uint32)
    np.left_shift(array.view(np.uint16), 16, out=wide, casting="unsafe", dtype=np.uint32)
    numbers: np.ndarray = wide.view(np.float32)
    return numbers
