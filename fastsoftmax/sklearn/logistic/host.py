"""All that is used of scikit-learn's private code, versions 1.6 to 1.9, in one place.

``fit`` of its two classes checks parameters and data, calls `PATH` for the numerical work (once, or for each fold),
and sets the attributes. `fit_with` is that very ``fit``, in whatever version is installed, with other functions in the
place of some that it calls: the warnings, errors, attributes and deprecations are thus its own. The functions of
scikit-learn's module stay as they are.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import base as _base  # noqa: F401 - first: its error says how to install scikit-learn

import sklearn.linear_model  # isort: skip
from sklearn.base import _fit_context
from sklearn.utils._array_api import get_namespace_and_device
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import _check_sample_weight, _num_samples

# Names in scikit-learn's module: of the function that minimizes for a list of C; of the one that does so for a fold and
# scores it; of the solver with a function of its own; of what runs these in parallel.
PATH, SCORING_PATH = "_logistic_regression_path", "_log_reg_scoring_path"
LIBLINEAR, PARALLEL = "_fit_liblinear", "Parallel"
# And of the estimator that the second of them scores.
ESTIMATOR = "LogisticRegression"

LogisticRegression: Any = sklearn.linear_model.LogisticRegression
# As they are before anything is put in their place.
LOGISTIC_FIT: Callable[..., Any] = sklearn.linear_model.LogisticRegression.fit
LOGISTIC_CV_FIT: Callable[..., Any] = sklearn.linear_model.LogisticRegressionCV.fit


def uses(function: Callable[..., Any], *names: str) -> bool:
    """Whether a function of scikit-learn uses global names, so that `with_names` can put something in their place."""
    inner = inspect.unwrap(function)
    return isinstance(inner, types.FunctionType) and all(
        name in inner.__globals__ and name in inner.__code__.co_names for name in names
    )


def with_names(function: Callable[..., Any], names: Mapping[str, Any]) -> Callable[..., Any]:
    """A function of scikit-learn, without its decorators, that finds other objects under some global names."""
    inner: Any = inspect.unwrap(function)
    made = types.FunctionType(
        inner.__code__, {**inner.__globals__, **names}, inner.__name__, inner.__defaults__, inner.__closure__
    )
    made.__kwdefaults__ = inner.__kwdefaults__
    return made


def fit_with(fit: Callable[..., Any], names: Mapping[str, Any]) -> Callable[..., Any]:
    """`with_names` for a method fit: scikit-learn's checks of parameters and its callbacks' contexts are around it."""
    made: Callable[..., Any] = _fit_context(prefer_skip_nested_validation=True)(with_names(fit, names))
    return made


def function(fit: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function that a method finds under a global name."""
    found: Callable[..., Any] = inspect.unwrap(fit).__globals__[name]
    return found


def rows(array: Any) -> int:
    """The number of rows of anything that can be fitted, also of arrays that neither have a length nor can be read by
    NumPy, such as those of a GPU."""
    return int(_num_samples(array))


def shape(array: Any) -> tuple[int, ...]:
    """The shape of what may be no array at all; empty where it has none."""
    try:
        return tuple(map(int, array.shape if hasattr(array, "shape") else np.shape(array)))
    except (TypeError, ValueError):
        return ()


def sample_weights(sample_weight: Any, X: Any) -> Any:
    """Weights of the rows after scikit-learn's checks; ones for None."""
    return _check_sample_weight(sample_weight, X, dtype=X.dtype)


def class_weights(class_weight: Any, classes: Any, y: Any, sample_weight: Any) -> Any:
    """The weights of the classes, as the installed version computes them: until 1.6 "balanced" takes no account of
    sample weights."""
    known = inspect.signature(compute_class_weight).parameters
    weights = {"sample_weight": sample_weight} if "sample_weight" in known else {}
    return compute_class_weight(class_weight, classes=classes, y=y, **weights)


def namespace_and_device(array: Any) -> tuple[Any, Any]:
    """The array API namespace of an array, and its device."""
    xp, _, device = get_namespace_and_device(array)
    return xp, device
