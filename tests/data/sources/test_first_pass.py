"""Labels and weights of all rows, in files without a name; and what is made of them some rows at a time."""

import errno

import numpy as np
import pytest
from problems import chunks_of, lettered_problem

import fastsoftmax
from fastsoftmax.data.sources import first_pass
from fastsoftmax.data.validation import check_weights

X, LABELS = lettered_problem(2000)
CODES = np.unique(LABELS, return_inverse=True)[1]
W = np.random.default_rng(0).uniform(0, 5, 2000) * (np.arange(2000) > 50)


@pytest.fixture
def targets(monkeypatch):
    monkeypatch.setattr(first_pass, "ROWS_AT_ONCE", 300)
    return fastsoftmax.scan(chunks_of(X, LABELS, W)).targets


def test_labels_and_weights_are_those_of_memory(targets):
    np.testing.assert_array_equal(targets.y, CODES)
    w, total = check_weights(W, 2000)
    np.testing.assert_array_equal(targets.w, w)
    assert targets.weight_sum == total and targets.y.dtype == np.int32
    np.testing.assert_array_equal(targets.counts, np.bincount(CODES))
    np.testing.assert_allclose(targets.weights, np.bincount(CODES, weights=w), rtol=1e-12)


def test_weights_by_class(targets):
    by_class = np.array([0.3, 7.0, 1.0])
    w, total = check_weights(check_weights(W, 2000)[0] * by_class[CODES], 2000)
    made = targets.times(by_class)
    np.testing.assert_array_equal(made.w, w)
    assert made.weight_sum == total
    with pytest.raises(ValueError, match="zero in every row"):
        targets.times(np.zeros(3))


def test_classes_that_are_left_out_and_others_that_are_known(targets):
    some = targets.of_classes(np.array([True, False, True]))
    assert some.classes.tolist() == ["a", "c"]
    np.testing.assert_array_equal(some.y, np.array([0, 0, 1])[CODES])
    more = targets.among(np.array(["0", "a", "b", "c", "d"]))
    np.testing.assert_array_equal(more.y, CODES + 1)
    assert more.counts.tolist() == [0, *np.bincount(CODES), 0]


def test_a_split_has_every_row_once(targets):
    kept, held = targets.split(0.3, seed=1)
    np.testing.assert_array_equal(kept.w + held.w, targets.w)
    assert not (kept.w * held.w).any() and abs(held.counts.sum() / 1949 - 0.3) < 0.05
    again, other = targets.split(0.3, seed=1)[1], targets.split(0.3, seed=2)[1]
    np.testing.assert_array_equal(held.w, again.w)
    assert (held.w != other.w).any() and targets.split(0.0, seed=1)[1].counts.sum() == 0


def test_a_disk_without_room_for_labels_is_told(monkeypatch):
    class Full:
        def __init__(self, **_):
            pass

        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(first_pass.tempfile, "TemporaryFile", Full)
    with pytest.raises(OSError, match="no room for the labels and weights of 0 rows .* TMPDIR names another folder"):
        fastsoftmax.scan(chunks_of(X, LABELS)).classes  # noqa: B018


def test_too_many_labels_are_no_classes(monkeypatch):
    monkeypatch.setattr(first_pass, "MOST_CLASSES", 100)
    with pytest.raises(ValueError, match="chunk 0 .*: more than 100 different labels"):
        fastsoftmax.scan(chunks_of(X, np.arange(2000))).classes  # noqa: B018
