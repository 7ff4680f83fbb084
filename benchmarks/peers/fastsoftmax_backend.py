"""This package, with the backend named: "auto" might choose another than the table says."""

from fastsoftmax import Objective


def prepare(X, y, theta, n_threads, backend, dx=False):
    objective = Objective(X, y, theta.shape[1], backend=backend, n_threads=n_threads)
    if not dx:
        return lambda: objective.value_and_grad(theta)

    def run():
        result = objective.evaluate(theta, dX=True)
        return result.value, result.grad, result.dX

    return run
