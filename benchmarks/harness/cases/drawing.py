"""Random arrays, made on all cores. Each part has a generator of its own, so their number changes no value."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

# Elements of a part.
PART = 1 << 22


def in_parts(work: Callable[[Any, np.random.Generator], None], parts: Sequence[Any], seed: int) -> None:
    """Call ``work`` with each part and its generator."""
    generators = [np.random.Generator(np.random.SFC64(own)) for own in np.random.SeedSequence(seed).spawn(len(parts))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy's generators release the GIL
        list(pool.map(work, parts, generators))


def fill(array: np.ndarray, work: Callable[[np.ndarray, np.random.Generator], None], seed: int) -> None:
    """Let ``work`` fill parts of an array that is contiguous in either order."""
    flat = array.ravel(order="K")
    in_parts(work, np.array_split(flat, max(1, flat.size // PART)), seed)


def labels(X: Any, theta: np.ndarray, scale: float, seed: int) -> np.ndarray:
    """int64 (m,), drawn from the softmax model of scale * theta: the class of the largest logit plus Gumbel noise."""
    y = np.empty(X.shape[0], np.int64)
    step = max(1, PART // max(theta.shape[1], 1 if hasattr(X, "indptr") else X.shape[1]))

    def draw(start: int, rng: np.random.Generator) -> None:
        H = scale * (X[start : start + step].astype(theta.dtype, copy=False) @ theta)
        noise = rng.standard_exponential(H.shape, dtype=H.dtype)
        noise += np.finfo(H.dtype).tiny  # the generator may return 0
        H -= np.log(noise, out=noise)
        np.argmax(H, axis=1, out=y[start : start + step])

    in_parts(draw, range(0, len(y), step), seed)
    return y
