"""Softmax regression in one pass over the data.

Public names: `loss_and_grad`, `Objective`, `minimize`, `softmax`, `predict_proba`,
`SoftmaxRegression`, `Model`, `backends`. Adapters to other libraries load when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Objective": "objective",
    "loss_and_grad": "objective",
    "minimize": "solvers",
    "Result": "solvers",
    "regularization_path": "solvers",
    "softmax": "model",
    "predict_proba": "model",
    "Model": "model",
    "SoftmaxRegression": "sklearn",
    "SoftmaxRegressionCV": "sklearn_cv",
    "backends": "kernels",
}
__all__ = ["Model", "Objective", "Result", "SoftmaxRegression", "SoftmaxRegressionCV", "backends"]
__all__ += ["loss_and_grad", "minimize", "predict_proba", "regularization_path", "softmax"]

if TYPE_CHECKING:
    from .kernels import backends
    from .model import Model, predict_proba, softmax
    from .objective import Objective, loss_and_grad
    from .sklearn import SoftmaxRegression
    from .sklearn_cv import SoftmaxRegressionCV
    from .solvers import Result, minimize, regularization_path


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
