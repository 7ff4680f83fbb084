"""The table of backends: what `select` takes, what each one has, and what is said of one missing or unknown."""

import inspect
import typing

import numpy as np
import pytest

import fastsoftmax
from fastsoftmax.kernels import backends
from fastsoftmax.kernels.backends import Backend
from fastsoftmax.kernels.contract import Kernels


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
    assert {"value_and_grad", "gradient", "predict"} <= set(FUNCTIONS)


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
