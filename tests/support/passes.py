"""Passes of a backend over a problem, dense or sparse, each checked against the truth."""

from dataclasses import dataclass, replace

import numpy as np
from problems import Problem, random_problem
from tolerance import (
    assert_within,
    check_gram,
    check_hess_prod,
    check_pairs,
    check_targets,
    check_value_and_grad,
    plain_value_and_grad,
    terms,
    true_value_and_grad,
    value_and_grad_scales,
    wide,
)

from fastsoftmax.data.sources.memory import ArraySource
from fastsoftmax.kernels import backends
from fastsoftmax.kernels.contract import Csr, Parameters, RowOutputs, Rows, Sums
from fastsoftmax.kernels.plan import BLOCK_BYTES, make_sparse_plan


def check_every_pass(p, backend, **plan_overrides):
    """Loss with and without gradient, Hessian product, Gram matrix and (of a small one) Hessian of a problem."""
    obj = p.objective(backend)
    obj.plan = p.plan(**plan_overrides)
    check_value_and_grad(p, *obj.value_and_grad(p.theta))
    check_value_and_grad(p, obj.value(p.theta))
    v = np.random.default_rng(9).standard_normal(p.theta.shape).astype(p.dtype)
    check_hess_prod(p, v, obj.hess_prod(p.theta, v))
    check_gram(p, obj.gram())
    if p.X.shape[1] * p.k <= 300:
        check_pairs(p, pairs(p, backends.select(backend)[1], obj.plan))


def check_theta_by_class(p, module):
    """A class-parallel pass at theta in F order is right, and has the bits of one at theta in C order."""
    plan, given, results = p.plan(strategy="class-parallel", tiles=1), p.parameters(), []
    for order, n_threads in (("C", 2), ("F", 1), ("F", 2)):
        theta = np.asarray(given.theta, order=order)
        sums, m = p.sums(plan), len(p.X)
        outputs = RowOutputs(np.full(p.X.shape, np.nan, p.dtype), np.empty(m, p.dtype), np.empty(m, np.int64))
        module.value_and_grad(p.rows(module), Parameters(theta, given.bias), plan, sums, n_threads, outputs)
        G, bias = sums.total()
        grad = np.vstack([G, bias]) if p.fit_intercept else np.ascontiguousarray(G)
        check_targets(p, None, 0.0, sums.loss.sum(), grad, outputs)
        results.append([sums.loss, grad, outputs.dX, outputs.loss, outputs.label])
    for found in results[1:]:
        for one, other in zip(results[0], found, strict=True):
            np.testing.assert_array_equal(one, other)


def pairs(p, module, plan, n_threads=2):
    """What `hessian` adds up for all rows of a problem."""
    n, number = p.X.shape[1], p.k * (p.k - 1) // 2
    sums = Sums(np.zeros(plan.slabs), np.zeros((plan.slabs, number * n, n)), None, 1.0)
    for rows in ArraySource(p.X, p.y, p.w, reads=module.READS).chunks(plan.chunk):
        module.hessian(rows, p.parameters(), plan, sums, n_threads)
    return sums.grad.sum(axis=0).reshape(number, n, n)


def check_slab(part, value, grad):
    """Like check_value_and_grad, with one more rounding for the numbers that were there before."""
    truth, plain = true_value_and_grad(part), plain_value_and_grad(part)
    value_scale, grad_scale = value_and_grad_scales(part)
    total = part.w.sum()
    assert_within(value, truth[0], plain[0], value_scale + 200 / total, part.dtype, terms=terms(part))
    if grad is not None:
        assert_within(grad, truth[1], plain[1], grad_scale + 3 / total, part.dtype, terms=terms(part))


@dataclass(frozen=True, eq=False)
class SparseProblem:
    """A problem in dense form and the entries of its X, some of which may be zero."""

    dense: Problem
    entries: np.ndarray  # bool (m, n)

    def csr(self, index="i4", load=True):
        p = self.dense
        indptr = np.concatenate([[0], np.cumsum(self.entries.sum(axis=1))]).astype(np.int64)
        indices = np.nonzero(self.entries)[1].astype(index)
        cost = np.concatenate([[0], np.cumsum(self.entries.sum(axis=0))]).astype(np.int64)
        return Csr(indptr, indices, p.X[self.entries], p.X.shape[1], cost if load else None)

    def rows(self, **options):
        return Rows(self.csr(**options), self.dense.y, self.dense.w)

    def plan(self, strategy, *, tiles=1, slabs=3):
        """Blocks and runs so short that there are several."""
        (m, n), dtype = self.dense.X.shape, self.dense.dtype
        block = tiles * BLOCK_BYTES // dtype.itemsize
        entries = int(self.entries.sum())
        plan = make_sparse_plan(m, n, self.dense.k, entries, dtype, block=block, slabs=slabs, strategy=strategy)
        return replace(plan, phase_rows=2 * plan.block)

    def sums(self, plan, module, *, k=None, grad=True):
        """Zeros; where float32 is summed in float32, every third column is hot, of three levels."""
        n, k = self.dense.X.shape[1], self.dense.k if k is None else k
        total = len(self.dense.X) if self.dense.w is None else self.dense.w.sum()
        hot = None
        if module.FLOAT32_SUMS and self.dense.dtype == np.float32:
            columns = [np.arange(first, n, 9) for first in (6, 0, 3)]
            hot = np.concatenate(columns), np.cumsum([0, *map(len, columns)])
        return Sums.zeros_by_feature(plan.slabs, k, n, 1.0 / total, grad=grad, hot=hot)

    def squares(self, plan):
        """Zeros for the diagonal of a Gram matrix: always float64."""
        return Sums.zeros_by_feature(plan.slabs, 2, self.dense.X.shape[1], 1.0)

    def joined(self, sums):
        """The total gradient, the bias in its last row if there is one."""
        grad, bias = total_of(sums) * sums.scale, sums.bias.sum(axis=0) * sums.scale
        return np.vstack([grad, bias]) if self.dense.fit_intercept else grad


def total_of(sums):
    """(n, k) in float64, not scaled."""
    grad = sums.grad.sum(axis=0, dtype=np.float64)
    if sums.hot is not None:
        grad[sums.hot.columns] = sums.hot_total()
    return grad


def sparse_problem(m, n, k, *, density=0.2, seed=0, **options):
    """Random entries; one of seven rows empty, one row and one column full, one of ten entries zero."""
    p = random_problem(m, n, k, seed=seed, **options)
    rng = np.random.default_rng(seed)
    entries = rng.random((m, n)) < density
    entries[:, rng.integers(n)] = True
    entries[rng.random(m) < 1 / 7] = False
    entries[rng.integers(m)] = True
    X = np.where(entries & (rng.random((m, n)) > 0.1), p.X, 0).astype(p.dtype)
    return SparseProblem(p.but(X=X), entries)


def value_and_grad(module, s, plan, *, grad=True, threads=2, outputs=None, **options):
    sums = s.sums(plan, module, grad=grad)
    rows = replace(s.rows(), **options)
    module.value_and_grad(rows, s.dense.parameters(), plan, sums, threads, outputs)
    return sums.loss.sum(), s.joined(sums) if grad else None


def hess_prod(module, s, plan, v, *, threads=2, **options):
    sums = s.sums(plan, module)
    rows = replace(s.rows(), **options)
    module.hess_prod(rows, s.dense.parameters(), s.dense.parameters(v), plan, sums, threads)
    assert (sums.loss == 0).all()
    return s.joined(sums)


def check_every_sparse_pass(module, s, plan, index="i4"):
    """Loss with and without gradient, Hessian product and diagonal of the Gram matrix."""
    rows = s.rows(index=index)
    check_value_and_grad(s.dense, *value_and_grad(module, s, plan, X=rows.X))
    check_value_and_grad(s.dense, value_and_grad(module, s, plan, grad=False)[0])
    v = np.random.default_rng(9).standard_normal(s.dense.theta.shape).astype(s.dense.dtype)
    check_hess_prod(s.dense, v, hess_prod(module, s, plan, v, X=rows.X))
    check_gram_diagonal(module, s, plan, index)


def check_gram_diagonal(module, s, plan, index):
    p, sums = s.dense, s.squares(plan)
    module.gram(s.rows(index=index), plan, sums, 2)
    X = p.numbers.astype(wide(p.dtype))
    w = np.ones(len(X)) if p.w is None else p.w
    truth, scale = (np.stack([w @ (x * x), w @ x], axis=1) for x in (X, abs(X)))
    assert_within(sums.grad.sum(axis=0), truth, truth, scale, p.dtype, terms=terms(p))
    assert (sums.bias == 0).all()
