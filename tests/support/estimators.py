"""A set of a few rows, and an estimator fitted to it, precisely and by one thread; scikit-learn's logistic regression
beside ours, and its objective in float64."""

import warnings

import numpy as np
import sklearn
import sklearn.linear_model as theirs
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

from fastsoftmax import SoftmaxRegression

VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
ATTRIBUTES = ("coef_", "intercept_", "classes_", "n_iter_", "C_", "l1_ratio_", "Cs_", "l1_ratios_")


def iris(scaled=True):
    X, y = load_iris(return_X_y=True)
    return (StandardScaler().fit_transform(X) if scaled else X), y


def fit(X, y, sample_weight=None, **parameters):
    return SoftmaxRegression(**{"backend": "numpy", "n_threads": 1, "tol": 1e-7, **parameters}).fit(X, y, sample_weight)


def penalty(l1_ratio):
    """Parameters for a share of l1, or for none where it is None, as the installed version wants them."""
    if VERSION >= (1, 8):
        return {"C": np.inf} if l1_ratio is None else {"l1_ratio": l1_ratio}
    names = {None: None, 0.0: "l2", 1.0: "l1"}
    name = names.get(l1_ratio, "elasticnet")
    return {"penalty": name, **({"l1_ratio": l1_ratio} if name == "elasticnet" else {})}


def quietly(estimator, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(*args)


def both(ours, X, y, sample_weight=None, **parameters):
    """Our class, and scikit-learn's of the same name, each fitted; their warnings are ignored."""
    host = getattr(theirs, ours.__name__)
    return tuple(quietly(cls(**parameters), X, y, sample_weight) for cls in (host, ours))


def objective(fitted, X, y, sample_weight=None, *, C=1.0, l1_ratio=0.0, column=None):
    """scikit-learn's objective over C sum(w), of a fitted estimator; ``l1_ratio`` None is no penalty, ``column`` is
    liblinear's intercept_scaling."""
    coef, b = fitted.coef_.astype(np.float64), np.asarray(fitted.intercept_, np.float64)
    H = np.asarray(X @ coef.T, np.float64) + b
    H = np.hstack([np.zeros_like(H), H]) if H.shape[1] == 1 else H
    own = np.take_along_axis(H, np.searchsorted(fitted.classes_, y)[:, None], axis=1)[:, 0]
    w = np.ones(len(y)) if sample_weight is None else sample_weight
    value = w @ (np.logaddexp.reduce(H, axis=1) - own)
    if l1_ratio is not None:
        penalized = coef if column is None else np.append(coef, b / column)
        value += ((1 - l1_ratio) / 2 * np.sum(penalized**2) + l1_ratio * np.sum(np.abs(penalized))) / C
    return value / w.sum()


def alike(theirs, ours):
    """Assert that two estimators have the same attributes, of the same types, shapes and dtypes."""
    assert set(vars(ours)) == set(vars(theirs))
    for name in ATTRIBUTES:
        if hasattr(theirs, name):
            left, right = getattr(theirs, name), getattr(ours, name)
            assert type(left) is type(right) and np.shape(left) == np.shape(right), name
            if isinstance(left, np.ndarray):
                assert (left.dtype, left.flags.writeable) == (right.dtype, right.flags.writeable), name
