"""Arrays on disk: .npy files are mapped and stay what they were, zarr arrays are decoded chunk by chunk."""

import numpy as np
import pytest
from problems import fitted, lettered_problem

import fastsoftmax

X, LABELS = lettered_problem(1000)
CODES = np.unique(LABELS, return_inverse=True)[1]


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "X.npy", X)
    return tmp_path / "X.npy"


def test_chunks_are_views_of_the_file(path):
    source = fastsoftmax.scan(path, CODES).source()
    for part in source.chunks(300):
        assert np.shares_memory(part.X, source.X)
    with pytest.raises(ValueError, match=r"X.npy, row 3 \(the first is 0\), column '2'"):
        raise ValueError(source.place(3, 2))


@pytest.mark.parametrize("content", [lambda X: X[:500], lambda X: X[::-1]], ids=["shorter", "other rows"])
def test_a_file_that_changes_is_an_error_before_its_pages_are_touched(path, content):
    obj = fastsoftmax.Objective(fastsoftmax.scan(path, CODES))
    with open(path, "r+b") as file:  # the file that is mapped, not another one of its name
        np.save(file, content(X))
        file.truncate()
    with pytest.raises(ValueError, match="X.npy has changed since the data was first read"):
        obj.value_and_grad(np.zeros(obj.shape))


def test_a_file_that_is_cut_off_in_a_pass_is_an_error_before_the_next_chunk(path):
    walk = fastsoftmax.scan(path, CODES).source().chunks(300)
    next(walk)
    with open(path, "r+b") as file:
        file.truncate(5000)
    with pytest.raises(ValueError, match="X.npy has changed since"):
        next(walk)


def test_nan_is_named(path):
    bad = X.copy()
    bad[700, 1] = np.nan
    np.save(path, bad)
    with pytest.raises(ValueError, match=r"X must be finite; X.npy, row 700 \(the first is 0\), column '1' holds nan"):
        fitted(fastsoftmax.scan(path, CODES))


def test_columns_and_weights(path, tmp_path):
    np.save(tmp_path / "w.npy", 1.0 + CODES)
    data = fastsoftmax.scan(path, CODES, weight=tmp_path / "w.npy", columns=[1, 2])
    wanted = fitted(np.asarray(X)[:, 1:3], CODES, sample_weight=1.0 + CODES)
    np.testing.assert_array_equal(fitted(data), wanted)
    assert data.feature_names == ["1", "2"]


@pytest.mark.parametrize(
    "options, match",
    [
        ({"target": CODES[1:]}, r"target has shape \(999,\)"),
        ({"target": 7}, "has 5 columns, and no column 7 for target"),
        ({"target": CODES, "columns": [9]}, r"has 5 columns; columns=\[9\] names 9"),
        ({"target": CODES, "columns": [0, 2]}, "columns must be neighbours in a .npy file"),
        ({"target": CODES, "dtype": "f4"}, "dtype has no meaning for X.npy"),
        ({"target": 1}, "target column '1' holds the number"),
    ],
    ids=str,
)
def test_what_cannot_be_asked(path, options, match):
    with pytest.raises(ValueError, match=match):
        fitted(fastsoftmax.scan(path, **options))


def test_zarr(tmp_path):
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    array = zarr.create_array(str(tmp_path / "X.zarr"), shape=X.shape, chunks=(170, 3), dtype="f4")
    array[:] = X
    for columns in (None, [3, 0]):
        data = fastsoftmax.scan(tmp_path / "X.zarr", CODES, columns=columns)
        wanted = X if columns is None else np.ascontiguousarray(X[:, columns])
        np.testing.assert_array_equal(fitted(data), fitted(wanted, CODES))
    obj = fastsoftmax.Objective(data)
    part = next(file for file in sorted((tmp_path / "X.zarr").rglob("*")) if file.name == "0" or "c/0" in str(file))
    part = part if part.is_file() else next(file for file in sorted(part.rglob("*")) if file.is_file())
    part.write_bytes(b"\0" * 30)
    with pytest.raises(ValueError, match="X.zarr/.* has changed since"):
        obj.value_and_grad(np.zeros(obj.shape))
    with pytest.raises(ValueError, match="X.zarr is damaged in rows 0 to 169"):
        fitted(fastsoftmax.scan(tmp_path / "X.zarr", CODES))
