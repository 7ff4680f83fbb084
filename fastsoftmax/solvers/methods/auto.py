"""The choice of a method: the one with the least predicted time, and another where it does not get there.

Newton's method needs some three Hessians and twenty passes, L-BFGS some forty passes, and far more than Newton's method
does where a class is rare or rows are few; the rest is arithmetic that is known beforehand (`predict`). Where L-BFGS
has not converged after `PATIENT` steps, the classes are nearly separable, and what then pays is the exact Hessian if
it can be had: few steps are left, and they converge fast. Otherwise L-BFGS goes on from where it was.

Where rows are many, both start from the minimum of a sample of them (see `sample`), unless that costs much and the
first steps without it go fast.

Sparse X has no exact Hessian. Where its columns hold few entries a pass is quick beside what L-BFGS does with its
vectors, and truncated Newton takes less time though it needs twice the passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ...data.sources.memory import SparseSource
from ...objective.objective import Objective
from ..geometry.hessian import DESIGN_BYTES, can_walk
from ..geometry.metric import is_sparse
from ..run import Run, Stop
from . import lbfgs, newton, newton_cg, subsample

# Passes of L-BFGS, Hessians and passes of Newton's method until a run ends. Sets of 5,000 to 200,000 rows took 21 to
# 46; 2 to 3 and 11 to 20.
LBFGS_PASSES, NEWTON_HESSIANS, NEWTON_PASSES = 38, 3, 17
# A class with less than this share of the weight; rows for each parameter below which classes of most sets can nearly
# be told apart. Passes then (98 to 173 and 118 to 220; 4 and 23 to 29, 3 to 6 and 46 to 81).
RARE, FEW_ROWS = 1e-3, 5.0
HARD_LBFGS, HARD_HESSIANS, HARD_PASSES = 170, 4, 40
# Operations that as much time as Python takes could have done (0.04 ns each): a pass 20 us, a step 75 us, a
# Hessian 75 us.
PER_PASS, PER_STEP, PER_HESSIAN = 0.5e6, 1.9e6, 1.9e6
# Softmax in units of a feature's arithmetic; and what it takes to make a number of the design matrix.
SOFTMAX, PER_NUMBER = 10.0, 30.0
# Steps of L-BFGS after which Newton takes over, if a Hessian costs at most as much as this many passes.
PATIENT, RESCUE = 120, 60.0
# What a sample may cost of the time without it. Steps in its metric, and more while they are good (see `newton.PACE`):
# a rare class of 50,000 x 10, l2 = 1e-6, took 28, 24, 21, 18 ms with 4, 6, 8, 12; 60,000 x 100, k = 2, 125 ms with 4
# and 149 with 12. And those without a penalty.
SAMPLE_COST, SAMPLE_STEPS, SAMPLE_STEPS_FREE = 0.35, 8, 4
# One that costs more than this starts a run only if it costs less than `SAVED` of the passes that the first `PROBE`
# steps without it predict. ms without a sample, with one, and by this rule, for l2 = 1e-6: 200,000 x 60, k = 12, little
# signal, 138, 142, 139; the same with more signal 380, 319, 351, and with bad scales 549, 289, 331; 100,000 x 50,
# k = 12, likewise, 60, 74, 60; 174, 137, 151; 230, 89, 110; 200,000 x 50, k = 30, bad scales, 1407, 538, 702.
SAMPLE_SURE, PROBE, SAVED = 0.16, 4, 0.4
# Lengths that are tried for such a step: where rounding ends a run, the Hessian of all rows tells so sooner.
SAMPLE_TRIALS = 5
# Entries in a column of sparse X below which truncated Newton takes less time. On 10,000 x 20,000 with 9 entries a
# column and k = 10 a step of L-BFGS took 50 ms, a pass and the vectors of conjugate gradients 7 ms.
FEW_ENTRIES = 400


@dataclass(frozen=True)
class Cost:
    """Predicted operations: of a pass, of a Hessian, and of either method to the end."""

    one_pass: float
    newton_step: float
    lbfgs: float
    newton: float


def predict(obj: Any, *, rare: bool = False, count: int | None = None) -> Cost:
    """What the methods cost on an objective, or on ``count`` of its rows; infinite where Newton's method cannot run."""
    rows, k = obj.shape
    m = count if count is not None else obj.source.shape[0] if can_walk(obj) else 0
    hard = rare or (can_walk(obj) and m < FEW_ROWS * rows * k)
    passes = HARD_LBFGS if hard else LBFGS_PASSES
    if not can_walk(obj):
        return Cost(PER_PASS, float("inf"), passes * PER_PASS, float("inf"))
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
    """Whether a class has nearly no rows, as the gradient of the bias tells at theta = 0; L-BFGS is slow to see it."""
    k = run.obj.shape[1]
    if not run.obj.fit_intercept or run.theta.any():
        return False
    share = 1.0 / k - run.grad[-1]
    return bool(np.any((share > 1e-7) & (share < RARE)))


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run; says in ``run.chosen`` what was chosen and why."""
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
    if cost.newton_step > RESCUE * cost.one_pass:
        lbfgs.solve(run, pairs=pairs)
    lbfgs.solve(run, PATIENT, pairs=pairs)
    run.solver = "newton"
    run.chosen = f"chosen by auto after {PATIENT} steps of lbfgs, which was slow to converge"
    newton.solve(run)


def _start(run: Run, cost: Cost, *, rare: bool) -> lbfgs.Pairs | None:
    """The first steps, in the metric of a sample of the rows; none where it would not pay.

    Where that is not known beforehand L-BFGS steps first. If it is fast by itself it returns its pairs, to go on with.
    """
    obj, anew = cast(Objective, run.obj), not run.theta.any()
    elsewhere = not anew and run.trail is None  # where the Hessian may tell little of the way to the minimum
    count = None if np.isinf(cost.newton) or elsewhere else subsample.size(obj)
    if count is None:
        return None
    share = predict(obj, count=count).newton / min(cost.lbfgs, cost.newton)
    # Passes in float32 take half the time that `predict` says; the sample's Hessian does not.
    single = 8 / obj.source.dtype.itemsize
    pairs, pays = None, single * share <= SAMPLE_COST
    if share > SAMPLE_SURE and anew and not rare:
        pairs, pays = _probe(run, cost, single * share)
    part = subsample.take(obj, count) if pays else None
    return None if part is not None and _start_from(run, part, anew=anew) else pairs


def _probe(run: Run, cost: Cost, share: float) -> tuple[lbfgs.Pairs, bool]:
    """The first steps of the method that was chosen, its pairs, and whether it is so slow that a sample pays."""
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
        # Two steps at least, after which it goes on while they are good.
        lbfgs.search(run, metric, max(2, newton.steps_each(run) - PROBE), pace=newton.PACE, pairs=pairs)
    return pairs, False


def _start_from(run: Run, part: Objective, *, anew: bool) -> bool:
    """The first steps by a sample: to its minimum if ``anew``, and on in the metric of its Hessian. Whether it can."""
    newton.centre(run)
    chosen = run.chosen
    run.chosen += f"; first steps by a sample of {part.source.shape[0]} rows"
    # Without a penalty only the exact Hessian of all rows tells that there is a minimum: it has the last word.
    last_word = run.obj.l2 == 0 and run.solver == "newton"
    steps, pace = (SAMPLE_STEPS_FREE, 0.0) if last_word else (SAMPLE_STEPS, newton.PACE)
    try:
        near = subsample.start(run, part, anew=anew)
        if near is None:
            run.chosen = chosen
            return False
        lbfgs.search(run, near, steps, pace=pace, trials=SAMPLE_TRIALS)
    except Stop:
        if not (last_word and run.converged):
            raise
    return True


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
