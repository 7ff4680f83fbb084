"""Drop-in: whole fits by programs that know only scikit-learn, before and after `python -m fastsoftmax.accel`.

    python -m benchmarks --section drop-in                   all of it
    python -m benchmarks.sections.drop_in "two classes"      some programs again; the others are kept

A program makes its data, warms up on a few rows and times ``fit``, several times where that is short. It runs in a
process of its own, plain and accelerated in turn, since worker processes of scikit-learn live as long as their parent.
The objective of both final models, C sum_i loss_i + |coef|^2 / 2 over C m, is computed here by the same code: a gain
counts only where the accelerated program ends no higher.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastsoftmax.datasets import load_sample, make_problem
from fastsoftmax.kernels.machine import default_threads

from ..harness import machine, records, roofline, timing
from ..harness.apart import own_modules
from ..harness.cases import SparseCase, sparse_data
from ..harness.records import Effort, Json, Say

# Ended processes of each program; a slow program gets no further round after `BUDGET` seconds.
ROUNDS, BUDGET = 3, 60.0
# Short fits are repeated for so many seconds in a process, and so many times at most.
REPEAT, MOST = 1.0, 15
# Rows of each class that the program warms up on.
FEW = 20
# Higher by this share of the value counts as the same objective.
SAME = 1e-6
VARIANTS = {"before": ("-m",), "after": ("-m", "fastsoftmax.accel", "-m")}


@dataclass(frozen=True)
class Program:
    """A scikit-learn program: ``make`` returns X and y, ``model`` an estimator that has not been fitted."""

    shape: str
    make: Callable[[], tuple[Any, np.ndarray]]
    model: Callable[[], Any]


def logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


def logistic_cv() -> Any:
    from sklearn.linear_model import LogisticRegressionCV

    return LogisticRegressionCV(Cs=10, cv=5)


def scaled() -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), logistic())


def grid() -> Any:
    from sklearn.model_selection import GridSearchCV

    return GridSearchCV(scaled(), {"logisticregression__C": [0.01, 0.1, 1.0, 10.0]}, cv=3, n_jobs=2)


def sample(name: str) -> tuple[np.ndarray, np.ndarray]:
    return load_sample(name)[:2]


def made(m: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    return make_problem(m, n, k, seed=17)[:2]


def pixels(m: int, n: int = 784, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers from 0 to 255, a good part of them 0, as grey values are."""
    X, y, _ = make_problem(m, n, k, seed=18)
    return np.clip(np.rint(96.0 * X), 0.0, 255.0), y


def text() -> tuple[Any, np.ndarray]:
    """CSR rows with the entries of a text data set, and a sixth of its rows and columns."""
    case = SparseCase("text", 20_000, 30_000, 45, "float64", per_row=17.8, spread=0.7)
    X, y, _ = sparse_data.make(case, seed=19)
    return X, y


PROGRAMS = {
    "iris": Program("150 × 4, 3", partial(sample, "iris"), logistic),
    "digits": Program("1,797 × 64, 10", partial(sample, "digits"), logistic),
    "letters": Program("20,000 × 16, 26", partial(made, 20_000, 16, 26), logistic),
    "cover": Program("581,012 × 54, 7", partial(made, 581_012, 54, 7), logistic),
    "pixels": Program("60,000 × 784, 10", partial(pixels, 60_000), logistic),
    "pixels, scaled": Program("60,000 × 784, 10", partial(pixels, 60_000), scaled),
    "text": Program("20,000 × 30,000 sparse, 45", text, logistic),
    "two classes": Program("1,000,000 × 30, 2", partial(made, 1_000_000, 30, 2), logistic),
    "10 Cs × 5 folds": Program("20,000 × 50, 5", partial(made, 20_000, 50, 5), logistic_cv),
    "grid search, n_jobs = 2": Program("20,000 × 50, 5", partial(made, 20_000, 50, 5), grid),
}
QUICK = ("iris", "digits")


def objective(model: Any, X: Any, y: np.ndarray) -> tuple[float, float]:
    """The value that the final LogisticRegression of ``model`` has on its rows, and its C."""
    model = getattr(model, "best_estimator_", model)
    if hasattr(model, "steps"):
        X, model = model[:-1].transform(X), model[-1]
    C = float(model.C_[0] if hasattr(model, "C_") else model.C)
    H = model.decision_function(X)
    H = np.column_stack([np.zeros(len(H)), H]) if H.ndim == 1 else H
    codes = np.searchsorted(model.classes_, y)
    top = H.max(axis=1, keepdims=True)
    losses = np.log(np.exp(H - top).sum(axis=1)) + top[:, 0] - H[np.arange(len(y)), codes]
    return float(losses.mean() + (model.coef_**2).sum() / (2.0 * C * len(y))), C


def few_rows(X: Any, y: np.ndarray) -> tuple[Any, np.ndarray]:
    """Some rows of each class."""
    chosen = np.sort(np.concatenate([np.flatnonzero(y == label)[:FEW] for label in np.unique(y)]))
    return X[chosen], y[chosen]


def play(program: Program) -> Json:
    """Run a program, in this process: the seconds of its fits, and what the last one came to."""
    X, y = program.make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program.model().fit(*few_rows(X, y))
        seconds: list[float] = []
        while sum(seconds) < REPEAT and len(seconds) < MOST:
            model = program.model()
            time.sleep(timing.PAUSE)
            began = time.perf_counter()
            model.fit(X, y)
            seconds.append(time.perf_counter() - began)
    value, C = objective(model, X, y)
    return {"seconds": timing.median(seconds), "value": value, "C": C}


def play_apart(name: str, variant: str) -> Json:
    """Run a program in a new process, plain or accelerated."""
    command = [sys.executable, *VARIANTS[variant], __spec__.name, "--play", name]
    done = subprocess.run(command, capture_output=True, text=True, env=own_modules())
    if done.returncode:
        raise RuntimeError(f"{name}, {variant}: {done.stderr.strip()[-500:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def one(name: str, rounds: int) -> Json:
    """The record of a program: both variants in turn."""
    found: dict[str, list[Json]] = {variant: [] for variant in VARIANTS}
    began = time.perf_counter()
    for number in range(rounds):
        if number and time.perf_counter() - began > BUDGET:
            break
        for variant in [*VARIANTS][:: -1 if number % 2 else 1]:
            found[variant].append(play_apart(name, variant))
    record: Json = {"program": name, "shape": PROGRAMS[name].shape, "rounds": len(found["before"])}
    for variant, runs in found.items():
        seconds = timing.median([run["seconds"] for run in runs])
        record[variant] = {"seconds": seconds, "value": runs[-1]["value"], "C": runs[-1]["C"]}
    return record


def run(names: Sequence[str], effort: Effort, say: Say) -> list[Json]:
    out = []
    for name in names:
        out.append(one(name, 1 if effort.quick else ROUNDS))
        say(line(out[-1]))
    return out


def line(record: Json) -> str:
    """A record in a line of text."""
    before, after = record["before"], record["after"]
    gain, lower = before["seconds"] / after["seconds"], after["value"] / before["value"] - 1.0
    return f"{record['program']}: {before['seconds']:.4f} s, {after['seconds']:.4f} s, {gain:.1f}×, value {lower:+.1e}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sections.drop_in", description=__doc__)
    parser.add_argument("programs", nargs="*", metavar="program", help=f"of {', '.join(PROGRAMS)}; default all")
    parser.add_argument("--play", choices=PROGRAMS, help="run one program here and print its record")
    args = parser.parse_args(argv)
    if args.play:
        print(json.dumps(play(PROGRAMS[args.play])))
        return
    names = args.programs or list(PROGRAMS)
    unknown = set(names) - set(PROGRAMS)
    if unknown:
        parser.error(f"no program {', '.join(sorted(unknown))}; known are {', '.join(PROGRAMS)}")
    timing.fix_threads(default_threads())
    busy, roof = machine.busy(patience=machine.PATIENCE), roofline.measure(default_threads())
    fresh = {record["program"]: record for record in run(names, Effort(), print)}
    path = records.results_path(quick=False)
    saved = records.load(path)
    kept = {record["program"]: record for record in saved["sections"].get("drop-in", {}).get("programs", [])}
    programs = [record for name in PROGRAMS if (record := (kept | fresh).get(name))]
    about = {"date": machine.today(), "busy": busy, "roof": roof.as_dict()}
    saved["sections"]["drop-in"] = about | {"programs": programs}
    records.save(saved, path)


if __name__ == "__main__":
    main()
