"""The check of sparse X: arrays that contradict each other are refused, and all others read as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from fastsoftmax.data.validation import check_X
from fastsoftmax.kernels.contract import Csr

from .. import draw
from ..verdict import outcome, require

WORDS = ("X",)
Rng = np.random.Generator
INTEGERS = ("i4", "i8", "i2", "u2", "u4", "u8", "i1", ">i4", ">i8")
DATA = ("f8", "f4", "f2", "i4", "u1", "?", ">f8", "i8", "c16", "O", "g")


def check(rng: Rng, folder: Path) -> bool:
    m, n = (int(rng.integers(1, draw.one_of(rng, (3, 6, 30)))) for _ in range(2))
    per_row = rng.integers(0, min(n, 4) + 1, m)
    indptr = np.concatenate([[0], np.cumsum(per_row)])
    indices = np.concatenate([np.sort(rng.choice(n, count, replace=False)) for count in per_row]).astype(np.int64)
    data = rng.integers(-8, 9, len(indices)).astype(np.float64)
    X = _container(rng, m, n)
    parts = {"indptr": indptr.astype(np.int64), "indices": indices, "data": data}
    for _ in range(int(rng.integers(0, 4))):
        _disturb(rng, parts, m, n)
    for name, kinds in (("indptr", INTEGERS), ("indices", INTEGERS), ("data", DATA)):
        if rng.random() < 0.2:
            with np.errstate(all="ignore"):
                parts[name] = parts[name].astype(draw.one_of(rng, kinds))
        if rng.random() < 0.1:
            parts[name] = np.repeat(parts[name], 2)[::2]
    for name, array in parts.items():
        setattr(X, name, array)
    X.has_sorted_indices = X.has_canonical_format = bool(rng.integers(2))
    kept = {name: array.copy() for name, array in parts.items()}
    lines, width = (n, m) if X.format == "csc" else (m, n)
    sound = _is_sound(**parts, lines=lines, width=width)
    found = outcome(lambda: check_X(X), WORDS)
    for name, array in kept.items():
        require(np.array_equal(getattr(X, name), array), f"{name} of the caller was changed")
    require(found.refused != sound, f"sound: {sound}, refused: {found.error}")
    if sound:
        dense = _dense(**parts, lines=lines, width=width)
        _require_equal(found.answer, dense.T if X.format == "csc" else dense)
    return found.refused


def _container(rng: Rng, m: int, n: int) -> Any:
    return getattr(scipy.sparse, draw.one_of(rng, ("csr_array", "csr_matrix", "csr_array", "csc_array")))((m, n))


def _disturb(rng: Rng, parts: dict[str, np.ndarray], m: int, n: int) -> None:
    """Change one thing in one array."""
    name = draw.one_of(rng, ("indptr", "indices", "data", "indptr", "indices"))
    array = parts[name]
    way = int(rng.integers(7))
    if way == 0:
        parts[name] = array[: int(rng.integers(len(array) + 1))]
    elif way == 1:
        parts[name] = np.concatenate([array, array[: int(rng.integers(0, 3))]])
    elif way == 2 and name == "indices":
        rng.shuffle(array)
    elif way == 3 and name == "data":
        parts[name] = array[:, None] if rng.random() < 0.5 else array[None]
    elif len(array) and array.ndim == 1:
        odd = (-1, 0, 1, n - 1, n, m, 2**31 - 1, 2**31, 2**32, 2**63 - 1, -(2**63), len(array))
        array[rng.integers(len(array))] = draw.one_of(rng, odd)


def _is_sound(indptr: Any, indices: Any, data: Any, lines: int, width: int) -> bool:
    """What the three arrays must be, in the plainest words."""
    if data.dtype.kind not in "fiub" or data.ndim != 1 or indices.ndim != 1 or indptr.ndim != 1:
        return False
    pointers, places = indptr.tolist(), indices.tolist()
    if len(pointers) != lines + 1 or pointers[0] != 0 or len(data) != len(places):
        return False
    if any(b < a for a, b in zip(pointers, pointers[1:], strict=False)) or pointers[-1] > len(places):
        return False
    return all(0 <= place < width for place in places[: pointers[-1]])


def _dense(indptr: Any, indices: Any, data: Any, lines: int, width: int) -> np.ndarray:
    out = np.zeros((lines, width), np.longdouble)
    for line in range(lines):
        for entry in range(int(indptr[line]), int(indptr[line + 1])):
            out[line, int(indices[entry])] += np.longdouble(data[entry])
    return out


def _require_equal(csr: Csr, wanted: np.ndarray) -> None:
    require(isinstance(csr, Csr) and csr.shape == wanted.shape, f"shape {csr.shape} where {wanted.shape} is wanted")
    got = np.zeros(wanted.shape, np.longdouble)
    for line in range(len(wanted)):
        a, b = int(csr.indptr[line]), int(csr.indptr[line + 1])
        columns = csr.indices[a:b].tolist()
        require(columns == sorted(set(columns)), f"row {line} is not sorted, or repeats a column")
        got[line, columns] = csr.data[a:b]
    wanted = wanted if csr.data.dtype.kind != "b" else wanted > 0
    small = csr.data.dtype.kind == "f" or abs(wanted).max(initial=0) < 2**7
    require(not small or np.allclose(got, wanted, rtol=1e-6, atol=0, equal_nan=True), "other numbers than were given")
