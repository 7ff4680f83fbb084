"""How what this backend calls is compiled, when first called for, and kept on disk where a directory can be written to.

Numba's cache looks at a function's file and its closure alone. So a digest of all files goes into the closure of each,
and into its name, as do the types and constants it is compiled for. Functions of one name share an index on disk that
Numba reads and writes without a lock: of two processes that compile at once, one may leave its index and the other its
code, and a third then calls the function of 3 classes for 7.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import cfunc, njit
from numba.core import types
from numba.np.numpy_support import from_dtype

from ..microkernels.simd import host_features

# All of the code that compiled functions are made of.
WING = Path(__file__).parents[1]
OPTIONS = {"error_model": "numpy"}
# Arguments of a function for `call_address` that are pointers to numbers of the computation.
POINTERS = {"X", "theta", "bias", "H", "D", "G", "out", "buffer", "U", "best", "labels", "losses"}
# Those that are of other types.
OTHERS = {
    "fetch": types.CPointer(types.int64),
    "w": types.CPointer(types.float64),
    "loss": types.CPointer(types.float64),
    "smoothing": types.float64,
    "scale": types.float64,
}


class Entry(NamedTuple):
    """A compiled share of a pass: its address, for compiled code, and a function that calls it without the GIL."""

    address: int
    call: Callable[[int, int], None]
    keep: Any


@functools.cache
def compiled(make_work: Callable[..., Callable[[int, int], None]], *dtypes: np.dtype) -> Entry:
    """The share of a strategy, a function of a record's address and a worker's number, for these dtypes."""
    make = functools.partial(make_work, zeros=tuple(dtype.type(0) for dtype in dtypes))
    function = _address_function(types.void(types.intp, types.intp), make, *dtypes)
    call = ctypes.CFUNCTYPE(None, ctypes.c_ssize_t, ctypes.c_ssize_t)(function.address)
    return Entry(function.address, call, function)


@functools.cache
def compiled_function(make: Callable[..., Callable[..., None]], dtype: np.dtype, *constants: int) -> Any:
    """A function that compiled entries call by its ``address``, compiled and cached on its own: what few passes need
    then costs the others no time. There is one for each of the ``constants`` that ``make`` takes after the digest."""
    kinds = dict.fromkeys(POINTERS, types.CPointer(from_dtype(dtype))) | OTHERS
    names = inspect.signature(make("", *constants)).parameters
    signature = types.void(*(kinds.get(name, types.intp) for name in names))
    return _address_function(signature, lambda digest: make(digest, *constants), dtype, *constants)


@functools.cache
def compiled_table(make: Callable[[str], Callable[..., None]], dtype: np.dtype) -> int:
    """The address of a table of functions, compiled and cached on its own."""
    table = np.zeros(1, np.int64)
    fill = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t)(compiled_function(make, dtype).address)
    fill(None, table.ctypes.data)
    return int(table[0])


@functools.cache
def compiled_for_python(make: Callable[[str], Callable[..., Any]]) -> Callable[..., Any]:
    """A function that Python calls, without the GIL."""
    try:
        return njit(_with_own_name(make(_digest())), nogil=True, cache=True, **OPTIONS)
    except RuntimeError:  # Numba finds no directory to cache in
        return njit(_with_own_name(make(_digest())), nogil=True, **OPTIONS)


def _address_function(signature: Any, make: Callable[[str], Callable[..., None]], *constants: Any) -> Any:
    function = _with_own_name(make(_digest()), *constants)
    try:
        found = cfunc(signature, cache=True, **OPTIONS)(function)
    except RuntimeError:
        return cfunc(signature, **OPTIONS)(function)
    if not found.cache_hits:
        forget_superseded()
    return found


@functools.cache
def _digest() -> str:
    files = sorted(WING.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@functools.cache
def forget_superseded() -> None:
    """Remove what Numba, which never does, has cached for other versions of this package: 4 MB each. Only beside these
    files, which are of one version; elsewhere others may have use for theirs."""
    with contextlib.suppress(OSError):
        for file in WING.rglob("__pycache__/*.nb[ic]"):
            if f"_{_digest()[:8]}-" not in file.name:
                file.unlink(missing_ok=True)


def _with_own_name(function: Callable[..., Any], *constants: Any) -> Callable[..., Any]:
    """A name for each version of this package: Numba unpickles all that it has cached under one before it sees that it
    is another version's, whose types may be gone. For what else the code depends on, too: Numba keeps what has one name
    in one index, which two processes that compile at once may leave with one's entry and the other's code."""
    kind = repr((sorted(host_features()), *map(str, constants)))
    function.__qualname__ += f"_{hashlib.sha256(kind.encode()).hexdigest()[:8]}_{_digest()[:8]}"
    return function
