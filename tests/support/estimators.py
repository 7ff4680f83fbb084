"""A set of a few rows, and an estimator fitted to it, precisely and by one thread."""

from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

from fastsoftmax import SoftmaxRegression


def iris(scaled=True):
    X, y = load_iris(return_X_y=True)
    return (StandardScaler().fit_transform(X) if scaled else X), y


def fit(X, y, sample_weight=None, **parameters):
    return SoftmaxRegression(**{"backend": "numpy", "n_threads": 1, "tol": 1e-7, **parameters}).fit(X, y, sample_weight)
