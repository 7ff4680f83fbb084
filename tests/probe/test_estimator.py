"""`LinearProbe`: what a sweep by hand finds, with held-out rows, a validation set or folds, and after it was killed."""

import json

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastsoftmax import LinearProbe, Objective, datasets, minimize, scan
from fastsoftmax.probe import sweep as sweep_module
from fastsoftmax.probe.checkpoint import Checkpoint

DIGITS = load_digits(return_X_y=True)


@parametrize_with_checks([LinearProbe(grid=2, held_out=0.3)])
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def data(m=400, n=8, k=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, n))
    return X, np.argmax(X @ rng.standard_normal((n, k)) + rng.gumbel(size=(m, k)), axis=1)


def by_hand(X, y, rows, held, l2):
    """Theta and log loss of a fit to some rows, measured on others."""
    theta = minimize(Objective(X[rows], y[rows], 4, fit_intercept=True, l2=l2), tol=1e-10).theta
    return theta, Objective(X[held], y[held], 4, fit_intercept=True).value(theta)


@pytest.mark.parametrize("options", [{}, {"standardize": True}, {"normalize": True}])
def test_a_sweep_is_what_fits_one_by_one_find(options):
    X, y = data()
    probe = LinearProbe(l2s=[1e-3, 1e-1, 1e-2], tol=1e-8, **options).fit(X, y)
    rows, held = datasets.split_rows(y, 0.2, 0)
    copy = X / np.linalg.norm(X, axis=1, keepdims=True) if probe.normalize else X
    copy = copy / copy.std(axis=0) if probe.standardize else copy
    for value, l2 in zip(probe.values_, (1e-1, 1e-2, 1e-3), strict=True):
        assert value.l2 == l2 and value.C == pytest.approx(1 / (l2 * len(rows))) and value.converged
        assert value.metrics["log_loss"].value == pytest.approx(by_hand(copy, y, rows, held, l2)[1], rel=1e-5)
    best = min(range(3), key=lambda i: probe.values_[i].metrics["log_loss"].value)
    assert (probe.best_index_, probe.l2_) == (best, probe.values_[best].l2)
    theta, _ = by_hand(copy, y, slice(None), slice(None), probe.l2_)
    H = copy @ theta[:-1] + theta[-1]
    np.testing.assert_array_equal(probe.predict(X), H.argmax(axis=1))
    assert probe.predict_proba(X).shape == (400, 4) and probe.n_passes_ > 3


def test_a_validation_set_is_measured_and_never_fitted():
    X, y = data(500)
    probe = LinearProbe(Cs=[0.01, 1.0, 100.0], tol=1e-8, scoring="top1").fit(
        X[:300], y[:300], validation=(X[300:], y[300:])
    )
    theirs = [
        LogisticRegression(C=C, tol=1e-8, max_iter=1000).fit(X[:300], y[:300]).score(X[300:], y[300:])
        for C in (0.01, 1.0, 100.0)
    ]
    assert [value.metrics["top1"].value for value in probe.values_] == pytest.approx(theirs, abs=0.006)
    wanted = LogisticRegression(C=probe.C_, tol=1e-8, max_iter=1000).fit(X[:300], y[:300])
    np.testing.assert_allclose(probe.predict_proba(X), wanted.predict_proba(X), atol=1e-4)
    assert probe.score(X[300:], y[300:]) == pytest.approx(max(theirs), abs=0.006)


def test_folds_measure_each_row_once():
    X, y = data()
    probe = LinearProbe(l2s=[1e-2], cv=4, tol=1e-8).fit(X, y)
    assert probe.values_[0].thetas.shape == (4, 9, 4)
    folds = [np.arange(400) % 4 == f for f in range(4)]
    splits = [(np.flatnonzero(~fold), np.flatnonzero(fold)) for fold in folds]
    again = LinearProbe(l2s=[1e-2], cv=splits, tol=1e-8).fit(X, y)
    losses = [by_hand(X, y, rows, held, 1e-2)[1] for rows, held in splits]
    assert again.values_[0].metrics["log_loss"].value == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("kind", ["float16", "uint8", "sparse", "parts", "file"])
def test_kinds_of_features(tmp_path, kind):
    X, y = DIGITS
    given = {"float16": X.astype("f2"), "uint8": X.astype("u1"), "sparse": sp.csr_array(X), "parts": [X[:900], X[900:]]}
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    paths = tmp_path / "X.npy", tmp_path / "y.npy"
    options = {"l2s": [0.1, 0.01], "refit": False}
    found = LinearProbe(**options).fit(*(paths if kind == "file" else (given[kind], y)))
    wanted = LinearProbe(**options).fit(X, y)
    for one, other in zip(found.values_, wanted.values_, strict=True):
        assert one.metrics["log_loss"].value == pytest.approx(other.metrics["log_loss"].value, rel=2e-3)
    assert found.n_features_in_ == 64
    np.testing.assert_array_equal(found.predict(paths[0] if kind == "file" else given[kind]), found.predict(X))


def test_features_in_bfloat16():
    X, y = DIGITS
    narrow = X.astype(ml_dtypes.bfloat16)
    found, wanted = (LinearProbe(l2s=[0.1]).fit(given, y) for given in (narrow, X))
    np.testing.assert_array_equal(found.predict(narrow), wanted.predict(X))


def test_the_strongest_penalty_within_one_standard_error():
    X, y = data()
    probes = [LinearProbe(grid=9, rule=rule).fit(X, y) for rule in ("best", "one_se")]
    best = probes[0].values_[probes[0].best_index_].metrics["log_loss"]
    chosen = probes[1].best_index_
    losses = [value.metrics["log_loss"].value for value in probes[1].values_[: chosen + 1]]
    assert losses[-1] <= best.value + best.error and all(loss > best.value + best.error for loss in losses[:-1])


def test_a_fit_that_cannot_become_the_best_is_ended():
    """Noise alone: the weaker the penalty, the worse."""
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((200, 20)), rng.integers(3, size=200)
    options = {"l2s": [1.0, 0.1, 0.01, 0.001], "solver": "lbfgs", "tol": 1e-9}
    early, full = (LinearProbe(early=early, **options).fit(X, y) for early in (True, False))
    ended = [value for value in early.values_ if value.metrics is None]
    assert ended and early.l2_ == full.l2_ and early.n_passes_ < full.n_passes_
    for value, wanted in zip(early.values_, full.values_, strict=True):
        if value.metrics is None:
            assert early.values_[early.best_index_].metrics["log_loss"].value < value.lower_bound
            assert value.lower_bound <= wanted.metrics["log_loss"].value and not value.converged
    assert "cannot" not in early.report_.table() and ">= " in early.report_.table()
    assert LinearProbe(scoring="top1", **options).fit(X, y).values_[-1].metrics is not None


def test_a_killed_sweep_goes_on_where_it_was(tmp_path):
    X, y = data()
    options = {"l2s": [1.0, 0.1, 0.01, 0.001], "early": False, "tol": 1e-8}

    class Killed(Exception):
        pass

    def kill(count, value):
        if value.l2 == 0.1:
            raise Killed

    with pytest.raises(Killed):
        LinearProbe(checkpoint=tmp_path / "c", callback=kill, **options).fit(X, y)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["sweep.json", "value-000.npz", "value-001.npz"]
    (tmp_path / "c" / "value-002.npz.part").write_bytes(b"half")
    done = []
    probe = LinearProbe(checkpoint=tmp_path / "c", callback=lambda count, value: done.append(value), **options).fit(
        X, y
    )
    whole = LinearProbe(**options).fit(X, y)
    assert len(done) == 4
    for one, other in zip(probe.values_, whole.values_, strict=True):
        assert one.l2 == other.l2 and one.metrics["log_loss"].value == pytest.approx(
            other.metrics["log_loss"].value, rel=1e-6
        )
    assert one.passes < other.passes + 5
    with pytest.raises(ValueError, match="is the checkpoint of a sweep of other data or options"):
        LinearProbe(checkpoint=tmp_path / "c", **options).fit(X, 1 - (y > 1))
    with pytest.raises(ValueError, match="is the checkpoint of a sweep of other data or options"):
        LinearProbe(checkpoint=tmp_path / "c", **(options | {"tol": 1e-7})).fit(X, y)
    (tmp_path / "c" / "value-001.npz").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="value-001.npz is damaged"):
        LinearProbe(checkpoint=tmp_path / "c", **options).fit(X, y)


def test_a_sweep_of_a_later_format_and_damage_are_refused(tmp_path):
    kept = Checkpoint(tmp_path / "c", "digest")
    kept.save(0, {"l2": 0.1}, np.ones((1, 2, 2)))
    for data in (b"", b"text", b"PK\x03\x04" + bytes(50), (tmp_path / "c" / "value-000.npz").read_bytes()[:-30]):
        (tmp_path / "c" / "value-000.npz").write_bytes(data)
        with pytest.raises(ValueError, match=r"value-000\.npz is damaged"):
            kept.load(0)
    (tmp_path / "c" / "sweep.json").write_text('{"format": 2, "digest": "digest"}')
    with pytest.raises(ValueError, match="format version 2, this fastsoftmax reads up to 1; a newer one is wanted"):
        Checkpoint(tmp_path / "c", "digest")
    (tmp_path / "c" / "sweep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"sweep\.json is damaged"):
        Checkpoint(tmp_path / "c", "digest")


def test_folders_that_are_no_checkpoint(tmp_path):
    X, y = data()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(ValueError, match="is no checkpoint of a sweep, and not empty"):
        LinearProbe(grid=2, checkpoint=tmp_path / "full").fit(X, y)
    with pytest.raises(ValueError, match="is a file; a folder"):
        LinearProbe(grid=2, checkpoint=tmp_path / "full" / "thesis.txt").fit(X, y)


def test_report(tmp_path):
    X, y = data()
    probe = LinearProbe(grid=3, cv=3).fit(X, y)
    report = json.loads(probe.report_.to_json())
    assert report["chosen"] == probe.best_index_ and report["folds"] == 3 and report["held_out"] == 400
    assert [value["l2"] for value in report["values"]] == [value.l2 for value in probe.values_]
    assert report["values"][0]["metrics"]["top5"] == {"value": 1.0, "error": 0.0}
    lines = str(probe.report_).splitlines()
    assert len(lines) == 4 and lines[1 + probe.best_index_].startswith("> ") and "mean_per_class" in lines[0]
    probe.report_.plot(tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes()[:4] == b"\x89PNG"


def test_fits_that_do_not_converge_are_told_and_it_is_an_estimator():
    X, y = data()
    probe = LinearProbe(l2s=[1e-6], max_iter=2, solver="lbfgs")
    with pytest.warns(ConvergenceWarning, match="1 of 1 values have fits that ended before they reached tol"):
        probe.fit(X, y)
    assert clone(probe).get_params() == probe.get_params()
    names = np.array(["a", "b", "c", "d"])[y]
    assert set(LinearProbe(grid=2).fit(X, names).predict(X)) <= {"a", "b", "c", "d"}


def test_a_fit_that_only_rounding_moves_is_ended(monkeypatch):
    monkeypatch.setattr(sweep_module, "SETTLED_STEPS", 1)
    monkeypatch.setattr(sweep_module, "SETTLED", 1e-4 / np.finfo("f8").eps)
    X, y = data()
    options = {"l2s": [1e-4], "solver": "lbfgs"}
    value = LinearProbe(tol=1e-3, **options).fit(X, y).values_[0]
    assert value.converged and "its value fell by less than 0.0001 of itself in 1 steps" in value.message
    with pytest.warns(ConvergenceWarning, match="1 of 1 values"):
        assert not LinearProbe(tol=1e-12, **options).fit(X, y).values_[0].converged


def with_nan(X):
    X = X.copy()
    X[250, 3] = np.nan
    return [X[:100], X[100:200], X[200:]]


@pytest.mark.parametrize(
    ("options", "fit", "error", "text"),
    [
        ({"scoring": "auc"}, {}, ValueError, "scoring must be one of 'log_loss', 'top1', .*; got 'auc'"),
        ({"rule": "first"}, {}, ValueError, "rule must be one of 'best', 'one_se'; got 'first'"),
        ({"held_out": 1.0}, {}, ValueError, "held_out must be above 0 and below 1; got 1.0"),
        ({"standardize": True, "fit_intercept": False}, {}, ValueError, "standardize=True needs fit_intercept=True"),
        ({"callback": 3}, {}, TypeError, "callback must be callable"),
        ({"grid": "dino"}, {}, ValueError, "grid must be one of"),
        ({"l2s": [0.0, 1.0]}, {}, ValueError, "l2s must be finite and above 0; got 0"),
        ({}, {"y": np.zeros(399)}, ValueError, "X has 400 rows, and y 399 labels"),
        ({}, {"validation": (np.zeros((3, 8)), [0, 1])}, ValueError, "of validation has 3 rows, and its y 2 labels"),
        ({}, {"validation": (np.zeros((2, 8)), [1, 1])}, ValueError, "validation holds one class only"),
        ({}, {"validation": (np.zeros((2, 8)), [1, 9])}, ValueError, "validation holds the label 9, which y does not"),
        ({}, {"validation": (np.zeros((2, 7)), [1, 0])}, ValueError, "the X of validation has 7 columns; 8 are wanted"),
        ({}, {"validation": 3}, TypeError, r"validation must be \(X, y\); got int"),
        ({"held_out": 0.001}, {}, ValueError, "the part held out holds no row; rows of at least two classes"),
        ({"grid": 2}, {"X": with_nan(data()[0])}, ValueError, "part 2, row 50, column 3 holds nan"),
    ],
)
def test_bad_input_gets_a_sentence(options, fit, error, text):
    X, y = data()
    with pytest.raises(error, match=text):
        LinearProbe(**options).fit(**({"X": X, "y": y} | fit))


def test_bounds_are_worked_out_when_the_gap_has_fallen(monkeypatch):
    monkeypatch.setattr(sweep_module, "FALLEN", 0.0)
    X, y = data()
    assert all(value.metrics for value in LinearProbe(grid=4).fit(X, y).values_)


@pytest.mark.parametrize("options", [{}, {"standardize": True, "normalize": True}, {"cv": 3}])
def test_a_scan_is_probed_as_its_rows_in_memory(options):
    X, y = data()
    names = np.array(["ash", "elm", "fir", "oak"])[y]
    chunks = scan(lambda: ((X[a : a + 90], names[a : a + 90]) for a in range(0, len(X), 90)))
    found, wanted = (LinearProbe(l2s=[1e-1, 1e-2], **options).fit(*rows) for rows in ((chunks,), (X, names)))
    assert found.l2_ == wanted.l2_ and found.classes_.tolist() == wanted.classes_.tolist()
    np.testing.assert_allclose(found.predict_proba(X), wanted.predict_proba(X), rtol=1e-9)


def test_what_a_scan_may_not_have():
    X, y = data(m=40)
    weighted = scan(lambda: iter([(X, y, np.ones(40))]))
    with pytest.raises(ValueError, match="was scanned with weights, which a probe does not take"):
        LinearProbe().fit(weighted)
    with pytest.raises(TypeError, match="y is given beside a scan"):
        LinearProbe().fit(weighted, y)
    with pytest.raises(ValueError, match="1 class|one class|two"):
        LinearProbe().fit(scan(lambda: iter([(X, np.zeros(40, int))])))


def test_scans_where_a_probe_takes_arrays():
    X, y = data()
    chunks = scan(lambda: iter([(X, y)]))
    with pytest.raises(TypeError, match="validation holds a scan"):
        LinearProbe(grid=2).fit(X, y, validation=(chunks, y))
    unit = LinearProbe(grid=2, normalize=True).fit(chunks)
    with pytest.raises(TypeError, match="normalize=True predicts arrays and paths, not a scan"):
        unit.predict(chunks)


def test_a_checkpoint_of_other_rows_beyond_the_first_is_refused(tmp_path):
    X, y = data()
    LinearProbe(grid=2, checkpoint=tmp_path / "c").fit(X, y)
    X[300:] *= 1.5
    with pytest.raises(ValueError, match="checkpoint of a sweep of other data or options"):
        LinearProbe(grid=2, checkpoint=tmp_path / "c").fit(X, y)
