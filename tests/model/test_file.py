"""Files of models: sound ones come back as they were, and of damaged ones each is an error."""

import io
import json
import sys
import zipfile

import numpy as np
import pytest
from problems import random_model, random_rows

from fastsoftmax import Model
from fastsoftmax.model import file

FORMATS = [".npz", ".safetensors"]
formats = pytest.mark.parametrize("suffix", FORMATS)

LABELS = {
    "int64": np.array([-3, 0, 2**62, 7]),
    "uint8": np.array([0, 1, 2, 255], np.uint8),
    "float64": np.array([0.1, -2.0, 1e300, 5e-324]),
    "float32": np.array([0.1, 0.2, 3.0, 4.0], np.float32),
    "bool": np.array([False, True]),
    "str": np.array(["yes", "no", "", "naïve 猫 \U0001f40d"]),
    "object str": np.array(["yes", "no", "perhaps", "x" * 100], object),
    "object int": np.array([1, 2, 10**30, np.int64(4)], object),
    "big-endian": np.array([1, 2, 3, 4], ">i4"),
}


@formats
@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("bias", [False, True])
def test_a_model_comes_back_from_its_file(tmp_path, suffix, kind, bias):
    classes = LABELS[kind]
    names = ["Größe", "a,b", "", "\ud800", "e"]
    model = random_model(k=len(classes), bias=bias, classes=classes, feature_names=names, metadata={"l2": "0.1"})
    model.save(tmp_path / f"model{suffix}")
    loaded = Model.load(str(tmp_path / f"model{suffix}"))
    np.testing.assert_array_equal(loaded.theta, model.theta)
    assert (loaded.bias is None) == (not bias)
    if bias:
        np.testing.assert_array_equal(loaded.bias, model.bias)
    assert loaded.classes.dtype == classes.dtype
    assert loaded.classes.tolist() == classes.tolist()
    assert loaded.feature_names == tuple(names) and loaded.metadata == {"l2": "0.1"}
    np.testing.assert_array_equal(loaded.predict(random_rows()), model.predict(random_rows()))


@formats
def test_float32_and_transposed_parameters_keep_dtype_and_order(tmp_path, suffix):
    theta = np.arange(6, dtype=">f4").reshape(2, 3).T
    Model(theta).save(tmp_path / f"m{suffix}")
    loaded = Model.load(tmp_path / f"m{suffix}")
    assert loaded.theta.dtype == np.float32
    np.testing.assert_array_equal(loaded.theta, theta)


@formats
def test_labels_that_cannot_be_saved_are_an_error(tmp_path, suffix):
    for classes in [np.array([(1,), None], object), np.array(["2020", "2021"], "M8[Y]"), np.array([b"a", b"b"])]:
        with pytest.raises(ValueError, match="only int, float, bool and str labels can be saved"):
            Model([[1.0, 2.0]], classes=classes).save(tmp_path / f"m{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model", "model.pkl", "model.npy"])
def test_other_suffixes_are_an_error(tmp_path, name):
    for action in (random_model().save, Model.load):
        with pytest.raises(ValueError, match=r"must end in \.npz or \.safetensors; got .*model"):
            action(tmp_path / name)


@formats
def test_a_missing_file_is_file_not_found(tmp_path, suffix):
    with pytest.raises(FileNotFoundError):
        Model.load(tmp_path / f"nowhere{suffix}")


def test_safetensors_missing_is_an_import_error_that_says_how_to_get_it(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    random_model().save(path)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for action in (random_model().save, Model.load):
        with pytest.raises(ImportError, match=r"safetensors file needs safetensors: pip install"):
            action(path)


@pytest.fixture(params=FORMATS)
def sound(request, tmp_path):
    """Path and bytes of a sound file."""
    path = tmp_path / f"model{request.param}"
    random_model(classes=list("abcd"), feature_names=list("vwxyz")).save(path)
    return path, path.read_bytes()


def load_error(path, data):
    """The error of loading ``data``; None if it loads."""
    path.write_bytes(data)
    try:
        Model.load(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)[:-1]
        return str(error)
    return None


def test_a_truncated_file_is_an_error_wherever_it_ends(sound):
    path, data = sound
    for length in range(len(data)):
        assert load_error(path, data[:length]), f"{length} bytes of {len(data)} were loaded"


def test_a_flipped_bit_is_an_error_or_changes_nothing(sound):
    path, data = sound
    wanted = random_model(classes=list("abcd"), feature_names=list("vwxyz"))
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 8)
        if load_error(path, changed) is None:
            loaded = Model.load(path)
            np.testing.assert_array_equal(loaded.theta, wanted.theta)
            np.testing.assert_array_equal(loaded.bias, wanted.bias)
            assert loaded.classes.tolist() == list("abcd") and loaded.feature_names == tuple("vwxyz")


def test_foreign_files_are_errors(sound):
    path, _ = sound
    rng = np.random.default_rng(0)
    for size in (1, 8, 100, 5000):
        assert load_error(path, rng.bytes(size))
    assert load_error(path, b"PK\x03\x04" + rng.bytes(100))
    assert load_error(path, (200).to_bytes(8, "little") + b"{" * 200)
    assert "is empty" in load_error(path, b"")


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_an_archive_of_something_else_is_no_model(tmp_path):
    from safetensors.numpy import save

    assert "it has no header" in load_error(tmp_path / "m.npz", npz(theta=np.zeros((2, 2))))
    assert "it has no header" in load_error(tmp_path / "m.safetensors", save({"theta": np.zeros((2, 2))}))
    other = npz(header=np.frombuffer(b'{"format": "other"}', "u1"), checksum=np.zeros(1, "u1"))
    assert "does not say 'fastsoftmax model'" in load_error(tmp_path / "m.npz", other)
    text = npz(header=np.frombuffer(b"hello", "u1"), checksum=np.zeros(1, "u1"))
    assert "not JSON" in load_error(tmp_path / "m.npz", text)


def test_a_pickle_in_an_archive_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    path = tmp_path / "m.npz"
    data = npz(theta=np.array([Bomb()], object), header=np.zeros(1, "u1"), checksum=np.zeros(1, "u1"))
    assert "theta holds Python objects, which are not unpickled" in load_error(path, data)


def rewritten(path, **changes):
    """The bytes of an .npz model with some header entries changed and the checksum made right again."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in file.ARRAYS}
        header = json.loads(archive["header"].tobytes()) | changes
    text = json.dumps(header)
    texts = {"header": text, "checksum": file._checksum(text, arrays)}
    return npz(**arrays, **{name: np.frombuffer(value.encode(), "u1") for name, value in texts.items()})


def test_a_newer_format_and_a_header_that_does_not_fit(tmp_path):
    path = tmp_path / "m.npz"
    random_model().save(path)
    assert load_error(path, rewritten(path)) is None
    for changes, message in [
        ({"format_version": 2}, "has format version 2, this fastsoftmax reads up to 1"),
        ({"format_version": "2"}, "its format version is '2'; a whole number is wanted"),
        ({"classes": {"dtype": "<i8", "values": [1, 2]}}, "classes has shape"),
        ({"classes": {"dtype": "<i8", "values": [1, 2, 3, 10**30]}}, "cannot be read"),
        ({"classes": {"dtype": "<i8", "values": ["a", "b", "c", "d"]}}, "cannot be read"),
        ({"classes": 3}, "cannot be read"),
        ({"feature_names": ["a"]}, "feature_names must be"),
        ({"metadata": 7}, "not a sound"),
    ]:
        random_model().save(path)
        assert message in load_error(path, rewritten(path, **changes))


def test_an_npz_model_is_an_ordinary_archive(tmp_path):
    path = tmp_path / "m.npz"
    random_model().save(path)
    assert sorted(zipfile.ZipFile(path).namelist()) == ["bias.npy", "checksum.npy", "header.npy", "theta.npy"]
