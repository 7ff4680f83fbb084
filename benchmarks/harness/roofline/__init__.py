"""What this machine can do, measured in the same run as the kernels: peak flops and read bandwidth.

The roof of a case is max(flops / peak, bytes of X / bandwidth): no program that reads X from memory once and does
4 m n k flops can be faster. A large BLAS product does not reach the peak, since it also loads, packs and stores; so the
peak is that of chains of fused multiply-adds that never leave the registers. Without Numba there are only BLAS and
`numpy.sum` to measure with, which the result says.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from fastsoftmax.kernels.machine import default_threads

from ..cases import Case
from ..timing import Milliseconds

# Flops of each thread where the peak is timed beside passes: some 10 ms.
FLOPS = 5e8


@dataclass(frozen=True)
class Roof:
    """Measured limits of the machine with ``n_threads`` threads.

    Attributes
    ----------
    gflops : dict
        {"float64": ..., "float32": ...}, in 1e9 flops per second.
    gbytes : float
        Read bandwidth in 1e9 bytes per second.
    n_threads : int
    method : str
        "vector loops", or "BLAS" where Numba is missing: then the peak is underestimated.
    """

    gflops: dict[str, float]
    gbytes: float
    n_threads: int
    method: str

    def ms(self, case: Case, operation: str = "value_and_grad") -> float:
        """Least time of a pass over ``case``, in milliseconds."""
        by_flops = case.flops(operation) / (self.gflops[case.compute_dtype] * 1e9)
        return 1e3 * max(by_flops, case.bytes / (self.gbytes * 1e9))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        rates = ", ".join(f"{dtype} {rate:.0f} GF/s" for dtype, rate in self.gflops.items())
        return f"{self.n_threads} threads: {rates}, read {self.gbytes:.1f} GB/s ({self.method})"


def _shortest(n_threads: int, work: Callable[[int], None], repeats: int) -> float:
    """Shortest of ``repeats`` times, in seconds, for all threads to do their work once."""
    best = float("inf")
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in range(repeats):
            begin = time.perf_counter()
            for job in [pool.submit(work, p) for p in range(n_threads)]:
                job.result()
            best = min(best, time.perf_counter() - begin)
    return best


def peak_gflops(dtype: str, n_threads: int, seconds: float = 0.05, repeats: int = 7) -> float:
    """Peak rate of fused multiply-adds in 1e9 flops per second, over all threads."""
    from .vector_loops import flops_per_iteration, fma_chains

    half, one = np.dtype(dtype).type(0.5), np.dtype(dtype).type(1.0)
    fma_chains(half, one, 1)
    begin = time.perf_counter()
    fma_chains(half, one, 50_000)  # acc / 2 + 1 tends to 2: no denormals, no infinity
    count = max(1, int(50_000 * seconds / (time.perf_counter() - begin)))
    spent = _shortest(n_threads, lambda p: fma_chains(half, one, count), repeats)
    return n_threads * flops_per_iteration(half.itemsize) * count / spent / 1e9


def read_gbytes(n_threads: int, size: int = 1 << 30, repeats: int = 7) -> float:
    """Read bandwidth in 1e9 bytes per second: all threads add up one array far larger than the caches."""
    from .vector_loops import add_vectors, bytes_per_iteration

    count = size // n_threads // bytes_per_iteration()
    part = count * bytes_per_iteration()
    data = np.ones(n_threads * part // 8)
    add_vectors(data.ctypes.data, 1)
    spent = _shortest(n_threads, lambda p: add_vectors(data.ctypes.data + p * part, count), repeats)
    return data.nbytes / spent / 1e9


@contextmanager
def floors(X: np.ndarray, flops: float, dtype: str, n_threads: int) -> Iterator[dict[str, Callable[[], Any]]]:
    """Both limits as calls that are timed in turn with the passes, so that all see the machine in the same state.

    "reading" adds up X, which is contiguous in either order, a part in each thread. "arithmetic" times some fused
    multiply-adds and returns the time of ``flops`` flops; it is left out where Numba is not installed.
    """
    flat = X.ravel(order="K").view(np.uint8)
    parts = np.array_split(flat[: flat.size // 8 * 8].view(np.uint64), n_threads)
    with ThreadPoolExecutor(n_threads) as pool:

        def share(jobs: Sequence[Callable[[], Any]]) -> None:
            for job in [pool.submit(job) for job in jobs]:
                job.result()

        if importlib.util.find_spec("numba") is None:
            yield {"reading": partial(share, [part.sum for part in parts])}
            return
        from .vector_loops import add_vectors, bytes_per_iteration, flops_per_iteration, fma_chains

        half, one = np.dtype(dtype).type(0.5), np.dtype(dtype).type(1.0)
        count = int(FLOPS / flops_per_iteration(half.itemsize))
        done = n_threads * count * flops_per_iteration(half.itemsize)

        def arithmetic() -> Milliseconds:
            begin = time.perf_counter()
            share(n_threads * [partial(fma_chains, half, one, count)])
            return Milliseconds(1e3 * (time.perf_counter() - begin) * flops / done)

        sums = [partial(add_vectors, part.ctypes.data, part.nbytes // bytes_per_iteration()) for part in parts]
        yield {"reading": partial(share, sums), "arithmetic": arithmetic}


def blas_gflops(dtype: str, size: int = 2000, repeats: int = 5) -> float:
    """Rate of a matrix product, for machines without Numba."""
    a = np.ones((size, size), dtype)
    return 2e-9 * size**3 / _shortest(1, lambda p: np.matmul(a, a), repeats)


def sum_gbytes(n_threads: int, size: int = 1 << 30, repeats: int = 5) -> float:
    """Rate at which `numpy.sum` reads, for machines without Numba."""
    parts = np.array_split(np.ones(size // 8), n_threads)
    return 1e-9 * size / _shortest(n_threads, lambda p: parts[p].sum(), repeats)


def measure(n_threads: int | None = None, *, quick: bool = False) -> Roof:
    """Measure the machine: a few seconds with Numba's compilation, less if ``quick``."""
    n_threads = n_threads or default_threads()
    seconds, repeats, size = (0.01, 10, 1 << 28) if quick else (0.05, 10, 1 << 30)
    dtypes = ("float64", "float32")
    if importlib.util.find_spec("numba") is None:
        rates = {d: blas_gflops(d, repeats=repeats) for d in dtypes}
        return Roof(rates, sum_gbytes(n_threads, size, repeats), n_threads, "BLAS")
    rates = {d: peak_gflops(d, n_threads, seconds, repeats) for d in dtypes}
    return Roof(rates, read_gbytes(n_threads, size, repeats), n_threads, "vector loops")


if __name__ == "__main__":
    print(measure())
