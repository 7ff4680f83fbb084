"""Estimators with scikit-learn's interface.

- `SoftmaxRegression`, and `SoftmaxRegressionCV`, which chooses l2.
- `LogisticRegression` and `LogisticRegressionCV`: scikit-learn's own, with their ``fit`` on these kernels.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Public name -> module of this package that has it.
_HOME = {
    "SoftmaxRegression": "estimator",
    "SoftmaxRegressionCV": "cross_validation",
    "LogisticRegression": "logistic_regression",
    "LogisticRegressionCV": "logistic_regression",
}
__all__ = ["LogisticRegression", "LogisticRegressionCV", "SoftmaxRegression", "SoftmaxRegressionCV"]

if TYPE_CHECKING:
    from .cross_validation import SoftmaxRegressionCV
    from .estimator import SoftmaxRegression
    from .logistic_regression import LogisticRegression, LogisticRegressionCV


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
