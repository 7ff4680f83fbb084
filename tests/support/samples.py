"""Sets on which solvers have a hard time, one like text, and objects that offer their memory in one way alone."""

import numpy as np
import scipy.sparse as sp


def badly_scaled(m=5000, n=20, k=5):
    """Correlated columns with scales from 1e-3 to 1e6, each off zero by up to a hundred."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((m, n)) @ (np.eye(n) + 0.9 * rng.standard_normal((n, n)))
    y = np.argmax(X @ rng.standard_normal((n, k)) / np.sqrt(n) + rng.gumbel(size=(m, k)), axis=1)
    return X * 10.0 ** np.linspace(-3, 6, n)[rng.permutation(n)] + 30 * rng.standard_normal(n), y


def one_class_of_five_rows(m=50_000, n=10):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((m, n))
    y = np.argmax(X @ rng.standard_normal((n, 2)) + rng.gumbel(size=(m, 2)), axis=1)
    rare = rng.choice(m, 5, replace=False)
    y[rare] = 2
    X[rare] += 1.0
    return X, y


def text(m, n, k, words=20, seed=0):
    """Rows of words of Zipf's frequencies, a third of them the class's own, scaled to length 1."""
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=m)
    row = np.repeat(np.arange(m), words)
    share = np.cumsum(1 / np.arange(1, n + 1))
    col = np.searchsorted(share, rng.random(m * words) * share[-1])
    col = np.where(rng.random(m * words) < 0.3, (col * k + y[row]) % n, col)
    X = sp.coo_array((np.ones(m * words), (row, col)), shape=(m, n)).tocsr()
    return sp.diags_array(1 / np.sqrt(X.power(2).sum(axis=1))).tocsr() @ X, y


class ArrowStream:
    """Has nothing but the Arrow C stream."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


class ArrowArray:
    """Has nothing but the Arrow C array."""

    def __init__(self, batch):
        self.batch = batch

    def __arrow_c_array__(self, requested_schema=None):
        return self.batch.__arrow_c_array__(requested_schema)


class Capsule:
    """Has nothing but DLPack, on a device of any kind."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device_of_array = array, device

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device_of_array


class Wrapped:
    """Has nothing but NumPy's protocol."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array
