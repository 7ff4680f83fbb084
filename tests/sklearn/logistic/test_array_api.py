"""Arrays of other libraries under scikit-learn's array API dispatch, in a process whose SciPy has it switched on."""

import pytest
from child import python

pytest.importorskip("array_api_strict")

SCRIPT = """
import array_api_strict as xp, numpy as np, sklearn.linear_model
from sklearn import config_context
from sklearn.datasets import load_iris

from fastsoftmax.sklearn import LogisticRegression, fit_log

X, y = load_iris(return_X_y=True)
X, y = X[y < {classes}], y[y < {classes}]
fits = []
fit_log.observers.append(fits.append)
with config_context(array_api_dispatch=True):
    given = xp.asarray(X, dtype=xp.{dtype}), xp.asarray({y}), xp.asarray(1.0 + y, dtype=xp.{dtype})
    theirs, ours = (
        class_(tol=1e-5, max_iter=2000).fit(*given)
        for class_ in (sklearn.linear_model.LogisticRegression, LogisticRegression)
    )
    for name in ("coef_", "intercept_", "n_iter_", "classes_"):
        wanted, got = getattr(theirs, name), getattr(ours, name)
        assert type(got) is type(wanted) and got.dtype == wanted.dtype and got.shape == wanted.shape, name
    assert fits[-1].ran_on == "fastsoftmax", fits
    Z = ours.predict_proba(given[0])
    assert isinstance(Z, type(given[0])) and Z.dtype == given[0].dtype
    assert abs(np.from_dlpack(Z) - np.from_dlpack(theirs.predict_proba(given[0]))).max() < 1e-3
print("done")
"""


def output(code):
    ended = python("-c", code, SCIPY_ARRAY_API="1")
    assert not ended.returncode, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classes", [2, 3])
def test_results_are_of_the_library_that_x_is_of(classes, dtype):
    code = SCRIPT.format(classes=classes, dtype=dtype, y="y")
    assert output(code) == "done"


def test_a_device_that_numpy_cannot_read_goes_to_scikit_learn():
    code = SCRIPT.format(classes=3, dtype="float64", y="y, device=xp.Device('device1')")
    code = code.replace("xp.float64)", "xp.float64, device=xp.Device('device1'))")
    code = code.partition("    assert fits[-1]")[0] + "print(fits[-1].ran_on, fits[-1].reason)"
    assert output(code) == "scikit-learn X is an array of array_api_strict"
