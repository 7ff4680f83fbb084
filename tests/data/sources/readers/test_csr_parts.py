"""Folders of sparse parts, which are mapped into memory."""

import mmap

import numpy as np
import pytest
import scipy.sparse
from problems import fitted

import fastsoftmax

X = scipy.sparse.random_array((900, 30), density=0.2, format="csr", rng=0, dtype=np.float32)
Y = np.arange(900) % 3


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "parts")


def write(folder, compressed=False):
    folder.mkdir()
    for number, start in enumerate(range(0, 900, 400)):
        scipy.sparse.save_npz(folder / f"{number}.npz", X[start : start + 400], compressed=compressed)
    return folder


@pytest.mark.parametrize("compressed", [False, True])
def test_parts_are_the_whole(tmp_path, compressed):
    folder = write(tmp_path / "parts", compressed)
    np.save(tmp_path / "y.npy", Y)
    for target in (Y, tmp_path / "y.npy"):
        data = fastsoftmax.scan(folder, target)
        assert data.shape == (900, 30)
        for solver in ("lbfgs", "newton_cg"):
            np.testing.assert_array_equal(fitted(data, solver=solver), fitted(X, Y, solver=solver))
    w = 1.0 + Y
    np.testing.assert_array_equal(fitted(fastsoftmax.scan(folder, Y, weight=w)), fitted(X, Y, sample_weight=w))


def test_parts_are_mapped(folder):
    (block, *_) = fastsoftmax.scan(folder, Y)._reader.blocks()
    for array in (block.X.data, block.X.indices):
        while isinstance(array, np.ndarray):
            array = array.base
        assert isinstance(array, mmap.mmap)


def test_rows_that_are_not_sorted_are(tmp_path):
    turned = X.copy()
    for i in range(900):
        row = slice(X.indptr[i], X.indptr[i + 1])
        turned.indices[row], turned.data[row] = X.indices[row][::-1], X.data[row][::-1]
    (tmp_path / "parts").mkdir()
    scipy.sparse.save_npz(tmp_path / "parts" / "0.npz", turned, compressed=False)
    np.testing.assert_array_equal(fitted(fastsoftmax.scan(tmp_path / "parts", Y)), fitted(X, Y))


def test_what_is_wrong_is_named(folder, tmp_path):
    obj = fastsoftmax.Objective(fastsoftmax.scan(folder, Y))
    content = bytearray((folder / "1.npz").read_bytes())
    with pytest.raises(ValueError, match=r"target has shape \(3,\); \(900,\), one for each row"):
        fastsoftmax.scan(folder, Y[:3])
    with pytest.raises(ValueError, match="columns has no meaning for parts"):
        fastsoftmax.scan(folder, Y, columns=[1])
    scipy.sparse.save_npz(folder / "1.npz", X[400:800, :20])
    with pytest.raises(ValueError, match="1.npz has 20 columns, and 0.npz has 30"):
        fastsoftmax.scan(folder, Y)
    with pytest.raises(ValueError, match="parts/1.npz has changed since the data was first read"):
        obj.value_and_grad(np.zeros(obj.shape))
    scipy.sparse.save_npz(folder / "1.npz", X[400:800].tocsc())
    with pytest.raises(ValueError, match="1.npz holds csc; CSR rows"):
        fastsoftmax.scan(folder, Y)
    (folder / "1.npz").write_bytes(content[:3000])
    with pytest.raises(ValueError, match="parts/1.npz is not a sound .npz file"):
        fastsoftmax.scan(folder, Y)
    bad = X[400:800].copy()
    bad.indices[5] = 99
    scipy.sparse.save_npz(folder / "1.npz", bad)
    with pytest.raises(ValueError, match="parts/1.npz is damaged: "):
        fastsoftmax.Objective(fastsoftmax.scan(folder, Y))
    bad = X[400:800].copy()
    bad.data[bad.indptr[7]] = np.inf
    scipy.sparse.save_npz(folder / "1.npz", bad)
    with pytest.raises(ValueError, match=r"parts/1.npz, row 7 \(the first is 0\), column '\d+' holds inf"):
        fastsoftmax.Objective(fastsoftmax.scan(folder, Y))
