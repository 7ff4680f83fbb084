"""The solver "auto": the method with the least predicted time, and another one where that is slow to converge.

Newton's method needs about three Hessians and twenty passes, L-BFGS about forty passes, and many more where a class is
rare or there are few rows. `predict` turns that into operations. Where L-BFGS has not converged after `PATIENT` steps,
the classes are nearly separable; then Newton's method takes over if a Hessian is affordable, since few steps are left
and its convergence is fast. Otherwise L-BFGS goes on.

Where there are many rows, both start from the minimum of a subsample (see `subsample`), unless that is costly and the
first steps without it make good progress.

Sparse X has no exact Hessian. With few entries in each column a pass takes little time beside the vectors of L-BFGS,
and truncated Newton is faster though it needs twice the passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...objective.objective import Objective
from ...objective.problem import Problem, has_rows, is_sparse
from ...objective.sweeps.design import DESIGN_BYTES
from ..run import Run, Stop
from ..stages.first_steps import take_first_steps
from . import lbfgs, newton, newton_cg, subsample

# What a run takes until it has converged: passes of L-BFGS; Hessians and passes of Newton's method. Data sets of 5,000
# to 200,000 rows took 21 to 46 passes; 2 to 3 Hessians and 11 to 20 passes.
LBFGS_PASSES, NEWTON_HESSIANS, NEWTON_PASSES = 38, 3, 17
# A class is rare with less than this share of the weight. With fewer rows than this for each parameter, classes of most
# data sets are nearly separable.
RARE, FEW_ROWS = 1e-3, 5.0
# What a run takes in these two cases. Measured with a rare class: 98 to 173 passes of L-BFGS; 4 Hessians and 23 to 29
# passes of Newton's method. With few rows: 118 to 220 passes; 3 to 6 Hessians and 46 to 81 passes.
HARD_LBFGS, HARD_HESSIANS, HARD_PASSES = 170, 4, 40
# The time of Python code in operations of 0.04 ns: 20 us for a pass, 75 us for a step, 75 us for a Hessian.
PER_PASS, PER_STEP, PER_HESSIAN = 0.5e6, 1.9e6, 1.9e6
# Softmax costs as much as this many features; computing a number of the design matrix takes this many operations.
SOFTMAX, PER_NUMBER = 10.0, 30.0
# Newton's method takes over after so many steps of L-BFGS, if a Hessian costs at most as much as so many passes.
PATIENT, RESCUE = 120, 60.0
# A subsample may cost this share of the predicted time without it.
SUBSAMPLE_COST = 0.35
# Steps in the metric of its Hessian, and more while they make good progress (see `newton.PACE`). 50,000 x 10 with a
# rare class, l2 = 1e-6: 28, 24, 21, 18 ms with 4, 6, 8, 12 steps; 60,000 x 100, k = 2: 125 ms with 4, 149 with 12. The
# second number is for runs without a penalty.
SUBSAMPLE_STEPS, SUBSAMPLE_STEPS_FREE = 8, 4
# A subsample that costs more than SUBSAMPLE_SURE is used only after a probe of PROBE steps without it: if it costs less
# than SAVED of the passes that these predict. ms without a subsample, with one, and by this rule, all with l2 = 1e-6:
# 200,000 x 60, k = 12:   little signal  138, 142, 139;   more signal  380, 319, 351;   bad scales   549, 289, 331
# 100,000 x 50, k = 12:   little signal   60,  74,  60;   more signal  174, 137, 151;   bad scales   230,  89, 110
# 200,000 x 50, k = 30:                                                                 bad scales  1407, 538, 702
SUBSAMPLE_SURE, PROBE, SAVED = 0.16, 4, 0.4
# Most lengths tried for a step in that metric. Few, since where rounding ends the search the Hessian of all rows helps.
SUBSAMPLE_TRIALS = 5
# With fewer entries than this in a column of sparse X truncated Newton is faster than L-BFGS. 10,000 x 20,000 with 9
# entries a column, k = 10: a step of L-BFGS takes 50 ms, a pass with the vectors of conjugate gradients 7 ms.
FEW_ENTRIES = 400


@dataclass(frozen=True)
class Cost:
    """Predicted operations: of a pass, of a Newton step with a new Hessian, and of whole runs of the two methods."""

    one_pass: float
    newton_step: float
    lbfgs: float
    newton: float


def predict(obj: Problem, *, rare: bool = False, count: int | None = None) -> Cost:
    """The cost of the methods on an objective, or on ``count`` of its rows; infinite where Newton's method cannot run.

    ``rare``: whether a class is rare.
    """
    rows, k = obj.shape
    if not has_rows(obj):
        passes = HARD_LBFGS if rare else LBFGS_PASSES
        return Cost(PER_PASS, float("inf"), passes * PER_PASS, float("inf"))
    m = obj.n_rows if count is None else count
    hard = rare or m < FEW_ROWS * rows * k
    passes = HARD_LBFGS if hard else LBFGS_PASSES
    one = 4.0 * m * (rows + SOFTMAX) * k + PER_PASS
    lbfgs_cost = passes * (one + PER_STEP)
    if rows * k > newton.SIZE_MAX // 2:
        return Cost(one, float("inf"), lbfgs_cost, float("inf"))
    making = PER_NUMBER * m * rows
    step = m * rows * rows * (k * (k - 1) / 2) + (rows * k) ** 3 / 3 + PER_HESSIAN
    count, few = (HARD_HESSIANS, HARD_PASSES) if hard else (NEWTON_HESSIANS, NEWTON_PASSES)
    if 8 * m * rows <= DESIGN_BYTES:
        return Cost(one, step, lbfgs_cost, count * step + making + few * (one + PER_STEP))
    return Cost(one, step + making, lbfgs_cost, count * (step + making) + few * (one + PER_STEP))


def has_rare_class(run: Run) -> bool:
    """Whether a class is rare, read off the gradient of the bias at theta = 0. L-BFGS is slow with rare classes."""
    k = run.obj.shape[1]
    if not run.obj.fit_intercept or run.theta.any():
        return False
    share = 1.0 / k - run.grad[-1]
    return bool(np.any((share > 1e-7) & (share < RARE)))


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run; set ``run.chosen`` to a text on what was chosen and why."""
    if is_sparse(run.obj):
        _solve_sparse(run)
    rare = has_rare_class(run)
    cost = predict(run.obj, rare=rare)
    rows, k = run.obj.shape
    if cost.newton < cost.lbfgs:
        run.solver = "newton"
        run.chosen = f"chosen by auto: {rows * k} parameters, so that the exact Hessian is cheap"
        _start(run, cost, rare=rare)
        newton.solve(run)
    run.solver = "lbfgs"
    ratio = cost.newton_step / cost.one_pass
    costly = "the exact Hessian is out of reach" if ratio == float("inf") else f"a Hessian costs {ratio:.0f} passes"
    run.chosen = f"chosen by auto: {costly}"
    pairs = _start(run, cost, rare=rare)
    if pairs is None:
        pairs = take_first_steps(run)
    if cost.newton_step > RESCUE * cost.one_pass:
        lbfgs.solve(run, pairs=pairs)
    lbfgs.solve(run, PATIENT, pairs=pairs)
    run.solver = "newton"
    run.chosen = f"chosen by auto after {PATIENT} steps of lbfgs, which was slow to converge"
    newton.solve(run)


def _start(run: Run, cost: Cost, *, rare: bool) -> lbfgs.Pairs | None:
    """Take the first steps in the metric of a subsample, if that pays.

    Where the prediction is not clear, L-BFGS takes some steps first. If these make good progress there is no subsample,
    and their pairs are returned, to go on from.
    """
    obj, from_zero = run.obj, not run.theta.any()
    if not isinstance(obj, Objective):
        return None
    # From a start of the caller's, a subsample's Hessian may tell little of the way to the minimum.
    elsewhere = not from_zero and run.warm_start is None
    count = None if np.isinf(cost.newton) or elsewhere else subsample.size(obj)
    if count is None:
        return None
    share = predict(obj, count=count).newton / min(cost.lbfgs, cost.newton)
    # Passes in float32 take half the time that `predict` says, which the subsample's float64 Hessian does not.
    speedup = 8 / obj.dtype.itemsize
    pairs, pays = None, speedup * share <= SUBSAMPLE_COST
    if share > SUBSAMPLE_SURE and from_zero and not rare:
        pairs, pays = _probe(run, cost, speedup * share)
    part = subsample.take(obj, count) if pays else None
    return None if part is not None and _start_from(run, part, from_zero=from_zero) else pairs


def _probe(run: Run, cost: Cost, share: float) -> tuple[lbfgs.Pairs, bool]:
    """Take the first steps of the chosen method without a subsample: their pairs, and whether they make so little
    progress that a subsample, which costs ``share`` of the run, pays."""
    newtons = run.solver == "newton"
    metric = newton.first_metric(run) if newtons else run.metric
    before = run.grad_norm
    pairs = lbfgs.search(run, metric, PROBE)
    decay = math.log(before / run.grad_norm)
    passes = PROBE * (1.0 + math.log(run.grad_norm / run.tol) / decay) if decay > 0 else math.inf
    to_come = passes * (cost.one_pass + PER_STEP)
    if share * min(cost.lbfgs, cost.newton) < SAVED * (min(to_come, cost.newton) if newtons else to_come):
        return pairs, True
    if newtons:
        # At least two steps, and more while they make good progress.
        lbfgs.search(run, metric, max(2, newton.steps_each(run) - PROBE), pace=newton.PACE, pairs=pairs)
    return pairs, False


def _start_from(run: Run, part: Objective, *, from_zero: bool) -> bool:
    """Go to the minimum of a subsample if the run is at zero, and on in the metric of its Hessian. False if the
    subsample turns out not to be usable."""
    newton.remove_class_shift(run)
    chosen = run.chosen
    run.chosen += f"; first steps by a sample of {part.n_rows} rows"
    # Without a penalty only the exact Hessian of all rows proves that there is a minimum: it must have the last word.
    last_word = run.obj.l2 == 0 and run.solver == "newton"
    steps, pace = (SUBSAMPLE_STEPS_FREE, 0.0) if last_word else (SUBSAMPLE_STEPS, newton.PACE)
    try:
        near = subsample.start(run, part, from_zero=from_zero)
        if near is None:
            run.chosen = chosen
            return False
        run.sample_metric = near
        lbfgs.search(run, near, steps, pace=pace, trials=SUBSAMPLE_TRIALS)
    except Stop:
        if not (last_word and run.converged):
            raise
    return True


def _solve_sparse(run: Run) -> None:
    """`solve` for sparse X."""
    obj = run.obj
    assert has_rows(obj)
    entries = obj.nnz / obj.n_features
    if entries < FEW_ENTRIES:
        run.solver = "newton_cg"
        run.chosen = f"chosen by auto: X is sparse with {entries:.3g} entries a column, so that passes are cheap"
        newton_cg.solve(run)
    run.solver = "lbfgs"
    run.chosen = f"chosen by auto: X is sparse with {entries:.3g} entries a column"
    lbfgs.solve(run)
