"""The protocols: every objective of the package provides all of them, and they are enough for each solver."""

import ast
import inspect
from pathlib import Path

import numpy as np
import scipy.sparse as sp

import fastsoftmax
from fastsoftmax import Objective, datasets
from fastsoftmax.objective.derived import Shifted
from fastsoftmax.objective.problem import Problem, ProblemInOrder, ProblemWithProducts, ProblemWithRows, RowsInOrder
from fastsoftmax.objective.stacked import Member, StackedObjective
from fastsoftmax.solvers.methods import subsample


def members(protocol):
    """Names that a protocol asks for: functions and properties, and annotated attributes."""
    names = set()
    for cls in protocol.__mro__:
        if getattr(cls, "_is_protocol", False) and cls.__module__ == protocol.__module__:
            names |= {name for name in (*vars(cls), *vars(cls).get("__annotations__", {})) if not name.startswith("_")}
    return names


def objectives():
    X, y, _ = datasets.make_problem(9000, 4, 3, seed=1)
    fold = np.arange(9000, dtype=np.int32) % 3
    obj = Objective(X, y, fit_intercept=True, l2=1e-3)
    thin = Objective(sp.csr_array(X), y, fit_intercept=True, l2=1e-3)
    yield obj
    yield thin
    yield Shifted(obj, np.ones(4), copied=True)
    yield Shifted(obj, np.ones(4), copied=False)
    yield Shifted(thin, np.ones(4), copied=True)
    yield Member(StackedObjective(obj, fold, np.array([0, 1])), 1)
    yield subsample.take(obj, 600)


def test_what_the_protocols_ask_for():
    assert members(Problem) == {"shape", "n_passes", "l2", "fit_intercept", "value_and_grad", "gram"}
    assert members(ProblemWithProducts) == members(Problem) | {"hess_prod"}
    assert {"curvature_gram", "design_matrix", "hess_prod", "sum_columns"} < members(ProblemWithRows)
    assert members(RowsInOrder) == members(ProblemWithRows) | {"walk", "gradient_on"}
    assert members(ProblemInOrder) == members(ProblemWithRows) | {"fold"}


def test_every_objective_provides_all_with_the_parameters_that_solvers_pass():
    for obj in objectives():
        for name in members(ProblemInOrder) | members(RowsInOrder):
            value = getattr(obj, name)
            asked = getattr(ProblemInOrder, name, getattr(RowsInOrder, name, None))
            if inspect.isfunction(asked):
                parameters = list(inspect.signature(asked).parameters.values())[1:]
                assert list(inspect.signature(value).parameters) == [p.name for p in parameters], (type(obj), name)
                by_name = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
                inspect.signature(value).bind(*[None] * (len(parameters) - len(by_name)), **by_name)


def test_solvers_count_no_passes_and_ask_for_sweeps_alone():
    """Nothing but the objective's own room reads its source, its plan or its kernels."""
    files = sorted((Path(fastsoftmax.__file__).parent / "solvers").rglob("*.py"))
    assert len(files) > 20
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"source", "plan", "_passes", "_kernels"}, (file.name, node.lineno)
                written = isinstance(node.ctx, ast.Store) and node.attr == "n_passes"
                assert not written or ast.unparse(node.value) == "self", (file.name, node.lineno)
