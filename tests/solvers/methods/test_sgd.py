"""Averaged mini-batch gradients: near the optimum after a few walks, whatever the columns' scales; `partial_fit`."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from samples import badly_scaled, one_class_of_five_rows, text

from fastsoftmax import Objective, SoftmaxRegression, datasets, minimize
from fastsoftmax.solvers.methods import sgd
from fastsoftmax.solvers.methods.sgd import Stream, mini_batches

NEAR = 0.01


def overlapping(m=20_000, n=20, k=4):
    return datasets.make_problem(m, n, k, seed=3)[:2]


SETS = {"overlapping": overlapping, "badly scaled": lambda: badly_scaled(20_000), "rare": one_class_of_five_rows}


@pytest.mark.parametrize("name", SETS)
def test_a_few_walks_come_within_one_percent_of_the_minimum(name):
    X, y = SETS[name]()
    obj = Objective(X, y, fit_intercept=True, l2=1e-4)
    best = minimize(obj).value
    res = minimize(obj, solver="sgd", max_iter=6)
    assert res.solver == "sgd" and best <= res.value <= (1 + NEAR) * best
    values = [step.value for step in res.history]
    assert np.all(np.diff(values) < 0)


def test_every_pass_is_counted(monkeypatch):
    """One for the moments, one for the start, and two for each walk, successful or not: the walk and the value."""
    obj = Objective(*overlapping(2000), fit_intercept=True, l2=1e-3)
    walked, walk = [], Stream.walk
    monkeypatch.setattr(Stream, "walk", lambda self, obj: walked.append(1) or walk(self, obj))
    res = minimize(obj, solver="sgd", max_iter=4)
    assert res.n_iter == 4 <= len(walked)
    assert res.n_passes == obj.n_passes == 2 + 2 * len(walked)


def test_backends_and_dtypes_agree(backend):
    X, y = overlapping(2000)
    for dtype in ("f8", "f4"):
        res = minimize(Objective(X.astype(dtype), y, l2=1e-3, backend=backend), solver="sgd", max_iter=3)
        exact = minimize(Objective(X, y, l2=1e-3, backend="numpy"), solver="sgd", max_iter=3)
        # A walk has some sixty steps, each with an error of some eps.
        assert abs(res.value - exact.value) <= 1e3 * np.finfo(dtype).eps


def test_units_of_the_columns_have_no_part_in_it():
    X, y = overlapping(4000, 6)
    units = 2.0 ** np.array([-30, -3, 0, 10, 20, 40])
    plain, scaled = (minimize(Objective(A, y, fit_intercept=True), solver="sgd", max_iter=3) for A in (X, X * units))
    np.testing.assert_allclose([s.value for s in scaled.history], [s.value for s in plain.history], rtol=1e-6)


def test_rows_sorted_by_class_do_no_harm():
    X, y = overlapping(8000)
    order = np.argsort(y, kind="stable")
    best = minimize(Objective(X, y, l2=1e-4)).value
    assert minimize(Objective(X[order], y[order], l2=1e-4), solver="sgd", max_iter=4).value <= (1 + NEAR) * best


@pytest.mark.parametrize("m", [1, 31, 33, 1000, 100_000])
def test_mini_batches_are_all_rows_once_and_alike_in_size(m):
    obj = Objective(np.arange(float(m))[:, None], np.arange(m) % 2, 2, sample_weight=1.0 + np.arange(m))
    (chunk,) = obj.source.chunks(m)
    parts = list(mini_batches(chunk))
    rows = np.concatenate([part.X[:, 0] for part in parts])
    np.testing.assert_array_equal(np.sort(rows), np.arange(m))
    sizes = [len(part.X) for part in parts]
    assert max(sizes) - min(sizes) <= 1 and max(sizes) < 2 * sgd.BATCH_MAX
    for part in parts:
        assert np.shares_memory(part.X, chunk.X)
        np.testing.assert_array_equal(part.y, part.X[:, 0].astype(int) % 2)
        np.testing.assert_array_equal(part.w / chunk.w[0], 1.0 + part.X[:, 0])


def test_many_features_take_the_diagonal(monkeypatch):
    monkeypatch.setattr(sgd, "FULL_MAX", 3)
    X, y = overlapping(5000, 5)
    best = minimize(Objective(X, y, l2=1e-3)).value
    assert minimize(Objective(X * 10.0 ** np.arange(5), y), solver="sgd", max_iter=6).value <= (1 + NEAR) * best


def test_where_no_lower_value_is_found_the_message_says_so():
    X, y = overlapping(400, 2, 2)
    res = minimize(Objective(X, y, l2=1e-2), solver="sgd", tol=1e-300)
    assert not res.converged and "found no lower value in 10 walks" in res.message


def test_without_rows_it_says_what_it_needs():
    class Duck:
        shape, n_passes, l2, fit_intercept = (2, 2), 0, 0.0, False

        def value_and_grad(self, theta):
            return 1.0, np.ones((2, 2))

        def gram(self):
            return np.eye(2)

    with pytest.raises(TypeError, match="solver 'sgd' needs an objective whose rows can be walked"):
        minimize(Duck(), solver="sgd")


# -------------------------------------------------------------------------------------- partial_fit


def chunks(X, y, size=1000):
    return [(X[i : i + size], y[i : i + size]) for i in range(0, len(y), size)]


def streamed(X, y, *, classes, **options):
    clf = SoftmaxRegression(**options)
    for part in chunks(X, y):
        clf.partial_fit(*part, classes=classes)
    return clf


@pytest.mark.parametrize("name", SETS)
def test_a_stream_read_once_comes_near_the_fit(name):
    X, y = SETS[name]()
    clf = streamed(X, y, classes=np.unique(y))
    obj = Objective(X, y, fit_intercept=True, l2=1e-4)
    best, theta = minimize(obj).value, np.vstack([clf.model_.theta, clf.model_.bias])
    assert obj.value(theta) <= (1 + NEAR) * best
    assert clf.score(X, y) >= SoftmaxRegression().fit(X, y).score(X, y) - 0.01


def test_calls_go_on_from_each_other_and_are_deterministic():
    X, y = overlapping(3000)
    one, other = (streamed(X, y, classes=range(4)) for _ in range(2))
    np.testing.assert_array_equal(one.coef_, other.coef_)
    first = SoftmaxRegression().partial_fit(X[:1000], y[:1000], range(4))
    assert not np.array_equal(first.coef_, one.coef_) and one.stream_.rows == 3000
    # The same steps by hand, on one stream.
    stream = Stream.start(np.zeros((21, 4)))
    for part in chunks(X, y):
        stream.walk(Objective(*part, 4, fit_intercept=True, l2=1e-4))
    np.testing.assert_array_equal(stream.average[:-1].T, one.coef_)


def test_classes_are_needed_first_and_kept_and_may_be_missing_from_a_chunk():
    X, y = overlapping(600)
    names = np.array(["d", "a", "c", "b"])
    with pytest.raises(ValueError, match="classes must be given in the first call"):
        SoftmaxRegression().partial_fit(X, names[y])
    only = names[y] != "c"
    clf = SoftmaxRegression().partial_fit(X[only], names[y][only], classes=names)
    assert clf.classes_.tolist() == ["a", "b", "c", "d"] and clf.coef_.shape == (4, 20)
    clf.partial_fit(X, names[y])
    with pytest.raises(ValueError, match="classes must be those of the calls before"):
        clf.partial_fit(X, names[y], classes=["a", "b"])
    with pytest.raises(ValueError, match="row 0 holds .*'e'"):
        clf.partial_fit(X[:1], ["e"])


def test_it_goes_on_from_a_fit_and_a_fit_begins_anew():
    X, y = overlapping(3000)
    clf = SoftmaxRegression(l2=1e-3).fit(X, y)
    value = clf.result_.value
    clf.partial_fit(X, y)
    obj = Objective(X, y, fit_intercept=True, l2=1e-3)
    assert value <= obj.value(np.vstack([clf.model_.theta, clf.model_.bias])) <= (1 + NEAR) * value
    assert not hasattr(clf, "result_")
    again = clf.fit(X, y)
    assert again.result_.value == value and not hasattr(again, "stream_")


def test_bad_rows_leave_the_state_as_it_was():
    X, y = overlapping(600)
    clf = SoftmaxRegression().partial_fit(X, y, range(4))
    before, spoiled = clf.coef_.copy(), X.copy()
    spoiled[17, 3] = np.nan
    with pytest.raises(ValueError, match="row 17, column 3"):
        clf.partial_fit(spoiled, y)
    np.testing.assert_array_equal(clf.coef_, before)
    clf.partial_fit(X, y)
    np.testing.assert_array_equal(clf.coef_, SoftmaxRegression().partial_fit(X, y, range(4)).partial_fit(X, y).coef_)


def test_weights_of_zero_are_rows_that_are_not_there_and_one_row_is_enough():
    X, y = overlapping(64)
    w = np.repeat([1.0, 0.0], 32)
    clf = SoftmaxRegression().partial_fit(X, y, range(4), sample_weight=w)
    assert np.isfinite(clf.coef_).all()
    for i in range(20):
        clf.partial_fit(X[i : i + 1], y[i : i + 1])
    assert np.isfinite(clf.coef_).all() and clf.score(X, y) > 0.3


# ---------------------------------------------------------------------------------------- sparse X


def mean_error(m, dtype="f8"):
    """The error of a value after some hundred steps, each of which adds a few roundings of its mini-batch's sums."""
    return m * np.finfo(dtype).eps


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("full_max", [3, 500])
def test_sparse_rows_give_what_dense_ones_do(backend, monkeypatch, fit_intercept, full_max):
    monkeypatch.setattr(sgd, "FULL_MAX", full_max)
    X, y = text(2000, 40, 3, words=8)
    w = np.random.default_rng(0).random(len(y)) + 0.5
    options = {"fit_intercept": fit_intercept, "l2": 1e-3, "sample_weight": w, "backend": backend}
    thin, dense = (minimize(Objective(A, y, **options), solver="sgd", max_iter=3) for A in (X, X.toarray()))
    assert [s.n_passes for s in thin.history] == [s.n_passes for s in dense.history]
    np.testing.assert_allclose(
        [s.value for s in thin.history], [s.value for s in dense.history], rtol=0, atol=mean_error(len(y))
    )
    np.testing.assert_allclose(thin.theta, dense.theta, rtol=0, atol=mean_error(len(y)) * np.abs(dense.theta).max())


@pytest.mark.parametrize("l2", [0.0, 1e-6, 1e-4])
def test_wide_sparse_rows_are_learnt_without_an_array_of_their_shape(l2):
    X, y = text(20_000, 20_000, 5)
    obj = Objective(X, y, fit_intercept=True, l2=l2)
    start = obj.value(np.zeros(obj.shape))
    tracemalloc.start()
    res = minimize(obj, solver="sgd", max_iter=10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.all(np.diff([s.value for s in res.history]) < 0)
    assert res.value < 0.7 * start
    assert peak < 40 * obj.shape[0] * obj.shape[1] * 8 < len(y) * 20_000 * 8 / 10


def test_a_mini_batch_of_sparse_rows_has_entries_for_each_column():
    X, y = text(5000, 6000, 3)
    obj = Objective(X, y)
    (chunk,) = obj.source.chunks(len(y))
    parts = list(mini_batches(chunk))
    assert len(parts) == 2 and min(len(part.X.data) for part in parts) >= sgd.COLUMN_ENTRIES * 6000
    whole = sp.vstack([sp.csr_array((p.X.data, p.X.indices, p.X.indptr), shape=p.X.shape) for p in parts])
    stride = len(parts)
    wanted = sp.vstack([X[first::stride] for first in range(stride)])
    np.testing.assert_array_equal(whole.toarray(), wanted.toarray())


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_stream_of_sparse_rows_is_that_of_dense_ones(backend, dtype):
    X, y = text(3000, 30, 4, words=10)
    X = X.astype(dtype)
    X.eliminate_zeros()
    options = {"classes": range(4), "backend": backend}
    thin, dense = streamed(X, y, **options), streamed(X.toarray(), y, **options)
    assert thin.stream_.rows == 3000
    np.testing.assert_allclose(
        thin.coef_, dense.coef_, rtol=0, atol=mean_error(len(y), dtype) * np.abs(dense.coef_).max()
    )
    np.testing.assert_array_equal(thin.predict(X), dense.predict(X.toarray()))


def test_a_column_that_first_comes_late_does_no_harm():
    """Its parameters wait until the metric has its scale. Otherwise l2 alone would scale their first step."""
    X, y = text(4000, 60, 3, words=8)
    late = X.tolil()
    late[:500, 40:] = 0.0
    for A in (late.tocsr(), late.toarray()):
        clf = SoftmaxRegression(l2=1e-8)
        for part in chunks(A, y, 450):
            clf.partial_fit(*part, classes=range(3))
        obj = Objective(A, y, fit_intercept=True, l2=1e-8)
        theta = np.vstack([clf.model_.theta, clf.model_.bias])
        assert obj.value(theta) < 0.9 * obj.value(np.zeros_like(theta))


def test_a_bad_entry_of_sparse_rows_is_named():
    X, y = text(300, 30, 3, words=8)
    X = X.tocsr()
    X.data[X.indptr[17]] = np.nan
    with pytest.raises(ValueError, match="row 17, column"):
        SoftmaxRegression().partial_fit(X, y, range(3))


@pytest.mark.parametrize("options", [{"l1": 0.1}, {"class_weight": "balanced"}])
def test_what_needs_all_rows_is_an_error(options):
    X, y = overlapping(64)
    with pytest.raises(ValueError, match="partial_fit takes no l1 above 0 and no class_weight='balanced'"):
        SoftmaxRegression(**options).partial_fit(X, y, range(4))
