"""What the estimators have in common: predictions, fitted attributes, and how fit encodes labels and weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .._extras import install_command
from ..data import validation
from ..data.arrays import as_array, as_array_or_bits, offers_memory
from ..data.bfloat16 import BFLOAT16, as_numbers, is_bfloat16
from ..data.frames import frame_values, is_frame, opened
from ..data.sources.scan import Scan, require_scan_alone
from ..data.sources.source import present_classes
from ..data.validation_labels import check_labels
from ..model.model import Model
from ..objective.absent import renumbered, with_absent
from ..objective.objective import Objective
from .parameters import FittedParameters

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(f"SoftmaxRegression needs scikit-learn: {install_command('sklearn')} ({error})") from error


# Options with which scikit-learn checks X but converts nothing.
_CHECKS: dict[str, Any] = {"accept_sparse": True, "dtype": "numeric", "order": None, "ensure_all_finite": False}


def checked_rows(estimator: Any, X: Any, *, reset: bool) -> Any:
    """X after scikit-learn's checks; number and names of features are stored (``reset``) or compared."""
    if isinstance(X, Scan):
        return _checked_scan(estimator, X, reset)
    if is_frame(X):
        return _checked_frame(estimator, X, reset)
    X = _readable(X)
    return validate_data(estimator, X, reset=reset, skip_check_array=_is_plain(X), **_CHECKS)


def checked_samples(estimator: Any, X: Any, y: Any, *, reset: bool = True) -> tuple[Any, Any]:
    """X and y after scikit-learn's checks, as `checked_rows`."""
    y = check_labels(y)
    X = X if is_frame(X) else _readable(X)
    if y is not None and (is_frame(X) or _is_bits(X)):  # which scikit-learn would copy, or refuse
        X = checked_rows(estimator, X, reset=reset)
        labels = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_consistent_length(X, labels)
        return X, labels
    plain = _is_plain(X) and type(y) is np.ndarray and y.shape == X.shape[:1] and y.dtype.kind in "iu"
    return tuple(validate_data(estimator, X, y, reset=reset, skip_check_array=plain, **_CHECKS))


def _checked_scan(estimator: Any, scan: Scan, reset: bool) -> Scan:
    """A scan, whose number of features and their names are stored or compared; predictions find columns by name."""
    n, names = len(scan.feature_names), scan.feature_names if scan.is_named else None
    if reset:
        estimator.n_features_in_ = n
        vars(estimator).pop("feature_names_in_", None)
        if names is not None:
            estimator.feature_names_in_ = np.array(names, object)
    elif n != estimator.n_features_in_:
        raise ValueError(
            f"{scan.name} has {n} features, but {type(estimator).__name__} is expecting {estimator.n_features_in_}"
            " features as input"
        )
    return scan


def _checked_frame(estimator: Any, X: Any, reset: bool) -> Any:
    """The numbers of a frame, which scikit-learn would copy to an array in C order; it sees the names."""
    frame = opened(X)
    validate_data(estimator, frame, reset=reset, skip_check_array=True)
    return frame_values(frame)


def _readable(X: Any) -> Any:
    """X of another library as an array of NumPy, which holds bits if X is of bfloat16 and a matrix."""
    if is_bfloat16(X):
        bits = as_array_or_bits(X, "X")
        return bits if bits.ndim == 2 and bits.size > 0 else as_numbers(bits)
    return as_array(X, "X") if _is_foreign(X) else X


def _is_bits(X: Any) -> bool:
    return type(X) is np.ndarray and X.dtype == BFLOAT16


def _is_foreign(X: Any) -> bool:
    """Whether X is the array of another library; scikit-learn's own checks take lists, and sparse arrays of SciPy."""
    return offers_memory(X) or (type(X) is not np.ndarray and hasattr(type(X), "__array__"))


def _is_plain(X: Any) -> bool:
    """Whether X is an array that passes scikit-learn's checks anyway. They are then skipped: of 5,000 rows they took
    0.3 of the 6 ms of a fit."""
    return type(X) is np.ndarray and X.ndim == 2 and X.size > 0 and (X.dtype.char in "fd" or _is_bits(X))


class SoftmaxClassifier(FittedParameters, ClassifierMixin, BaseEstimator):  # type: ignore[misc, unused-ignore]
    """The base of the estimators: predictions, and the fitted attributes that they use."""

    fit_intercept: bool
    class_weight: Literal["balanced"] | Mapping[Any, float] | None
    precision: str = "exact"
    backend: str
    n_threads: int | None

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Logits H (m, k); for two classes their difference (m,), above 0 where the second is predicted."""
        H = self._model().decision_function(self._check(X), **self._options())
        if H.shape[1] > 2:
            return H
        with np.errstate(over="ignore"):
            difference: np.ndarray = H[:, 1] - H[:, 0]
        return difference

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Label of the most probable class of each row, (m,); of equally probable ones the first."""
        return self._model().predict(self._check(X), **self._options())

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probabilities (m, k), columns in the order of ``classes_``."""
        return self._model().predict_proba(self._check(X), **self._options())

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithms of the probabilities (m, k), computed from the logits: finite where a probability rounds to 0."""
        return self._model().predict_log_proba(self._check(X), **self._options())

    def score(self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> float:
        """Share of the rows, or of their weight, whose label is predicted. A scan has labels and weights of its own."""
        if isinstance(X, Scan):
            require_scan_alone(y, sample_weight)
            return _share_right(self._model(), self._check(X), self._options())
        return float(super().score(X, check_labels(y), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check(self, X: ArrayLike) -> Any:
        """X to predict, after scikit-learn's checks."""
        return checked_rows(self, X, reset=False)

    def _model(self) -> Model:
        check_is_fitted(self)
        model: Model = self.model_
        return model

    def _objective(self, X: Any, codes: np.ndarray, k: int, w: np.ndarray | None, l2: float) -> Objective:
        """The objective of X, class numbers and weights from `weights_of_rows`, with this estimator's options."""
        options = {"fit_intercept": self.fit_intercept, "precision": self.precision, **self._options()}
        return Objective(X, codes, k, sample_weight=w, l2=l2, **options)

    def _objective_of_present(
        self, X: Any, codes: np.ndarray, classes: np.ndarray, sample_weight: ArrayLike | None, l2: float
    ) -> tuple[Objective, np.ndarray]:
        """The objective of the classes that have rows of positive weight, and which of ``classes`` these are."""
        w = weights_of_rows(sample_weight, self.class_weight, classes, codes)
        present = np.ones(len(classes), bool) if w is None else present_classes(codes, w, len(classes))
        require_two_present(classes, present)
        if not present.all():
            codes = renumbered(codes, present)
        return self._objective(X, codes, int(present.sum()), w, l2), present

    def _objective_of_scan(self, X: Scan, l2: float, classes: np.ndarray | None = None) -> tuple[Objective, np.ndarray]:
        """The objective of a scan's rows of positive weight, and which of its classes these have. ``classes`` are
        others to number its labels by, which may lack rows."""
        targets = X.targets if classes is None else X.targets.among(classes)
        factors = class_factors(self.class_weight, targets.classes, lambda: targets.weights)
        if factors is not None:
            targets = targets.times(factors)
        present = np.ones(len(targets.classes), bool) if classes is not None else targets.weights > 0
        require_two_present(targets.classes, present)
        if not present.all():
            targets = targets.of_classes(present)
        options: dict[str, Any] = {"fit_intercept": self.fit_intercept, "l2": l2, **self._options()}
        return Objective(X.with_targets(targets), None, len(targets.classes), **options), present

    def _options(self) -> dict[str, Any]:
        return {"backend": self.backend, "n_threads": self.n_threads}

    def _keep(self, parameters: np.ndarray, classes: np.ndarray, present: np.ndarray | None = None) -> None:
        """Set the fitted attributes from theta, with the bias in its last row if there is one, of all classes or of
        those that are ``present``."""
        names = getattr(self, "feature_names_in_", None)
        theta, bias = (parameters[:-1], parameters[-1]) if self.fit_intercept else (parameters, None)
        absent = None if present is None or present.all() else ~present
        if absent is not None:
            theta, bias = with_absent(theta, bias, ~absent)
        self._set_model(Model(theta, bias, classes, None if names is None else tuple(map(str, names))), absent)


def _share_right(model: Model, scan: Scan, options: dict[str, Any]) -> float:
    """Share of the weight of a scan's rows whose label is predicted."""
    targets, right = scan.targets, 0.0
    for rows, label in model.predict_chunks(scan, **options):
        is_right = label == targets.classes[targets.y[rows]]
        right += float(is_right.sum() if targets.w is None else targets.w[rows][is_right].sum())
    return right / targets.weight_sum


def require_two_present(classes: np.ndarray, present: np.ndarray) -> None:
    """Raise ValueError unless two classes have rows of positive weight."""
    if present.sum() < 2:
        (only,) = classes[present].tolist()
        raise ValueError(f"y holds rows of positive weight of one class only ({only!r}); at least two are wanted")


def warn_of_absent(classes: np.ndarray, present: np.ndarray) -> None:
    """Warn, on behalf of a fit, of classes without rows of positive weight."""
    if not present.all():
        absent = ", ".join(map(repr, classes[~present].tolist()))
        warnings.warn(
            f"no row of positive weight is of class {absent}: the fit leaves it out, and its probability is 0",
            stacklevel=3,
        )


def encode(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels that occur, sorted, and for each row the number of its label (int32).

    Integer labels whose range is no larger than the number of rows are counted, not sorted: 10^7 labels took 0.45 s
    where np.unique alone took 1.6 s.
    """
    if y.dtype.kind in "iu":
        low, high = int(y.min()), int(y.max())
        if high - low <= len(y):
            # Unsigned labels may exceed int64; the difference of signed labels may exceed their own dtype.
            wide = y.dtype if y.dtype.kind == "u" else np.dtype(np.int64)
            shifted = np.subtract(y, wide.type(low), dtype=wide).astype(np.int64, copy=False)
            present = np.bincount(shifted, minlength=high - low + 1) > 0
            classes = (np.flatnonzero(present).astype(wide) + wide.type(low)).astype(y.dtype)
            if len(classes) == len(present):
                return classes, shifted.astype(np.int32)
            return classes, (np.cumsum(present) - 1).astype(np.int32)[shifted]
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    return classes, codes.astype(np.int32, copy=False)


def encode_two_or_more(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`encode`, or ValueError where all labels are the same."""
    classes, codes = encode(y)
    if len(classes) < 2:
        raise ValueError(f"y holds one class only ({classes[0]!r}); at least two classes are wanted")
    return classes, codes


def weights_of_rows(
    sample_weight: ArrayLike | None,
    class_weight: Mapping[Any, float] | str | None,
    classes: np.ndarray,
    codes: np.ndarray,
) -> np.ndarray | None:
    """Sample weights times the weights of the rows' classes, as `validation.check_weights` returns them."""
    m, k = len(codes), len(classes)
    w, _ = validation.check_weights(sample_weight, m)
    by_class = class_factors(class_weight, classes, lambda: np.bincount(codes, weights=w, minlength=k))
    if by_class is None:
        return w
    by_row: np.ndarray = by_class[codes]
    by_row = by_row if w is None else np.multiply(by_row, w)
    return validation.check_weights(by_row, m, "sample_weight times class_weight")[0]


def class_factors(
    class_weight: Mapping[Any, float] | str | None, classes: np.ndarray, sums: Callable[[], np.ndarray]
) -> np.ndarray | None:
    """The factor on the weights of each class's rows, None for none; ``sums`` gives the weight of each class."""
    if class_weight is None:
        return None
    if isinstance(class_weight, str) and class_weight == "balanced":
        weights = sums()
        # A class whose rows all have weight 0 may have any factor.
        out: np.ndarray = weights.sum() / (len(classes) * np.where(weights > 0, weights, 1.0))
        return out
    if isinstance(class_weight, Mapping):
        return _weights_by_class(class_weight, classes)
    raise ValueError(f"class_weight must be a dict, 'balanced' or None; got {class_weight!r}")


def _weights_by_class(class_weight: Mapping[Any, float], classes: np.ndarray) -> np.ndarray:
    """The weights of a dict in the order of ``classes``, 1 for those that it lacks.

    As in scikit-learn, a dict of all classes may hold more, since y may be that of a fold without a rare class. In one
    that lacks classes, a label that is none of them is an error: it is probably misspelt.
    """
    labels = classes.tolist()
    weights = {label: validation.check_real(w, f"class_weight[{label!r}]") for label, w in class_weight.items()}
    unknown, without = [c for c in weights if c not in set(labels)], [c for c in labels if c not in weights]
    if unknown and without:
        raise ValueError(
            f"class_weight holds {unknown[0]!r}, which is no label of y, but not {without[0]!r}, which is; y has the"
            f" labels {labels}. A label that y lacks is allowed where all labels of y are there too"
        )
    return np.array([weights.get(label, 1.0) for label in labels])
