"""Each kind of file gives the same samples, and each kind of damage one sentence that says where it is."""

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from sklearn.datasets import dump_svmlight_file

from fastsoftmax.data import files
from fastsoftmax.data.files import read, read_features, write_columns

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).round(3)
LABELS = np.array(["red", "green", "blue"] * 4)
CODES = np.arange(12) % 3
NAMES = ["a", "b", "c"]


def table(labels=LABELS, dtype="f8", **more):
    columns = {name: X[:, j].astype(dtype) for j, name in enumerate(NAMES)}
    return pyarrow.table({**columns, "colour": labels, **more})


def csv_lines(labels=LABELS, sep=","):
    rows = [sep.join([*map(str, row), str(label)]) for row, label in zip(X.tolist(), labels, strict=True)]
    return [sep.join([*NAMES, "colour"]), *rows]


@pytest.fixture
def write(tmp_path):
    """A function that writes lines, bytes or a pyarrow table to a file of that name."""

    def to_file(name, content):
        path = tmp_path / name
        if isinstance(content, list):
            path.write_text("\n".join(content) + "\n")
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            pyarrow.parquet.write_table(content, path)
        return path

    return to_file


def assert_one_sentence(path, *words, call=read, **options):
    with pytest.raises(ValueError) as caught:
        call(path, **options)
    message = str(caught.value)
    assert not [word for word in (path.name, *words) if word not in message], message
    assert "\n" not in message


# ------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "semicolon.csv", "bom.csv", "crlf.csv", "blank.csv", "d.parquet"])
def test_tables_of_every_kind_give_the_same_samples(write, name):
    content = {
        "d.csv": csv_lines(),
        "d.tsv": csv_lines(sep="\t"),
        "semicolon.csv": csv_lines(sep=";"),
        "bom.csv": "\n".join(csv_lines()).encode("utf-8-sig"),
        "crlf.csv": "\r\n".join(csv_lines()).encode(),
        "blank.csv": [*csv_lines()[:5], "", *csv_lines()[5:]],
        "d.parquet": table(),
    }[name]
    data = read(write(name, content))
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, LABELS)
    assert data.X.dtype == np.float64
    assert (data.feature_names, data.target) == (NAMES, "colour")


def test_arrays_and_svmlight_give_the_same_samples(tmp_path):
    np.save(tmp_path / "d.npy", np.column_stack([X, CODES]))
    np.savez(tmp_path / "d.npz", X=X, y=CODES)
    dump_svmlight_file(X, CODES, str(tmp_path / "zero.svmlight"))
    dump_svmlight_file(X, CODES, str(tmp_path / "one.svm"), zero_based=False)
    numbers = ["0", "1", "2"]
    indices = [f"feature {j}" for j in range(4)]
    wanted = {"d.npy": numbers, "d.npz": numbers, "zero.svmlight": indices[:3], "one.svm": indices[1:]}
    for name, feature_names in wanted.items():
        data = read(tmp_path / name)
        np.testing.assert_array_equal(data.X.toarray() if "sv" in name else data.X, X)
        np.testing.assert_array_equal(data.y, CODES)
        assert data.y.dtype == np.int64 and data.feature_names == feature_names


@pytest.mark.parametrize("target", ["b", "1", 1, "-3", -3])
def test_the_target_is_found_by_name_and_by_number(write, target):
    columns = {"a": X[:, 0], "b": CODES, "c": X[:, 1], "d": X[:, 2]}
    data = read(write("d.parquet", pyarrow.table(columns)), target)
    assert data.target == "b" and data.feature_names == ["a", "c", "d"]
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, CODES)


def test_a_name_goes_before_a_number(write):
    data = read(write("d.csv", ["x,0,1,2", "0.5,3,7,1", "0.25,4,8,2"]), "1")
    assert data.target == "1" and data.feature_names == ["x", "0", "2"]


def test_the_target_of_an_array_may_be_any_column(tmp_path):
    np.save(tmp_path / "d.npy", np.column_stack([X[:, 0], CODES, X[:, 1:]]))
    data = read(tmp_path / "d.npy", 1)
    np.testing.assert_array_equal(data.X, X)
    assert data.feature_names == ["0", "2", "3"]


def test_a_csv_file_without_names_has_numbered_columns(write):
    data = read(write("d.csv", csv_lines()[1:]), header=False)
    np.testing.assert_array_equal(data.X, X)
    assert (data.feature_names, data.target) == (["0", "1", "2"], "3")


@pytest.mark.parametrize(
    ("kinds", "wanted"), [("fff", "f4"), ("ffd", "f8"), ("fei", "f8"), ("bbb", "f8"), ("???", "f8")]
)
def test_parquet_columns_stay_float32_where_all_are(write, kinds, wanted):
    columns = {name: (CODES > 0).astype(kind) for name, kind in zip(NAMES, kinds, strict=True)}
    data = read(write("d.parquet", pyarrow.table({**columns, "y": CODES})))
    assert data.X.dtype == np.dtype(wanted)
    np.testing.assert_array_equal(data.X, (CODES > 0)[:, None] * np.ones(3))


LABEL_KINDS = {
    "integers": (CODES, CODES),
    "numbers in text": (CODES.astype(str), CODES),
    "text": (LABELS, LABELS),
    "numbers and text": (np.where(CODES == 1, "one", "2"), np.where(CODES == 1, "one", "2")),
    "the words nan and NA": (np.where(CODES == 1, "nan", "NA"), np.where(CODES == 1, "nan", "NA")),
    "beyond ASCII": (np.where(CODES == 1, "žlutá", "青"), np.where(CODES == 1, "žlutá", "青")),
}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
@pytest.mark.parametrize("kind", LABEL_KINDS)
def test_labels_are_integers_or_text(write, tmp_path, kind, suffix):
    labels, wanted = LABEL_KINDS[kind]
    if suffix == "npz":
        path = tmp_path / "d.npz"
        np.savez(path, X=X, y=labels)
    else:
        path = write(f"d.{suffix}", csv_lines(labels) if suffix == "csv" else table(labels))
    y = read(path).y
    assert y.dtype.kind == wanted.dtype.kind
    np.testing.assert_array_equal(y, wanted)


def test_categories_and_booleans_of_parquet_are_labels(write):
    np.testing.assert_array_equal(read(write("d.parquet", table(pyarrow.array(LABELS).dictionary_encode()))).y, LABELS)
    np.testing.assert_array_equal(read(write("e.parquet", table(CODES == 1))).y, CODES == 1)


def test_an_array_file_is_mapped_and_not_read(tmp_path):
    np.save(tmp_path / "d.npy", np.column_stack([X, CODES]))
    assert isinstance(read(tmp_path / "d.npy").X, np.memmap)


# ------------------------------------------------------------------------------------------ bad files

GOOD = csv_lines()
BAD_CSV = {
    "text": ([*GOOD[:7], "1,abc,3,red", *GOOD[7:]], ["line 8", "'b'", "'abc'", "finite number"]),
    "text behind a blank line": ([*GOOD[:4], "", "1,2,x,red"], ["line 6", "'c'", "'x'"]),
    "empty cell": ([*GOOD[:3], "1,2,,red"], ["line 4", "'c'", "empty"]),
    "nan": ([*GOOD[:3], "nan,2,3,red"], ["line 4", "'a'", "'nan'"]),
    "NA": ([*GOOD[:3], "1,NA,3,red"], ["line 4", "'b'", "'NA'"]),
    "inf": ([*GOOD[:3], "1,2,-inf,red"], ["line 4", "'c'", "'-inf'"]),
    "underscore": ([*GOOD[:3], "1,2,1_0,red"], ["line 4", "'c'", "'1_0'"]),
    "cells missing": ([*GOOD[:3], "1,2,red"], ["line 4", "3 cells", "4 are wanted"]),
    "cells too many": ([*GOOD[:3], "1,2,3,4,red"], ["line 4", "5 cells"]),
    "empty label": ([*GOOD[:3], "1,2,3,"], ["line 4", "'colour'", "a label is wanted"]),
    "blank label": ([*GOOD[:3], "1,2,3,  "], ["line 4", "'colour'", "a label is wanted"]),
    "fraction for a label": ([*GOOD[:1], "1,2,3,4.5", "1,2,3,2"], ["'colour'", "4.5", "whole numbers or text"]),
    "not UTF-8": ("\n".join([*GOOD[:9], "1,2,3,caf\xe9"]).encode("latin-1"), ["line 10", "UTF-8"]),
    "first line not UTF-8": ("a,b\xe9\n1,2".encode("latin-1"), ["line 1", "UTF-8"]),
    "names alone": (GOOD[:1], ["no rows of data"]),
    "names alone, no line end": (GOOD[0].encode(), ["no rows"]),
    "one column": (["y", "1", "2"], ["one column only", "'y'"]),
    "a name twice": (["a,a,y", "1,2,3"], ["2 columns", "'a'"]),
    "a column without name": (["a,,y", "1,2,3"], ["column 1", "no name"]),
    "names or data": (["1,2", "3,4"], ["line 1", "--header", "--no-header"]),
    "first line empty": (["", *GOOD], ["line 1", "empty"]),
    "empty file": (b"", ["empty"]),
}


@pytest.mark.parametrize("what", BAD_CSV)
def test_bad_csv_names_line_and_column(write, what):
    content, words = BAD_CSV[what]
    assert_one_sentence(write("d.csv", content), *words)


def test_the_line_is_counted_in_the_file_where_cells_span_lines(write):
    lines = ["a,b,y", '1,2,"two', 'lines"', "3,4,one", "5,x,one"]
    assert_one_sentence(write("d.csv", lines), "line 5", "'b'", "'x'")


@pytest.mark.parametrize("target", ["shape", 4, "-5", "1.0"])
def test_a_missing_target_lists_the_columns(write, target):
    assert_one_sentence(write("d.csv", GOOD), repr(target), "a, b, c, colour", target=target)
    assert_one_sentence(write("d.parquet", table()), repr(target), "a, b, c, colour", target=target)


@pytest.mark.parametrize("name", ["d.json", "d", "d.xlsx", "d.gz"])
def test_an_unknown_type_lists_the_known(write, name):
    assert_one_sentence(write(name, b"1"), "unknown type", ".csv", ".parquet", ".svmlight")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.csv")


def test_bad_parquet(write):
    path = write("d.parquet", table())
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[50:150] = bytes(100)
    assert_one_sentence(write("half.parquet", whole[: len(whole) // 2]), "not a sound Parquet file")
    assert_one_sentence(write("junk.parquet", b"junk" * 20), "not a sound Parquet file")
    assert_one_sentence(write("hole.parquet", bytes(damaged)), "damaged")
    column = pyarrow.array([1.0, None] * 6)
    assert_one_sentence(write("null.parquet", table(CODES, gap=column, y=CODES)), "row 1", "'gap'", "empty", target="y")
    assert_one_sentence(write("text.parquet", table()), "'colour'", "string", "numbers", target="a")
    infinite = pyarrow.array(np.where(CODES == 2, np.inf, 0.0))
    assert_one_sentence(write("inf.parquet", table(x=infinite)), "row 2", "'x'", "inf", target="colour")
    assert_one_sentence(write("no_label.parquet", table(pyarrow.array([None, "a"] * 6))), "row 0", "'colour'")
    assert_one_sentence(write("dates.parquet", table(CODES.astype("M8[D]"))), "'colour'", "whole numbers or text")


def saved(path, save, *arrays, **named):
    save(path, *arrays, **named)
    return path


def test_bad_arrays(write, tmp_path):
    whole = saved(tmp_path / "d.npz", np.savez, X=X, y=CODES).read_bytes()
    damaged = bytearray(whole)
    damaged[250:280] = b"x" * 30
    for name in ("half.npz", "hole.npz", "junk.npz", "junk.npy", "half.npy"):
        content = {"half": whole[: len(whole) // 2], "hole": bytes(damaged), "junk": b"junk"}[name[:4]]
        assert_one_sentence(write(name, content), "not a sound")
    assert_one_sentence(saved(tmp_path / "a.npz", np.savez, X=X), "no array y")
    assert_one_sentence(saved(tmp_path / "b.npz", np.savez, Z=X), "Z", "X (and y for training)")
    assert_one_sentence(saved(tmp_path / "c.npz", np.savez, X=X, y=CODES[1:]), "(11,)", "12 rows")
    assert_one_sentence(saved(tmp_path / "d.npz", np.savez, X=X, y=CODES), "leave out", "'b'", target="b")
    assert_one_sentence(saved(tmp_path / "e.npy", np.save, X[:, 0]), "(12,)", "(rows, columns)")
    assert_one_sentence(saved(tmp_path / "f.npy", np.save, X + 1j), "complex128")
    assert_one_sentence(saved(tmp_path / "g.npy", np.save, X), "'2'", "whole numbers or text")
    assert_one_sentence(saved(tmp_path / "h.npy", np.save, np.zeros((0, 3))), "0 rows")
    holed = np.column_stack([X, CODES])
    holed[4, 1] = np.nan
    assert_one_sentence(saved(tmp_path / "i.npy", np.save, holed), "row 4", "'1'", "nan")


def test_nothing_is_unpickled(tmp_path):
    objects = np.array([[1.0, "a"]], dtype=object)
    np.save(tmp_path / "d.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "d.npz", allow_pickle=True, X=objects, y=objects)
    for name in ("d.npy", "d.npz"):
        assert_one_sentence(tmp_path / name, "not a sound")


BAD_SVMLIGHT = {
    "text value": (["1 1:2", "2 1:abc"], ["line 2", "'1:abc'"]),
    "no colon": (["1 1:2", "2 7"], ["line 2", "'7'"]),
    "two labels": (["1,2 1:2"], ["line 1", "'1,2'"]),
    "nan": (["1 1:nan"], ["line 1", "'1:nan'"]),
    "negative index": (["1 -1:2"], ["line 1", "'-1:2'"]),
    "falling indices": (["1 1:1", "1 3:2 1:5"], ["line 2", "feature 1", "3"]),
    "fraction for a label": (["0.5 1:2", "1 1:3"], ["0.5", "whole numbers or text"]),
    "comments alone": (["# nothing"], ["0 rows"]),
}


@pytest.mark.parametrize("what", BAD_SVMLIGHT)
def test_bad_svmlight_names_the_line(write, what):
    content, words = BAD_SVMLIGHT[what]
    assert_one_sentence(write("d.svm", content), *words)


def test_comments_and_query_numbers_are_skipped(write):
    data = read(write("d.svm", ["# a comment", "1 qid:3 1:0.5 3:2 # why", "", "2 2:1"]))
    np.testing.assert_array_equal(data.X.toarray(), [[0.5, 0, 2], [0, 1, 0]])
    np.testing.assert_array_equal(data.y, [1, 2])


def test_a_sparse_file_stays_sparse_however_wide(write):
    data = read(write("d.svm", ["1 9999999:1", "2 1:1"]))
    assert data.X.format == "csr" and data.X.shape == (2, 9999999) and data.X.nnz == 2


def test_more_features_than_any_model_has_are_refused_with_the_limit(write):
    assert_one_sentence(write("d.svm", ["1 999999999:1", "2 1:1"]), "feature 999999999", str(1 << 24))


# -------------------------------------------------------------------------- columns for a model


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_are_found_by_name_whatever_else_the_file_has(write, suffix):
    rows = pyarrow.table({"c": X[:, 2], "colour": LABELS, "a": X[:, 0], "note": LABELS, "b": X[:, 1]})
    path = write("d.parquet", rows)
    if suffix == "csv":
        path = path.with_suffix(".csv")
        pyarrow.csv.write_csv(rows, path)
    data = read_features(path, NAMES, 3)
    np.testing.assert_array_equal(data.X, X)
    assert data.feature_names == NAMES and data.y is None


def test_all_missing_columns_are_listed(write):
    words = ["2 of the model's 5", "d, e", "it has a, b, c, colour"]
    path = write("d.csv", GOOD)
    assert_one_sentence(path, *words, call=read_features, feature_names=["a", "d", "b", "e", "c"], n=5)


def test_a_file_without_names_is_taken_as_it_is_or_by_number(write, tmp_path):
    np.save(tmp_path / "alone.npy", X)
    np.save(tmp_path / "with_target.npy", np.column_stack([CODES, X]))
    np.savez(tmp_path / "d.npz", X=X)
    no_names = write("d.csv", [line.rpartition(",")[0] for line in GOOD[1:]])
    for names in (NAMES, None, ["1", "2", "3"]):
        np.testing.assert_array_equal(read_features(tmp_path / "alone.npy", names, 3).X, X)
        np.testing.assert_array_equal(read_features(tmp_path / "d.npz", names, 3).X, X)
        np.testing.assert_array_equal(read_features(no_names, names, 3, header=False).X, X)
    np.testing.assert_array_equal(read_features(tmp_path / "with_target.npy", ["1", "2", "3"], 3).X, X)
    wrong = tmp_path / "with_target.npy"
    assert_one_sentence(wrong, "lacks 3", call=read_features, feature_names=NAMES, n=3)
    assert_one_sentence(wrong, "4 columns", "wants 3", call=read_features, feature_names=None, n=3)


@pytest.mark.parametrize("first", [0, 1])
def test_svmlight_features_keep_their_numbers(write, first):
    """The 0 of a file from 0 may never occur in the file to predict: the model's names tell which it is."""
    names = [f"feature {j}" for j in range(first, first + 3)]
    data = read_features(write("d.svm", [f"0 {first + 1}:5", f"0 {first + 2}:7"]), names, 3)
    np.testing.assert_array_equal(data.X.toarray(), [[0, 5, 0], [0, 0, 7]])
    too_far = write("e.svm", [f"0 {first + 3}:5"])
    assert_one_sentence(too_far, f"feature {first + 3}", call=read_features, feature_names=names, n=3)


def test_a_zero_based_file_is_no_input_for_a_model_that_starts_at_one(write):
    path = write("d.svm", ["0 0:5"])
    names = ["feature 1", "feature 2"]
    assert_one_sentence(path, "feature 0", "start at 1", call=read_features, feature_names=names, n=2)


def test_svmlight_features_are_not_mistaken_for_column_numbers(tmp_path):
    np.save(tmp_path / "d.npy", np.column_stack([X, CODES]))
    names = ["feature 1", "feature 2", "feature 3"]
    assert_one_sentence(tmp_path / "d.npy", "lacks 3", call=read_features, feature_names=names, n=3)


# -------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_written_tables_come_back(tmp_path, suffix):
    path = tmp_path / f"d.{suffix}"
    write_columns(path, {"prediction": LABELS, "p(red)": X[:, 0], "p(ü)": X[:, 1].astype("f4")})
    back = pyarrow.csv.read_csv(path) if suffix == "csv" else pyarrow.parquet.read_table(path)
    assert back.column_names == ["prediction", "p(red)", "p(ü)"]
    assert back["prediction"].to_pylist() == LABELS.tolist()
    np.testing.assert_array_equal(back["p(red)"].to_numpy(), X[:, 0])
    np.testing.assert_array_equal(back["p(ü)"].to_numpy().astype("f4"), X[:, 1].astype("f4"))


def test_written_arrays_come_back(tmp_path):
    write_columns(tmp_path / "d.npy", {"prediction": LABELS})
    np.testing.assert_array_equal(np.load(tmp_path / "d.npy"), LABELS)
    write_columns(tmp_path / "d.npy", {name: X[:, j] for j, name in enumerate(NAMES)})
    np.testing.assert_array_equal(np.load(tmp_path / "d.npy"), X)
    path = tmp_path / "d.npy"
    assert_one_sentence(path, "labels beside numbers", call=write_columns, columns={"top": LABELS, "p": X[:, 0]})


@pytest.mark.parametrize("name", ["d.txt", "d", "d.npz", "d.xls"])
def test_other_suffixes_are_refused(name):
    with pytest.raises(ValueError, match=r"\.csv, \.parquet or \.npy"):
        files.kind_to_write(name)
