"""Features in parts, files and narrow types; scaled and normalised rows are what a copy of X would be."""

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse as sp

from fastsoftmax import Objective, minimize
from fastsoftmax.probe.features import Coordinates, Parts, objective_of, open_features, open_labels
from fastsoftmax.solvers.run import Run

RNG = np.random.default_rng(3)
OPTIONS = {"w": None, "fit_intercept": True, "backend": "cython", "n_threads": 2}


def data(m=300, n=5, k=3):
    return RNG.standard_normal((m, n)) * [1, 10, 0.1, 3, 1], RNG.integers(k, size=m)


def write_parts(folder, X, sizes):
    folder.mkdir()
    for i, part in enumerate(np.split(X, np.cumsum(sizes)[:-1])):
        np.save(folder / f"part-{i}.npy", part)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "u1", "bfloat16"])
def test_a_folder_of_parts_is_the_array_that_they_make(tmp_path, dtype):
    X, y = data()
    X = np.abs(8 * X).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    write_parts(tmp_path / "X", X, [20] * 11 + [80])
    parts = open_features(tmp_path / "X")
    assert isinstance(parts, Parts) and parts.shape == (300, 5) and parts.names[10] == "part-10.npy"
    obj = objective_of(parts, y, 3, normalize=False, **OPTIONS)
    whole = Objective(X.astype("f8" if dtype == "f8" else "f4"), y, 3, fit_intercept=True)
    theta = 0.01 * RNG.standard_normal(obj.shape)
    value, grad = obj.value_and_grad(theta)
    wanted, slope = whole.value_and_grad(theta)
    assert obj.dtype == whole.dtype and value == pytest.approx(wanted, rel=1e-6)
    np.testing.assert_allclose(grad, slope, rtol=1e-4, atol=1e-5)


def test_one_file_is_mapped_and_labels_may_lie_in_parts(tmp_path):
    X, y = data()
    np.save(tmp_path / "X.npy", X.astype("f2"))
    opened = open_features(tmp_path / "X.npy")
    assert isinstance(opened, np.memmap) and opened.dtype == np.float16
    write_parts(tmp_path / "y", y, [100, 200])
    np.testing.assert_array_equal(open_labels(tmp_path / "y"), y)
    np.save(tmp_path / "b.npy", X.astype(ml_dtypes.bfloat16))
    assert open_features(tmp_path / "b.npy").dtype == "V2" and open_features(X) is X
    assert open_features([X, X]).shape == (600, 5)


def test_bad_parts_get_a_sentence(tmp_path):
    X, y = data()
    with pytest.raises(ValueError, match=r"part 1 has shape \(300, 4\) .* all parts must have columns and dtype of"):
        open_features([X, X[:, :4]])
    with pytest.raises(TypeError, match="part 0 has dtype complex128"):
        open_features([X.astype(complex)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no .npy file"):
        open_features(tmp_path / "empty")
    (tmp_path / "text.npy").write_text("1 2 3")
    with pytest.raises(ValueError, match=r"text.npy is no .npy file of numbers"):
        open_features(tmp_path / "text.npy")
    X[250, 2] = np.nan
    write_parts(tmp_path / "X", X, [10] * 30)
    obj = objective_of(open_features(tmp_path / "X"), y, 3, normalize=False, **OPTIONS)
    with pytest.raises(ValueError, match=r"part 25 \(part-25.npy\), row 0, column 2 holds nan"):
        obj.value_and_grad(np.zeros(obj.shape))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("standardize", [False, True])
def test_coordinates_are_those_of_a_transformed_copy(sparse, normalize, standardize):
    X, y = data()
    X = np.where(np.abs(X) > 0.05, X, 0.0) if sparse else X + [0, 5, 0, 0, 0]
    X[7] = 0.0
    copy = X / np.linalg.norm(X, axis=1, keepdims=True).clip(1e-300) if normalize else X
    scale = copy.std(axis=0) if standardize else np.ones(5)
    wanted = minimize(Objective(copy / scale, y, 3, fit_intercept=True, l2=0.01), tol=1e-9).theta
    given = objective_of(sp.csr_array(X) if sparse else X, y, 3, normalize=normalize, **OPTIONS)
    rows = Coordinates(given, standardize=standardize)
    rows.obj.l2 = 0.01
    run = Run(rows.obj, tol=1e-9, max_iter=500, callback=None, moments=rows.moments)
    theta = minimize(rows.obj, tol=1e-9).theta
    np.testing.assert_allclose(theta, wanted, atol=2e-5)
    np.testing.assert_allclose(run.moments.variance, (copy / scale).var(axis=0), rtol=1e-6, atol=1e-12)
    folded = rows.to_features(theta)
    np.testing.assert_allclose(copy @ folded[:-1] + folded[-1], (copy / scale) @ theta[:-1] + theta[-1], atol=1e-8)


def test_far_columns_of_float32_are_shifted_and_scaled():
    X, y = data()
    far = (X + 1e4).astype("f4")
    rows = Coordinates(objective_of(far, y, 3, normalize=False, **OPTIONS), standardize=True)
    rows.obj.l2 = 0.01
    theta = rows.to_features(minimize(rows.obj).theta)
    exact = (far.astype("f8") - far.astype("f8").mean(axis=0)) / far.astype("f8").std(axis=0)
    wanted = minimize(Objective(exact, y, 3, fit_intercept=True, l2=0.01)).theta
    np.testing.assert_allclose(theta[:-1] * far.astype("f8").std(axis=0)[:, None], wanted[:-1], atol=1e-3)
