"""DINOv2's 45 values of C: `LinearProbe` beside scikit-learn's lbfgs, cold and warm-started, and our hardest fit alone.

A fifth of the rows is the validation set. No fit is ended early here, so that all have metrics to compare.

scikit-learn gets X as float32 in memory and its default tol, and its times are those of a sample of the values: cold at
`COLD`, each cut after about `CUT` times the mean time that we take for a value; and warm-started at values that follow
one another, `WARM`, from the fit at the value before. The ratio of cold fits is their mean time over our mean time for
a value, a lower bound where fits were cut; that of warm ones is over our times at the same values.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastsoftmax import LinearProbe, Objective, minimize
from fastsoftmax.probe.grid import make_grid

from ...harness.records import Effort, Json, Say
from .features import write_features

CASES = {"60k": (60_000, 784, 10), "50k": (50_000, 512, 100)}
QUICK = {"60k": (2_000, 40, 10), "50k": (2_000, 30, 20)}
# Numbers of values of the grid, the strongest first.
COLD, WARM, ALONE = (11, 22, 33, 44), ((23, 24), (41, 42)), (22, 33, 44)
CUT, QUICK_CUT = 40.0, 2.0
FEW = 5
TOL = 1e-5


def run(name: str, effort: Effort, say: Say) -> Json:
    """The record of a case."""
    m, n, k = (QUICK if effort.quick else CASES)[name]
    with tempfile.TemporaryDirectory() as folder:
        X, y = write_features(Path(folder), m, n, k)
        cut = m * 4 // 5
        train, held = (X[:cut], y[:cut]), (X[cut:], y[cut:])
        record: Json = {"case": name, "shape": f"{m:,} × {n}, {k}", "values": len(make_grid("dinov2"))}
        record |= ours(train, held) | alone(train)
        say(f"{name}: {record['seconds']:.2f} s, {record['passes']} passes; the hardest alone {record['alone']:.2f} s")
        record |= theirs(train, held, record, QUICK_CUT if effort.quick else CUT)
        say(f"{name}: scikit-learn cold {record['cold']:.2f} s a value, warm {record['warm']:.2f} s")
    return record


def ours(train: Any, held: Any) -> Json:
    """The whole sweep, and the same with fits that are ended early."""
    found: Json = {}
    for early in (True, False):
        begin = time.perf_counter()
        probe = LinearProbe(early=early, tol=TOL).fit(*train, validation=held)
        found[f"early_{early}"] = time.perf_counter() - begin
    values = probe.values_
    return {
        "seconds": found["early_False"],
        "early_seconds": found["early_True"],
        "passes": probe.n_passes_,
        "chosen": probe.best_index_,
        "C": probe.C_,
        "each": [value.seconds for value in values],
        "log_loss": [value.metrics["log_loss"].value for value in values],
        "top1": [value.metrics["top1"].value for value in values],
    }


def alone(train: Any) -> Json:
    """The hardest of some values, cold."""
    obj, times, passes = Objective(*train, fit_intercept=True), [], []
    for l2 in make_grid("dinov2").l2s(float(len(train[1])))[list(ALONE)]:
        obj.l2 = float(l2)
        begin = time.perf_counter()
        result = minimize(obj, tol=TOL)
        times.append(time.perf_counter() - begin)
        passes.append(result.n_passes)
    hardest = int(np.argmax(times))
    return {"alone": times[hardest], "alone_passes": passes[hardest]}


def theirs(train: Any, held: Any, record: Json, cut: float) -> Json:
    """scikit-learn's times, and how its metrics compare with ours."""
    Cs, X = make_grid("dinov2").values, np.asarray(train[0], np.float32)
    X_held = np.asarray(held[0], np.float32)
    mean = record["seconds"] / len(Cs)
    limit = cut * mean
    cold, warm, cuts, differences = [], [], 0, []
    for i in COLD:
        seconds, model, whole = fit_within(limit, X, train[1], C=Cs[i])
        cold.append(seconds)
        cuts += not whole
        if whole:
            differences.append(abs(log_loss_of(model, X_held, held[1]) / record["log_loss"][i] - 1.0))
    for numbers in WARM:
        model = None
        for i in (numbers[0] - 1, *numbers):
            seconds, model, _ = fit_within(limit, X, train[1], C=Cs[i], start=model)
            if i in numbers:
                warm.append((seconds, record["each"][i]))
    return {
        "cold": float(np.mean(cold)),
        "cold_each": cold,
        "cuts": cuts,
        "cold_gain": float(np.mean(cold)) / mean,
        "warm": float(np.mean([seconds for seconds, _ in warm])),
        "warm_gain": sum(seconds for seconds, _ in warm) / sum(own for _, own in warm),
        "difference": max(differences, default=None),
        "torch": torch_version(),
    }


def fit_within(limit: float, X: np.ndarray, y: np.ndarray, *, C: float, start: Any = None) -> tuple[float, Any, bool]:
    """Seconds of a fit of scikit-learn's lbfgs, the model, and whether it converged within about ``limit`` seconds.

    A fit of a few iterations, whose time does not count, tells how many the limit allows.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    def fit(iterations: int) -> tuple[float, Any, bool]:
        model = LogisticRegression(C=C, warm_start=True, max_iter=iterations)
        if start is not None:
            model.classes_, model.coef_, model.intercept_ = start.classes_, start.coef_.copy(), start.intercept_.copy()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            begin = time.perf_counter()
            model.fit(X, y)
            seconds = time.perf_counter() - begin
        return seconds, model, not any(issubclass(w.category, ConvergenceWarning) for w in caught)

    seconds, model, _ = fit(FEW)
    return fit(max(FEW, int(limit / seconds * int(model.n_iter_[0]))))


def log_loss_of(model: Any, X: np.ndarray, y: np.ndarray) -> float:
    log_proba: np.ndarray = model.predict_log_proba(X)
    return -float(np.mean(log_proba[np.arange(len(y)), y]))


def torch_version() -> str | None:
    """The version of PyTorch; None where it is not installed, and its L-BFGS is left out."""
    try:
        import torch
    except ImportError:
        return None
    return str(torch.__version__)


def summary(probes: Sequence[Json]) -> float | None:
    """Passes of a whole sweep, the mean of the cases."""
    return float(np.mean([record["passes"] for record in probes])) if probes else None
