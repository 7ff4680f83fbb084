"""First steps by cheap passes: only as far as their errors allow, and what a run returns is exact all the same."""

import numpy as np
import pytest
from problems import random_problem

from fastsoftmax import Objective, minimize, regularization_path
from fastsoftmax.kernels import units
from fastsoftmax.objective.problem import has_cheap_passes


class Rounded(Objective):
    """An objective whose cheap passes read X rounded to ``bits`` bits of mantissa, and are wrong by ``off`` besides."""

    has_cheap_passes, bits, off = True, 8, 0.0

    def cheap_value_and_grad(self, theta):
        self.cheap = getattr(self, "cheap", 0) + 1
        fraction, exponent = np.frexp(self.source.X)
        X = np.ldexp(np.round(np.ldexp(fraction, self.bits)), exponent - self.bits)
        value, grad = Objective(X, self.y, self.n_classes, l2=self.l2).value_and_grad(theta)
        self.n_passes += 1
        return value, grad + self.off * np.cos(np.arange(grad.size)).reshape(grad.shape)


def problem(kind=Objective, *, l2=1e-3, **attributes):
    p = random_problem(2000, 12, 9, dtype="f8", seed=3)
    logits = p.X @ p.theta
    y = np.argmax(logits + np.random.default_rng(1).gumbel(size=logits.shape), axis=1)
    obj = kind(p.X, y, 9, l2=l2)
    for name, value in attributes.items():
        setattr(obj, name, value)
    return obj


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("l2", [0.0, 1e-4])
def test_a_run_ends_as_it_does_without_cheap_passes(bits, l2):
    obj, exact = problem(Rounded, bits=bits, l2=l2), problem(l2=l2)
    ours, theirs = minimize(obj, solver="lbfgs", tol=1e-9), minimize(exact, solver="lbfgs", tol=1e-9)
    assert obj.cheap > 0 and ours.converged and theirs.converged
    assert ours.value == exact.value_and_grad(ours.theta)[0]
    assert abs(ours.value - theirs.value) <= 1e-9 * theirs.value


def test_most_steps_of_a_rough_fit_are_cheap():
    obj, exact = problem(Rounded, bits=16), problem()
    ours, theirs = minimize(obj, solver="lbfgs", tol=1e-6), minimize(exact, solver="lbfgs", tol=1e-6)
    assert ours.converged and obj.cheap > 5
    assert ours.n_passes - obj.cheap < 0.7 * theirs.n_passes
    assert ours.n_passes < 1.5 * theirs.n_passes


def test_every_iterate_of_the_history_is_exact():
    obj, exact, steps = problem(Rounded), problem(), []
    result = minimize(obj, solver="lbfgs", callback=steps.append)
    assert [step.iteration for step in steps] == list(range(len(result.history)))
    assert result.history[-1].value == exact.value_and_grad(result.theta)[0]


def test_a_gradient_that_is_all_error_takes_one_pass():
    """The run is then, to the last bit, what it is without."""
    obj, exact = problem(Rounded, off=1.0), problem()
    ours, theirs = minimize(obj, solver="lbfgs"), minimize(exact, solver="lbfgs")
    assert obj.cheap == 1 and ours.n_passes == theirs.n_passes + 1
    np.testing.assert_array_equal(ours.theta, theirs.theta)


def test_a_cheap_pass_that_overflows_is_given_up():
    def overflow(theta):
        raise FloatingPointError("the logits overflow")

    obj, exact = problem(Rounded, cheap_value_and_grad=overflow), problem()
    np.testing.assert_array_equal(minimize(obj, solver="lbfgs").theta, minimize(exact, solver="lbfgs").theta)


def off_by(share):
    """What makes cheap gradients wrong by this share of the first one, and by nothing else."""
    first = np.linalg.norm(problem().value_and_grad(np.zeros((12, 9)))[1])
    return {"bits": 40, "off": share * first / np.sqrt(108 / 2)}


def test_steps_stop_where_the_error_is_no_longer_small():
    """Of an error that is 1e-3 of the first gradient, cheap steps lower the norm by a hundred at most."""
    obj = problem(Rounded, **off_by(1e-3))
    result = minimize(obj, solver="lbfgs", tol=1e-8)
    assert result.converged and 2 <= obj.cheap <= 15


def test_the_start_may_be_the_minimum():
    exact = minimize(problem(), tol=1e-8)
    obj = problem(Rounded)
    result = minimize(obj, solver="lbfgs", theta0=exact.theta, tol=1e-4)
    assert result.converged and getattr(obj, "cheap", 0) <= 1


def test_an_objective_of_less_precision_ends_where_that_does():
    """What is returned is exact, and does not claim to have converged."""
    obj, exact = problem(Rounded, precision="bfloat16", **off_by(1e-2)), problem()
    result = minimize(obj)
    assert not result.converged and "error of cheap passes" in result.message
    assert result.value == exact.value_and_grad(result.theta)[0]
    minimum = minimize(exact).value
    assert 1e-6 < result.value / minimum - 1 < 1e-2


def test_minimize_may_ask_for_another_precision():
    obj, rough = problem(Rounded, **off_by(1e-2)), problem(Rounded, precision="bfloat16", **off_by(1e-2))
    result = minimize(obj, precision="bfloat16")
    assert "error of cheap passes" in result.message and obj.precision == "exact"
    assert obj.n_passes == result.n_passes
    assert result.value == minimize(rough).value
    assert minimize(rough, precision="exact").converged
    with pytest.raises(ValueError, match="precision must be one of"):
        minimize(obj, precision="half")
    with pytest.raises(TypeError, match="precision is an option of an Objective; obj is a list"):
        minimize([], precision="exact")


def test_a_path_of_less_precision_ends_at_exact_minima():
    rough, exact = problem(Rounded, precision="bfloat16", **off_by(1e-2)), problem()
    for result, theirs in zip(*(regularization_path(obj, l2s=[1e-1, 1e-3]) for obj in (rough, exact)), strict=True):
        assert result.converged
        assert result.value == pytest.approx(theirs.value, rel=1e-6)


def test_without_cheap_passes_an_objective_of_less_precision_is_minimized_as_any_other():
    obj, exact = problem(precision="bfloat16"), problem()
    np.testing.assert_array_equal(minimize(obj).theta, minimize(exact).theta)


def test_a_precision_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match="precision must be one of 'exact', 'bfloat16'; got 'bf16'"):
        Objective([[0.0], [1.0]], [0, 1], precision="bf16")


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_where_nothing_is_cheaper_bfloat16_is_exact(backend):
    p = random_problem(200, 20, 80, dtype="f4")
    exact, rough = (Objective(p.X, p.y, 80, precision=name, backend=backend) for name in units.PRECISIONS)
    assert not has_cheap_passes(exact)
    for ours, theirs in zip(rough.value_and_grad(p.theta), exact.value_and_grad(p.theta), strict=True):
        np.testing.assert_array_equal(ours, theirs)
