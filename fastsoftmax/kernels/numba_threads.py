"""What every pass of the Numba backend runs on: threads, scratch, a job's addresses, the compiled entry.

Threads are Python's own: the compiled code holds no GIL and takes its share of the work by an atomic counter.
So nothing depends on Numba's threading layers (one of them aborts the process when two threads enter
it), and several Python threads may call at once. The calling thread works too; n_threads = 1 starts none.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numba import cfunc, njit
from numba.core import types
from numba.np.numpy_support import from_dtype

from . import Parameters, RowOutputs, Rows, Sums


def new_scratch(size: int) -> tuple[np.ndarray, int]:
    """Memory, and the address in it where a cache line begins."""
    scratch = np.empty(size + 64, np.uint8)
    return scratch, -(-scratch.ctypes.data // 64) * 64


def address_of(array: np.ndarray | None) -> int:
    """Where a contiguous array begins; 0 for None."""
    if array is None:
        return 0
    assert array.flags.c_contiguous
    return array.ctypes.data


def job_fields(
    rows: Rows,
    sums: Sums,
    params: Parameters | None = None,
    direction: Parameters | None = None,
    out: np.ndarray | None = None,
    outputs: RowOutputs | None = None,
) -> dict[str, Any]:
    """What the jobs of dense and of sparse passes have in common."""
    return {
        "rows": len(rows.X),
        "y": address_of(rows.y),
        "w": address_of(rows.w),
        "soft": address_of(rows.soft),
        "smoothing": float(rows.smoothing),
        "theta": address_of(params and params.theta),
        "bias": address_of(params and params.bias),
        "direction": address_of(direction and direction.theta),
        "direction_bias": address_of(direction and direction.bias),
        "loss": address_of(sums.loss),
        "grad": address_of(sums.grad),
        "bias_grad": address_of(sums.bias),
        "scale": float(sums.scale),
        "out": address_of(out),
        "row_loss": address_of(outputs and outputs.loss),
        "row_label": address_of(outputs and outputs.label),
    }


@functools.cache
def compiled(module: ModuleType) -> Callable[..., None]:
    """The compiled entry of a strategy, cached on disk where a directory can be written to."""
    work = _with_own_name(module.make_work(_digest()))
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(work)
    except RuntimeError:  # Numba finds no directory to cache in
        return njit(nogil=True, error_model="numpy")(work)


# Arguments of a function for `call_address` that are pointers to numbers of the computation.
POINTERS = {"X", "theta", "bias", "H", "D", "G", "out"}


@functools.cache
def compiled_function(make: Callable[[str], Callable[..., None]], dtype: np.dtype) -> Any:
    """A function that compiled entries call by its ``address``, compiled and cached on its own: what few passes need
    then costs the others no time."""
    function = _with_own_name(make(_digest()))
    kinds = dict.fromkeys(POINTERS, types.CPointer(from_dtype(dtype))) | {"fetch": types.CPointer(types.int64)}
    signature = types.void(*(kinds.get(name, types.intp) for name in inspect.signature(function).parameters))
    try:
        return cfunc(signature, cache=True, error_model="numpy")(function)
    except RuntimeError:
        return cfunc(signature, error_model="numpy")(function)


@functools.cache
def _digest() -> str:
    files = sorted(Path(__file__).parent.glob("numba_*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _with_own_name(function: Callable[..., None]) -> Callable[..., None]:
    """A name for each version of this package: Numba unpickles all that it has cached under one before it sees that it
    is another version's, whose types may be gone."""
    function.__qualname__ += f"_{_digest()[:8]}"
    return function


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Starts a thread only when all it has are busy."""
    return ThreadPoolExecutor(max_workers=1024, thread_name_prefix="fastsoftmax")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def in_threads(share: Callable[[], None], workers: int) -> None:
    """Call ``share`` in ``workers`` threads, this one among them; an exception in any is raised here."""
    futures = [_pool().submit(share) for _ in range(workers - 1)]
    try:
        share()
    finally:
        # One that has not begun would find nothing left to do. The others still use the caller's arrays.
        errors = [future.exception() for future in futures if not future.cancel()]
    for error in errors:
        if error is not None:
            raise error
