"""``classes_``, ``coef_`` and ``intercept_`` that are assigned: what goes by them, and what cannot be assigned."""

import pickle

import numpy as np
import pytest
from estimators import fit, iris
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastsoftmax import Objective, SoftmaxRegression, SoftmaxRegressionCV
from fastsoftmax.sklearn.parameters import unpacked


def assigned(two, **options):
    """A fitted estimator and its data, and other parameters in the shapes of its own."""
    X, y = iris()
    X, y = (X[50:], y[50:]) if two else (X, y)
    clf = fit(X, y, l2=0.01, **options)
    rng = np.random.default_rng(0)
    return clf, X, y, rng.standard_normal(clf.coef_.shape), rng.standard_normal(clf.intercept_.shape)


def logits(X, coef, intercept):
    H = X @ coef.T + intercept
    return H if H.shape[1] > 1 else H[:, 0]


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("cls", [SoftmaxRegression, SoftmaxRegressionCV])
def test_assigned_parameters_are_those_of_predictions(cls, two):
    clf, X, y, coef, intercept = assigned(two)
    if cls is SoftmaxRegressionCV:
        clf = cls(l2s=[0.01]).fit(X, y)
    own = clf.intercept_
    clf.coef_ = coef
    np.testing.assert_allclose(clf.decision_function(X), logits(X, coef, own), atol=1e-12)
    clf.intercept_ = intercept
    H = logits(X, coef, intercept)
    assert (clf.coef_ == coef).all() and (clf.intercept_ == intercept).all()
    label = clf.classes_[(H > 0).astype(int) if two else H.argmax(axis=1)]
    for got in (clf, pickle.loads(pickle.dumps(clf)), clf.model_):
        np.testing.assert_array_equal(got.predict(X), label)
    np.testing.assert_allclose(clf.decision_function(X), H, atol=1e-12)
    np.testing.assert_allclose(clf.predict_proba(X), clf.model_.predict_proba(X))
    if two:
        np.testing.assert_allclose(clf.predict_proba(X)[:, 1], 1 / (1 + np.exp(-H)), atol=1e-12)
    if cls is SoftmaxRegression:
        assert clf.score(X, y) == np.mean(label == y)
    assert not hasattr(clone(clf), "coef_")


@pytest.mark.parametrize("two", [False, True])
def test_fits_go_on_from_assigned_parameters(two):
    clf, X, y, coef, intercept = assigned(two, warm_start=True)
    best = clf.coef_, clf.intercept_
    clf.coef_, clf.intercept_ = coef, intercept
    starts = []
    clf.set_params(callback=lambda step: starts.append(step.value)).fit(X, y)
    start = np.vstack([coef.T, intercept])
    start = np.hstack([-start / 2, start / 2]) if two else start
    obj = Objective(X, y - y.min(), fit_intercept=True, l2=0.01)
    assert starts[0] == pytest.approx(obj.value(start), rel=1e-12)
    np.testing.assert_allclose(clf.coef_, best[0], atol=1e-3)
    clf.coef_, clf.intercept_ = best
    assert clf.fit(X, y).n_iter_ == 0


def test_partial_fit_goes_on_from_assigned_parameters():
    X, y = iris()
    clf = SoftmaxRegression().partial_fit(X, y, [0, 1, 2])
    coef, intercept = 5 * np.ones((3, 4)) * [[1], [0], [-1]], np.array([9.0, 0.0, -9.0])
    other = SoftmaxRegression()
    other.classes_, other.coef_, other.intercept_ = [0, 1, 2], coef, intercept
    clf.coef_, clf.intercept_ = coef, intercept
    assert not hasattr(clf, "stream_")
    clf.partial_fit(X, y)
    np.testing.assert_array_equal(clf.coef_, other.partial_fit(X, y).coef_)
    assert abs(clf.coef_ - coef).max() < 5


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]])
def test_parameters_assigned_before_a_fit_make_a_model(order):
    X, y = iris()
    fitted = fit(X, y)
    clf = SoftmaxRegression()
    with pytest.raises(NotFittedError):
        clf.predict(X)
    for i in order:
        name = ["classes_", "coef_", "intercept_"][i]
        setattr(clf, name, getattr(fitted, name))
        np.testing.assert_array_equal(getattr(clf, name), getattr(fitted, name))
    np.testing.assert_allclose(clf.predict_proba(X), fitted.predict_proba(X), rtol=1e-12)  # by another backend
    assert clf.n_features_in_ == 4 and clf.set_params(warm_start=True, tol=1e-6).fit(X, y).n_iter_ == 0


def test_other_classes_may_be_assigned():
    X, y = iris()
    clf = fit(X, y)
    numbers = clf.predict(X)
    clf.classes_ = ["a", "b", "c"]
    np.testing.assert_array_equal(clf.predict(X), np.array(["a", "b", "c"])[numbers])


def test_an_intercept_may_be_assigned_to_an_estimator_without():
    X, y = iris()
    clf = fit(X, y, fit_intercept=False)
    clf.intercept_ = np.zeros(3)
    assert clf.model_.bias is None
    clf.intercept_ = [0.0, 100.0, 0.0]
    assert (clf.predict(X) == 1).all()


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("coef_", np.zeros((2, 4)), ValueError, r"coef_ has shape \(2, 4\); \(3, 4\) or"),
        ("coef_", np.zeros((3, 5)), ValueError, r"coef_ has shape \(3, 5\)"),
        ("coef_", np.zeros((4, 3)), ValueError, r"coef_ has shape \(4, 3\)"),
        ("coef_", np.full((3, 4), np.nan), ValueError, "coef_ must be finite; row 0, column 0"),
        ("coef_", "much", TypeError, "coef_ has dtype"),
        ("coef_", None, TypeError, "coef_ has dtype object"),
        ("intercept_", np.zeros(2), ValueError, r"intercept_ has shape \(2,\); .*\(3,\) is wanted"),
        ("intercept_", 0.0, ValueError, r"intercept_ has shape \(\)"),
        ("intercept_", [0, np.inf, 0], ValueError, "intercept_ must be finite"),
        ("classes_", [0, 1], ValueError, r"classes has shape \(2,\)"),
        ("classes_", [2, 1, 0], ValueError, "classes_ must be labels in rising order; got"),
    ],
)
def test_what_cannot_be_assigned(name, value, error, message):
    X, y = iris()
    clf = fit(X, y)
    before = clf.predict_proba(X)
    with pytest.raises(error, match=message):
        setattr(clf, name, value)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


def test_what_cannot_be_assigned_before_a_fit():
    clf = SoftmaxRegression()
    clf.coef_ = np.zeros(4)
    with pytest.raises(ValueError, match=r"coef_ has shape \(4,\); \(classes, features\)"):
        clf.classes_ = [0, 1, 2]
    clf.coef_ = np.zeros((1, 4))
    with pytest.raises(ValueError, match=r"coef_ has shape \(1, 4\); \(3, 4\)"):
        clf.classes_ = [0, 1, 2]


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("name", ["coef_", "intercept_"])
def test_writing_into_parameters_is_an_error(name, two):
    clf, X, _, _, _ = assigned(two)
    with pytest.raises(ValueError, match="read-only"):
        getattr(clf, name)[:] = 0
    with pytest.raises(ValueError, match="read-only"):
        exec(f"clf.{name} *= 2")
    given = np.array(getattr(clf, name))
    setattr(clf, name, given)
    given[:] = 100  # the caller's own array is not the estimator's
    assert (getattr(clf, name) != 100).all()
    setattr(clf, name, getattr(clf, name) * 2)


# ------------------------------------------------------------------------------------------- files of skops


ESTIMATORS = {
    "new": lambda X, y: SoftmaxRegression(backend="numpy"),
    "fit": lambda X, y: SoftmaxRegression(backend="numpy").fit(X, y),
    "l1": lambda X, y: SoftmaxRegression(backend="numpy", l1=1e-2, class_weight={"b": 2.0}).fit(
        X, np.array(list("abc"))[y]
    ),
    "partial_fit": lambda X, y: SoftmaxRegression(backend="numpy").partial_fit(X, y, classes=[0, 1, 2]),
    "CV": lambda X, y: SoftmaxRegressionCV(backend="numpy", l2s=[0.1, 0.01]).fit(X, y),
}


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_state_has_plain_values_alone_and_comes_back(kind):
    def plain(value):
        if isinstance(value, dict):
            return all(map(plain, value.values()))
        if isinstance(value, (list, tuple)):
            return all(map(plain, value))
        return value is None or type(value).__module__ in ("builtins", "numpy")

    clf = ESTIMATORS[kind](*iris())
    state = clf.__getstate__()
    assert plain(state) and set(state) >= set(vars(clf))
    same_state({name: unpacked(value) for name, value in state.items()}, vars(clf))


def same_state(got, wanted):
    assert type(got) is type(wanted)
    if hasattr(wanted, "__dict__"):
        return same_state(vars(got), vars(wanted))
    if isinstance(wanted, dict):
        assert got.keys() >= wanted.keys()
        return [same_state(got[name], wanted[name]) for name in wanted]
    if isinstance(wanted, (list, tuple)):
        return [same_state(*both) for both in zip(got, wanted, strict=True)]
    return np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_skops_need_trust_our_class_alone(kind, tmp_path):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    X, y = iris()
    clf = ESTIMATORS[kind](X, y)
    skops.dump(clf, tmp_path / "model.skops")
    own = f"{type(clf).__module__}.{type(clf).__name__}"
    assert skops.get_untrusted_types(file=tmp_path / "model.skops") == [own]
    again = skops.load(tmp_path / "model.skops", trusted=[own])
    assert again.get_params() == clf.get_params()
    if hasattr(clf, "model_"):
        np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    if hasattr(clf, "stream_"):
        rest = (X[::-1], y[::-1])
        np.testing.assert_array_equal(again.partial_fit(*rest).coef_, clf.partial_fit(*rest).coef_)


def test_a_class_may_have_any_name():
    clf = SoftmaxRegression(class_weight={"fastsoftmax": 2.0, "fastsoftmax.kind": 1.0})
    assert pickle.loads(pickle.dumps(clf)).class_weight == clf.class_weight


def test_no_class_outside_the_table_is_made():
    with pytest.raises(KeyError, match="Popen"):
        unpacked({"fastsoftmax.kind": "Popen"})
