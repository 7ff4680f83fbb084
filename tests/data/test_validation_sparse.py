"""A malformed sparse X of each sort is an error that names X, the place, what came and what is wanted: no crash."""

import numpy as np
import pytest
import scipy.sparse as sp
from expect import assert_raises, peak_bytes

from fastsoftmax import Model, Objective
from fastsoftmax.data.validation import check_X, nonfinite_place
from fastsoftmax.data.validation_sparse import PIECE

Y = np.array([0, 1, 0, 1])
DENSE = np.array([[0, 1.5, 0, 2, 0], [0, 0, 0, 0, 0], [3, 0, 4, 0, 5], [0, 0, 0, 0, 6]])  # 6 entries


def csr(**changes):
    """DENSE as CSR with some arrays replaced, which SciPy does not check."""
    X = sp.csr_matrix(DENSE)
    for name, value in changes.items():
        setattr(X, name, value)
    return X


def changed(container, name, at, value):
    """DENSE in a format with one item of one array overwritten in place."""
    X = container(DENSE)
    getattr(X, name)[at] = value
    return X


CSR, CSC, COO = sp.csr_array, sp.csc_array, sp.coo_array
I4 = np.int32

# what is wrong: (X, error, words of the message)
BAD = {
    "index too large": (changed(CSR, "indices", 3, 5), ValueError, ["row 2", "column 5", "0..4"]),
    "index far too large": (changed(CSR, "indices", 0, 2**31 - 1), ValueError, ["row 0", str(2**31 - 1), "0..4"]),
    "negative index": (changed(CSR, "indices", 5, -1), ValueError, ["row 3", "column -1", "0..4"]),
    "indptr falls": (changed(CSR, "indptr", 1, 4), ValueError, ["indptr", "from 4 to 2", "row 1"]),
    "negative indptr": (changed(CSR, "indptr", 2, -7), ValueError, ["indptr", "from 2 to -7", "row 1"]),
    "indptr begins late": (changed(CSR, "indptr", 0, 1), ValueError, ["indptr", "begins with 1", "row 0"]),
    "indptr beyond the data": (changed(CSR, "indptr", 4, 60), ValueError, ["indptr", "60", "6 entries", "row"]),
    "indptr too short": (csr(indptr=np.array([0, 2, 6], I4)), ValueError, ["indptr", "3 items", "5"]),
    "indptr too long": (csr(indptr=np.array([0, 2, 2, 5, 6, 6], I4)), ValueError, ["indptr", "6 items", "5"]),
    "indptr empty": (csr(indptr=np.array([], I4)), ValueError, ["indptr", "0 items", "5"]),
    "indptr of floats": (csr(indptr=np.array([0, 2, 2, 5, 6.0])), TypeError, ["indptr", "float64", "integers"]),
    "indptr in 2-D": (csr(indptr=np.zeros((5, 1), I4)), ValueError, ["indptr", "(5, 1)", "1-D"]),
    "indices of floats": (csr(indices=np.zeros(6)), TypeError, ["indices", "float64", "integers"]),
    "indices in 2-D": (csr(indices=np.zeros((6, 1), I4)), ValueError, ["indices", "(6, 1)", "1-D"]),
    "indices missing": (csr(indices=np.zeros(5, I4)), ValueError, ["6 data", "5 indices"]),
    "data missing": (csr(data=np.ones(4)), ValueError, ["4 data", "6 indices"]),
    "data in 2-D": (csr(data=np.ones((6, 1))), ValueError, ["data", "(6, 1)", "1-D"]),
    "complex": (CSR(DENSE + 0j), TypeError, ["complex128", "real"]),
    "objects": (csr(data=np.ones(6, object)), TypeError, ["object", "real"]),
    "text": (csr(data=np.ones(6).astype(str)), TypeError, ["<U", "real"]),
    "no rows": (CSR((0, 5)), ValueError, ["(0, 5)", "at least one row"]),
    "no features": (CSR((4, 0)), ValueError, ["(4, 0)", "one feature"]),
    "one dimension": (COO(np.ones(5)), ValueError, ["(5,)", "2-D", "rows, features"]),
    "csc index": (changed(CSC, "indices", 2, 4), ValueError, ["column 2", "row 4", "0..3"]),
    "csc indptr": (changed(CSC, "indptr", 3, 9), ValueError, ["indptr", "from 9 to 4", "column 3"]),
    "coo row": (changed(COO, "row", 4, 4), ValueError, ["entry 4", "row 4", "0..3"]),
    "coo column": (changed(COO, "col", 1, -2), ValueError, ["entry 1", "col -2", "0..4"]),
    "coo complex": (COO(DENSE + 0j), TypeError, ["complex128", "real"]),
    "bsr index": (changed(sp.bsr_array, "indices", 0, 7), ValueError, ["row of blocks 0", "7"]),
    "lil of complex": (sp.lil_array(DENSE + 0j), TypeError, ["complex128", "real"]),
}


@pytest.mark.parametrize("what", BAD)
def test_malformed_sparse_x(what):
    X, error, words = BAD[what]
    words = [f"X (a sparse {type(X).__name__})", *words]
    assert_raises(error, words, lambda: Objective(X, Y, 2, backend="numpy"))
    assert_raises(error, words, lambda: Model(np.ones((5, 2))).predict(X, backend="numpy"))


def test_a_lil_column_out_of_range():
    X = sp.lil_array(DENSE)
    X.rows[2][1] = 77
    assert_raises(ValueError, ["X", "row 2", "column 77", "0..4"], lambda: check_X(X))


def test_a_dia_or_dok_is_fine():
    for container in (sp.dia_array, sp.dok_array):
        np.testing.assert_array_equal(dense(check_X(container(DENSE))), DENSE)


def test_bsr_with_blocks_is_fine():
    X = sp.bsr_array(DENSE[:, :4], blocksize=(2, 2))
    np.testing.assert_array_equal(dense(check_X(X)), DENSE[:, :4])


def test_malformed_beyond_the_first_piece():
    m = PIECE + 10
    X = sp.csr_array((np.ones(m), np.zeros(m, I4), np.arange(m + 1, dtype=I4)), shape=(m, 2))
    X.indices[m - 3] = 2
    assert_raises(ValueError, [f"row {m - 3}", "column 2", "0..1"], lambda: check_X(X))
    X.indices[m - 3], X.indptr[m - 1] = 0, 7
    assert_raises(ValueError, [f"from {m - 2} to 7", f"row {m - 2}"], lambda: check_X(X))


# ---------------------------------------------------------------------------------- good input stays


def dense(checked):
    return sp.csr_array((checked.data, checked.indices, checked.indptr), shape=checked.shape).toarray()


@pytest.mark.parametrize("container", [sp.csr_array, sp.csr_matrix])
@pytest.mark.parametrize("index", ["i4", "i8"])
def test_sorted_csr_is_not_copied(container, index):
    X = container(DENSE)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    checked = check_X(X)
    for name in ("indptr", "indices", "data"):
        assert np.shares_memory(getattr(checked, name), getattr(X, name))
    assert checked.indices.dtype == index


def test_memory_maps_and_read_only_arrays_are_not_copied(tmp_path):
    X = sp.csr_array(DENSE)
    X.data.tofile(tmp_path / "data")
    X.data = np.memmap(tmp_path / "data", np.float64, mode="r")
    X.indices.flags.writeable = False
    checked = check_X(X)
    assert np.shares_memory(checked.data, X.data) and np.shares_memory(checked.indices, X.indices)
    np.testing.assert_array_equal(dense(checked), DENSE)


@pytest.mark.parametrize("index", ["i2", ">i4", "u4", "u8"])
def test_other_integers_are_indices_too(index):
    X = sp.csr_array(DENSE)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    checked = check_X(X)
    assert checked.indices.dtype in (np.int32, np.int64) and checked.indices.dtype.isnative
    value, grad = Objective(X, Y, backend="numpy").value_and_grad(np.ones((5, 2)))
    wanted = Objective(DENSE, Y, backend="numpy").value_and_grad(np.ones((5, 2)))
    assert abs(value - wanted[0]) <= 4 * np.finfo(float).eps
    np.testing.assert_allclose(grad, wanted[1], rtol=0, atol=16 * np.finfo(float).eps)


def disordered():
    """Two rows: unsorted, and with a column three times, one of them 0."""
    indptr, indices = np.array([0, 3, 7], I4), np.array([4, 0, 2, 1, 3, 1, 1], I4)
    X = sp.csr_array((2, 5))
    X.indptr, X.indices, X.data = indptr, indices, np.array([1.0, 2, 3, 4, 5, 6, 0])
    return X


def test_unsorted_and_repeated_entries_are_put_right_in_a_copy():
    X = disordered()
    X.has_sorted_indices = X.has_canonical_format = True  # SciPy's flags may be wrong
    before = [getattr(X, name).copy() for name in ("indptr", "indices", "data")]
    checked = check_X(X)
    np.testing.assert_array_equal(checked.indices, [0, 2, 4, 1, 3])
    np.testing.assert_array_equal(checked.data, [2, 3, 1, 10, 5])
    for name, old in zip(("indptr", "indices", "data"), before, strict=True):
        np.testing.assert_array_equal(getattr(X, name), old)
    assert X.has_sorted_indices and X.has_canonical_format


def test_flags_of_the_callers_matrix_stay_unset():
    X = disordered()
    check_X(X)
    assert not {"_has_sorted_indices", "_has_canonical_format"} & set(vars(X))


@pytest.mark.parametrize("at", [1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
@pytest.mark.parametrize("second", [3, 2])
def test_disorder_is_found_wherever_pieces_meet(at, second):
    """Rows of one entry each, but for one of two entries that begins at ``at``: a repetition or a fall."""
    m = 2 * PIECE + 5
    indices = np.full(m + 1, 3, I4)
    indices[at + 1] = second
    indptr = np.arange(m + 1, dtype=I4)
    indptr[at + 1 :] += 1
    X = sp.csr_array((np.ones(m + 1), indices, indptr), shape=(m, 4))
    checked = check_X(X)
    entries = checked.indptr[at + 1] - checked.indptr[at]
    assert entries == (1 if second == 3 else 2)
    assert list(checked.indices[at : at + entries]) == ([3] if second == 3 else [2, 3])
    assert checked.data.sum() == m + 1


@pytest.mark.parametrize("container", [sp.csc_array, sp.coo_array, sp.coo_matrix, sp.lil_array])
def test_other_formats_are_converted_and_left_alone(container):
    X = container(DENSE)
    names = [name for name in ("indptr", "indices", "row", "col", "data") if hasattr(X, name)]
    before = {name: getattr(X, name).copy() for name in names}
    np.testing.assert_array_equal(dense(check_X(X)), DENSE)
    for name, old in before.items():
        np.testing.assert_array_equal(getattr(X, name), old)


def test_arrays_longer_than_indptr_reaches_are_cut():
    X = csr(data=np.append(sp.csr_matrix(DENSE).data, np.nan), indices=np.append(sp.csr_matrix(DENSE).indices, 99))
    np.testing.assert_array_equal(dense(check_X(X)), DENSE)


def test_explicit_zeros_are_entries():
    X = sp.csr_array((np.zeros(2), np.array([1, 0]), np.array([0, 1, 2])), shape=(2, 2))
    assert len(check_X(X).data) == 2


def test_checks_take_no_memory_that_grows_with_x():
    m = 4 * PIECE
    X = sp.csr_array((np.ones(m, "f4"), np.zeros(m, I4), np.arange(m + 1, dtype=I4)), shape=(m, 2))
    peak = peak_bytes(lambda: nonfinite_place(check_X(X)))
    assert nonfinite_place(check_X(X)) is None
    assert peak < 12 * PIECE  # a whole array of int32 takes 16


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_nonfinite_place_names_row_and_column(bad):
    m = PIECE + 100
    X = sp.csr_array((np.ones(m), np.full(m, 1, I4), np.arange(m + 1, dtype=I4)), shape=(m, 3))
    X.data[[m - 5, m - 2]] = bad
    row, column, value = nonfinite_place(check_X(X))
    assert (row, column) == (m - 5, 1) and (value == bad or np.isnan(value))


def test_empty_rows_do_not_move_the_place():
    X = sp.csr_array((np.array([1.0, np.inf]), np.array([0, 2]), np.array([0, 0, 1, 1, 1, 2, 2])), shape=(6, 3))
    assert nonfinite_place(check_X(X)) == (4, 2, np.inf)
