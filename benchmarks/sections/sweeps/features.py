"""Features as a frozen network makes them: a Gaussian mixture through two random layers, float16 in a memory map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

# Dimensions of the mixture.
INPUTS = 64
ROWS_AT_ONCE = 10_000


def write_features(folder: Path, m: int, n: int, k: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """X (m, n), mapped from a file that is written here, and labels (m,). The centers of the mixture lie ``apart``
    standard deviations of a component from each other."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((k, INPUTS)) * (apart / np.sqrt(2 * INPUTS))
    y = rng.integers(k, size=m)
    first = rng.standard_normal((INPUTS, n)) / np.sqrt(INPUTS)
    second = rng.standard_normal((n, n)) / np.sqrt(n)
    X = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float16, (m, n))
    for start in range(0, m, ROWS_AT_ONCE):
        rows = y[start : start + ROWS_AT_ONCE]
        inputs = centers[rows] + rng.standard_normal((len(rows), INPUTS))
        X[start : start + len(rows)] = np.maximum(np.maximum(inputs @ first, 0.0) @ second, 0.0)
    X.flush()
    return np.load(folder / "features.npy", mmap_mode="r"), y
