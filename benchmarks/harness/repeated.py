"""An array as large as ever whose memory is the same few pages again and again, so that a pass over it stays in cache.

    addresses   | 0 ............ | 0 ............ | 0 ............ | 0 .....
    memory      '-> one file of `period` bytes <-'

Kernels see every row, and have the plan, the slabs and the strides of the array it stands for; caches, which go by
physical addresses, hold all of it. Few rows would not do: what a pass costs to begin and to end would be much of their
time (16,384 rows x 50 in float64 took 14.2 ns a row in Cython where many take 11), and blocks, slabs and turns would be
others.

The pages are small, where those of NumPy's large arrays are huge. From memory that is within the noise: 60k x 784 in
float64 took 336 ns a row in huge pages and 345 in small ones in Cython, 333 and 332 in Numba. In cache it costs up to
8 %, by which phases are too long and the wait for memory too short: 500k x 50 in float32 took 8.0 ns a row in Cython
and 9.9 in Numba, where twice 32,768 rows in huge pages took 7.5 and 9.2 a row longer than once.
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
