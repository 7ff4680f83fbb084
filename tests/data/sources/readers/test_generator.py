"""Functions that yield chunks: what they may yield, and that each walk is the same."""

import numpy as np
import pandas
import pytest
import scipy.sparse
from problems import chunks_of, fitted, lettered_problem, names_of

import fastsoftmax

X, LABELS = lettered_problem(900)
CODES = np.unique(LABELS, return_inverse=True)[1]


def scan_of(*chunks):
    def made():
        yield from chunks

    return fastsoftmax.scan(made)


@pytest.mark.parametrize("labels", [LABELS, CODES, CODES.astype("f4"), CODES > 0, LABELS.astype(object)], ids=repr)
def test_labels_of_any_kind(labels):
    data = fastsoftmax.scan(chunks_of(X, labels, rows=100))
    assert data.classes.tolist() == np.unique(labels).tolist() and data.classes.dtype.kind in "Uifb"
    np.testing.assert_array_equal(data.classes[data.targets.y], labels)


def test_frames_have_names():
    def frames():
        for start in range(0, 900, 300):
            yield pandas.DataFrame(X[start : start + 300], columns=names_of(X)), pandas.Series(LABELS[start:][:300])

    data = fastsoftmax.scan(frames)
    assert data.feature_names == names_of(X) and data.is_named
    np.testing.assert_array_equal(fitted(data), fitted(np.asfortranarray(X), CODES))


def test_chunks_without_labels_are_for_predictions():
    clf = fastsoftmax.SoftmaxRegression().fit(X, LABELS)
    np.testing.assert_array_equal(clf.predict(fastsoftmax.scan(chunks_of(X))), clf.predict(X))


@pytest.mark.parametrize(
    "chunks, match",
    [
        ([], "made.. yields nothing"),
        ([(X, LABELS, CODES, CODES)], "chunk 0 has 4 parts"),
        ([(X, LABELS), (X,)], "chunk 1 .* has 1 parts, and the first one has 2"),
        ([(X, LABELS), (X[:, :4], LABELS)], "dense float32 with 4 columns; the first chunk has dense float32 with 5"),
        ([(X, LABELS), (X.astype("f8"), LABELS)], "X is dense float64 with 5 columns"),
        ([(X, LABELS), (scipy.sparse.csr_array(X), LABELS)], "X is sparse float32"),
        ([(X, LABELS[1:])], r"y has shape \(899,\); \(900,\), one for each row of X"),
        ([(X, X[:, 0])], "y holds .*; labels are whole numbers or text"),
        ([(X, LABELS, -np.ones(900))], r"chunk 0 \(the first is 0\), row 0 \(the first is 0\) has the weight -1.0"),
        ([(X, LABELS, np.zeros(900))], "weights are zero in every row"),
        (
            [(X, LABELS), (X * np.array([1, np.nan, 1, 1, 1], "f4"), LABELS)],
            "chunk 1 .*, row 0 .*, column '1' holds nan",
        ),
        ([(X, np.full(900, "a"))], "has 1 classes"),
    ],
)
def test_what_may_not_be_yielded(chunks, match):
    with pytest.raises(ValueError, match=match):
        fastsoftmax.Objective(scan_of(*chunks))


def test_labels_that_are_none():
    numbers = np.where(np.arange(900) == 7, np.nan, np.arange(900) % 3)
    with pytest.raises(ValueError, match=r"chunk 0 \(the first is 0\), row 7 .* has nan as label"):
        fastsoftmax.Objective(scan_of((X, numbers)))
    with pytest.raises(ValueError, match=r"chunk 0 .* has datetime64\[D\] as labels; whole numbers or text are wanted"):
        fastsoftmax.Objective(scan_of((X, (np.arange(900) % 3).astype("M8[D]"))))
    with pytest.raises(ValueError, match=r"what it yields is X alone, and \(X, y\) is wanted"):
        fastsoftmax.Objective(scan_of((X,)))


def test_chunks_without_rows_are_passed_over():
    some = fastsoftmax.Objective(scan_of((X[:0], LABELS[:0]), (X[:300], LABELS[:300]), (X[:0], LABELS[:0])))
    assert some.n_rows == 300


def test_x_that_is_wrong_is_named_by_its_chunk():
    with pytest.raises(ValueError, match=r"chunk 1 \(the first is 0\): X has shape \(900,\)"):
        fastsoftmax.Objective(scan_of((X, LABELS), (X[:, 0], LABELS)))


def test_a_function_that_returns_no_iterable():
    with pytest.raises(TypeError, match="<lambda>.. returns int; an iterable of"):
        fastsoftmax.scan(lambda: 3)


@pytest.mark.parametrize("as_sparse", [False, True])
def test_a_buffer_that_is_filled_again_is_an_error(as_sparse):
    buffer = scipy.sparse.csr_array(np.ones((100, 5), "f4")) if as_sparse else np.empty((100, 5), "f4")

    def chunks():
        for start in range(0, 900, 100):
            (buffer.data if as_sparse else buffer).flat[:] = X[start : start + 100].ravel()
            yield buffer, LABELS[start : start + 100]

    with pytest.raises(ValueError, match="chunk 1 .*: X lies in the memory of the chunk before"):
        fastsoftmax.Objective(fastsoftmax.scan(chunks))


def changing(*versions):
    """A function whose walks differ: the first finds the columns, the second is the first pass."""
    walks = iter([versions[0], *versions])

    def made():
        return iter(next(walks))

    return fastsoftmax.scan(made)


WHOLE = [(X[:300], LABELS[:300]), (X[300:], LABELS[300:])]


@pytest.mark.parametrize(
    "second, match",
    [
        (WHOLE[:1], "had 900 rows in the first pass, and now 300"),
        ([*WHOLE, WHOLE[0]], "had 900 rows in the first pass, and now at least 1,200"),
        (WHOLE[::-1], "rows 0 to 599 have other labels or numbers, or come in other blocks"),
        ([WHOLE[0], (X[300:], LABELS[300:][::-1])], "rows 300 to 899 have other labels"),
        ([WHOLE[0], (X[300:] * 2, LABELS[300:])], "rows 300 to 899 have other labels or numbers"),
    ],
    ids=["shorter", "longer", "in another order", "other labels", "other numbers"],
)
def test_a_walk_that_differs_from_the_first_is_an_error(second, match):
    obj = fastsoftmax.Objective(changing(WHOLE, second))
    with pytest.raises(ValueError, match=match):
        obj.value_and_grad(np.zeros(obj.shape))
