"""Estimators and models give labels back as they came."""

import numpy as np
import pandas as pd
import pytest

from fastsoftmax import Model, SoftmaxRegression

BIG = 1 << 63
X = np.random.default_rng(0).normal(size=(12, 2))
KINDS = {
    "uint64": np.array([BIG, 2 * BIG - 1, 3] * 4, "u8"),
    "int64": np.array([-BIG, BIG - 1, 0] * 4),
    "big-endian": np.array([1, 2, 3] * 4, ">i4"),
    "codes": np.array(["07", "7", " 7"] * 4),
    "big-endian text": np.array(["07", "7", " 7"] * 4, ">U2"),
    "objects": np.array(["07", "7", "a\0"] * 4, object),
    "text of variable width": np.array(["a", "a\0", "b"] * 4, np.dtypes.StringDType()),
    "a list": [BIG, BIG + 1, 0] * 4,
    "booleans": [True, False] * 6,
    "nullable integers": pd.Series([BIG, BIG + 1] * 6, dtype="UInt64"),
    "nullable booleans": pd.Series([True, False] * 6, dtype="boolean"),
    "pandas text": pd.Series(["b", "a"] * 6, dtype="string"),
    "integers of Arrow": pd.Series([BIG - 1, BIG - 2] * 6, dtype="int64[pyarrow]"),
    "a category": pd.Series(["07", "7"] * 6, dtype="category"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_labels_come_back_from_a_fit_and_from_a_file(tmp_path, kind, suffix):
    y = KINDS[kind]
    estimator = SoftmaxRegression(backend="numpy").fit(X, y)
    wanted = sorted(set(y.tolist() if hasattr(y, "tolist") else y))
    assert estimator.classes_.tolist() == wanted
    assert set(estimator.predict(X).tolist()) <= set(wanted)
    estimator.model_.save(tmp_path / f"m{suffix}")
    classes = Model.load(tmp_path / f"m{suffix}").classes
    assert classes.tolist() == wanted and classes.dtype == estimator.model_.classes.dtype


@pytest.mark.parametrize("kind", KINDS)
def test_the_score_compares_labels_as_they_are(kind):
    y = KINDS[kind]
    estimator = SoftmaxRegression(backend="numpy").fit(X, y)
    right = [a == b for a, b in zip(estimator.predict(X).tolist(), list(y), strict=True)]
    assert estimator.score(X, y) == pytest.approx(np.mean(right))


@pytest.mark.parametrize("y", [[1, "1"] * 6, np.array([1, "a"] * 6, object), [True, 2] * 6, ["a", None] * 6])
def test_labels_of_several_kinds_are_one_sentence(y):
    for call in (SoftmaxRegression().fit, lambda X, y: SoftmaxRegression().partial_fit(X, y, classes=y[:2])):
        with pytest.raises(ValueError, match="labels of one kind; row 0 holds"):
            call(X, y)
    with pytest.raises(ValueError, match="classes must hold labels of one kind"):
        SoftmaxRegression().partial_fit(X, [0, 1] * 6, classes=y[:2] if isinstance(y, list) else y[:2].tolist())


def test_the_classes_of_partial_fit_are_labels():
    classes = pd.array([BIG, BIG + 1], dtype="UInt64")
    estimator = SoftmaxRegression(backend="numpy").partial_fit(X, [BIG, BIG + 1] * 6, classes=classes)
    assert estimator.classes_.tolist() == [BIG, BIG + 1]


@pytest.mark.parametrize("classes", [[1, "1"], [BIG, -1], ["a", None]])
def test_a_model_merges_no_classes(classes):
    with pytest.raises(ValueError, match="classes holds? |classes must hold"):
        Model([[1.0, -1.0]], classes=classes)
