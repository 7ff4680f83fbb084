"""Labels are what the person wrote, from every kind of file, in the model's file, and in the predictions."""

import csv
import decimal

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from command import FAST

from fastsoftmax import Model
from fastsoftmax.cli import commands
from fastsoftmax.data.files import read

BIG = 1 << 63


def rows_of(labels):
    """Twelve rows and their labels, so that each label is one of the classes."""
    return np.random.default_rng(0).normal(size=(12, 2)).round(3), [labels[i % len(labels)] for i in range(12)]


def write(path, labels):
    """A file of the kind that its suffix says, with these labels in its last column or its array y."""
    X, y = rows_of(labels)
    if path.suffix == ".csv":
        lines = [f'{a},{b},"{label}"' for (a, b), label in zip(X, y, strict=True)]
        path.write_text("\n".join(["a,b,y", *lines]) + "\n")
    elif path.suffix == ".npz":
        np.savez(path, X=X, y=np.array(y))
    else:
        column = pyarrow.array(y)
        column = column.dictionary_encode() if path.stem == "categories" else column
        pyarrow.parquet.write_table(pyarrow.table({"a": X[:, 0], "b": X[:, 1], "y": column}), path)
    return y


FILES = ["d.csv", "d.parquet", "categories.parquet", "d.npz"]
TEXT = {
    "leading zeros": ["00123", "123", "0123"],
    "exponents": ["1E3", "1000", "1e3"],
    "underlines": ["1_000", "1000"],
    "seven twice": ["7", "07"],
    "signs": ["+5", "5", "-5"],
    "minus zero": ["-0", "0"],
    "other digits": ["१", "1", "१०"],
    "wide digits": ["１", "1"],
    "superscripts": ["²", "2"],
    "points": ["1.0", "2.0", "1"],
    "versions": ["3.10", "3.1", "3.9"],
    "hexadecimal": ["0x10", "16"],
    "thousands": ["1 000", "1000"],
    "not a number": ["nan", "NaN", "inf"],
    "truth": ["True", "False"],
    "truth in small letters": ["true", "True", "1"],
    "a date": ["2020-01-01", "2020-01-02"],
    "beyond 64 bits": ["18446744073709551616", "1"],
    "thousands of digits": ["1" + "0" * 5000, "1"],
    "negative beside beyond int64": ["-1", "9223372036854775808"],
    "one text among numbers": ["1", "2", "unknown"],
    "empty words": ["NA", "null", "None"],
    "beyond ASCII": ["žlutá", "青", "é"],
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", TEXT)
def test_text_stays_as_it_is(tmp_path, kind, file):
    path = tmp_path / file
    wanted = write(path, TEXT[kind])
    y = read(path).y
    assert y.dtype.kind == "U"
    assert y.tolist() == wanted


@pytest.mark.parametrize("file", ["d.parquet", "categories.parquet", "d.npz"])
def test_space_within_typed_text_is_part_of_it(tmp_path, file):
    wanted = write(tmp_path / file, [" 5", "5", "5 ", "\t", "a\nb"])
    assert read(tmp_path / file).y.tolist() == wanted


INTEGERS = {
    "small": (["0", "7", "-12"], np.int64),
    "the largest of int64": ([str(BIG - 1), str(-BIG)], np.int64),
    "beyond int64": ([str(BIG), str(2 * BIG - 1), "0"], np.uint64),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", INTEGERS)
def test_text_of_integers_alone_is_integers(tmp_path, kind, file):
    labels, dtype = INTEGERS[kind]
    wanted = write(tmp_path / file, labels)
    y = read(tmp_path / file).y
    assert y.dtype == dtype
    assert list(map(str, y.tolist())) == wanted


@pytest.mark.parametrize("file", ["d.parquet", "categories.parquet", "d.npz"])
@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"])
def test_integers_and_booleans_keep_their_type(tmp_path, dtype, file):
    dtype = np.dtype(dtype)
    ends = [False, True] if dtype.kind == "b" else [np.iinfo(dtype).min, np.iinfo(dtype).max, 1]
    wanted = write(tmp_path / file, np.array(ends, dtype))
    y = read(tmp_path / file).y
    assert y.dtype == dtype
    assert y.tolist() == [label.item() for label in wanted]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", ">f8", ">i4", ">u8", "<U3", ">U3", "S2"])
def test_arrays_of_any_byte_order_and_width(tmp_path, dtype):
    np.savez(tmp_path / "d.npz", X=rows_of([0])[0].astype(">f4"), y=np.array(["0", "10", "3"] * 4).astype(dtype))
    y = read(tmp_path / "d.npz").y
    assert y.dtype.isnative and y.dtype.kind in "iu" and y.tolist() == [0, 10, 3] * 4


@pytest.mark.parametrize(
    "labels",
    [
        pyarrow.array([decimal.Decimal("3.00"), decimal.Decimal("-1.00")] * 6),
        pyarrow.array([decimal.Decimal(3), decimal.Decimal(-1)] * 6, pyarrow.decimal256(60, 0)),
        pyarrow.array([3.0, -1.0] * 6),
        pyarrow.array([3.0, -1.0] * 6, pyarrow.float32()),
        pyarrow.array(np.array([3, -1] * 6, "f2")),
    ],
    ids=lambda labels: str(labels.type),
)
def test_whole_numbers_of_any_type_are_integers(tmp_path, labels):
    pyarrow.parquet.write_table(pyarrow.table({"a": rows_of([0])[0][:, 0], "y": labels}), tmp_path / "d.parquet")
    assert read(tmp_path / "d.parquet").y.dtype == np.int64
    assert read(tmp_path / "d.parquet").y.tolist() == [3, -1] * 6


TEXT_TYPES = [pyarrow.string(), pyarrow.large_string(), pyarrow.binary(), pyarrow.large_binary(), pyarrow.binary(2)]
if hasattr(pyarrow, "string_view"):
    TEXT_TYPES.append(pyarrow.string_view())


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_every_type_of_text_gives_text(tmp_path, kind):
    labels = pyarrow.array(["07", "7é"[:2] if kind != pyarrow.binary(2) else "7x"] * 6).cast(pyarrow.binary())
    column = pyarrow.array(labels.to_pylist() if "binary" in str(kind) else labels.cast("string").to_pylist(), kind)
    pyarrow.parquet.write_table(pyarrow.table({"a": rows_of([0])[0][:, 0], "y": column}), tmp_path / "d.parquet")
    assert read(tmp_path / "d.parquet").y.tolist() == [label.decode() for label in labels.to_pylist()]


def test_categories_that_no_row_has_decide_nothing(tmp_path):
    column = pyarrow.array(pd.Categorical(["1", "2", "1"] * 4, categories=["x", "2", "1", "07"]))
    pyarrow.parquet.write_table(pyarrow.table({"a": rows_of([0])[0][:, 0], "y": column}), tmp_path / "d.parquet")
    assert read(tmp_path / "d.parquet").y.tolist() == [1, 2, 1] * 4


WRONG = {
    "fractions": (np.array([0.5, 1.0]), ["0.5", "whole numbers or text"]),
    "large floats": (np.array([2.0**53, 1.0]), ["9007199254740992", "2^53"]),
    "nan": (np.array([np.nan, 1.0]), ["nan", "whole numbers or text"]),
    "dates": (np.array(["2020-01-01", "2020-01-02"], "M8[s]"), ["whole numbers or text"]),
    "spans": (np.array([1, 2], "m8[s]"), ["whole numbers or text"]),
    "decimals": ([decimal.Decimal("0.5"), decimal.Decimal("1.0")], ["decimal128", "no integers"]),
    "bytes": ([b"\xff", b"a"], ["no UTF-8"]),
    "lists": ([[1], [2]], ["list", "whole numbers or text"]),
    "text that is cut": (["a", "a\0"], ["NUL"]),
    "measurements": ([f"{j}.5" for j in range(12)], ["12 different numbers", ".5", "whole numbers or text"]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_label_is_one_sentence(tmp_path, kind):
    labels, words = WRONG[kind]
    write(tmp_path / "d.parquet", labels)
    with pytest.raises(ValueError) as caught:
        read(tmp_path / "d.parquet")
    message = str(caught.value)
    assert not [word for word in ("d.parquet", "'y'", *words) if word not in message], message
    assert "\n" not in message


NO_LABELS = [np.array([b"\xff", b"a"] * 6), np.array([1j, 2] * 6), np.array(["2020", "2021"] * 6, "M8[Y]")]


@pytest.mark.parametrize("y", NO_LABELS, ids=lambda y: str(y.dtype))
def test_arrays_that_are_no_labels_are_one_sentence(tmp_path, y):
    np.savez(tmp_path / "d.npz", X=rows_of([0])[0], y=y)
    with pytest.raises(ValueError, match="d.npz, target column 'y' holds .*; whole numbers or text are wanted"):
        read(tmp_path / "d.npz")


def test_bytes_in_an_array_are_text(tmp_path):
    np.savez(tmp_path / "d.npz", X=rows_of([0])[0], y=np.array(["07", "é"] * 6).astype("U").astype(object).astype("U"))
    assert read(tmp_path / "d.npz").y.tolist() == ["07", "é"] * 6
    np.savez(tmp_path / "d.npz", X=rows_of([0])[0], y=np.array([b"07", "é".encode()] * 6))
    assert read(tmp_path / "d.npz").y.tolist() == ["07", "é"] * 6


# ---------------------------------------------------------------------------- to the file and back

KEPT = {
    "uint64": np.array([BIG, 2 * BIG - 1, 3], "u8"),
    "int64": np.array([-BIG, BIG - 1]),
    "int8": np.array([-128, 127], "i1"),
    "booleans": np.array([True, False]),
    "codes": ["00123", "0123", "1E3"],
    "text": ["žlutá", "a,b", 'say "x"'],
}


def column_of(path):
    """The first column of predictions, cells of a text file as text."""
    if path.suffix == ".npy":
        return np.load(path).tolist()
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path)[0].to_pylist()
    with path.open(newline="") as file:
        return [row[0] for row in csv.reader(file)][1:]


@pytest.mark.parametrize("kind", KEPT)
def test_predictions_are_labels_as_they_came(tmp_path, kind):
    data, model, labels = tmp_path / "d.parquet", tmp_path / "m.npz", KEPT[kind]
    write(data, labels)
    wanted = sorted(label.item() if isinstance(label, np.generic) else label for label in labels)
    assert commands.run(["train", str(data), "--out", str(model), "--json", "--test-fraction", "0", *FAST]) == 0
    assert Model.load(model).classes.tolist() == wanted
    predicted = Model.load(model).predict(rows_of(labels)[0]).tolist()
    for name in ("p.csv", "p.parquet", "p.npy"):
        assert commands.run(["predict", str(model), str(data), "--out", str(tmp_path / name)]) == 0
        written = [str(label).lower() if isinstance(label, bool) else str(label) for label in predicted]
        assert column_of(tmp_path / name) == (written if name == "p.csv" else predicted)
