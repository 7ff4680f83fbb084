"""What a user would write: SciPy's L-BFGS-B on the formula in NumPy."""

import numpy as np
from scipy.optimize import minimize


def prepare(X, y, l2, n_threads):
    m, n = X.shape
    k = int(y.max()) + 1
    X, each = X.astype(np.float64), np.arange(m)

    def value_and_grad(flat):
        theta = flat.reshape(n + 1, k)
        H = X @ theta[:n] + theta[n]
        H -= H.max(axis=1, keepdims=True)
        own = H[each, y].copy()
        np.exp(H, out=H)
        total = H.sum(axis=1)
        value = np.mean(np.log(total) - own) + 0.5 * l2 * np.sum(theta[:n] ** 2)
        H /= total[:, None]
        H[each, y] -= 1.0
        grad = np.vstack([X.T @ H / m + l2 * theta[:n], H.mean(axis=0)])
        return value, grad.ravel()

    def solve(tell):
        start = np.zeros((n + 1) * k)
        options = {"maxiter": 100_000, "maxfun": 1_000_000, "ftol": 0.0, "gtol": 0.0}
        minimize(value_and_grad, start, jac=True, method="L-BFGS-B", callback=tell, options=options)

    return solve
