"""Errors of value and gradient of a pass, by every peer, over the size of the logits, rows and classes.

X is standard normal, the labels are drawn from another theta than the one that is evaluated, so that the residuals are
of order 1, as they are far from the end of a fit: near it the gradient is a small difference, and its relative error
says nothing. float32 and float64 see the same problem, each rounded to its dtype, and are compared with a truth of
their own: longdouble, from the rounded numbers, by blocks of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...harness.records import Effort, Json, Say
from ...peers import LOSSES, PEERS, MissingError, Peer

_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class Case:
    """One problem: which series it belongs to, its size, and the standard deviation of its logits."""

    series: str
    m: int
    n: int
    k: int
    scale: float = 1.0

    @property
    def shape(self) -> str:
        return f"{self.m:,} × {self.n}, {self.k:,}"


SCALES = (0.01, 1.0, 10.0, 100.0, 1000.0)
ROWS = (1_000, 100_000, 1_000_000, 4_000_000, 10_000_000)
CLASSES = (2, 10, 100, 1_000, 10_000, 100_000)
CASES = (
    *(Case("logits", 20_000, 20, 10, scale) for scale in SCALES),
    *(Case("rows", m, 8, 3) for m in ROWS),
    *(Case("classes", max(500, min(20_000, 20_000_000 // k)), 16, k) for k in CLASSES),
)
QUICK = (Case("logits", 300, 7, 5, 10.0), Case("rows", 2_000, 8, 3), Case("classes", 200, 16, 301))

# All that make a pass over dense X, and the reference behind our contract.
_TAKING_PART = [PEERS[name] for name in LOSSES if PEERS[name].dense and not PEERS[name].per_iteration]
TAKING_PART: dict[str, Peer] = {
    p.name: p
    for p in (
        *(p for p in _TAKING_PART if p.ours),
        replace(PEERS["cython"], name="numpy", label="our NumPy", options={"backend": "numpy"}),
        *(p for p in _TAKING_PART if not p.ours),
    )
}


def make(case: Case, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X, y and theta. Rows come in blocks, so that only X itself takes memory."""
    rng = np.random.default_rng(20)
    theta, drawn_from = rng.standard_normal((2, case.n, case.k)) / np.sqrt(case.n)
    X, y = np.empty((case.m, case.n), dtype), np.empty(case.m, np.int64)
    step = max(1, _BLOCK_BYTES // (8 * max(case.n, case.k)))
    for first in range(0, case.m, step):
        block = rng.standard_normal((min(step, case.m - first), case.n))
        X[first : first + step] = block
        y[first : first + step] = np.argmax(block @ drawn_from + rng.gumbel(size=(len(block), case.k)), axis=1)
    return X, y, (case.scale * theta).astype(dtype)


def truth(X: np.ndarray, y: np.ndarray, theta: np.ndarray) -> tuple[np.longdouble, np.ndarray]:
    """Value and gradient in longdouble."""
    (m, n), k = X.shape, theta.shape[1]
    wide = theta.astype(np.longdouble)
    value, grad = np.longdouble(0), np.zeros((n, k), np.longdouble)
    step = max(1, _BLOCK_BYTES // (16 * max(n, k)))
    for first in range(0, m, step):
        block = X[first : first + step].astype(np.longdouble)
        each, own = np.arange(len(block)), y[first : first + step]
        H = block @ wide
        H -= H.max(axis=1, keepdims=True)
        label = H[each, own].copy()
        np.exp(H, out=H)
        total = H.sum(axis=1)
        value += np.sum(np.log(total) - label)
        H /= total[:, None]
        H[each, own] -= 1
        grad += block.T @ H
    return value / m, grad / m


def errors(case: Case, dtype: str, n_threads: int) -> Json:
    """Relative errors by peer: of the value, and the norm of the gradient's error over the gradient's norm."""
    X, y, theta = make(case, dtype)
    value, grad = truth(X, y, theta)
    size = np.sqrt(np.sum(grad * grad))
    found: Json = {}
    for name, peer in TAKING_PART.items():
        try:
            ours, gradient = peer.prepare(X, y, theta, n_threads)()
        except MissingError as error:
            found[name] = {"missing": str(error)}
            continue
        off = np.asarray(gradient, np.longdouble) - grad
        found[name] = {"value": float(abs(ours / value - 1)), "grad": float(np.sqrt(np.sum(off * off)) / size)}
    return {
        "series": case.series,
        "case": f"logits of deviation {case.scale:g}" if case.series == "logits" else case.shape,
        "shape": case.shape,
        "m": case.m,
        "dtype": dtype,
        "rivals": found,
    }


def run(effort: Effort, say: Say) -> list[Json]:
    """The records of all cases in both dtypes."""
    records = []
    for case in QUICK if effort.quick else CASES:
        for dtype in ("float64", "float32"):
            r = errors(case, dtype, effort.n_threads)
            records.append(r)
            grads = ", ".join(f"{name} {e['grad']:.1e}" for name, e in r["rivals"].items() if "grad" in e)
            say(f"{r['case']}, {dtype}: {grads}")
    return records
