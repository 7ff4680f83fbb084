"""How soon does Ctrl-C answer? Interrupts everything that may take long, at random moments, and prints the latencies.

    python -m benchmarks.interrupts
    python -m benchmarks.interrupts --only Newton,CSV --signals 20

Each case has a process of its own, which does the same thing again and again. It gets SIGINT after a random time, and
says when KeyboardInterrupt came. Printed are the median and the longest time between the two. Exit code 1 if one is
above `LIMIT`, or if nothing came.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

# Seconds from the signal to the exception.
LIMIT = 0.5
# Seconds after which a process that has not answered is given up.
PATIENCE = 60.0
# Seconds between the start of the work and the signal, at least and at most.
WAIT = 0.05, 1.5

CHILD = """
import sys, time
import numpy as np
import fastsoftmax as fs
rng = np.random.default_rng(0)
def data(m, n, k, dtype=np.float32):
    X = rng.standard_normal((m, n), dtype=dtype)
    logits = X[:, : min(n, 64)] @ rng.standard_normal((min(n, 64), k), dtype=dtype)
    return X, np.argmax(logits + 4 * rng.gumbel(size=(m, k)), axis=1)
{setup}
def work():
    {work}
print("ready", flush=True)
while sys.stdin.readline():
    try:
        while True:
            work()
    except KeyboardInterrupt:
        print(time.monotonic(), flush=True)
"""


def _pass(shape: str, call: str, *, backend: str = "cython", order: str = "C", dtype: str = "np.float32") -> list[str]:
    setup = f"""
X, y = data({shape}, dtype={dtype})
obj = fs.Objective(np.asarray(X, order="{order}"), y, {shape.split(",")[-1]}, backend="{backend}")
theta = rng.standard_normal(obj.shape).astype(X.dtype) / 100
obj.{call}
"""
    return [setup, f"obj.{call}"]


def _fit(shape: str, call: str, **options: str) -> list[str]:
    return [_pass(shape, "value(theta)", **options)[0], call]


SPARSE = """
import scipy.sparse as sp
X = sp.random_array((400_000, 50_000), density=1e-3, format="csr", rng=rng, dtype=np.float64)
y = rng.integers(0, 20, X.shape[0])
obj = fs.Objective(X, y, 20, l2=1e-6)
theta = np.zeros(obj.shape)
obj.value_and_grad(theta)
"""
TEXT = """
from fastsoftmax.data import files
X, y = data(20_000, 50, 5)
import pandas as pd
frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(50)]).assign(label=y)
frame = pd.concat([frame] * 20)
"""
SVMLIGHT = """
from fastsoftmax.data import files
line = " ".join(f"{j}:{j / 7:.6f}" for j in range(1, 60))
open("rows.svm", "w").write("\\n".join(f"{i % 3} {line}" for i in range(200_000)) + "\\n")
"""
BOTH = "value_and_grad(theta)"
CASES: dict[str, list[str]] = {
    "pass, 500k x 50, k = 3": _pass("500_000, 50, 3", BOTH),
    "pass, 200k x 784, k = 10, float64, F": _pass("200_000, 784, 10", BOTH, order="F", dtype="np.float64"),
    "pass, 20k x 1024, k = 1000": _pass("20_000, 1024, 1000", BOTH),
    "pass, Numba, 20k x 1024, k = 1000": _pass("20_000, 1024, 1000", BOTH, backend="numba"),
    "pass, NumPy, 20k x 1024, k = 1000": _pass("20_000, 1024, 1000", BOTH, backend="numpy"),
    "pass, 4k x 512, k = 32000": _pass("4_000, 512, 32_000", BOTH),
    "pass, Numba, 4k x 512, k = 32000": _pass("4_000, 512, 32_000", BOTH, backend="numba"),
    "pass, 500 x 20000, k = 5000": _pass("500, 20_000, 5_000", BOTH),
    "Hessian product, 20k x 1024, k = 1000": _pass("20_000, 1024, 1000", "hess_prod(theta, theta)"),
    "predictions, 50k x 1024, k = 1000": [
        _pass("50_000, 1024, 1000", "value(theta)")[0],
        "fs.predict_proba(X, theta)",
    ],
    "sparse pass": [SPARSE, "obj.value_and_grad(theta)"],
    "L-BFGS": _fit("100_000, 200, 20", "fs.minimize(obj, solver='lbfgs', tol=1e-9)"),
    "Newton, 50 x 20": _fit("200_000, 50, 20", "fs.minimize(obj, solver='newton', tol=1e-9)"),
    "Newton, 200 x 10": _fit("100_000, 200, 10", "fs.minimize(obj, solver='newton', tol=1e-9)"),
    "Newton-CG": _fit("100_000, 200, 20", "fs.minimize(obj, solver='newton_cg', tol=1e-9)"),
    "SGD": _fit("500_000, 100, 10", "fs.minimize(obj, solver='sgd', max_iter=20)"),
    "gradient descent": _fit("100_000, 200, 20", "fs.minimize(obj, solver='gradient_descent', tol=1e-9)"),
    "l1": _fit("100_000, 100, 10", "fs.minimize(obj, l1=1e-4, tol=1e-9)"),
    "auto, 60k x 784, k = 10": _fit("60_000, 784, 10", "fs.minimize(obj, tol=1e-9)"),
    "auto, 3k x 3000, k = 10": _fit("3_000, 3_000, 10", "fs.minimize(obj, tol=1e-9)"),
    "sparse fit": [SPARSE, "fs.minimize(obj, tol=1e-9)"],
    "path": _fit("100_000, 100, 10", "fs.regularization_path(obj, np.logspace(-1, -6, 20))"),
    "many models": _fit("100_000, 100, 10", "fs.minimize_many(obj, l2=list(np.logspace(-1, -6, 8)))"),
    "cross-validation": _fit("50_000, 50, 5", "fs.SoftmaxRegressionCV().fit(X, y)"),
    "LogisticRegression": [
        _pass("100_000, 100, 10", "value(theta)")[0] + "from fastsoftmax.sklearn import LogisticRegression\n",
        "LogisticRegression(tol=1e-9, max_iter=10_000).fit(X, y)",
    ],
    "CSV": [TEXT + "frame.to_csv('rows.csv', index=False)\n", "files.read('rows.csv', target='label')"],
    "CSV scan": [
        TEXT + "frame.to_csv('rows.csv', index=False)\n",
        "fs.minimize(fs.Objective(fs.scan('rows.csv', target='label')))",
    ],
    "Parquet scan": [
        TEXT + "frame.to_parquet('rows.parquet')\n",
        "fs.minimize(fs.Objective(fs.scan('rows.parquet', target='label')))",
    ],
    "svmlight": [SVMLIGHT, "files.read('rows.svm')"],
    "svmlight scan": [SVMLIGHT, "fs.minimize(fs.Objective(fs.scan('rows.svm')))"],
}


def latencies(setup: str, work: str, signals: int, rng: random.Random) -> list[float]:
    """Seconds from each signal to the exception; infinity where none came in time."""
    code = CHILD.format(setup=setup, work=work)
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path},
        )
        assert child.stdin is not None and child.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=lambda: [lines.put(line) for line in child.stdout], daemon=True)  # type: ignore
        reader.start()
        found: list[float] = []
        try:
            if lines.get(timeout=10 * PATIENCE).strip() != "ready":
                raise RuntimeError("the case did not begin")
            for _ in range(signals):
                child.stdin.write("\n")
                child.stdin.flush()
                time.sleep(rng.uniform(*WAIT))
                sent = time.monotonic()
                child.send_signal(signal.SIGINT)
                found.append(float(lines.get(timeout=PATIENCE)) - sent)
        except (queue.Empty, ValueError, BrokenPipeError):
            found.append(float("inf"))
        finally:
            child.kill()
            child.wait()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parts of the names of cases, with commas")
    parser.add_argument("--signals", type=int, default=8, help="of each case")
    options = parser.parse_args(arguments)
    wanted = [part.strip().lower() for part in options.only.split(",")]
    rng, late = random.Random(0), []
    print(f"{'case':42} {'median, ms':>11} {'longest, ms':>12}")
    for name, (setup, work) in CASES.items():
        if not any(part in name.lower() for part in wanted):
            continue
        found = latencies(setup, work, options.signals, rng)
        print(f"{name:42} {1e3 * statistics.median(found):11.0f} {1e3 * max(found):12.0f}", flush=True)
        late += [name] if max(found) > LIMIT else []
    print(f"above {LIMIT} s: {', '.join(late)}" if late else f"all within {LIMIT} s")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
