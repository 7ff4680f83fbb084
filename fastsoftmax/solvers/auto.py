"""The choice of a method: the one with the least predicted time, and another where it does not get there.

Newton's method needs some ten Hessians whatever the data, L-BFGS some seventy passes; the rest is arithmetic
that is known beforehand (`predict`). Where L-BFGS has not converged after `PATIENT` steps, the classes are nearly
separable or one is rare, and what then pays is the exact Hessian if it can be had: few steps are left,
and they converge quadratically. Otherwise L-BFGS goes on from where it was.

Sparse X has no exact Hessian. Where its columns hold few entries a pass is quick beside what L-BFGS does with its
vectors, and truncated Newton takes less time though it needs twice the passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from ..objective import Objective
from ..sources import SparseSource
from . import lbfgs, newton, newton_cg
from .curvature import can_walk
from .metric import is_sparse
from .result import Run

# Steps of each that data sets took (median of a dozen, raw and scaled: 54 passes; 10 Hessians), a little rounded up.
LBFGS_PASSES, NEWTON_STEPS = 70, 12
# Operations that as much time as a call from Python could have done: a pass 30 us, an L-BFGS step 60 us, a Hessian 250
# us and 6 us for each pair of classes.
PER_PASS, PER_STEP, PER_HESSIAN, PER_PAIR = 1e6, 2e6, 8e6, 2e5
# The fused Hessian's operations in those of a pass, tiles across the diagonal included, and what it takes to make
# a number of the design matrix. Predicted and measured, in passes: 20k x 54, k = 7: 46, 50; 1,797 x 64, k = 10: 29, 37;
# 20k x 100, k = 10: 98, 65.
PAIR_SLOWER, PER_NUMBER = 1.1, 150.0
# Steps of L-BFGS after which Newton takes over, if a step of it costs at most as much as this many passes.
PATIENT, RESCUE = 120, 60.0
# Entries in a column of sparse X below which truncated Newton takes less time. On 10,000 x 20,000 with 9 entries a
# column and k = 10 a step of L-BFGS took 50 ms, a pass and the vectors of conjugate gradients 7 ms.
FEW_ENTRIES = 400


@dataclass(frozen=True)
class Cost:
    """Predicted operations: of a pass, of a Newton step, and of either method to the end."""

    one_pass: float
    newton_step: float

    @property
    def lbfgs(self) -> float:
        return LBFGS_PASSES * (self.one_pass + PER_STEP)

    @property
    def newton(self) -> float:
        return NEWTON_STEPS * (self.newton_step + 2 * self.one_pass)


def predict(obj: Any) -> Cost:
    """What the methods cost on an objective; infinite where Newton's method cannot run."""
    rows, k = obj.shape
    if not can_walk(obj):
        return Cost(PER_PASS, float("inf"))
    m = obj.source.shape[0]
    one = 4.0 * m * rows * k + PER_PASS
    if rows * k > newton.SIZE_MAX // 2:
        return Cost(one, float("inf"))
    pairs = k * (k - 1) / 2
    hessian = PAIR_SLOWER * m * rows * rows * pairs + PER_NUMBER * m * rows + PER_HESSIAN + PER_PAIR * pairs
    return Cost(one, hessian + (rows * k) ** 3 / 3)


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run; says in ``run.chosen`` what was chosen and why."""
    if is_sparse(run.obj):
        _solve_sparse(run)
    cost = predict(run.obj)
    rows, k = run.obj.shape
    if cost.newton < cost.lbfgs:
        run.solver = "newton"
        run.chosen = f"chosen by auto: {rows * k} parameters, so that the exact Hessian is cheap"
        newton.solve(run)
    run.solver = "lbfgs"
    ratio = cost.newton_step / cost.one_pass
    costly = "the exact Hessian is out of reach" if ratio == float("inf") else f"a Hessian costs {ratio:.0f} passes"
    run.chosen = f"chosen by auto: {costly}"
    if cost.newton_step > RESCUE * cost.one_pass:
        lbfgs.solve(run)
    lbfgs.solve(run, PATIENT)
    run.solver = "newton"
    run.chosen = f"chosen by auto after {PATIENT} steps of lbfgs, which was slow to converge"
    newton.solve(run)


def _solve_sparse(run: Run) -> None:
    """`solve` of sparse X."""
    source = cast(Objective, run.obj).source
    assert isinstance(source, SparseSource)
    entries = source.nnz / source.shape[1]
    if entries < FEW_ENTRIES:
        run.solver = "newton_cg"
        run.chosen = f"chosen by auto: X is sparse with {entries:.3g} entries a column, so that passes are cheap"
        newton_cg.solve(run)
    run.solver = "lbfgs"
    run.chosen = f"chosen by auto: X is sparse with {entries:.3g} entries a column"
    lbfgs.solve(run)
