"""Memory does not grow with the number of calls, whatever is called."""

import sys

import child
import pytest

CODE = """
import sys, gc, resource
import numpy as np
import fastsoftmax as fs
from scipy.sparse import csr_array
rng = np.random.default_rng(0)
X, y = rng.standard_normal((40, 4)), np.arange(40) % 3
theta, sparse = rng.standard_normal((4, 3)), csr_array(X)
PAGE = resource.getpagesize()
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE
{setup}
def window():
    for _ in range({count}):
        {call}
    gc.collect()
    return resident()
window()
sizes = [window() for _ in range(4)]
print(min(b - a for a, b in zip(sizes, sizes[1:])))
"""
# What is called, how often in each of five windows, and what is there before.
CALLS = {
    "loss_and_grad": ("fs.loss_and_grad(X, y, theta)", 2000, ""),
    "loss_and_grad, Numba": ("fs.loss_and_grad(X, y, theta, backend='numba')", 2000, ""),
    "loss_and_grad, NumPy": ("fs.loss_and_grad(X, y, theta, backend='numpy')", 2000, ""),
    "loss_and_grad, sparse": ("fs.loss_and_grad(sparse, y, theta)", 2000, ""),
    "an objective": ("fs.Objective(X, y, l2=1e-3).value_and_grad(theta)", 2000, ""),
    "Hessian products": ("obj.hess_prod(theta, theta)", 2000, "obj = fs.Objective(X, y)"),
    "everything": ("obj.evaluate(theta, dX=True, row_loss=True, label=True)", 2000, "obj = fs.Objective(X, y)"),
    "predictions": ("fs.predict_proba(X, theta)", 2000, ""),
    "softmax": ("fs.softmax(X)", 2000, ""),
    "refused": (
        "\n        try: fs.loss_and_grad(X, y, theta[1:])\n        except ValueError: pass\n",
        2000,
        "",
    ),
    "minimize": ("fs.minimize(obj)", 200, "obj = fs.Objective(X, y, l2=1e-2)"),
    "an estimator": ("fs.SoftmaxRegression().fit(X, y).predict(X)", 200, ""),
    "LogisticRegression": (
        "LogisticRegression().fit(X, y)",
        200,
        "from fastsoftmax.sklearn import LogisticRegression",
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
@pytest.mark.parametrize("name", CALLS)
def test_memory_does_not_grow(name):
    """A leak grows in every window: of 16 bytes a call by 32 kB in those of 2,000."""
    call, count, setup = CALLS[name]
    done = child.python("-c", CODE.format(setup=setup, call=call, count=count), timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 16 * count, "bytes in each window"
