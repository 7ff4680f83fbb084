"""The kernels of every instruction set this processor has, not only of the one they pick."""

import importlib
from pathlib import Path

import child
import numpy as np
import pytest
from passes import check_every_pass, check_every_sparse_pass, check_theta_by_class, sparse_problem
from problems import LAYOUTS, random_problem
from tolerance import check_hess_prod, check_prediction, check_value_and_grad

from fastsoftmax.kernels import backends
from fastsoftmax.kernels.contract import PREDICTIONS


def builds():
    """Instruction sets with a build that runs here, the best first."""
    try:
        cpu = importlib.import_module("fastsoftmax.kernels.cython.cpu")
    except ImportError:
        return []
    files = Path(cpu.__file__).parent.glob("kernels_*.so")
    here = {file.name.split(".")[0].removeprefix("kernels_") for file in files}
    return sorted((isa for isa in here if isa == "generic" or int(isa[1]) <= cpu.level()), reverse=True)


@pytest.fixture(params=["v4", "v3", "v2", "generic"])
def isa(request, loaded):
    """The name of the Cython backend, which for the length of a test is the build for one instruction set."""
    if request.param not in builds():
        pytest.skip(f"no build for {request.param}, or the processor lacks it")
    with loaded(request.param) as module:
        assert (module.ISA, module.UNITS) == (request.param, "")
        yield "cython"


@pytest.mark.parametrize("layout", ["C", "F", "strided both", "negative columns"])
def test_every_pass_in_every_layout(isa, dtype, layout):
    wide = [(1, 1, 2), (300, 37, 7), (129, 64, 33), (200, 17, 12)]
    short = [(67, 3, 5), (77, 10, 3), (45, 5, 8), (91, 54, 16)]  # rows of fewer numbers than a vector has, few classes
    for shape in wide + short:
        p = random_problem(*shape, dtype=dtype, layout=layout, weights=True, intercept=True)
        check_every_pass(p, isa)
        check_every_pass(p, isa, tiles=1, slabs=3, chunk=101)


@pytest.mark.parametrize("rows", [1024, 1120, 1700])
def test_columns_too_many_for_the_cache(isa, dtype, rows):
    """Walked a part of the features after the other: see kc_blocks.hpp. A last block may be short, or too short."""
    p = random_problem(rows, 505, 7, dtype=dtype, layout="F", weights=True, intercept=True)
    obj = p.objective(isa)
    obj.plan = p.plan(tiles=1, slabs=rows // 550)
    check_value_and_grad(p, *obj.value_and_grad(p.theta))
    check_value_and_grad(p, obj.value(p.theta))
    check_hess_prod(p, p.theta[::-1], obj.hess_prod(p.theta, p.theta[::-1]))


@pytest.mark.parametrize("narrow", ["?", "u1", "i1", "u2", "i2", "f2"])
@pytest.mark.parametrize("layout", ["C", "F", "strided both"])
def test_narrow_dtypes(isa, narrow, layout):
    for shape in [(211, 37, 5), (70, 64, 3), (150, 70, 3), (131, 133, 2), (33, 7, 18)]:
        check_every_pass(random_problem(*shape, dtype=narrow, layout=layout, weights=True), isa)


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_predictions(isa, dtype, kind):
    p = random_problem(203, 19, 6, dtype=dtype, intercept=True, layout="F")
    out = np.empty(203, np.int64) if kind == "label" else np.empty((203, 6), dtype)
    plan = p.plan()
    module = backends.select(isa)[1]
    module.predict(p.rows(module), p.parameters(), plan, kind, out, p.sums(plan, grad=False), 2)
    check_prediction(p, kind, out)


@pytest.mark.parametrize("k", [2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 16, 23, 32])
def test_numbers_of_classes_and_features(isa, dtype, k):
    for n in (1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 33):
        check_every_pass(random_problem(45, n, k, dtype=dtype, layout=list(LAYOUTS)[(n + k) % 2]), isa)


# The last group has one class, fewer than a vector, or many; with the most classes, groups are joined to parts of dX.
@pytest.mark.parametrize("k", [2, 97, 103, 200, 1_700])
def test_theta_by_class(isa, dtype, k):
    for n in (1, 2, 3, 7, 8, 17, 33, 130):
        p = random_problem(70, n, k, dtype=dtype, intercept=True, weights=True)
        check_theta_by_class(p, backends.select(isa)[1])


@pytest.mark.parametrize("strategy", ["row-parallel", "feature-parallel"])
@pytest.mark.parametrize("k", [2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 16, 23, 32, 75, 140])
def test_sparse_passes(isa, dtype, k, strategy):
    module = backends.select(isa)[1]
    for index in ("i4", "i8"):
        s = sparse_problem(101, 19, k, dtype=dtype, weights=True, intercept=True)
        check_every_sparse_pass(module, s, s.plan(strategy), index)


def pick(isa, tmp_path):
    """What a fresh interpreter says of the Cython backend with FASTSOFTMAX_ISA set."""
    code = "import fastsoftmax; row = fastsoftmax.backends()['cython']; print(row['isa'] or row['why'])"
    run = child.python("-c", code, cwd=tmp_path, FASTSOFTMAX_ISA=isa)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("isa", builds())
def test_an_instruction_set_asked_for_by_name_is_used(isa, tmp_path):
    assert isa in pick(isa, tmp_path)


@pytest.mark.skipif(not builds(), reason="no build of the Cython kernels")
def test_an_instruction_set_that_is_not_known_or_not_there_is_an_error(tmp_path):
    assert "FASTSOFTMAX_ISA must be one of v4, v3, v2, generic, amx, avx512_bf16; got 'v9'" in pick("v9", tmp_path)
    if "generic" not in builds():
        assert "generic" in pick("generic", tmp_path)
