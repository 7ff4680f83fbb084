"""Installing and uninstalling: whose `fit` runs, and that nothing else of scikit-learn changes."""

import inspect
import pickle
import threading
import warnings

import child
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.linear_model._logistic import LogisticRegression as FromItsModule

from fastsoftmax import accel
from fastsoftmax.accel import patch
from fastsoftmax.sklearn import fit_log

CLASSES = [LogisticRegression, LogisticRegressionCV]
HOST_FITS = [kind.__dict__["fit"] for kind in CLASSES]
X, Y = load_iris(return_X_y=True)


@pytest.fixture(autouse=True)
def leave_nothing_installed():
    accel.uninstall()
    yield
    accel.uninstall()


@pytest.fixture
def records(monkeypatch):
    """What fits on ours have said of themselves."""
    seen = []
    monkeypatch.setattr(fit_log, "observers", [seen.append])
    return seen


def fits():
    return [kind.__dict__["fit"] for kind in CLASSES]


def test_a_class_that_was_imported_before_fits_with_ours(records):
    without = LogisticRegression(tol=1e-8, max_iter=1000).fit(X, Y)
    assert not records
    accel.install()
    with_ours = FromItsModule(tol=1e-8, max_iter=1000).fit(X, Y)
    assert [record.ran_on for record in records] == ["fastsoftmax"]
    assert type(with_ours) is LogisticRegression and type(with_ours).__module__.startswith("sklearn.")
    assert np.abs(with_ours.predict_proba(X) - without.predict_proba(X)).max() < 1e-4


def test_the_cross_validated_one_fits_with_ours_too(records):
    with accel.accelerated(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of defaults to come
        LogisticRegressionCV(Cs=2, cv=2, max_iter=1000).fit(X, Y)
    assert [record.estimator for record in records] == ["LogisticRegressionCV"]


def test_uninstalling_restores_the_very_same_classes():
    before = [dict(kind.__dict__) for kind in CLASSES]
    accel.install()
    accel.install()
    assert accel.installed() and all(fit is not host for fit, host in zip(fits(), HOST_FITS, strict=True))
    accel.uninstall()
    assert not accel.installed()
    assert [dict(kind.__dict__) for kind in CLASSES] == before
    assert all(fit is host for fit, host in zip(fits(), HOST_FITS, strict=True))
    accel.uninstall()
    assert fits() == HOST_FITS


def test_blocks_nest_and_leave_what_was_installed_before():
    with accel.accelerated():
        with accel.accelerated():
            pass
        assert fits() != HOST_FITS
    assert fits() == HOST_FITS
    accel.install()
    with accel.accelerated():
        pass
    assert fits() != HOST_FITS


def test_a_block_ends_where_it_raises():
    with pytest.raises(ZeroDivisionError), accel.accelerated():
        1 / 0  # noqa: B018
    assert fits() == HOST_FITS


def test_uninstalling_within_a_block_holds():
    with accel.accelerated():
        accel.uninstall()
        assert fits() == HOST_FITS
    assert fits() == HOST_FITS


def test_blocks_of_two_threads_may_overlap():
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with accel.accelerated():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    with accel.accelerated():
        pass
    assert fits() != HOST_FITS
    leave.set()
    thread.join()
    assert fits() == HOST_FITS


@pytest.mark.parametrize("kind", CLASSES)
def test_name_signature_and_documentation_are_the_hosts(kind):
    host = kind.fit
    with accel.accelerated():
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            assert getattr(kind.fit, name) == getattr(host, name)
        assert inspect.signature(kind.fit) == inspect.signature(host)
        assert pickle.loads(pickle.dumps(kind.fit)) is kind.fit


def test_a_function_that_others_put_over_ours_stays_and_ours_does_nothing_more(records):
    accel.install()
    ours = LogisticRegression.fit
    LogisticRegression.fit = theirs = lambda self, *rest: ours(self, *rest)
    try:
        accel.uninstall()
        assert LogisticRegression.fit is theirs
        LogisticRegression(max_iter=1000).fit(X, Y)
        assert not records
    finally:
        LogisticRegression.fit = HOST_FITS[0]


def test_subclasses_of_before_and_after_and_super_fit_with_ours(records):
    class Before(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            return super().fit(X, y, sample_weight)

    with accel.accelerated():

        class After(LogisticRegression):
            pass

        for kind in (Before, After):
            fitted = clone(kind()).fit(X, Y)
            assert isinstance(fitted, LogisticRegression)
    assert [record.estimator for record in records] == ["Before", "After"]
    assert After.fit is HOST_FITS[0]


def test_our_own_estimator_fits_once(records):
    from fastsoftmax.sklearn.logistic_regression import LogisticRegression as Ours

    with accel.accelerated():
        Ours().fit(X, Y)
        Ours(solver="liblinear").fit(X[Y < 2], Y[Y < 2])
    assert len(records) == 2


def test_metadata_routing_asks_for_what_it_asked_for_before():
    requests = sklearn.utils.metadata_routing.get_routing_for_object
    with sklearn.config_context(enable_metadata_routing=True):
        plain = repr(requests(LogisticRegression().set_fit_request(sample_weight=True)))
        with accel.accelerated():

            class After(LogisticRegression):
                pass

            assert repr(requests(LogisticRegression().set_fit_request(sample_weight=True))) == plain
            assert repr(requests(After().set_fit_request(sample_weight=True))).replace("After", "") in plain.replace(
                "LogisticRegression", ""
            )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((X, Y, None, 1), TypeError), ((X,), TypeError), ((X, Y[:-1]), ValueError), ((X, Y * 0), ValueError)],
)
def test_errors_are_the_hosts(arguments, error):
    def message():
        with pytest.raises(error) as caught:
            LogisticRegression().fit(*arguments)
        return str(caught.value)

    without = message()
    with accel.accelerated():
        assert message() == without or error is TypeError


def test_a_pickle_loads_where_there_is_no_fastsoftmax(tmp_path):
    with accel.accelerated():
        fitted = LogisticRegression().fit(X, Y)
        text = pickle.dumps(fitted)
    assert b"fastsoftmax" not in text
    (tmp_path / "model").write_bytes(text)
    code = """
import pickle, sys
sys.modules["fastsoftmax"] = None
model = pickle.load(open("model", "rb"))
print(type(model).__name__, model.predict([[5.0, 3.4, 1.5, 0.2]]))
"""
    run = child.python("-c", code, cwd=tmp_path)
    assert run.stdout == "LogisticRegression [0]\n", run.stderr


def test_installing_imports_neither_scikit_learn_nor_kernels_before_the_program_does():
    code = """
import sys
from fastsoftmax import accel
accel.install()
print([name for name in ("numpy", "sklearn", "fastsoftmax.kernels", "fastsoftmax.sklearn") if name in sys.modules])
from sklearn.linear_model import LogisticRegression
print(LogisticRegression.fit.__code__.co_filename.endswith("patch.py"), accel.installed())
accel.uninstall()
print(LogisticRegression.fit.__code__.co_filename.endswith("patch.py"), accel.installed())
"""
    run = child.python("-c", code)
    assert run.stdout == "[]\nTrue True\nFalse False\n", run.stderr


def test_uninstalling_before_scikit_learn_is_imported_leaves_nothing():
    code = """
import sys
from fastsoftmax import accel
before = list(sys.meta_path)
accel.install()
accel.uninstall()
assert sys.meta_path == before
from sklearn.linear_model import LogisticRegression
print(LogisticRegression.fit.__code__.co_filename.endswith("patch.py"))
"""
    run = child.python("-c", code)
    assert run.stdout == "False\n", run.stderr


def test_without_scikit_learn_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.delitem(patch.sys.modules, patch.HOST)
    monkeypatch.setitem(patch.sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"fastsoftmax\.accel needs sklearn: pip install 'fastsoftmax\[sklearn\]'"):
        accel.install()
    assert not accel.installed()


def test_notebooks_load_and_unload_it():
    accel.load_ipython_extension(None)
    assert accel.installed()
    accel.unload_ipython_extension(None)
    assert not accel.installed()


def test_it_is_an_attribute_of_the_package():
    run = child.python("-c", "import fastsoftmax; print(fastsoftmax.accel.installed(), 'accel' in dir(fastsoftmax))")
    assert run.stdout == "False True\n", run.stderr
