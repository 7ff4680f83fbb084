"""What a first pass has found may be kept, and is used for the same data alone."""

import numpy as np
import pytest
from problems import chunks_of, fitted, lettered_problem, write_parquet

import fastsoftmax
from fastsoftmax.data.sources import scan as scanning

X, LABELS = lettered_problem()


@pytest.fixture
def path(tmp_path):
    w = np.arange(len(X)) % 3 + 0.5
    return write_parquet(tmp_path / "t.parquet", X, LABELS, w=w)


@pytest.fixture
def no_first_pass(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a first pass is made")

    return lambda: monkeypatch.setattr(scanning, "first_pass", refuse)


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("place", [None, "kept.json"])
def test_it_is_taken_from_there(path, no_first_pass, weight, place, tmp_path):
    def made(**options):
        return fastsoftmax.scan(path, "y", columns=["x0", "x1"], weight=weight, **options)

    wanted, kept = fitted(made()), None if place is None else tmp_path / place
    assert made().keep(kept) == (kept or path.with_name("t.parquet.scan.json"))
    no_first_pass()
    data = made(kept=kept)
    np.testing.assert_array_equal(fitted(data), wanted)
    assert data.notes[-1].startswith("the first pass is that of ") and data.classes.tolist() == ["a", "b", "c"]


def test_of_other_data_it_is_not_used_and_that_is_said(path):
    data = fastsoftmax.scan(path, "y")
    kept = data.keep()
    other = fastsoftmax.scan(path, "y", columns=["x0"])
    assert other.counts.sum() == len(X) and "t.parquet.scan.json is of other data" in other.notes[-1]
    write_parquet(path, X[:100], LABELS[:100])
    changed = fastsoftmax.scan(path, "y")
    assert changed.counts.sum() == 100 and changed.notes[-1].startswith(
        "not used: t.parquet.scan.json is of other data"
    )
    with pytest.raises(ValueError, match="t.parquet.scan.json is of other data than t.parquet is now"):
        fastsoftmax.scan(path, "y", kept=kept).classes  # noqa: B018


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "of": {"files": {}}}'])
def test_damage_is_said(path, content):
    kept = fastsoftmax.scan(path, "y").keep()
    kept.write_text(content)
    with pytest.raises(ValueError, match="t.parquet.scan.json (does not hold what|is of other data)"):
        fastsoftmax.scan(path, "y", kept=kept).classes  # noqa: B018


def test_sparse_rows_and_labels_in_a_file(tmp_path, no_first_pass):
    lines = [f"{i % 3} {i % 7 + 1}:1.5 {i % 11 + 9}:2" for i in range(300)]
    (tmp_path / "t.svm").write_text("\n".join(lines))
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", LABELS)
    scans = [
        lambda: fastsoftmax.scan(tmp_path / "t.svm"),
        lambda: fastsoftmax.scan(tmp_path / "X.npy", tmp_path / "y.npy"),
    ]
    wanted = [fitted(make()) for make in scans]
    for make in scans:
        make().keep()
    np.save(tmp_path / "y.npy", LABELS[::-1])  # the labels' file counts too
    np.testing.assert_array_equal(scans[1]().classes[scans[1]().targets.y], LABELS[::-1])
    no_first_pass()
    np.testing.assert_array_equal(fitted(scans[0]()), wanted[0])


def test_what_cannot_be_kept(tmp_path):
    np.save(tmp_path / "X.npy", X)
    for data in (fastsoftmax.scan(chunks_of(X, LABELS)), fastsoftmax.scan(tmp_path / "X.npy", LABELS)):
        with pytest.raises(ValueError, match="can be kept only where rows, labels and weights are files"):
            data.keep(tmp_path / "kept.json")
