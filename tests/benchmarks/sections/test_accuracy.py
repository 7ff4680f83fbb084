"""The section on accuracy: exp and log of every build in ulp, errors of passes, and its tables and targets."""

import importlib
import math

import numpy as np
import pytest
from problems import Problem
from tolerance import exact_value_and_grad

from fastsoftmax.cli import bench

NAMES = ("sections.accuracy.functions", "sections.accuracy.passes", "report.accuracy", "report.targets.accuracy")
functions, passes, tables, targets, records, report, section = (
    importlib.import_module(f"{bench._harness()}.{name}")
    for name in (*NAMES, "harness.records", "report.report", "sections.accuracy")
)
wide = pytest.mark.skipif(section.BITS < 64, reason="longdouble is no wider than float64 here")


@wide
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", functions.NAMES)
def test_exp_and_log_are_within_an_ulp_in_every_build(name, dtype):
    """Roundings of the reduced argument, of exp(r) - 1 and of the result add up to less: see simd.hpp."""
    found = functions.measure(name, dtype, quick=True)["errors"]
    ours = {label: e["ulp"] for label, e in found.items() if label != "NumPy"}
    assert any(label.startswith("Cython") for label in ours) and "Numba" in ours
    assert all(0.5 < ulp <= 1.0 for ulp in ours.values()), ours


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_exp_is_nan_for_nan_and_0_for_minus_infinity_and_ends_where_normal_numbers_do(dtype):
    tiny = np.finfo(dtype).tiny
    # The smallest x with a normal exp(x), up to the spacing of such x.
    last = np.array(np.log(np.longdouble(tiny)), dtype)
    around = np.array([np.nextafter(last, np.array(-np.inf, dtype)), last, np.nextafter(last, np.array(0, dtype))])
    for label, function in functions.implementations().items():
        if label == "NumPy":
            continue
        got = function("exp", np.array([math.nan, -math.inf, 0, -0.0], dtype))
        np.testing.assert_array_equal(got, [math.nan, 0, 1, 1], err_msg=label)
        below, _, above = function("exp", around)
        assert below == 0 and tiny <= above <= 2 * tiny, label


def test_errors_are_in_units_of_the_last_place_of_the_truth():
    truth = np.array([1.0, 1.5, 2.0, 0.75, 0.0])
    np.testing.assert_array_equal(functions.ulps(truth, np.dtype("f4"))[:4], np.float64(2) ** [-23, -23, -22, -24])
    errors = functions.Errors()
    got = np.array([1.0, np.nextafter(np.float32(1.5), np.float32(2)), 2.0, 0.75, 0.0], "f4")
    errors.add(np.arange(5.0), got, truth)
    assert (errors.ulp, errors.at, errors.count, errors.not_nearest) == (1.0, 1.0, 5, 1)
    errors.add(np.zeros(1), np.array([np.nan], "f4"), np.ones(1))
    assert errors.ulp == math.inf
    assert functions.exact_ulp("exp", -1.0, float(np.nextafter(np.exp(-1.0), 1))) == pytest.approx(1, abs=0.5)


def test_all_floats_are_those_of_the_domain():
    """Every one of so many, from the first to the last chunk, counted."""
    for name, count in (("exp", 0x7F800001), ("log", 0x7F800000 - 0x3F800000)):
        chunks = list(functions.all_singles(name, functions.STRIDE))
        assert sum(map(len, chunks)) == -(-count // functions.STRIDE)
        first, last = chunks[0][0], chunks[-1][-1]
        assert (first, last < -1e37) == (0.0, True) if name == "exp" else (first, last > 1e37) == (1.0, True)


@wide
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_truth_of_a_pass_is_that_of_mpmath(dtype):

    X, y, theta = passes.make(passes.Case("rows", 30, 3, 4, 5.0), dtype)
    value, grad = passes.truth(X, y, theta)
    wanted_value, wanted_grad = exact_value_and_grad(Problem(X, y, theta))
    eps = np.finfo(np.longdouble).eps
    # 30 rows, logits of size 20: each element is a mean of 30 terms, off by the rounding of its logits.
    np.testing.assert_allclose(value, wanted_value, rtol=100 * eps)
    np.testing.assert_allclose(grad, wanted_grad, rtol=0, atol=100 * eps * abs(X).max())


@wide
def test_records_become_tables_and_targets():
    said = []
    found = section.run(records.Effort(2, 1.0, True, 1), said.append)
    assert len(said) == len(found["functions"]) + len(found["passes"]) == 4 + 2 * len(passes.QUICK)
    for r in found["passes"]:
        eps = np.finfo(r["dtype"]).eps
        for name in ("cython", "numba", "numpy", "numpy_formula"):
            assert r["rivals"][name]["grad"] < 100 * eps and r["rivals"][name]["value"] < 100 * eps
    text = tables.text(found)
    assert "| exp, " in text and "### Over classes" in text and "2,000 × 8, 3, float32" in text
    judged = {t.text: t for t in targets.targets({"sections": {"accuracy": found}})}
    assert judged["exp in float32, worst of the wings"].met
    assert judged["Value in float64, cython, worst case"].met
    assert judged["Gradient in float32 at 4·10⁶ rows, cython"].met is None  # no quick case has so many
    assert report.stamp({"date": "2026-01-01", "seconds": 1.0}) == "*2026-01-01, in 1 s.*"


def test_without_a_wider_type_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(section, "BITS", 53)
    found = section.run(records.Effort(2, 1.0, True, 1), print)
    assert tables.text(found) == found["skipped"] and "53 bits" in found["skipped"]
    assert all(t.met is None for t in targets.targets({"sections": {"accuracy": found}}))
