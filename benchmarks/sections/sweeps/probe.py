"""DINOv2's 45 values of C: `LinearProbe` beside scikit-learn's lbfgs, cold and warm-started, and our hardest fit alone.

A fifth of the rows is the validation set. No fit is ended early here, so that all have metrics to compare.

scikit-learn gets X as float32 in memory and its default tol, and its times are those of a sample of the values: cold at
`COLD`, each cut after about `CUT` times the mean time that we take for a value; and warm-started at values that follow
one another, `WARM`, from the fit at the value before, cut after `WARM_CUT` times. The ratio of cold fits is their mean
time over our mean time for a value, a lower bound where fits were cut; that of warm ones is over our times at the same
values. Our sweep, and each kind of theirs, is a part of its own, so that none takes more than some minutes.
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

# Rows, features, classes, and how far the classes lie apart: top-1 accuracy is about 0.7 in both.
CASES = {"60k": (60_000, 784, 10, 3.0), "50k": (50_000, 512, 100, 5.0)}
QUICK = {"60k": (2_000, 40, 10, 3.0), "50k": (2_000, 30, 20, 5.0)}
# Numbers of values of the grid, the strongest first.
COLD, WARM, ALONE = (22, 33, 44), ((23, 24), (41,)), (22, 33, 44)
CUT, WARM_CUT, QUICK_CUT = 35.0, 12.0, 2.0
FEW = 5
TOL = 1e-5
PARTS = tuple(f"{name}{kind}" for name in CASES for kind in ("", " early", " cold", " warm"))


def run(name: str, parts: Sequence[str], record: Json, effort: Effort, say: Say) -> Json:
    """The record of a case, of which only some of its `PARTS` are measured anew."""
    m, n, k, apart = (QUICK if effort.quick else CASES)[name]
    with tempfile.TemporaryDirectory() as folder:
        X, y = write_features(Path(folder), m, n, k, apart)
        cut = m * 4 // 5
        train, held = (X[:cut], y[:cut]), (X[cut:], y[cut:])
        if name in parts:
            shape = {"case": name, "shape": f"{m:,} × {n}, {k}", "values": len(make_grid("dinov2"))}
            record = {**shape, **ours(train, held), **alone(train)}
            say(f"{name}: {record['seconds']:.2f} s, {record['passes']} passes; hardest alone {record['alone']:.2f} s")
        mean = record["seconds"] / record["values"]
        if f"{name} early" in parts:
            record["early_seconds"] = ours(train, held, early=True)["seconds"]
            say(f"{name}: with early ends {record['early_seconds']:.2f} s")
        if f"{name} cold" in parts:
            record |= cold_fits(train, held, record, mean * (QUICK_CUT if effort.quick else CUT))
            say(f"{name}: scikit-learn cold {record['cold']:.2f} s a value, {record['cuts']} cut")
        if f"{name} warm" in parts:
            record |= warm_fits(train, record, mean * (QUICK_CUT if effort.quick else WARM_CUT))
            say(f"{name}: scikit-learn warm-started {record['warm']:.2f} s a value, {record['warm_cuts']} cut")
    return record


def ours(train: Any, held: Any, *, early: bool = False) -> Json:
    """The whole sweep."""
    begin = time.perf_counter()
    probe = LinearProbe(early=early, tol=TOL).fit(*train, validation=held)
    found: Json = {"seconds": time.perf_counter() - begin, "passes": probe.n_passes_}
    found |= {"chosen": probe.best_index_, "C": probe.C_, "each": [value.seconds for value in probe.values_]}
    for name in ("log_loss", "top1"):
        found[name] = [value.metrics and value.metrics[name].value for value in probe.values_]
    return found


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


def cold_fits(train: Any, held: Any, record: Json, limit: float) -> Json:
    """scikit-learn's cold fits, and how the log losses of those that were not cut compare with ours."""
    Cs, X = make_grid("dinov2").values, np.asarray(train[0], np.float32)
    X_held = np.asarray(held[0], np.float32)
    each, cuts, differences = [], 0, []
    for i in COLD:
        seconds, model, whole = fit_within(limit, X, train[1], C=Cs[i])
        each.append(seconds)
        cuts += not whole
        if whole:
            differences.append(abs(log_loss_of(model, X_held, held[1]) / record["log_loss"][i] - 1.0))
    mean = float(np.mean(each))
    found: Json = {"cold": mean, "cold_each": each, "cuts": cuts, "difference": max(differences, default=None)}
    return found | {"cold_gain": mean / (record["seconds"] / len(Cs)), "torch": torch_version()}


def warm_fits(train: Any, record: Json, limit: float) -> Json:
    """scikit-learn's warm-started fits."""
    Cs, X = make_grid("dinov2").values, np.asarray(train[0], np.float32)
    each, own, cuts = [], [], 0
    for numbers in WARM:
        model = None
        for i in (numbers[0] - 1, *numbers):
            seconds, model, whole = fit_within(limit, X, train[1], C=Cs[i], start=model)
            if i in numbers:
                each.append(seconds)
                own.append(record["each"][i])
                cuts += not whole
    return {"warm": float(np.mean(each)), "warm_gain": sum(each) / sum(own), "warm_cuts": cuts}


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
