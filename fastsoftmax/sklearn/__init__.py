"""Estimators with scikit-learn's interface: `SoftmaxRegression`, and `SoftmaxRegressionCV`, which chooses l2."""

from .cross_validation import SoftmaxRegressionCV
from .estimator import SoftmaxRegression

__all__ = ["SoftmaxRegression", "SoftmaxRegressionCV"]
