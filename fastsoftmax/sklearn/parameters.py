"""`FittedParameters`: classes, coefficients and intercept as attributes of an estimator, which may be assigned.

All of them are in one `Model`, ``model_``, and the attributes are views of it. To assign one makes another model. The
arrays are read-only, so that nothing is written to them in vain.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..data import validation
from ..model.model import Model
from ..solvers.geometry.metric import Metric, Moments
from ..solvers.methods.sgd import Stream
from ..solvers.result import Result, Step

# What estimators keep that is no array and no plain value.
_KINDS = {kind.__name__: kind for kind in (Model, Result, Step, Stream, Metric, Moments)}
_KIND = "fastsoftmax.kind"


class FittedParameters:
    """The attributes ``classes_``, ``coef_`` and ``intercept_`` of an estimator whose parameters are in ``model_``."""

    model_: Model
    n_features_in_: int
    # Of which classes the bias only says that they had no rows of positive weight; None for none.
    _absent: np.ndarray | None = None

    @property
    def classes_(self) -> np.ndarray:
        model = self._model_or("classes_")
        return model.classes if isinstance(model, Model) else model

    @classes_.setter
    def classes_(self, value: ArrayLike) -> None:
        self._assign("classes_", value)

    @property
    def coef_(self) -> np.ndarray:
        model = self._model_or("coef_")
        return _one_of_two(model.theta).T if isinstance(model, Model) else model

    @coef_.setter
    def coef_(self, value: ArrayLike) -> None:
        self._assign("coef_", value)

    @property
    def intercept_(self) -> np.ndarray:
        model = self._model_or("intercept_")
        if not isinstance(model, Model):
            return model
        bias = np.zeros(model.n_classes) if model.bias is None else model.bias
        return _one_of_two(bias[None]).ravel()

    @intercept_.setter
    def intercept_(self, value: ArrayLike) -> None:
        self._assign("intercept_", value)

    def __getstate__(self) -> Any:
        state: Any = super().__getstate__()
        return {name: packed(value) for name, value in state.items()}

    def __setstate__(self, state: Any) -> None:
        super().__setstate__({name: unpacked(value) for name, value in state.items()})  # type: ignore[misc]  # of scikit-learn's BaseEstimator

    def _model_or(self, name: str) -> Model | np.ndarray:
        """The model or, where there is none yet, what was assigned to an attribute of it."""
        found: Model | np.ndarray | None = self.__dict__.get("model_", self.__dict__.get("_assigned", {}).get(name))
        if found is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return found

    def _assign(self, name: str, value: ArrayLike) -> None:
        """Make a model with another ``classes_``, ``coef_`` or ``intercept_``. Before a fit there is a model as soon as
        classes and coefficients were assigned."""
        parts = {**self.__dict__.get("_assigned", {}), name: np.array(value)}
        model = self.__dict__.get("model_")
        if model is None and not {"classes_", "coef_"} <= parts.keys():
            self._assigned = parts
            return
        if model is None:
            model = _blank(parts["classes_"], parts["coef_"])
            self.n_features_in_ = model.n_features
        for part, given in parts.items():
            model = _with_part(model, part, given)
        self._set_model(model, None if "intercept_" in parts else self._absent)
        self._forget("stream_")  # partial_fit goes on from what was assigned

    def _set_model(self, model: Model, absent: np.ndarray | None = None) -> None:
        self.model_, self._absent = model, absent
        self._forget("_assigned")

    def _forget(self, *names: str) -> None:
        """Delete fitted attributes that are not valid any more."""
        for name in names:
            self.__dict__.pop(name, None)


def packed(value: Any) -> Any:
    """A value, or for one of the package's own objects a dict of plain values and arrays: who loads a file of skops
    then need trust the estimator's class alone."""
    kind = type(value)
    if kind in _KINDS.values():
        return {_KIND: kind.__name__, **{name: packed(part) for name, part in vars(value).items()}}
    return [packed(part) for part in value] if kind is list else value


def unpacked(value: Any) -> Any:
    """What `packed` was given. Only the classes of the table are made, by their names in it."""
    if type(value) is list:
        return [unpacked(part) for part in value]
    if type(value) is not dict or not isinstance(value.get(_KIND), str):
        return value
    made = object.__new__(_KINDS[value[_KIND]])
    made.__dict__.update({name: unpacked(part) for name, part in value.items() if name != _KIND})
    return made


def _one_of_two(parameters: np.ndarray) -> np.ndarray:
    """Parameters as scikit-learn shows them, read-only: of two classes the second less the first, (n, 1)."""
    out: np.ndarray = parameters[:, [1]] - parameters[:, [0]] if parameters.shape[1] == 2 else parameters.view()
    out.flags.writeable = False
    return out


def _blank(classes: ArrayLike, coef: ArrayLike) -> Model:
    """A model of zeros with these classes, and as many features as the coefficients have."""
    shape = np.shape(coef)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"coef_ has shape {shape}; (classes, features), or (1, features) for two classes, is wanted")
    return Model(np.zeros((shape[1], np.size(classes))), None, _sorted_classes(classes))


def _sorted_classes(classes: ArrayLike) -> np.ndarray:
    array = np.array(classes)
    if not np.array_equal(array, np.unique(array)):
        raise ValueError(f"classes_ must be labels in rising order; got {array.tolist()}")
    return array


def _with_part(model: Model, part: str, value: ArrayLike) -> Model:
    """The model with another ``classes_``, ``coef_`` or ``intercept_``, in the shapes that the estimator shows."""
    if part == "classes_":
        return replace(model, classes=_sorted_classes(value))
    columns = 1 if model.n_classes == 2 else model.n_classes
    rows = model.n_features if part == "coef_" else 1
    shape = (columns, rows) if part == "coef_" else (1, columns)
    array = validation.check_theta(value, *shape, False, part).astype(np.float64).reshape(columns, rows)
    # Of two classes the parameters are opposite, as those of a fit with l2 are.
    theta = np.vstack([-array / 2, array / 2]).T if model.n_classes == 2 else array.T
    if part == "coef_":
        return replace(model, theta=np.ascontiguousarray(theta))
    return replace(model, bias=None if model.bias is None and not theta.any() else theta[0])
