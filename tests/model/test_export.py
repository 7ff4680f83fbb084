"""A model in scikit-learn, PyTorch and ONNX predicts what it predicts here."""

import json
import sys
import warnings

import numpy as np
import pytest
from problems import random_model, random_rows
from sklearn.datasets import load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.svm import LinearSVC

from fastsoftmax import Model, SoftmaxRegression
from fastsoftmax.data import archive

LABELS = {
    "int64": np.array([7, -3, 12, 0]),
    "uint8": np.array([7, 3, 250, 0], np.uint8),
    "text": np.array(["ant", "bee", "cat", "dög"]),
    "objects": np.array(["ant", "bee", "cat", "dög\0"], object),
    "float": np.array([0.5, 1.0, -2.0, 4.0]),
}


def rows(model, dtype=None):
    X = random_rows(dtype=dtype or model.theta.dtype)
    assert X.shape[1] == model.n_features
    return X


def made(k=4, dtype="f8", bias=True, classes=None):
    model = random_model(bias=bias)
    theta = model.theta[:, :k].astype(dtype)
    return Model(theta, None if model.bias is None else model.bias[:k].astype(dtype), classes)


# -------------------------------------------------------------------------------------- scikit-learn


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_scikit_learn_predicts_the_same(k, dtype, bias):
    model = made(k, dtype, bias, LABELS["text"][:k])
    X, other = rows(model, "f8"), model.to_sklearn()
    assert type(other) is LogisticRegression and other.coef_.shape == ((1 if k == 2 else k), model.n_features)
    assert other.fit_intercept == bias and other.n_features_in_ == model.n_features
    np.testing.assert_allclose(other.predict_proba(X), model.predict_proba(X), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("k", [2, 4])
def test_there_and_back(k, bias):
    model = made(k, bias=bias)
    back = Model.from_sklearn(model.to_sklearn())
    again = back.to_sklearn()
    np.testing.assert_array_equal(again.coef_, model.to_sklearn().coef_)
    np.testing.assert_array_equal(again.intercept_, model.to_sklearn().intercept_)
    assert (back.bias is None) == (model.bias is None) and (back.classes == model.classes).all()
    X = rows(model)
    np.testing.assert_allclose(back.predict_proba(X), model.predict_proba(X), rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("kind", [LogisticRegression, LogisticRegressionCV])
def test_a_fit_of_scikit_learn_is_a_model(kind, k):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X, y = X[y < k], y[y < k]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what versions of scikit-learn say of defaults and convergence
        fitted = kind(max_iter=20).fit(X, y)
    model = Model.from_sklearn(fitted)
    np.testing.assert_allclose(model.predict_proba(X), fitted.predict_proba(X), rtol=0, atol=1e-12)
    assert model.feature_names == tuple(X.columns)
    shuffled = X[X.columns[::-1]]
    np.testing.assert_array_equal(model.predict(shuffled), fitted.predict(X))
    assert list(model.to_sklearn().feature_names_in_) == list(X.columns)
    np.testing.assert_array_equal(model.to_sklearn().predict(X), fitted.predict(X))


def test_an_estimator_of_our_own_is_handed_over_by_its_model():
    X, y = load_iris(return_X_y=True)
    clf = SoftmaxRegression(backend="numpy").fit(X, y)
    np.testing.assert_allclose(clf.model_.to_sklearn().predict_proba(X), clf.predict_proba(X), rtol=0, atol=1e-12)


def test_changing_the_copy_leaves_the_model():
    model = made()
    before = model.theta.copy()
    model.to_sklearn().coef_[:] = 0
    np.testing.assert_array_equal(model.theta, before)


def test_two_classes_of_an_older_multinomial_fit():
    """Up to version 1.7, ``multi_class="multinomial"`` gave two classes the logits -h and h."""
    X, y = load_iris(return_X_y=True)
    fitted = LogisticRegression(max_iter=500).fit(X[y < 2], y[y < 2])
    h = fitted.decision_function(X)
    fitted.multi_class = "multinomial"
    np.testing.assert_allclose(Model.from_sklearn(fitted).predict_proba(X)[:, 1], 1 / (1 + np.exp(-2 * h)), atol=1e-12)


def one_against_the_rest(**parameters):
    X, y = load_iris(return_X_y=True)
    fitted = LogisticRegression(max_iter=500).fit(X, y)
    for name, value in parameters.items():
        setattr(fitted, name, value)
    return fitted


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (LogisticRegression(), ValueError, "without coef_, intercept_ and classes_; a fitted one is wanted"),
        (LinearSVC(), TypeError, "estimator is a LinearSVC; a LogisticRegression"),
        (LinearDiscriminantAnalysis(), TypeError, "estimator is a LinearDiscriminantAnalysis"),
        ({"solver": "liblinear"}, ValueError, "a model for each of 3 classes against the rest"),
        ({"multi_class": "ovr"}, ValueError, "a model for each of 3 classes against the rest"),
    ],
)
def test_what_is_no_softmax_regression_is_refused(estimator, error, message):
    with pytest.raises(error, match=message):
        Model.from_sklearn(one_against_the_rest(**estimator) if isinstance(estimator, dict) else estimator)


# ------------------------------------------------------------------------------------------- PyTorch


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_linear_layer_has_the_logits(dtype, bias):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = made(dtype=dtype, bias=bias)
    state, X = torch.get_rng_state(), rows(model)
    layer = model.to_torch()
    assert type(layer) is torch.nn.Linear and (layer.bias is None) == (not bias)
    assert layer.weight.shape == (4, model.n_features)
    assert layer.weight.dtype == (torch.float32 if dtype == "f4" else torch.float64)
    assert layer.weight.requires_grad and (torch.get_rng_state() == state).all()
    with torch.no_grad():
        H = layer(torch.from_numpy(X)).numpy()
        layer.weight.zero_()
    assert H.dtype == dtype
    np.testing.assert_allclose(H, model.decision_function(X), rtol=0, atol=64 * np.finfo(dtype).eps)
    assert model.theta.any()


# ---------------------------------------------------------------------------------------------- ONNX


def run_onnx(path, X):
    """Names and values of what onnxruntime computes."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == ["X"]
    names = [out.name for out in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": X}), strict=True)), session


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("labels", LABELS)
def test_onnxruntime_predicts_the_same(onnx, tmp_path, labels, k, dtype, bias):
    model = made(k, dtype, bias, LABELS[labels][:k])
    X, path = rows(model), tmp_path / "model.onnx"
    model.to_onnx(path)
    got, _ = run_onnx(path, X)
    assert list(got) == ["label", "probabilities"]
    assert got["probabilities"].dtype == dtype
    atol = 1e-6 if dtype == "f4" else 1e-12
    np.testing.assert_allclose(got["probabilities"], model.predict_proba(X), rtol=0, atol=atol)
    assert got["label"].tolist() == model.predict(X).tolist()
    assert got["label"].dtype == {"text": object, "objects": object, "float": "f8"}.get(labels, "i8")


def test_of_equal_logits_the_first_class_is_named(onnx, tmp_path):
    model = Model(np.zeros((3, 4)), classes=[5, 6, 7, 8])
    model.to_onnx(tmp_path / "model.onnx")
    assert run_onnx(tmp_path / "model.onnx", np.ones((2, 3)))[0]["label"].tolist() == [5, 5]


def test_an_onnx_file_says_what_the_model_knows(onnx, tmp_path):
    theta = np.ones((2, 2))
    model = Model(theta, feature_names=("ä", "b"), classes=[True, False], metadata={"trained": "today"})
    model.to_onnx(str(tmp_path / "model.onnx"))
    got, session = run_onnx(tmp_path / "model.onnx", np.ones((1, 2)))
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["feature_names"]) == ["ä", "b"] and told["trained"] == "today"
    assert got["label"].dtype == np.int64 and got["label"].tolist() == [1]
    read = onnx.load(tmp_path / "model.onnx")
    assert read.producer_name == "fastsoftmax" and read.opset_import[0].version == 17


@pytest.mark.parametrize(
    "classes", [np.array([1, 2**64 - 1], np.uint64), np.array(["a", 1], object), np.array([1j, 2])]
)
def test_labels_that_onnx_has_not_are_refused(onnx, tmp_path, classes):
    with pytest.raises(ValueError, match="classes have dtype .*; ONNX takes int64, float and text"):
        Model(np.ones((1, 2)), classes=classes).to_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_where_an_onnx_file_cannot_be_written(onnx, tmp_path, monkeypatch):
    model = Model(np.ones((1, 2)))
    for name in ("model", "model.npz", "model.json"):
        with pytest.raises(ValueError, match=rf"path must end in .onnx; got '.*{name}'"):
            model.to_onnx(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*none' to write m.onnx to"):
        model.to_onnx(tmp_path / "none" / "m.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(OSError, match="folder.onnx'"):
        model.to_onnx(tmp_path / "folder.onnx")
    (tmp_path / "old.onnx").write_text("old")

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*old.onnx'"):
        model.to_onnx(tmp_path / "old.onnx")
    assert (tmp_path / "old.onnx").read_text() == "old" and len(list(tmp_path.iterdir())) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.onnx", "old.onnx"]


@pytest.mark.parametrize(("method", "package"), [("to_onnx", "onnx"), ("to_torch", "torch"), ("to_sklearn", "sklearn")])
def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch, tmp_path, method, package):
    for name in [package, *[name for name in sys.modules if name.startswith(f"{package}.")]]:
        monkeypatch.setitem(sys.modules, name, None)
    arguments = [tmp_path / "model.onnx"] if method == "to_onnx" else []
    with pytest.raises(ImportError, match=rf"Model\.{method} needs {package}: pip install 'fastsoftmax\[{package}\]'"):
        getattr(made(), method)(*arguments)
