"""Softmax (multinomial logistic) regression, computed in one pass over the data.

- `loss_and_grad`, `Objective`: loss, gradient and Hessian products.
- `scan`: data that is read anew in every pass, and need not fit into memory.
- `minimize`, `minimize_many`, `regularization_path`, `Result`, `Checkpoint`: solvers.
- `Model`, `predict_proba`, `softmax`: predictions from fitted parameters.
- `SoftmaxRegression`, `SoftmaxRegressionCV`, `LinearProbe`: estimators for scikit-learn.
- `backends`: which kernels run on this machine.
- `accel`: unchanged scikit-learn programs on these kernels.
- `get_include`: the folder of ``fastsoftmax.h``, for programs in C and C++.

Importing the package loads none of them, nor NumPy: each is imported when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if sys.byteorder != "little":  # the kernels take numbers apart, and files keep them, with the lowest byte first
    raise ImportError(f"fastsoftmax wants a little-endian processor; this one is {sys.byteorder}-endian")

# Public name -> module of this package that has it.
_HOME = {
    "Objective": "objective",
    "loss_and_grad": "objective",
    "scan": "data.sources.scan",
    "minimize": "solvers",
    "minimize_many": "solvers",
    "Result": "solvers",
    "regularization_path": "solvers",
    "Checkpoint": "solvers",
    "softmax": "model",
    "predict_proba": "model",
    "Model": "model",
    "SoftmaxRegression": "sklearn",
    "SoftmaxRegressionCV": "sklearn",
    "LinearProbe": "probe",
    "backends": "kernels.backends",
    "get_include": "kernels.api",
}
__all__ = ["Checkpoint", "LinearProbe", "Model", "Objective", "Result", "SoftmaxRegression", "SoftmaxRegressionCV"]
__all__ += ["backends", "get_include", "loss_and_grad", "minimize", "minimize_many", "predict_proba"]
__all__ += ["regularization_path", "scan", "softmax"]

if TYPE_CHECKING:
    from . import accel as accel
    from .data.sources.scan import scan
    from .kernels.api import get_include
    from .kernels.backends import backends
    from .model.model import Model, predict_proba, softmax
    from .objective.objective import Objective, loss_and_grad
    from .probe.estimator import LinearProbe
    from .sklearn.cross_validation import SoftmaxRegressionCV
    from .sklearn.estimator import SoftmaxRegression
    from .solvers.checkpoint import Checkpoint
    from .solvers.many import minimize_many
    from .solvers.minimize import minimize
    from .solvers.path import regularization_path
    from .solvers.result import Result


_PACKAGES = ("accel",)  # imported when first used, as those names are


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, *_PACKAGES])
