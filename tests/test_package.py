"""What the package shows: its names, the cost of importing it, its table of backends, its layers."""

import inspect
import typing

import child
import numpy as np
import pytest

import fastsoftmax
from fastsoftmax.kernels import backends
from fastsoftmax.kernels.backends import Backend
from fastsoftmax.kernels.contract import Kernels

PUBLIC = [
    "Model",
    "Objective",
    "Result",
    "SoftmaxRegression",
    "SoftmaxRegressionCV",
    "backends",
    "loss_and_grad",
    "minimize",
]
PUBLIC += ["predict_proba", "regularization_path", "softmax"]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_exists_is_listed_and_documented(name):
    assert name in fastsoftmax.__all__ and name in dir(fastsoftmax)
    assert getattr(fastsoftmax, name).__doc__


def test_all_lists_public_names_only():
    assert sorted(fastsoftmax.__all__) == sorted(PUBLIC)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'softmaks'"):
        fastsoftmax.softmaks  # noqa: B018


def test_version_is_a_release_number():
    assert [int(part) for part in fastsoftmax.__version__.split(".")[:2]]


def loaded_by(code, tmp_path):
    """Top-level modules a fresh interpreter holds after ``code``."""
    show = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules} | set(sys.modules)))"
    run = child.python("-c", f"{code}\n{show}", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


HEAVY = {"numba", "llvmlite", "scipy", "sklearn", "torch", "pandas", "pyarrow", "matplotlib", "rich", "typer"}
HEAVY |= {"threadpoolctl"}


def test_importing_the_package_loads_nothing_heavy(tmp_path):
    loaded = loaded_by("import fastsoftmax", tmp_path)
    assert not loaded & HEAVY
    assert "fastsoftmax.kernels" not in loaded


def test_the_numpy_backend_loads_nothing_heavy(tmp_path):
    code = "import fastsoftmax; fastsoftmax.loss_and_grad([[1.0]], [1], [[0.0, 0.0]], backend='numpy')"
    assert not loaded_by(code, tmp_path) & HEAVY


# ------------------------------------------------------------------------------------- backends


def test_backends_names_every_row_of_the_table_and_says_why_one_is_missing():
    table = fastsoftmax.backends()
    assert list(table) == list(backends.BACKENDS)
    for row in table.values():
        assert set(row) == {"available", "isa", "threads", "why"}
        assert bool(row["isa"] and row["threads"]) == row["available"] == (not row["why"])


def test_numpy_is_always_there():
    assert fastsoftmax.backends()["numpy"]["available"]


CONSTANTS = list(inspect.get_annotations(Kernels))
FUNCTIONS = [name for name in vars(Kernels) if not name.startswith("_")]


def test_the_contract_has_constants_and_functions():
    assert {"READS", "STRATEGIES"} <= set(CONSTANTS)
    assert {"dense_value_and_grad", "sparse_gradient", "predict"} <= set(FUNCTIONS)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_backend_has_every_function_of_the_contract(module, function):
    wanted = list(inspect.signature(getattr(Kernels, function)).parameters)[1:]  # all but self
    assert list(inspect.signature(getattr(module, function)).parameters) == wanted


@pytest.mark.parametrize("constant", CONSTANTS)
def test_each_backend_has_every_constant_of_the_contract(module, constant):
    wanted = typing.get_origin(hint := typing.get_type_hints(Kernels)[constant]) or hint
    assert type(getattr(module, constant)) is wanted


def test_each_backend_reads_both_floats_as_they_are(module):
    assert {"f", "d"} <= set(module.READS)


def without(monkeypatch, *names):
    for name in names:
        absent = Backend(name, f"fastsoftmax.kernels.no_{name}", "a thing", "pip install thing")
        monkeypatch.setitem(backends.BACKENDS, name, absent)


ARGUMENTS = ([[1.0], [2.0]], [0, 1], [[0.0, 0.0]])


def test_a_backend_asked_for_by_name_is_never_replaced(monkeypatch):
    without(monkeypatch, "numba")
    with pytest.raises(ImportError, match=r"'numba' needs a thing \(pip install thing\)"):
        fastsoftmax.loss_and_grad(*ARGUMENTS, backend="numba")
    row = fastsoftmax.backends()["numba"]
    assert not row["available"] and "pip install thing" in row["why"]


def test_auto_takes_the_first_that_loads(monkeypatch):
    first = [name for name, row in fastsoftmax.backends().items() if row["available"]][0]
    assert backends.select("auto")[0] == first
    without(monkeypatch, "cython", "numba")
    assert backends.select("auto")[0] == "numpy"


@pytest.mark.parametrize("name", ["fortran", "", "NumPy", None, 3])
def test_an_unknown_backend_is_a_value_error_that_lists_the_known_ones(name):
    with pytest.raises(ValueError, match="'auto', 'cython', 'numba', 'numpy'; got ") as error:
        fastsoftmax.loss_and_grad(*ARGUMENTS, backend=name)
    assert repr(name) in str(error.value)


def test_all_backends_and_the_function_agree(backend):
    value, grad = fastsoftmax.loss_and_grad(*ARGUMENTS, backend=backend)
    assert abs(value - np.log(2)) <= 2 * np.finfo(float).eps
    np.testing.assert_array_equal(grad, [[0.25, -0.25]])
