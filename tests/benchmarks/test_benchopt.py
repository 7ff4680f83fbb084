"""The folder for benchopt: its objective is ours, checked, and every solver comes to its minimum. benchopt itself runs
where it is installed; a stand-in with its base classes is enough to load the files."""

import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax
from fastsoftmax import reference
from fastsoftmax.datasets import make_problem

FOLDER = Path(__file__).parents[2] / "benchmarks" / "benchopt_softmax"
SOLVERS = sorted(path.stem for path in (FOLDER / "solvers").glob("*.py"))
PACKAGES = {"torch_lbfgs": "torch"}
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="not a checkout")


@pytest.fixture
def load(monkeypatch):
    """A function that loads a file of the folder and makes an object of its class with parameters."""
    stand_in = types.ModuleType("benchopt")
    stand_in.BaseObjective = stand_in.BaseDataset = stand_in.BaseSolver = object
    monkeypatch.setitem(sys.modules, "benchopt", stand_in)

    def call(file, kind, **parameters):
        spec = importlib.util.spec_from_file_location("loaded", FOLDER / f"{file}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        made = getattr(module, kind)()
        for name, value in parameters.items():
            setattr(made, name, value)
        return made

    return call


@pytest.fixture
def objective(load):
    found = load("objective", "Objective", l2=1e-3)
    found.set_data(**load("datasets/simulated", "Dataset", rows=300, features=6, classes=3, signal=2.0).get_data())
    return found


def test_the_objective_is_that_of_the_reference(objective):
    theta = np.random.default_rng(0).standard_normal((7, 3))
    given = objective.get_objective()
    value, grad = reference.value_and_grad(given["X"], given["y"], theta, fit_intercept=True, l2=given["l2"])
    found = objective.evaluate_result(theta)
    assert found["value"] == pytest.approx(value, rel=1e-13)
    assert found["largest_gradient"] == pytest.approx(np.abs(grad).max(), rel=1e-10)
    assert objective.evaluate_result(**objective.get_one_result())["value"] == pytest.approx(np.log(3))


def test_an_objective_that_is_not_that_of_the_reference_is_found_out(objective, monkeypatch):
    right = fastsoftmax.Objective.value
    monkeypatch.setattr(fastsoftmax.Objective, "value", lambda self, theta: right(self, theta) * (1 + 1e-9))
    with pytest.raises(ArithmeticError, match="the formula in NumPy says"):
        objective.set_data(objective.X, objective.y)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("file", SOLVERS)
def test_every_solver_comes_to_the_minimum(file, k, load, objective):
    if file in PACKAGES:
        pytest.importorskip(PACKAGES[file])
    X, y, _ = make_problem(300, 6, k, seed=1)
    objective.set_data(X, y)
    best = fastsoftmax.minimize(objective.problem, tol=1e-10).value
    made = load(f"solvers/{file}", "Solver")
    parameters = getattr(made, "parameters", {"": [None]})
    for value in next(iter(parameters.values())):
        for name in filter(None, parameters):
            setattr(made, name, value)
        made.set_objective(**objective.get_objective())
        reached = []

        def goes_on(made=made, reached=reached):
            reached.append(objective.evaluate_result(**made.get_result())["value"])
            return len(reached) < 100

        if made.sampling_strategy == "callback":
            made.run(goes_on)
            assert reached[0] == pytest.approx(np.log(k))
        else:
            made.run(0)
            assert objective.evaluate_result(**made.get_result())["value"] == pytest.approx(np.log(k))
            made.run(100)
        assert objective.evaluate_result(**made.get_result())["value"] <= best * (1 + 1e-6)


def test_benchopt_runs_it(tmp_path):
    pytest.importorskip("benchopt")
    import shutil

    shutil.copytree(FOLDER, tmp_path / "softmax")
    data = "simulated[rows=300,features=5,classes=3]"
    command = [
        sys.executable,
        "-m",
        "benchopt",
        "run",
        "softmax",
        "-d",
        data,
        "-s",
        "fastsoftmax",
        "-n",
        "5",
        "-r",
        "1",
    ]
    done = subprocess.run([*command, "-r", "1", "--no-plot"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "softmax" / "outputs").glob("*.parquet"))
