"""Which calls of scikit-learn's path are served."""

import dataclasses
import inspect

import numpy as np
import pytest

from fastsoftmax.sklearn.logistic import host
from fastsoftmax.sklearn.logistic.call import LIBLINEAR_ENTRIES, Call, reason_to_hand_over

PATH = host.function(host.LOGISTIC_FIT, host.PATH)


def call(k=2, X=None, **given):
    X = np.eye(6) if X is None else X
    y = np.arange(len(X)) % k
    classes = {"classes": np.arange(k)} if "classes" in inspect.signature(PATH).parameters else {}
    return Call.of(PATH, (X, y), {"Cs": [1.0], **classes, **given})


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "sag", "saga"])
def test_solvers_are_served(solver):
    assert reason_to_hand_over(call(solver=solver)) is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"solver": "liblinear"}, "so small X"),
        ({"solver": "liblinear", "k": 3}, "each class against the rest"),
        ({"solver": "newton-cg", "max_iter": 4}, "max_iter=4 steps of newton-cg"),
        ({"solver": "lbfgs", "max_iter": 0}, "max_iter=0 steps of lbfgs"),
        ({"solver": "cg"}, "solver='cg' is new"),
        ({"sample_weight": [1.0, 1.0, -1.0, 1.0, 1.0, 1.0]}, "negative"),
        ({"class_weight": {0: 1.0, 1: -1.0}}, "negative"),
    ],
)
def test_what_is_not_served_is_said(given, reason):
    assert reason in reason_to_hand_over(call(**given))


def test_few_steps_are_served_where_callbacks_are_to_hear_of_them():
    told = dataclasses.replace(call(solver="sag", max_iter=1), callback_ctx=object(), estimator=WithCallbacks())
    assert reason_to_hand_over(told) is None
    lbfgs = dataclasses.replace(told, solver="lbfgs", max_iter=0)
    assert "steps of lbfgs" in reason_to_hand_over(lbfgs)


class WithCallbacks:
    _skl_callbacks = ()


def test_a_step_of_newtons_method_or_of_sag_is_worth_several():
    assert [call(solver=solver, max_iter=7).most_steps for solver in ("lbfgs", "newton-cg", "saga")] == [14, 70, 35]


def test_weights_of_zero_and_more_are_served():
    weights = {"sample_weight": np.arange(6.0), "class_weight": {0: 0.0, 1: 2}}
    assert reason_to_hand_over(call(**weights)) is None


def test_liblinear_is_served_where_x_is_large():
    assert reason_to_hand_over(call(X=np.zeros((LIBLINEAR_ENTRIES, 1)), solver="liblinear")) is None


def test_arrays_of_other_libraries_are_not_served():
    given = call(X=[[0.0], [1.0]])
    assert reason_to_hand_over(given) == "X is an array of builtins"
    # Arrays of the array API's standard, as the classes then are, have no length.
    assert reason_to_hand_over(dataclasses.replace(given, classes=object())) == "X is an array of builtins"


def test_the_share_of_l1():
    shares = [call(penalty=penalty, l1_ratio=0.25).l1_share for penalty in ("l1", "l2", "elasticnet")]
    assert shares == [1.0, 0.0, 0.25]
