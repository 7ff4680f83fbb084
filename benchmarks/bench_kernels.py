"""pytest-benchmark over every kind of pass, backend and quick case, each checked first.

``pytest benchmarks -o python_files='bench_*.py'`` times them; with ``--benchmark-disable`` each runs
once, which is what CI does.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import fastsoftmax
from fastsoftmax import reference

from .harness import check
from .harness.cases import CASES, Problem, SparseCase, make_problem
from .sections.compare import OPERATIONS, operation

BACKENDS = [name for name, row in fastsoftmax.backends().items() if row["available"]]
QUICK = [case.name for case in CASES.values() if case.group in ("quick", "quick sparse")]
PASSES = [(name, op) for name in QUICK for op in OPERATIONS if op != "gram" or not isinstance(CASES[name], SparseCase)]


@cache
def problem(name: str) -> Problem:
    return make_problem(CASES[name])


@cache
def truth(name: str) -> check.Truth:
    return check.truth(problem(name))


def dense(name: str) -> np.ndarray:
    """X in float64; quick cases are small enough even where they are sparse."""
    X = problem(name).X
    return X.toarray().astype(np.float64) if isinstance(CASES[name], SparseCase) else X.astype(np.float64)


def _wanted(name: str, op: str) -> np.ndarray:
    """The answer of the reference in float64."""
    X, theta = dense(name), problem(name).theta.astype(np.float64)
    if op == "hess_prod":
        return reference.hess_prod(X, theta, theta[::-1])
    if op == "gram":
        return reference.gram(X)
    return reference.softmax(reference.logits(X, theta))


def _scale(name: str, op: str) -> np.ndarray:
    """The size of the terms that are summed in each element of the answer: rounding errors are in proportion to it.

    The largest logit or product of a row stands for all of them; harness/check.py has the derivation.
    """
    own = truth(name)
    if op == "gram":
        return np.outer(own.x_rms, own.x_rms)
    if op == "hess_prod":
        # Rows of R are Z (U - Z.U), at most |U|_max times the softmax; the largest U of all bounds them.
        U = dense(name) @ problem(name).theta[::-1].astype(np.float64)
        return np.abs(U).max() * own.x_rms[:, None]
    return np.ones(1)  # probabilities


def _verify(name: str, op: str, answer: object) -> None:
    own = truth(name)
    if op == "value_and_grad":
        assert own.error(*answer) <= 1
    elif op == "value":
        assert own.error(answer, own.grad) <= 1
    else:
        off = np.abs(np.asarray(answer, np.float64) - _wanted(name, op))
        assert np.all(off <= own.factor * _scale(name, op))  # 0 for a column of sparse X without entries


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "op"), PASSES)
def test_pass(benchmark, name, op, backend):
    data = problem(name)
    objective = fastsoftmax.Objective(data.X, data.y, data.case.k, backend=backend)
    call = operation(objective, op, data.X, data.theta)
    _verify(name, op, call())
    benchmark.group = f"{op}, {name}"
    benchmark(call)
