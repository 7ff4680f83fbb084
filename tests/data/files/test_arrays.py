"""NumPy's files: any real dtype and layout, and what is refused."""

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from fastsoftmax.data.files import ReadOptions, read, read_features, write_columns

RNG = np.random.default_rng(0)
X = RNG.integers(0, 50, size=(12, 3)).astype(float) / 2
CODES = np.arange(12) % 3


@pytest.fixture
def save(tmp_path):
    """A function that writes a .npz file with these arrays."""

    def to_file(**arrays):
        np.savez(tmp_path / "d.npz", allow_pickle=True, **arrays)
        return tmp_path / "d.npz"

    return to_file


def message(call, path, *args, **options):
    with pytest.raises(ValueError) as caught:
        call(path, *args, **options)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8", "g", "u1", "i2", ">u8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_real_arrays_are_taken_as_they_are(save, tmp_path, dtype, order):
    wanted = np.asarray(X.astype(int) if np.dtype(dtype).kind in "iu" else X, dtype=dtype, order=order)
    for suffix in ("npz", "npy"):
        if suffix == "npz":
            data = read(save(X=wanted, y=CODES))
        else:
            np.save(tmp_path / "d.npy", wanted)
            data = read_features(tmp_path / "d.npy", None, 3)
        assert data.X.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(data.X, wanted)


def test_labels_in_a_column_are_labels(save):
    data = read(save(X=X, y=CODES[:, None]))
    np.testing.assert_array_equal(data.y, CODES)
    assert data.notes == ("y has the shape (12, 1); its column is the labels",)
    for y in (CODES[None], CODES.reshape(12, 1, 1), np.array(1), CODES.reshape(6, 2)):
        wrong = message(read, save(X=X, y=y))
        assert f"shape {y.shape}" in wrong and "12 rows" in wrong


def test_the_labels_of_an_array_to_predict_are_not_read(save):
    for y in (np.array([object()], dtype=object), CODES[:3], np.array([1j])):
        np.testing.assert_array_equal(read_features(save(X=X, y=y), None, 3).X, X)


def test_other_arrays_of_an_archive_are_not_read(save):
    path = save(X=X, y=CODES, feature_names=np.array(["a", 1, None], dtype=object))
    np.testing.assert_array_equal(read(path).X, X)


STRUCTURED = np.zeros(12, [("a", "f8"), ("b", "i4")])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (X.astype(object), "X holds Python objects, which are not unpickled"),
        (STRUCTURED, "a structured array of shape (12,)"),
        (np.array(1.0), "shape ()"),
        (X[0], "shape (3,)"),
        (X[None], "shape (1, 12, 3)"),
        (X.astype(str), "<U32"),
        (X.astype(complex), "complex128"),
        (X.astype("M8[s]"), "datetime64"),
        (np.zeros((0, 3)), "0 rows"),
        (np.zeros((12, 0)), "0 feature columns"),
    ],
    ids=lambda value: str(value.dtype) + str(value.shape) if isinstance(value, np.ndarray) else "",
)
def test_what_is_no_matrix_of_numbers_is_refused(save, array, words):
    assert words in message(read, save(X=array, y=CODES[: len(array)] if array.ndim else CODES))


def test_labels_that_are_objects_are_not_unpickled(save, tmp_path):
    assert "y holds Python objects" in message(read, save(X=X, y=np.array(["a", 1] * 6, dtype=object)))
    np.save(tmp_path / "o.npy", np.array([[1, "a"]], dtype=object), allow_pickle=True)
    assert "Python objects, which are not unpickled" in message(read, tmp_path / "o.npy")


def test_columns_of_arrays_are_ignored_by_number(save, tmp_path):
    options = ReadOptions(ignore=("1",))
    data = read(save(X=X, y=CODES), options=options)
    assert data.feature_names == ["0", "2"]
    np.testing.assert_array_equal(data.X, X[:, [0, 2]])
    for chosen in (options, ReadOptions()):
        np.testing.assert_array_equal(read_features(save(X=X), ["0", "2"], 2, options=chosen).X, X[:, [0, 2]])
    np.save(tmp_path / "d.npy", np.column_stack([X, CODES]))
    data = read(tmp_path / "d.npy", options=options)
    assert data.feature_names == ["0", "2"] and data.target == "3"
    assert "'7'" in message(read, tmp_path / "d.npy", options=ReadOptions(ignore=("7",)))


def test_a_number_for_labels_beyond_floats_is_not_written_beside_them(tmp_path):
    path = tmp_path / "p.npy"
    for labels in (np.array([1 << 63, (1 << 63) + 1], "u8"), np.array([-(1 << 53) - 1, 0])):
        write_columns(path, {"prediction": labels})
        assert np.load(path).tolist() == labels.tolist()
        assert "beside numbers" in message(
            lambda p, c: write_columns(p, c), path, {"top_1": labels, "p_1": np.zeros(2)}
        )
    write_columns(path, {"top_1": np.array([1 << 53, 3]), "p_1": np.zeros(2, "f4")})
    assert np.load(path)[:, 0].tolist() == [1 << 53, 3]


@pytest.mark.parametrize("dtype", [">i4", ">u8", ">U3"])
def test_labels_of_any_byte_order_are_written(tmp_path, dtype):
    labels = np.array(["7", "10", "3"]).astype(dtype)
    for name, read_back in {"p.csv": pyarrow.csv.read_csv, "p.parquet": pyarrow.parquet.read_table}.items():
        write_columns(tmp_path / name, {"prediction": labels})
        assert list(map(str, read_back(tmp_path / name)[0].to_pylist())) == ["7", "10", "3"]


def test_text_in_objects_is_written_to_arrays(tmp_path):
    write_columns(tmp_path / "p.npy", {"prediction": np.array(["07", "é"], object)})
    assert np.load(tmp_path / "p.npy").tolist() == ["07", "é"]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_nan_in_an_array_is_an_empty_cell(save, tmp_path, dtype):
    holed = X.astype(dtype)
    holed[3, 1] = np.nan
    assert "row 3" in message(read, save(X=holed, y=CODES))
    data = read(save(X=holed, y=CODES), options=ReadOptions(fill=-1))
    assert data.X.dtype == dtype and data.X[3, 1] == -1 and data.notes == ("empty cells are read as -1: 1",)
    np.save(tmp_path / "d.npy", holed)
    assert read_features(tmp_path / "d.npy", None, 3, options=ReadOptions(fill=-1)).X[3, 1] == -1
    assert read_features(save(X=holed), None, 3, options=ReadOptions(fill=-1)).X[3, 1] == -1
    assert np.isnan(np.load(tmp_path / "d.npy")[3, 1])


def test_text_of_numbers_that_are_no_characters_and_signalling_nan_are_no_labels(tmp_path):
    X, text = np.eye(3), np.frombuffer(b"\xff" * 12, "<U1")
    signalling = np.frombuffer(bytes.fromhex("010000000000f47f"), "<f8").repeat(3)
    for y, words in ((text, "numbers that are no characters"), (signalling, "holds the number nan")):
        np.savez(tmp_path / "d.npz", X=X, y=y)
        with pytest.raises(ValueError, match=words):
            read(tmp_path / "d.npz")
