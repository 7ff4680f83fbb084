"""Synthetic problems follow the model they claim, bundled samples load, and splits keep every class's share."""

import numpy as np
import pytest
from expect import peak_bytes
from hypothesis import given
from hypothesis import strategies as st

from fastsoftmax import datasets, reference
from fastsoftmax.datasets import load_sample, make_problem, split_rows


@pytest.mark.parametrize("order", ["C", "F"])
def test_problem_has_the_shape_type_and_order_asked_for(dtype, order):
    X, y, theta = make_problem(1000, 7, 4, dtype=dtype, order=order)
    assert X.shape == (1000, 7) and X.dtype == dtype and X.flags[f"{order}_CONTIGUOUS"]
    assert y.shape == (1000,) and y.dtype == np.int32 and set(y) == {0, 1, 2, 3}
    assert theta.shape == (7, 4) and theta.dtype == np.float64


def test_the_seed_decides_everything_and_the_order_nothing():
    first, again = make_problem(500, 3, 3, seed=1), make_problem(500, 3, 3, seed=1, order="F")
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.X, make_problem(500, 3, 3, seed=2).X)


def test_labels_are_drawn_with_the_probabilities_of_the_model():
    X, y, theta = make_problem(20_000, 4, 3)
    Z = reference.softmax(X @ theta)
    # Each class's count is a sum of independent draws: five standard deviations are 1 in two million.
    spread = np.sqrt((Z * (1 - Z)).sum(axis=0))
    assert (abs(np.bincount(y) - Z.sum(axis=0)) < 5 * spread).all()
    # And so is the loss at the theta the labels were drawn from, around the mean entropy.
    loss, log_Z = reference.mean_loss(Z, y), np.log(Z)
    entropy = -(Z * log_Z).sum(axis=1)
    variance = (Z * log_Z**2).sum(axis=1) - entropy**2
    assert abs(loss - entropy.mean()) < 5 * np.sqrt(variance.sum()) / len(y)


def test_no_signal_makes_classes_equally_frequent():
    y = make_problem(30_000, 3, 3, signal=0).y
    assert (abs(np.bincount(y) - 10_000) < 5 * np.sqrt(30_000 * 2 / 9)).all()


def test_memory_beside_x_does_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr(datasets, "_CHUNK_NUMBERS", 10_000)
    X, y, _ = make_problem(200_000, 10, 3)
    peak = peak_bytes(lambda: make_problem(200_000, 10, 3))
    assert peak < X.nbytes + y.nbytes + 20 * 8 * 10_000


@pytest.mark.parametrize(
    ("arguments", "options", "word"),
    [
        ((0, 3, 2), {}, "m"),
        ((5, 0, 2), {}, "n"),
        ((5, 3, 1), {}, "k"),
        ((5, 3, 2), {"dtype": "i4"}, "int32"),
        ((5, 3, 2), {"order": "A"}, "'A'"),
        ((5, 3, 2), {"signal": -1.0}, "signal"),
    ],
)
def test_bad_arguments_are_named(arguments, options, word):
    with pytest.raises(ValueError, match=word):
        make_problem(*arguments, **options)


@pytest.mark.parametrize("name", datasets.SAMPLES)
def test_bundled_samples_load(name):
    X, y, names = load_sample(name)
    assert X.dtype == np.float64 and X.shape == (len(y), len(names))
    assert len(np.unique(y)) >= 2 and all(isinstance(name, str) for name in names)


def test_an_unknown_sample_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="'digits', 'iris'.*'mnist'"):
        load_sample("mnist")


# ----------------------------------------------------------------------------------------- splits

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=300)


@given(labels=LABELS, fraction=st.floats(0, 0.99), seed=st.integers(0, 5))
def test_a_split_is_a_partition_that_keeps_shares_and_leaves_a_row_of_each_class(labels, fraction, seed):
    y = np.array(labels)
    train, test = split_rows(y, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y)))
    assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()
    assert set(y[train]) == set(y)
    spare = np.bincount(y) - (np.bincount(y) > 0)
    assert len(test) == min(round(fraction * len(y)), spare.sum())
    share = spare * len(test) / max(1, spare.sum())
    assert (abs(np.bincount(y[test], minlength=len(spare)) - share) <= 1 + 1e-9).all()


def test_a_split_depends_on_the_seed_alone_and_takes_text():
    y = np.array(["a", "b"] * 50)
    train, test = split_rows(y, 0.3, seed=1)
    np.testing.assert_array_equal(test, split_rows(y, 0.3, seed=1)[1])
    assert not np.array_equal(test, split_rows(y, 0.3, seed=2)[1])
    assert (y[test] == "a").sum() == 15


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, np.nan])
def test_a_fraction_outside_its_range_is_an_error(fraction):
    with pytest.raises(ValueError, match="fraction"):
        split_rows(np.array([0, 1]), fraction)
