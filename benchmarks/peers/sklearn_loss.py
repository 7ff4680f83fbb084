"""scikit-learn's `LinearModelLoss.loss_gradient`, the function its lbfgs solver calls in every step."""

from sklearn._loss import HalfMultinomialLoss
from sklearn.linear_model._linear_loss import LinearModelLoss


def prepare(X, y, theta, n_threads):
    loss = LinearModelLoss(HalfMultinomialLoss(n_classes=theta.shape[1]), fit_intercept=False)
    target = y.astype(X.dtype)  # it wants labels in the dtype of X
    coef = theta.T  # (k, n) with classes contiguous: the layout lbfgs hands it

    def run():
        value, grad = loss.loss_gradient(coef, X, target, n_threads=n_threads)
        return value, grad.T

    return run
