"""Kernels read and write inside the arrays they get: guard pages catch reads, canaries catch writes.

The guarded runs happen in a process of their own, since a stray read ends it with a signal.
"""

import collections
import ctypes
import itertools
import mmap
import os

import child
import numpy as np
import pytest
from problems import Problem, random_problem

from fastsoftmax.kernels import backends
from fastsoftmax.kernels.contract import PREDICTIONS, Rows, Sums

SHAPES = [(m, n, k) for m in (1, 7, 64, 129) for n in (1, 3, 17, 32) for k in (2, 5, 16, 23)]
# Rows long enough to be taken as they lie, with tails.
SHAPES += [(1, 261, 2), (5, 300, 3), (129, 1801, 2)]
CANARY = 12345.0


class Guarded:
    """Arrays with an unreadable page right after their last byte, or right before their first."""

    # Areas by size that no array is in: to map and protect new ones took half of the time of these tests.
    free = collections.defaultdict(list)

    def __init__(self, side):
        self.side, self.used = side, []

    def copy(self, array, order="C"):
        if array is None:
            return None
        page = mmap.PAGESIZE
        inside = -(-array.nbytes // page) * page
        area = self.free[inside].pop() if self.free[inside] else guarded_area(inside)
        self.used.append(area)
        offset = page + (inside - array.nbytes if self.side == "end" else 0)
        flat = np.frombuffer(area, array.dtype, array.size, offset)
        out = flat.reshape(array.shape, order=order)
        out[...] = array
        return out

    def release(self):
        """Let others use the areas; the arrays must not be used any more."""
        for area in self.used:
            self.free[len(area) - 2 * mmap.PAGESIZE].append(area)


def guarded_area(inside):
    """Fresh memory of whole pages between two that cannot be read."""
    page, protect = mmap.PAGESIZE, ctypes.CDLL(None).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    area = mmap.mmap(-1, inside + 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    assert protect(start, page, 0) == protect(start + page + inside, page, 0) == 0
    return area


def guard_problem(p, guarded, order):
    w, theta = guarded.copy(p.w), guarded.copy(p.theta)
    return Problem(guarded.copy(p.X, order), guarded.copy(p.y), theta, w, p.fit_intercept)


def guard_sums(sums, guarded):
    return Sums(*(guarded.copy(a) for a in (sums.loss, sums.grad, sums.bias)), sums.scale)


def run_everything(module, p, wrap_sums, wrap_out, **choices):
    """Each function of the contract once; sums and outputs go through the two wrappers."""
    plan = p.plan(tiles=1, slabs=3, **choices)
    rows, theta, k, n = Rows(p.X, p.y, p.w), p.parameters(), p.k, p.X.shape[1]
    for grad in (True, False):
        module.value_and_grad(rows, theta, plan, wrap_sums(p.sums(plan, grad=grad)), 1)
    module.hess_prod(rows, theta, theta, plan, wrap_sums(p.sums(plan)), 1)
    module.gram(rows, plan, wrap_sums(p.sums(plan, k=n)), 1)
    if k * n < 1000:
        number, plan_of_pairs = k * (k - 1) // 2, p.plan(tiles=1, slabs=3)
        grams = np.zeros((plan_of_pairs.slabs, number * n, n))
        sums = wrap_sums(Sums(np.zeros(plan_of_pairs.slabs), grams, None, 1.0))
        module.hessian(rows, theta, plan_of_pairs, sums, 1)
    for kind in PREDICTIONS:
        out = np.zeros(len(p.X), np.int64) if kind == "label" else np.zeros((len(p.X), k), p.dtype)
        module.predict(Rows(p.X), theta, plan, kind, wrap_out(out), wrap_sums(p.sums(plan)), 1)


class Kept(list):
    """A wrapper of sums and outputs that keeps them; scratch, of which there are known sizes, is given to the sums."""

    def __init__(self, scratches=()):
        super().__init__()
        self.scratches = list(scratches)

    def __call__(self, item):
        self.append(item)
        if isinstance(item, Sums) and self.scratches:
            item.scratch = self.scratches.pop(0)
        return item

    def sums(self):
        return [item for item in self if isinstance(item, Sums)]

    def arrays(self):
        for item in self:
            each = (item.loss, item.grad, item.bias) if isinstance(item, Sums) else (item,)
            yield from (array for array in each if array is not None)


def run_with_spoiled_scratch(backend):
    """Called in the child process: the same results where scratch is all NaN and ends at an unreadable page."""
    module = backends.select(backend)[1]
    for order, strategy, char in itertools.product("CF", ["row-parallel", "class-parallel"], module.READS):
        for shape in SHAPES[:: 2 if char in "fd" else 7]:
            print(backend, order, strategy, char, shape, flush=True)
            p = random_problem(*shape, dtype=char, weights=True, intercept=True, layout=order)
            compare_with_spoiled_scratch(module, p, strategy, kept_in_sums=backend != "numba")
    print("done", flush=True)


def compare_with_spoiled_scratch(module, p, strategy, kept_in_sums):
    guarded, given = Guarded("end"), []

    def spoiled(size):
        given.append(guarded.copy(np.full(-(-size // 64) * 64, 0xFF, np.uint8)))
        return given[-1]

    def new_scratch(size):
        scratch = spoiled(size)
        return scratch, scratch.ctypes.data

    fresh = Kept()
    run_everything(module, p, fresh, fresh, strategy=strategy)
    again = Kept(spoiled(len(sums.scratch)) for sums in fresh.sums() if sums.scratch is not None)
    with pytest.MonkeyPatch.context() as patch:
        if not kept_in_sums:
            patch.setattr("fastsoftmax.kernels.numba.runtime.record.new_scratch", new_scratch)
        run_everything(module, p, again, again, strategy=strategy)
    for before, after in zip(fresh.arrays(), again.arrays(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert given and all((scratch != 0xFF).any() for scratch in given), "not used"
    guarded.release()


def run_guarded(backend):
    """Called in the child process: run every shape, naming each first."""
    module = backends.select(backend)[1]
    for side, order, char in itertools.product(["end", "start"], "CF", module.READS):
        for shape in SHAPES[:: 1 if char in "fd" else 5]:
            print(backend, side, order, char, shape, flush=True)
            for bias in (False, True):
                guarded = Guarded(side)
                p = random_problem(*shape, dtype=char, weights=bias, intercept=bias)
                p = guard_problem(p, guarded, order)
                run_everything(module, p, lambda s, g=guarded: guard_sums(s, g), guarded.copy)
                guarded.release()
    print("done", flush=True)


def assert_child_gets_through(call):
    """Run an expression on this module in a process of its own; it prints where it is, and "done"."""
    code = f"import test_memory as t; t.{call}"
    run = child.python("-c", code, beside=__file__)
    reached = run.stdout.splitlines()[-1:]
    assert run.returncode == 0, f"code {run.returncode} at {reached}: {run.stderr[-2000:]}"
    assert reached == ["done"]


# One child for all cases of a backend: starting it takes longer than a tenth of them.


@pytest.mark.skipif(os.name != "posix", reason="mprotect is POSIX's")
def test_nothing_outside_the_arrays_is_touched(backend):
    assert_child_gets_through(f"run_guarded({backend!r})")


@pytest.mark.skipif(os.name != "posix", reason="mprotect is POSIX's")
def test_scratch_is_written_before_it_is_read_and_large_enough(backend):
    if backend == "numpy":
        pytest.skip("has no scratch")
    assert_child_gets_through(f"run_with_spoiled_scratch({backend!r})")


def test_the_guard_page_does_end_the_process():
    code = "import test_memory as t, numpy as n, ctypes; a = t.Guarded('end').copy(n.zeros(3));"
    code += "ctypes.string_at(a.ctypes.data, 25)"
    assert child.python("-c", code, beside=__file__).returncode < 0


class Canaries:
    """Arrays with 64 known numbers on both sides."""

    def __init__(self):
        self.all = []

    def copy(self, array):
        if array is None:
            return None
        big = np.full(array.size + 128, CANARY, array.dtype)
        self.all.append(big)
        out = big[64:-64].reshape(array.shape)
        out[...] = array
        return out

    def alive(self):
        return all((big[:64] == CANARY).all() and (big[-64:] == CANARY).all() for big in self.all)


@pytest.mark.parametrize("order", ["C", "F"])
def test_writes_stay_inside_the_outputs(module, dtype, order):
    for shape in SHAPES[::3]:
        canaries = Canaries()
        p = random_problem(*shape, dtype=dtype, weights=True, intercept=True, layout=order)
        inputs = [a.copy() for a in (p.X, p.y, p.theta, p.w)]
        run_everything(module, p, lambda s, c=canaries: guard_sums(s, c), canaries.copy)
        assert canaries.alive(), f"written past an output at {shape}"
        for before, after in zip(inputs, (p.X, p.y, p.theta, p.w), strict=True):
            np.testing.assert_array_equal(before, after)
