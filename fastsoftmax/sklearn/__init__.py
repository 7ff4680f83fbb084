"""Softmax regression with scikit-learn's interface."""

from .cross_validation import SoftmaxRegressionCV
from .estimator import SoftmaxRegression

__all__ = ["SoftmaxRegression", "SoftmaxRegressionCV"]
