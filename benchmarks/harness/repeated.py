"""An array of full size that stays in cache: all its addresses lead to the same few pages of memory.

    addresses   | 0 ............ | 0 ............ | 0 ............ | 0 .....
    memory      '-> one file of `period` bytes <-'

Kernels see every row, with the plan and the strides of the array it stands for; caches go by physical addresses and
hold all of it. An array of few rows would not do. The fixed costs of a pass would be much of its time (float64, n = 50:
14.2 ns a row in Cython for 16,384 rows, 11 for many), and it would have another plan, with other blocks and slabs.

Its pages are small (4 kB), where NumPy's large arrays get huge ones (2 MB). For an X that comes from memory the
difference is within the noise: 60k x 784 in float64 took 336 ns a row with huge pages and 345 with small ones in
Cython, 333 and 332 in Numba. In cache small pages cost up to 8 %, so phases are reported as that much too long and the
wait for memory as that much too short: 500k x 50 in float32 took 8.0 ns a row in Cython and 9.9 in Numba, and 7.5 and
9.2 with huge pages (the time of 65,536 rows less that of 32,768).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys

import numpy as np

_MAP_FIXED = 0x10  # Linux; Python's mmap cannot place a map


def repeated(like: np.ndarray, period: int) -> np.ndarray | None:
    """An array of the shape, dtype and order of ``like``, its first ``period`` bytes repeated to the end.

    Returns None where the system cannot (anything but Linux, or a container that forbids it). ``period`` is rounded
    down to whole pages, one at least; ``like`` is contiguous in either order.
    """
    size = -(-like.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    period = min(size, max(1, period // mmap.PAGESIZE) * mmap.PAGESIZE)
    flat = _memory(size, period)
    if flat is None:
        return None
    start = like.ravel(order="K").view(np.uint8)[:period]
    flat[: len(start)] = start
    order = "C" if like.flags.c_contiguous else "F"
    return flat[: like.nbytes].view(like.dtype).reshape(like.shape, order=order)


def _memory(size: int, period: int) -> np.ndarray | None:
    """``size`` bytes that repeat after ``period``. They are given back when the last view of them is gone."""
    if sys.platform != "linux":
        return None
    try:
        file = os.memfd_create("fastsoftmax")
    except (AttributeError, OSError):
        return None
    try:
        os.ftruncate(file, period)
        flat = np.frombuffer(mmap.mmap(-1, size), np.uint8)  # the addresses; maps of the file take their place
        place = ctypes.CDLL(None, use_errno=True).mmap
        place.restype = ctypes.c_void_p
        place.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *3 * [ctypes.c_int], ctypes.c_ssize_t]
        access, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | mmap.MAP_POPULATE | _MAP_FIXED
        for offset in range(0, size, period):
            address = flat.ctypes.data + offset
            if place(address, min(period, size - offset), access, flags, file, 0) != address:
                return None
    except OSError:
        return None
    finally:
        os.close(file)
    return flat
