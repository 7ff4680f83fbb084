"""`Call`: what scikit-learn's ``_logistic_regression_path`` is asked for, and whether these kernels serve it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import numpy as np
from scipy.sparse import issparse

# Solvers of scikit-learn that minimize the objective of `objective.Logistic`.
SOLVERS = ("lbfgs", "newton-cg", "newton-cholesky", "sag", "saga", "liblinear")
# liblinear is as fast as these kernels are on X with fewer entries.
LIBLINEAR_ENTRIES = 50_000
# Who asks for so few steps wants their iterates, not a minimum. Those of lbfgs are no match for ours on small problems.
FEW_STEPS = 4
# Steps of ours in the place of one of theirs: an epoch of SAG has as many updates as X has rows, a step of Newton's
# method is worth several of L-BFGS, which ours may be, and its first steps depend on the metric. Of 1,000 fits cut
# after 3 to 40 steps, each for one of theirs, 52 ended higher than theirs, up to 30 times.
STEPS_EACH = {"lbfgs": 2, "newton-cg": 10, "newton-cholesky": 10, "sag": 5, "saga": 5, "liblinear": 10}


@dataclass(frozen=True, eq=False)
class Call:
    """The arguments of the path that matter, by the names they have in all versions."""

    X: Any
    y: Any
    classes: Any
    Cs: Any
    fit_intercept: bool
    max_iter: int
    tol: float
    verbose: int
    solver: str
    coef: Any
    class_weight: Any
    penalty: str | None
    intercept_scaling: float
    sample_weight: Any
    l1_ratio: float | None
    # Of versions before 1.8: the class whose model against the rest is asked for, and how classes are treated.
    pos_class: Any = None
    multi_class: str = "auto"
    # Since 1.9.
    callback_ctx: Any = None
    estimator: Any = None

    @classmethod
    def of(cls, path: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """From the arguments of a call of ``path``."""
        bound = _signature(path).bind(*args, **kwargs)
        bound.apply_defaults()
        return cls._from(bound.arguments)

    @classmethod
    def of_liblinear(cls, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """From the arguments of a call of ``_fit_liblinear``."""
        bound = _signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        more = {"solver": "liblinear", "Cs": [bound.arguments["C"]], "coef": None, "l1_ratio": None}
        more["multi_class"] = "auto"
        return cls._from({**bound.arguments, **more})

    @classmethod
    def _from(cls, given: dict[str, Any]) -> Call:
        if given.get("classes") is None:
            given["classes"] = np.unique(given["y"])
        return cls(**{name: given[name] for name in _NAMES if name in given})

    @property
    def l1_share(self) -> float:
        """The share of l1 in the penalty."""
        if self.penalty == "elasticnet":
            return float(self.l1_ratio or 0.0)
        return 1.0 if self.penalty == "l1" else 0.0

    @property
    def most_steps(self) -> int:
        """How many steps of ours ``max_iter`` allows."""
        return self.max_iter * STEPS_EACH[self.solver]

    @property
    def has_callbacks(self) -> bool:
        """Whether scikit-learn's callbacks are to be told of each step."""
        return self.callback_ctx is not None and hasattr(self.estimator, "_skl_callbacks")


_NAMES = [field.name for field in fields(Call)]


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def is_numpy(X: Any) -> bool:
    """Whether X is an array that our kernels read as it is: of NumPy, or a sparse one of SciPy."""
    return isinstance(X, np.ndarray) or issparse(X)


def reason_to_hand_over(call: Call) -> str | None:
    """Why scikit-learn's own code has to do it; None where these kernels do."""
    X: Any = call.X
    if not is_numpy(X):
        return f"X is an array of {type(X).__module__.partition('.')[0]}"
    k = len(call.classes)  # not before: the classes of such arrays may have no length
    reasons = (
        (call.solver not in SOLVERS, f"solver={call.solver!r} is new"),
        (
            not np.isfinite(0.0 if call.coef is None else call.coef).all(),
            "the coefficients to start from are not finite",
        ),
        (call.solver == "liblinear" and k != 2, "solver='liblinear' makes a model for each class against the rest"),
        (call.solver == "liblinear" and call.X.size < LIBLINEAR_ENTRIES, "solver='liblinear' is faster on so small X"),
        (call.max_iter <= (0 if call.solver == "lbfgs" else FEW_STEPS) and not _only_ours_tell(call), few_steps(call)),
        (call.pos_class is None and k == 2 and call.multi_class == "multinomial", "multi_class='multinomial' of two"),
        (_any_negative(call), "some weights are negative"),
    )
    return next((reason for found, reason in reasons if found), None)


def few_steps(call: Call) -> str:
    """The reason to hand over a call for few steps."""
    return f"max_iter={call.max_iter} steps of {call.solver}"


def _only_ours_tell(call: Call) -> bool:
    """Whether there are callbacks that scikit-learn's own solver would not call."""
    return call.has_callbacks and call.solver != "lbfgs"


def _any_negative(call: Call) -> bool:
    """Whether a row or a class has a negative weight, for which scikit-learn's solvers too may find no minimum."""
    given = call.class_weight
    by_class = [value for value in given.values() if isinstance(value, Real)] if isinstance(given, dict) else []
    return min(by_class, default=0) < 0 or (
        call.sample_weight is not None and bool(np.asarray(call.sample_weight).min() < 0)
    )
