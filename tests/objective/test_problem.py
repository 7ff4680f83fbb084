"""The protocols: every objective of the package provides all of them, and they are enough for each solver."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import fastsoftmax
from fastsoftmax import Objective, datasets, minimize
from fastsoftmax.objective.derived import Shifted
from fastsoftmax.objective.problem import DesignMatrix, Problem, ProblemWithProducts, ProblemWithRows
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
    assert {"walk", "curvature_gram", "design_matrix", "hess_prod"} < members(ProblemWithRows)


def test_every_objective_provides_all_with_the_parameters_that_solvers_pass():
    for obj in objectives():
        for name in members(ProblemWithRows):
            value, asked = getattr(obj, name), getattr(ProblemWithRows, name, None)
            if inspect.isfunction(asked):
                parameters = list(inspect.signature(asked).parameters.values())[1:]
                assert list(inspect.signature(value).parameters) == [p.name for p in parameters], (type(obj), name)
                by_name = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
                inspect.signature(value).bind(*[None] * (len(parameters) - len(by_name)), **by_name)


class Halves:
    """Two halves of the rows, each on a worker of its own: nothing but `ProblemWithRows`, by sums over the workers."""

    def __init__(self, X, y, k, w=None, **options):
        m, half = X.shape[0], X.shape[0] // 2 + 3
        w = np.ones(m) if w is None else w
        parts = slice(0, half), slice(half, m)
        self.parts = [Objective(X[part], y[part], k, sample_weight=w[part], **options) for part in parts]
        first = self.parts[0]
        self.shape, self.fit_intercept, self.n_features, self.n_classes = first.shape, True, first.n_features, k
        self.sparse, self.dtype, self.l2, self.n_passes = first.sparse, first.dtype, first.l2, 0
        self.n_rows, self.nnz = m, sum(part.nnz for part in self.parts)
        self.weight_sum, self.has_labels = sum(part.weight_sum for part in self.parts), True

    def mean(self, ask):
        """The mean over all rows of what each part answers, a mean over its own rows."""
        self.n_passes += 1
        answers = [(part.weight_sum / self.weight_sum, ask(part)) for part in self.parts]
        if not isinstance(answers[0][1], tuple):
            return sum(share * answer for share, answer in answers)
        return tuple(
            sum(share * each for share, each in zip((s for s, _ in answers), column, strict=True))
            for column in zip(*(answer for _, answer in answers), strict=True)
        )

    def value_and_grad(self, theta):
        for part in self.parts:
            part.l2 = self.l2
        return self.mean(lambda part: part.value_and_grad(theta))

    def gram(self):
        return self.mean(lambda part: part.gram())

    def gram_diagonal(self):
        return self.mean(lambda part: part.gram_diagonal())

    def hess_prod(self, theta, v):
        return self.mean(lambda part: part.hess_prod(theta, v))

    def curvature_gram(self, theta, *, diagonal):
        return self.mean(lambda part: part.curvature_gram(theta, diagonal=diagonal))

    def margins(self, direction):
        self.n_passes += 1
        gained, lost = zip(*(part.margins(direction) for part in self.parts), strict=True)
        return max(gained), max(lost)

    def least_weight(self):
        return min(part.least_weight() for part in self.parts)

    def present_classes(self):
        return np.any([part.present_classes() for part in self.parts], axis=0)

    def has_distributions(self):
        return all(part.has_distributions() for part in self.parts)

    def design_matrix(self, coordinates, left_out):
        return HalvesDesign(self, [part.design_matrix(coordinates, left_out) for part in self.parts])

    def columns(self, numbers, most=None):
        for part in self.parts:
            yield from part.columns(numbers, most)

    def walk(self):
        self.n_passes += 1
        for part in self.parts:
            yield from part.walk()

    def gradient_on(self, rows, theta):
        return self.parts[0].gradient_on(rows, theta)


class HalvesDesign:
    def __init__(self, obj, parts):
        self.obj, self.parts = obj, parts

    @property
    def longest(self):
        return max(part.longest for part in self.parts)

    def mean(self, ask):
        answers = iter([ask(part) for part in self.parts])
        return self.obj.mean(lambda part: next(answers))

    def pair_grams(self, phi):
        return self.mean(lambda part: part.pair_grams(phi))

    def gram(self, factor):
        return self.mean(lambda part: part.gram(factor))

    def range(self, phi):
        self.obj.n_passes += 1
        return max(part.range(phi) for part in self.parts)


def test_the_halves_have_nothing_else():
    assert members(ProblemWithRows) >= {name for name in vars(Halves) if not name.startswith("_")} - {"mean"}
    assert members(DesignMatrix) == {name for name in vars(HalvesDesign) if not name.startswith("_")} - {"mean"}


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton", "newton_cg", "sgd"])
@pytest.mark.parametrize("l2", [0.0, 1e-3])
def test_rows_on_two_workers_have_the_minimum_of_all_rows(solver, l2):
    X, y, _ = datasets.make_problem(3000, 5, 3, signal=1.0, seed=2)
    w = np.random.default_rng(0).integers(0, 4, 3000).astype(float)
    for make in (np.asarray, sp.csr_array):
        if make is sp.csr_array and solver == "newton":
            continue
        options = {"fit_intercept": True, "l2": l2}
        split, whole = Halves(make(X), y, 3, w, **options), Objective(make(X), y, 3, sample_weight=w, **options)
        found, wanted = (minimize(obj, solver=solver, max_iter=60) for obj in (split, whole))
        assert found.solver == wanted.solver and (found.converged or solver == "sgd")
        # Steps are the same but for the order of sums; a walk of sgd takes the rows in other mini-batches.
        assert found.value == pytest.approx(wanted.value, rel=1e-2 if solver == "sgd" else 1e-6)
        if solver != "sgd":
            assert found.n_passes == split.n_passes == wanted.n_passes


@pytest.mark.parametrize("solver", ["auto", "newton"])
def test_on_two_workers_too_it_is_seen_where_there_is_no_minimum(solver):
    rng = np.random.default_rng(3)
    y = rng.integers(3, size=600)
    X = rng.standard_normal((600, 2)) + np.where(y == 2, 100.0, 0.0)[:, None]
    result = minimize(Halves(X, y, 3, fit_intercept=True), solver=solver)
    assert not result.converged and "some classes are separable from the others" in result.message
    result = minimize(Halves(X, np.where(y == 2, 3, y), 4, fit_intercept=True), solver=solver)
    assert not result.converged and "class 2 has no row of positive weight" in result.message


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
