"""svmlight files in pieces of lines."""

import numpy as np
import pytest
from problems import fitted

import fastsoftmax
from fastsoftmax.data import files
from fastsoftmax.data.sources.readers import svmlight


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(svmlight, "LEAST", 300)
    monkeypatch.setattr(svmlight, "MOST", 300)
    rng = np.random.default_rng(0)
    lines = []
    for i in range(600):
        columns = np.sort(rng.choice(30, 4, replace=False)) + 1
        lines.append(f"{i % 3} " + " ".join(f"{c}:{rng.normal():.4f}" for c in columns) + f" # row {i}\n")
    (tmp_path / "t.svm").write_text("# a line of its own\n" + "".join(lines))
    return tmp_path / "t.svm"


def test_pieces_are_the_whole(path):
    whole, data = files.read(path), fastsoftmax.scan(path)
    assert data.shape == whole.X.shape and data.feature_names == whole.feature_names
    assert len(list(data._reader.blocks())) > 20
    np.testing.assert_array_equal(fitted(data), fitted(whole.X, whole.y))
    assert data.classes.tolist() == [0, 1, 2]


def test_what_is_wrong_is_named(path):
    lines = path.read_text().splitlines()
    with pytest.raises(ValueError, match="target has no meaning for t.svm"):
        fastsoftmax.scan(path, 0)
    path.write_text("\n".join([*lines[:400], "1 3:x", *lines[400:]]))
    with pytest.raises(ValueError, match="t.svm, line 401 holds '3:x'"):
        fitted(fastsoftmax.scan(path))
