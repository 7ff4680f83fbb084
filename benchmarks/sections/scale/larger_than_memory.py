"""Passes over files that need not fit into memory: how long beside reading and computing alone, and in how much memory.

    python -m benchmarks --section "larger than memory"                          a float32 file of 8 GB, and Parquet
    python -m benchmarks.sections.scale.larger_than_memory --gigabytes 40        another size, printed only

Each kind of data is read in a process of its own, whose private memory (anonymous pages: those of mapped files are not
counted) is sampled while it works. Reading alone is the file read through a buffer, or decoded by pyarrow with as many
threads; computing alone is a pass over a part that is in memory, times the rows. Both are measured in that process,
right before the passes, so that the file is as much in the system's cache for them as for the passes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import fastsoftmax
from fastsoftmax.kernels.machine import default_threads

from ...harness import timing
from ...harness.apart import own_modules
from ...harness.records import Effort, Json, Say

GIGABYTES, PARQUET_GIGABYTES, QUICK = 8.0, 1.0, 0.04
FEATURES, CLASSES, MEMORY = 100, 10, "512MB"
# Rows that are made, and written, at a time; and a part that is computed in memory.
ROWS, PART = 100_000, 1_000_000
PASSES = 5
KINDS = ("memmap", "parquet", "cache")
BUFFER = 32 << 20


def make(folder: Path, gigabytes: float, parquet: float) -> None:
    """Files of random rows: X.npy, y.npy and X.parquet."""
    rng = np.random.default_rng(0)
    m = int(gigabytes * 1e9) // (4 * FEATURES)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (m, FEATURES))
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.int32, (m,))
    for start in range(0, m, ROWS):
        part = X[start : start + ROWS]
        part[:] = rng.standard_normal(part.shape, np.float32)
        y[start : start + ROWS] = rng.integers(0, CLASSES, len(part))
    X.flush()
    y.flush()
    rows = min(m, int(parquet * 1e9) // (4 * FEATURES))
    _write_parquet(folder / "X.parquet", X[:rows], y[:rows])


def _write_parquet(path: Path, X: np.ndarray, y: np.ndarray) -> None:
    import pyarrow
    import pyarrow.parquet

    writer: Any = None
    for start in range(0, len(X), ROWS):
        rows = slice(start, start + ROWS)
        columns = {f"x{j}": np.ascontiguousarray(X[rows, j]) for j in range(FEATURES)}
        table = pyarrow.table(columns | {"y": y[rows]})
        writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema, use_dictionary=False)
        writer.write_table(table)
    writer.close()


def play(kind: str, folder: Path, n_threads: int) -> Json:
    """What a kind of data takes, measured in this process."""
    path = folder / ("X.npy" if kind == "memmap" else "X.parquet")
    options: Json = {"cache": folder} if kind == "cache" else {}
    target: Any = folder / "y.npy" if kind == "memmap" else "y"
    obj = fastsoftmax.Objective(fastsoftmax.scan(path, target, memory=MEMORY, **options), n_threads=n_threads)
    theta = np.random.default_rng(1).standard_normal(obj.shape).astype(np.float32) / FEATURES
    # Sampling stops whatever allocates memory: other passes are timed. The first one chooses how many threads decode,
    # and makes the copy.
    with watched_memory() as memory:
        for _ in range(2):
            obj.value_and_grad(theta)
    private, seconds = memory(), []
    for _ in range(PASSES):
        time.sleep(timing.PAUSE)
        began = time.perf_counter()
        obj.value_and_grad(theta)
        seconds.append(time.perf_counter() - began)
    return {
        "rows": obj.n_rows,
        "pass": timing.median(seconds),
        "read": read_alone(path, kind, n_threads),
        "compute": compute_alone(obj, folder, theta, n_threads, by_column=kind != "memmap"),
        "private_mb": private,
    }


def read_alone(path: Path, kind: str, n_threads: int) -> float:
    """Seconds in which the file is read, or decoded by pyarrow, whichever of two ways is the faster one."""

    def median(work: Callable[[], None]) -> float:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        return timing.median(times)

    if kind != "parquet":
        return median(lambda: _read_through(path.with_suffix(".npy")))
    return min(median(partial(_decode, path, n_threads, buffer)) for buffer in (0, 1 << 18))


def _decode(path: Path, n_threads: int, buffer: int) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.set_cpu_count(n_threads)
    names = [f"x{j}" for j in range(FEATURES)]
    with pyarrow.parquet.ParquetFile(path, buffer_size=buffer) as file:
        for _ in file.iter_batches(1 << 16, columns=names, use_threads=n_threads > 1):
            pass


def _read_through(path: Path) -> None:
    buffer = bytearray(BUFFER)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def compute_alone(obj: Any, folder: Path, theta: np.ndarray, n_threads: int, *, by_column: bool) -> float:
    """Seconds of a pass over as many rows, from one over a part that is in memory."""
    count = min(PART, obj.n_rows)
    X, y = (np.load(folder / name, mmap_mode="r")[:count] for name in ("X.npy", "y.npy"))
    part = fastsoftmax.Objective(np.array(X, order="F" if by_column else "C"), y, CLASSES, n_threads=n_threads)
    times = []
    for _ in range(PASSES + 1):
        began = time.perf_counter()
        part.value_and_grad(theta)
        times.append(time.perf_counter() - began)
    return timing.median(times[1:]) * obj.n_rows / count


@contextmanager
def watched_memory() -> Iterator[Any]:
    """A function that tells the most anonymous memory, in MB, that the process had meanwhile; None where that is not
    known."""
    path, done, most = Path("/proc/self/smaps_rollup"), threading.Event(), [0.0]

    def watch() -> None:
        while not done.wait(0.02):
            lines = (line.split() for line in path.read_text().splitlines())
            most[0] = max(most[0], sum(int(line[1]) for line in lines if line[0] == "Anonymous:") / 1e3)

    thread = threading.Thread(target=watch)
    if path.exists():
        thread.start()
    try:
        yield lambda: most[0] if path.exists() else None
    finally:
        done.set()
        if path.exists():
            thread.join()


def play_apart(kind: str, folder: Path, n_threads: int) -> Json:
    """`play` in a new process."""
    command = [sys.executable, "-m", __spec__.name, "--play", kind, "--folder", str(folder)]
    command += ["--threads", str(n_threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=own_modules())
    if done.returncode:
        raise RuntimeError(f"{kind}: {done.stderr.strip()[-500:]}")
    return {"kind": kind, **json.loads(done.stdout.splitlines()[-1])}


def run(effort: Effort, say: Say, gigabytes: float | None = None, where: str | None = None) -> Json:
    """The records of all kinds; or the reason why there are none."""
    size = (QUICK if effort.quick else GIGABYTES) if gigabytes is None else gigabytes
    parquet = min(size, PARQUET_GIGABYTES)
    folder = Path(tempfile.mkdtemp(prefix="fastsoftmax-", dir=where))
    try:
        free, need = shutil.disk_usage(folder).free / 1e9, size + 2.2 * parquet
        if free < 1.2 * need:
            skipped = f"{folder.parent} has {free:.1f} GB of room, and {need:.1f} GB are needed: not measured"
            say(skipped)
            return {"gigabytes": size, "skipped": skipped, "kinds": []}
        make(folder, size, parquet)
        records = []
        for kind in KINDS:
            records.append(play_apart(kind, folder, effort.n_threads))
            say(line(records[-1]))
        return {"gigabytes": size, "kinds": records}
    finally:
        shutil.rmtree(folder)


def line(record: Json) -> str:
    """A record in a line of text."""
    private = "" if record["private_mb"] is None else f", {record['private_mb']:.0f} MB private"
    parts = ", ".join(f"{what} {record[what]:.3f} s" for what in ("pass", "read", "compute"))
    return f"{record['kind']}, {record['rows']:,} rows: {parts}{private}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sections.scale.larger_than_memory", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=GIGABYTES, help="size of the float32 file")
    parser.add_argument("--folder", help="where the files are made")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--play", choices=KINDS, help="measure one kind of file of --folder here, and print its record")
    args = parser.parse_args(argv)
    if args.play:
        print(json.dumps(play(args.play, Path(args.folder), args.threads)))
    else:
        run(Effort(n_threads=args.threads), print, args.gigabytes, args.folder)


if __name__ == "__main__":
    main()
