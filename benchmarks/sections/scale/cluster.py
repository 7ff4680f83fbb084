"""Passes and fits on worker processes of Dask, against one process on the same cores.

    python -m benchmarks.sections.scale.cluster              measure all of it
    python -m benchmarks.sections.scale.cluster pass fit     measure parts of it again
    python -m benchmarks.report.cluster                      write the page

Results are saved beside those of the other sections, as ``cluster.json``, and the page is made of these alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from fastsoftmax.kernels.machine import default_threads

from ...harness import machine, records
from ...harness.records import Json, Say

N, K, PARTS = 100, 10, 8
# Read before a cluster starts, which sets OMP_NUM_THREADS to 1 for its processes and for this one.
THREADS = default_threads()
ROWS = (8_000, 80_000, 400_000, 800_000)
ROUNDS = 11
# Rows of the fit, and seconds after which the rival's is given up; both are timed to this much above the minimum.
FIT_ROWS, BUDGET, NEAR = 240_000, 25.0, 1.01
# A probability counts as this at least.
TINY = 1e-7
# What a part of the large problem is like, of which the forecast takes the rate of the kernels.
WIDE = (20_000, 1_000, 100)


def path() -> Any:
    """Where the results of this machine's CPU are."""
    return records.results_path(False).parent / "cluster.json"


def chunk(seed: int, rows: int, n: int = N, k: int = K) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a partition, float32, with labels of a softmax model that is the same for all."""
    rng, theta = np.random.default_rng(seed + 1), np.random.default_rng(0).standard_normal((n, k))
    X = rng.standard_normal((rows, n), np.float32)
    logits = X @ (2.0 / np.sqrt(n) * theta).astype(np.float32)
    return X, np.argmax(logits + rng.gumbel(size=(rows, k)), axis=1)


def clusters(stack: ExitStack) -> dict[str, Any]:
    """A client for one worker with all threads, and one for a worker on each core."""
    from distributed import Client, LocalCluster

    out = {}
    for workers in (1, THREADS):
        options: Any = {"n_workers": workers, "threads_per_worker": THREADS // workers, "dashboard_address": ":0"}
        cluster = stack.enter_context(LocalCluster(processes=True, memory_limit=0, **options))
        out[f"{workers} workers"] = stack.enter_context(Client(cluster, set_as_default=False))
    return out


def distributed(client: Any, rows: int) -> Any:
    """The objective of `PARTS` partitions, which workers make."""
    from dask.delayed import delayed

    from fastsoftmax.dask import Objective

    parts = [delayed(chunk, nout=2)(number, rows // PARTS) for number in range(PARTS)]
    return Objective([X for X, _ in parts], [y for _, y in parts], K, fit_intercept=True, l2=1e-4, client=client)


def one_process(rows: int) -> Any:
    from fastsoftmax.objective.parts.local import total_of

    return total_of(
        (chunk(number, rows // PARTS) for number in range(PARTS)), K, fit_intercept=True, l2=1e-4, n_threads=THREADS
    )


def milliseconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began)


def passes(clients: dict[str, Any], say: Say) -> list[Json]:
    """Median milliseconds of a pass, by rows, of each in turn; and the bytes that it sends."""
    out = []
    for rows in ROWS:
        objectives = {"one process": one_process(rows)}
        objectives |= {name: distributed(client, rows) for name, client in clients.items()}
        theta = np.random.default_rng(0).standard_normal((N + 1, K))
        values = {obj.value_and_grad(theta)[0] for obj in objectives.values()}
        assert len(values) == 1, values  # to the last bit
        found: dict[str, list[float]] = {name: [] for name in objectives}
        for _ in range(ROUNDS):
            for name, obj in objectives.items():
                obj.value(theta)
                found[name].append(milliseconds(lambda obj=obj, theta=theta: obj.value_and_grad(theta)))
        ms = {name: statistics.median(times) for name, times in found.items()}
        sent = {name: obj.bytes_of_pass for name, obj in objectives.items() if name in clients}
        out.append({"rows": rows, "ms": ms, "bytes": sent})
        say(f"{rows:,} rows: {', '.join(f'{name} {t:.1f} ms' for name, t in ms.items())}")
    return out


def costs(client: Any, say: Say) -> Json:
    """What the forecast is made of: the rate of the kernels, and the costs of Dask."""
    from fastsoftmax import Objective
    from fastsoftmax.objective.parts.answer import Answer, Forest, joined

    m, n, k = WIDE
    obj = Objective(*chunk(0, m, n, k), k, n_threads=THREADS)
    theta = np.zeros((n, k))
    ms = min(milliseconds(lambda: obj.value_and_grad(theta)) for _ in range(4))
    answers = [Answer((0.0, np.ones((n, k)))) for _ in range(8)]
    forests = [Forest(8, {(0, i): answer}) for i, answer in enumerate(answers)]
    join = statistics.median(milliseconds(lambda: joined(forests)) for _ in range(9))
    tasks = 200
    client.gather(client.map(abs, range(tasks), pure=False))
    per_task = milliseconds(lambda: client.gather(client.map(abs, range(tasks), pure=False))) / tasks
    hop = statistics.median(milliseconds(lambda: client.submit(abs, 1, pure=False).result()) for _ in range(15))
    out = {
        "gflops_of_core": 4e-6 * m * n * k / ms / THREADS,
        "join_ms": join / 8,
        "task_ms": per_task,
        "hop_ms": hop,
    }
    say(", ".join(f"{name} {value:.3g}" for name, value in out.items()))
    return out


def fits(client: Any, say: Say) -> Json:
    """Seconds to a loss of `NEAR` times the minimum: ours on the workers, and partial_fit over the same chunks."""
    from dask.delayed import delayed
    from sklearn.neural_network import MLPClassifier

    from fastsoftmax.dask import SoftmaxRegression

    chunks = [chunk(number, FIT_ROWS // PARTS) for number in range(PARTS)]
    there = [client.submit(chunk, number, FIT_ROWS // PARTS, pure=False) for number in range(PARTS)]
    rows = [delayed(part) for part in there]
    X, y = [part[0] for part in rows], [part[1] for part in rows]
    steps: list[tuple[float, float]] = []
    with client.as_current():
        SoftmaxRegression().fit([part[:1000] for part in X], [part[:1000] for part in y])  # warm, all rows in memory
        began = time.perf_counter()
        model = SoftmaxRegression(
            l2=0.0, callback=lambda step: steps.append((time.perf_counter() - began, step.value))
        ).fit(X, y)
    least = model.result_.value
    ours = next(seconds for seconds, value in steps if value <= NEAR * least)
    out: Json = {"rows": FIT_ROWS, "least": least, "ours": ours, "ours_whole": steps[-1][0], "rivals": {}}
    say(f"SoftmaxRegression: {ours:.2f} s to {NEAR} of the minimum, {steps[-1][0]:.2f} s to its end")
    # Without hidden layers it is softmax regression by Adam, the one partial_fit of scikit-learn with that loss.
    rivals = {
        "SGDClassifier.partial_fit": _sgd(),
        "MLPClassifier.partial_fit": MLPClassifier((), batch_size=1000, learning_rate_init=1e-3, alpha=0.0),
    }
    for name, rival in rivals.items():
        spent, loss = 0.0, np.inf
        while spent < BUDGET and loss > NEAR * least:
            for X, y in chunks:
                spent += 1e-3 * milliseconds(
                    lambda X=X, y=y, rival=rival: rival.partial_fit(X, y, classes=np.arange(K))
                )
            loss = float(np.mean([log_loss(rival, A, b) for A, b in chunks]))
        out["rivals"][name] = {"seconds": spent, "loss": loss, "arrived": loss <= NEAR * least}
        say(f"{name}: {spent:.1f} s, loss {loss:.4f} ({'arrived' if loss <= NEAR * least else 'gave up'})")
    return out


def _sgd() -> Any:
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(loss="log_loss", alpha=1e-7, random_state=0)


def log_loss(model: Any, X: np.ndarray, y: np.ndarray) -> float:
    proba = model.predict_proba(X)[np.arange(len(y)), y]
    return float(-np.log(np.maximum(proba.astype(np.float64), TINY)).mean())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sections.scale.cluster", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["pass", "costs", "fit"], help="pass, costs, fit; default all")
    asked = parser.parse_args(argv).parts
    saved = records.load(path()) if path().exists() else {}
    with ExitStack() as stack:
        clients = clusters(stack)
        many = clients[max(clients)]
        if "pass" in asked:
            saved["pass"] = passes(clients, print)
        if "costs" in asked:
            saved["costs"] = costs(many, print)
        if "fit" in asked:
            saved["fit"] = fits(many, print)
    saved |= {"date": machine.today(), "machine": machine.describe(THREADS), "shape": [N, K, PARTS]}
    records.save(saved, path())


if __name__ == "__main__":
    main()
