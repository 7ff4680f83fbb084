"""How compiled functions are made: when first called for, and kept on disk where a directory can be written to.

A function that Numba is to cache is made by another one, ``make(digest, ...)``, and refers to ``digest``. The reason:
Numba's cache looks only at the function's own file and at its closure, not at the files of the functions that it calls.
The digest of all files of this wing, in the closure, makes an edit anywhere recompile everything.

The digest is also part of the function's name, and so are the types and constants that it is compiled for. Functions of
one name share an index on disk that Numba reads and writes without a lock: of two processes that compile at once, one
may leave its index and the other its code, and a third would call the function of 3 classes for 7.

There are three kinds of functions:

    `compiled`             a share of a pass, which threads call with a record and their number
    `compiled_function`    what only some passes need: compiled shares call it by its address, so that others need not
                           compile it
    `compiled_for_python`  what Python calls
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

# The folder of all the code that compiled functions are made of.
WING = Path(__file__).parents[1]
OPTIONS = {"error_model": "numpy"}
# The names of arguments of `compiled_function`s that are pointers to numbers of the dtype of the computation,
POINTERS = {"X", "theta", "bias", "H", "D", "G", "out", "buffer", "U", "best", "labels", "losses", "soft"}
# and of those that have other types; all others are int64.
OTHERS = {
    "prefetch": types.CPointer(types.int64),
    "w": types.CPointer(types.float64),
    "loss": types.CPointer(types.float64),
    "smoothing": types.float64,
    "scale": types.float64,
}


class Entry(NamedTuple):
    """A compiled share of a pass."""

    address: int  # for compiled code
    call: Callable[[int, int], None]  # calls it without the GIL
    keep: Any  # what must live as long


@functools.cache
def compiled(make_work: Callable[..., Callable[[int, int], None]], *dtypes: np.dtype) -> Entry:
    """The share of a pass, a function of a record's address and a worker's number, for these dtypes."""
    make = functools.partial(make_work, zeros=tuple(dtype.type(0) for dtype in dtypes))
    function = _address_function(types.void(types.intp, types.intp), make, *dtypes)
    call = ctypes.CFUNCTYPE(None, ctypes.c_ssize_t, ctypes.c_ssize_t)(function.address)
    return Entry(function.address, call, function)


@functools.cache
def compiled_function(make: Callable[..., Callable[..., None]], dtype: np.dtype, *constants: int) -> Any:
    """A function that compiled code calls by its ``address``. There is one for each value of the ``constants``, which
    ``make`` takes after the digest."""
    kinds = dict.fromkeys(POINTERS, types.CPointer(from_dtype(dtype))) | OTHERS
    names = inspect.signature(make("", *constants)).parameters
    signature = types.void(*(kinds.get(name, types.intp) for name in names))
    return _address_function(signature, lambda digest: make(digest, *constants), dtype, *constants)


@functools.cache
def compiled_table(make: Callable[[str], Callable[..., None]], dtype: np.dtype) -> int:
    """The address of a table of functions."""
    table = np.zeros(1, np.int64)
    fill = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t)(compiled_function(make, dtype).address)
    fill(None, table.ctypes.data)
    return int(table[0])


@functools.cache
def compiled_for_python(make: Callable[[str], Callable[..., Any]]) -> Callable[..., Any]:
    """A function that Python calls, without the GIL."""
    found: Callable[..., Any]
    try:
        found = njit(_with_own_name(make(_digest())), nogil=True, cache=True, **OPTIONS)
    except RuntimeError:  # Numba finds no directory to cache in
        found = njit(_with_own_name(make(_digest())), nogil=True, **OPTIONS)
    return found


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
    """Remove what Numba has cached for other versions of this package, 4 MB for each: Numba never does. Only beside
    these files, which are of one version; another directory may serve several versions."""
    with contextlib.suppress(OSError):
        for file in WING.rglob("__pycache__/*.nb[ic]"):
            if f"_{_digest()[:8]}-" not in file.name:
                file.unlink(missing_ok=True)


def _with_own_name(function: Callable[..., Any], *constants: Any) -> Callable[..., Any]:
    """The function, with a name of its own for each version of this package, host and set of constants.

    Each version has its own because Numba unpickles all that it has cached under a name before it sees that this
    belongs to another version, whose types may no longer exist. For the rest see the module's docstring.
    """
    kind = repr((sorted(host_features()), *map(str, constants)))
    function.__qualname__ += f"_{hashlib.sha256(kind.encode()).hexdigest()[:8]}_{_digest()[:8]}"
    return function
