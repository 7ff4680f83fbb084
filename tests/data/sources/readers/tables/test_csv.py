"""Text tables in pieces give what they give as a whole, and name the same lines."""

import numpy as np
import pytest
from problems import fitted, lettered_problem

import fastsoftmax
from fastsoftmax.data import files
from fastsoftmax.data.sources.readers.tables import csv

X, LABELS = lettered_problem(2000, 3)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(csv, "LEAST", 4000)
    monkeypatch.setattr(csv, "MOST", 4000)


def write(path, label=str, cell=repr, line="\n"):
    rows = [",".join([*(cell(float(x)) for x in row), label(name)]) for row, name in zip(X, LABELS, strict=True)]
    path.write_bytes((line.join(["u,v,w,name", *rows]) + line).encode())
    return path


@pytest.mark.parametrize("line", ["\n", "\r\n"])
@pytest.mark.parametrize("label", [str, '"{}"'.format, '"{}\nb"'.format, '"say ""{}"""'.format])
def test_pieces_are_the_whole(tmp_path, label, line):
    path = write(tmp_path / "t.csv", label, line=line)
    whole, data = files.read(path, "name"), fastsoftmax.scan(path, "name")
    assert data.shape == whole.X.shape and data.feature_names == whole.feature_names
    blocks = list(data._reader.blocks())
    assert len(blocks) > 20
    np.testing.assert_array_equal(np.vstack([block.X for block in blocks]), whole.X)
    np.testing.assert_array_equal(data.classes[data.targets.y], whole.y)
    value = fastsoftmax.Objective(data).value(np.ones((3, 3)))
    assert value == fastsoftmax.Objective(whole.X, np.unique(whole.y, return_inverse=True)[1]).value(np.ones((3, 3)))


def test_columns_weights_and_fill(tmp_path):
    path = tmp_path / "t.csv"
    rows = [f"{i % 7},{'' if i % 5 == 0 else i % 3},{1 + i % 2},{i % 2}" for i in range(500)]
    path.write_text("\n".join(["a,b,weight,label", *rows]))
    data = fastsoftmax.scan(path, "label", weight="weight", columns=["b", "a"], fill=9)
    i = np.arange(500)
    b = np.column_stack([np.where(i % 5 == 0, 9, i % 3), i % 7]).astype(float)
    np.testing.assert_array_equal(fitted(data), fitted(np.asfortranarray(b), i % 2, sample_weight=1 + i % 2))
    assert data.classes.tolist() == [0, 1] and data.feature_names == ["b", "a"]


@pytest.mark.parametrize(
    "line, match",
    [
        ("1,2,x,a", r"t.csv, line 1502, column 'w' holds 'x'; a finite number is wanted"),
        ("1,,3,a", r"t.csv, line 1502, column 'v' is empty"),
        ("1,2,nan,a", r"t.csv, line 1502, column 'w' holds 'nan'"),
        ("1,2,3", r"t.csv, line 1502 has 3 cells; 4 are wanted"),
        ("1,2,3,", r"t.csv, line 1502, column 'name' is empty; a label is wanted"),
    ],
)
def test_the_line_is_named(tmp_path, line, match):
    path = write(tmp_path / "t.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:1501], line, *lines[1501:]]))
    with pytest.raises(ValueError, match=match):
        fitted(fastsoftmax.scan(path, "name"))


def test_a_quote_in_a_cell_opens_none(tmp_path):
    path = write(tmp_path / "t.csv")
    text = path.read_text().splitlines()
    text[900] = text[900] + '"'
    path.write_text("\n".join(text))
    whole, data = files.read(path, "name"), fastsoftmax.scan(path, "name")
    np.testing.assert_array_equal(data.classes[data.targets.y], whole.y)


def test_a_quote_that_is_never_closed_is_an_error(tmp_path):
    path = write(tmp_path / "t.csv")
    text = path.read_text().splitlines()
    text[900] = text[900][:-1] + '"a'
    path.write_text("\n".join(text))
    with pytest.raises(ValueError, match="t.csv, line 901, column 'name': the quote that opens here"):
        fitted(fastsoftmax.scan(path, "name"))


def test_a_large_compressed_file_is_refused(tmp_path):
    import gzip

    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(write(tmp_path / "t.csv").read_bytes()))
    assert fastsoftmax.scan(path, "name").shape == X.shape
    with pytest.raises(ValueError, match=r"t.csv.gz is compressed \(gzip\), and is decompressed whole"):
        fastsoftmax.scan(path, "name", memory="200kB")
