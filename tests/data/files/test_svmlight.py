"""Sparse text as other programs write it: compressed, with queries and comments, of any base and with any line ends."""

import bz2
import gzip
import lzma

import numpy as np
import pyarrow
import pytest
from sklearn.datasets import dump_svmlight_file

from fastsoftmax.data.files import ReadOptions, read, read_features
from fastsoftmax.data.files.svmlight import read_svmlight

LINES = ["1 1:0.5 3:2", "2 2:1", "1 1:-1.5e-3"]
DENSE = [[0.5, 0, 2], [0, 1, 0], [-0.0015, 0, 0]]
TEXT = "\n".join(LINES) + "\n"
IGNORE = ReadOptions(extra_features="ignore")


@pytest.fixture
def write(tmp_path):
    def to_file(content, name="d.svm"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else "\n".join(content).encode())
        return path

    return to_file


def message(path, *args, **options):
    with pytest.raises(ValueError) as caught:
        read_svmlight(path, *args, **options)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def assert_same(data):
    np.testing.assert_array_equal(data.X.toarray(), DENSE)
    assert data.X.dtype == np.float64 and data.X.has_sorted_indices
    assert data.y.dtype == np.int64 and data.y.tolist() == [1, 2, 1]
    assert data.feature_names == ["feature 1", "feature 2", "feature 3"]


def zstd(data):
    with pyarrow.BufferOutputStream() as sink:
        with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstd], ids=["gz", "bz2", "xz", "zst"])
@pytest.mark.parametrize("name", ["d.svm.gz", "d", "d.libsvm"])
def test_compressed_files_are_told_by_their_bytes(write, compress, name):
    path = write(compress(TEXT.encode()), name)
    assert_same(read_svmlight(path))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    assert "damaged" in message(path)


def test_two_members_of_a_compressed_file_follow_each_other(write):
    assert_same(
        read_svmlight(write(gzip.compress(LINES[0].encode() + b"\n") + gzip.compress("\n".join(LINES[1:]).encode())))
    )


WRITTEN = {
    "line ends of Windows": TEXT.replace("\n", "\r\n").encode(),
    "a byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "no last line end": TEXT.rstrip().encode(),
    "blank lines": TEXT.replace("\n", "\n\n \t\n").encode(),
    "tabs and spaces": b"\n".join(b"  " + line.replace(b" ", b" \t ") + b"  " for line in TEXT.encode().splitlines()),
    "comments": b"# head\n" + TEXT.replace("\n", " # why: 3:4 qid:1\n").encode() + b"   # \xff\xfe no UTF-8\n",
    "comments without space": TEXT.replace("\n", "#5:1\n").encode(),
    "labels as numbers": TEXT.replace("1 1:", "+1.0 1:").replace("2 2:", "2e0 2:").encode(),
    "numbers in other forms": TEXT.replace("3:2", "3:+2.").replace("0.5", ".5").encode(),
    "leading zeros of an index": TEXT.replace("1:0.5", "01:0.5").encode(),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_other_programs_write(write, kind):
    assert_same(read_svmlight(write(WRITTEN[kind])))


def test_queries_are_left_out_and_said(write):
    path = write(line.replace(" ", f" qid:{10 + j} ", 1) for j, line in enumerate(LINES))
    data = read_svmlight(path)
    assert_same(data)
    assert any("qid" in note for note in data.notes)
    assert not any("qid" in note for note in read_svmlight(write([*LINES, "# qid:3"])).notes)


def test_labels_are_numbers(write):
    assert read_svmlight(write(["+1 1:1", "-1 1:2", "0 1:3"])).y.tolist() == [1, -1, 0]
    assert "0.5" in message(write(["0.5 1:1", "1 1:2"]))
    assert "2^53" in message(write(["9007199254740993 1:1", "1 1:2"]))


def test_where_features_count_from_is_said(write):
    assert any("from 1" in note for note in read_svmlight(write(LINES)).notes)
    data = read_svmlight(write(["1 0:1 2:3", "2 1:1"]))
    assert any("from 0" in note for note in data.notes) and data.feature_names[0] == "feature 0"
    np.testing.assert_array_equal(data.X.toarray(), [[1, 0, 3], [0, 1, 0]])
    known = read_svmlight(write(LINES), n=4, zero_based=True)
    assert known.notes == () and known.X.shape == (3, 4)
    np.testing.assert_array_equal(known.X.toarray()[:, 1:], DENSE)


def test_a_zero_that_is_written_out_counts(write):
    assert read_svmlight(write(["1 0:0 1:5", "2 2:0"])).X.shape == (2, 3)


def test_features_beyond_the_models_are_an_error_or_left_out(write):
    path = write(["1 1:0.5 7:1", "2 3:1 9:2 12:1", "1"])
    wrong = message(path, n=3, zero_based=False)
    assert "feature 12" in wrong and "3, from 1 on" in wrong and "--extra-features" in wrong
    data = read_svmlight(path, IGNORE, 3, zero_based=False)
    np.testing.assert_array_equal(data.X.toarray(), [[0.5, 0, 0], [0, 0, 1], [0, 0, 0]])
    assert data.notes == ("3 values of features beyond the model's 3 are left out",)
    np.testing.assert_array_equal(read_svmlight(path, IGNORE, 3, zero_based=True).X.toarray()[:, 1], [0.5, 0, 0])
    assert "start at 1" in message(write(["1 0:1"]), IGNORE, 3, zero_based=False)


def test_another_word_for_extra_features_is_refused(write):
    with pytest.raises(ValueError, match="extra_features is 'drop'"):
        read_svmlight(write(LINES), ReadOptions(extra_features="drop"))


def test_a_file_without_one_feature_of_the_model(write):
    assert read_svmlight(write(["1", "2"]), n=3, zero_based=False).X.shape == (2, 3)
    assert read_svmlight(write(["1 9:1", "2"]), IGNORE, 3, zero_based=False).X.nnz == 0
    assert "0 features" in message(write(["1", "2"]))


WRONG = {
    "two labels": ("1,2 3:4", "label '1,2'"),
    "no label": ("1:2 3:4", "label '1:2'"),
    "a label of text": ("cat 3:4", "label 'cat'"),
    "nan": ("1 3:nan", "'3:nan'"),
    "inf": ("1 3:-inf", "'3:-inf'"),
    "too large": ("1 3:1e999", "'3:1e999'"),
    "an infinite label": ("inf 3:1", "label 'inf'"),
    "a label too large": ("1e999 3:1", "label '1e999'"),
    "underlines": ("1 3:1_0", "'3:1_0'"),
    "an index with a sign": ("1 +3:1", "'+3:1'"),
    "a negative index": ("1 -3:1", "'-3:1'"),
    "a fraction for an index": ("1 3.5:1", "'3.5:1'"),
    "digits of other scripts": ("1 ३:1", "'३:1'"),
    "no value": ("1 3:", "'3:'"),
    "a space behind the colon": ("1 3: 4", "'3:'"),
    "a decimal comma": ("1 3:0,5", "'3:0,5'"),
    "twice": ("1 3:1 3:1", "feature 3 after 3"),
    "falling": ("1 3:1 2:1", "feature 2 after 3"),
    "an index beyond all": ("1 99999999999999999999999:1", "feature 99999999999999999999999"),
    "an index of thousands of digits": ("1 " + "9" * 5000 + ":1", "feature 999"),
    "an index beyond 32 bits": ("1 4294967299:1", "feature 4294967299"),
    "a query behind features": ("1 3:1 qid:3", "'qid:3'"),
    "no line feed": ("1 3:1\r2 3:1", "'2'"),
    "bytes": (b"1 3:\xff", "3:"),
    "a blank that is none of ASCII": ("1 3:1\xa04:1", "'3:1\\xa04:1'"),
    "a label without end": ("x" * 5000, "label 'xxx"),
}


@pytest.mark.parametrize("options", [ReadOptions(), IGNORE], ids=["", "ignore"])
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_line_is_named(write, kind, options):
    line, words = WRONG[kind]
    line = line if isinstance(line, bytes) else line.encode()
    wrong = message(write(TEXT.encode() + b"\n# more\n" + line + b"\n1 1:1\n"), options)
    assert "line 6" in wrong and words in wrong


def test_columns_of_a_sparse_file_have_no_names_to_ignore(write):
    assert "'a'" in message(write(LINES), ReadOptions(ignore=("a",)))


def test_what_scikit_learn_writes_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 30)).round(6) * (rng.random((200, 30)) < 0.2)
    for zero_based in (False, True):
        path = tmp_path / f"{zero_based}.svm"
        dump_svmlight_file(
            X, np.arange(200) % 7, str(path), zero_based=zero_based, query_id=np.arange(200), comment="c"
        )
        data = read_svmlight(path)
        np.testing.assert_array_equal(data.X.toarray(), X)
        np.testing.assert_array_equal(data.y, np.arange(200) % 7)


def test_the_suffix_or_the_format_says_that_it_is_svmlight(write):
    assert_same(read(write(gzip.compress(TEXT.encode()), "d.svm.gz")))
    assert_same(read(write(TEXT.encode(), "a9a"), options=ReadOptions(format="svmlight")))
    data = read_features(
        write(["1 1:2 9:1"], "a9a.t"), ["feature 1"], 1, options=ReadOptions("svmlight", extra_features="ignore")
    )
    assert data.X.toarray() == [[2]] and data.y is None and len(data.notes) == 1
