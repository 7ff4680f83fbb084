"""Files that are whole or not there: what an error leaves behind; archives come back, and damage is an error."""

import errno
import io
import os
import struct
import zipfile

import numpy as np
import pytest
from expect import assert_raises

from fastsoftmax.data.archive import load_arrays, map_array, read_archive, whole_file, write_archive

ARRAYS = [np.arange(6.0).reshape(2, 3).T, np.float32([1, np.nan]), np.zeros((0, 3)), np.array(7), np.array([True])]
HEADER = {"format": "test", "format_version": 2, "text": "Größe"}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "a.npz"
    write_archive(path, HEADER, ARRAYS)
    return path


def test_an_archive_comes_back(archive):
    header, arrays = read_archive(archive, "test", 2)
    assert header.items() >= HEADER.items()
    for array, given in zip(arrays, ARRAYS, strict=True):
        assert (array.dtype, array.shape) == (given.dtype, given.shape)
        np.testing.assert_array_equal(array, given)


def test_every_damage_is_an_error_that_names_the_file_or_changes_nothing(archive):
    sound, wanted = archive.read_bytes(), [array.tobytes() for array in ARRAYS]
    found = 0
    for at in range(len(sound)):
        damaged = bytearray(sound)
        damaged[at] ^= 0x10
        archive.write_bytes(damaged)
        try:
            header, arrays = read_archive(archive, "test", 2)
        except ValueError as error:
            assert str(archive) in str(error)
            found += 1
        else:
            assert header.items() >= HEADER.items() and [array.tobytes() for array in arrays] == wanted
    assert found > len(sound) // 2
    for end in range(0, len(sound), 7):
        archive.write_bytes(sound[:end])
        with pytest.raises(ValueError, match=r"a\.npz is (damaged|empty)"):
            read_archive(archive, "test", 2)


def test_a_later_version_and_another_format_are_errors(archive):
    with pytest.raises(ValueError, match="format version 2, this fastsoftmax reads up to 1; a newer one is wanted"):
        read_archive(archive, "test", 1)
    with pytest.raises(ValueError, match="no other: its header does not say 'other'"):
        read_archive(archive, "other", 2)


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", header=np.array([print], object), numbers=np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="damaged or no test"):
        read_archive(tmp_path / "a.npz", "test", 1)


# What stands in the head of a .npy file, and what is wrong with it.
HEADS = {
    "more than there is": {"descr": "<f8", "fortran_order": False, "shape": (10**12,)},
    "more than can be": {"descr": "<f8", "fortran_order": False, "shape": (2**62, 2**62)},
    "a negative size": {"descr": "<f8", "fortran_order": False, "shape": (-5, 2)},
    "no size": {"descr": "<f8", "fortran_order": False, "shape": None},
    "no dtype": {"descr": "x" * 9, "fortran_order": False, "shape": (1,)},
    "objects": {"descr": "|O", "fortran_order": False, "shape": (1,)},
    "another key": {"descr": "<f8", "fortran_order": False, "shape": (1,), "more": 1},
    "a dict that does not end": "{'descr': '<f8',",
    "brackets": "(" * 9000 + ")" * 9000,
    "a long line": " " * 60_000,
}


def npy_with(head):
    text = (head if isinstance(head, str) else repr(head)).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(8)


def zipped(**parts):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in parts.items():
            archive.writestr(f"{name}.npy", data)
    out.seek(0)
    return out


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_hostile_head_is_an_error_of_one_line(tmp_path, head):
    (tmp_path / "a.npy").write_bytes(npy_with(head))
    assert_raises(ValueError, [], lambda: map_array(tmp_path / "a.npy"))
    assert_raises(ValueError, [], lambda: load_arrays(zipped(a=npy_with(head))))
    (tmp_path / "a.npz").write_bytes(zipped(header=npy_with(head)).getvalue())
    assert_raises(ValueError, ["a.npz"], lambda: read_archive(tmp_path / "a.npz", "test", 1))


def test_a_member_that_is_no_array_and_a_file_that_is_no_archive_are_errors():
    with pytest.raises(ValueError, match="a is no array"):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("a", b"text")
        out.seek(0)
        load_arrays(out)
    for data in (b"text", b"\x80\x04K\x01.", npy_with({"descr": "<f8", "fortran_order": False, "shape": (1,)})):
        with pytest.raises(ValueError, match="it is no archive"):
            load_arrays(io.BytesIO(data))


def test_only_what_is_wanted_is_read():
    names, arrays = load_arrays(zipped(a=npy_with(HEADS["objects"]), b=npy_with(HEADS["more than there is"])), ["c"])
    assert names == ["a", "b"] and arrays == {}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_what_was_there_and_no_part(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(type(error)), whole_file(path) as file:
        file.write(b"half")
        raise error
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["file"]


def test_a_part_that_a_killed_process_left_is_begun_anew(tmp_path):
    (tmp_path / ".file.part").write_text("much longer than what comes")
    with whole_file(tmp_path / "file") as file:
        file.write(b"new")
    assert (tmp_path / "file").read_text() == "new" and os.listdir(tmp_path) == ["file"]


def test_a_link_still_points_to_the_file(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "there" / "file")
    with whole_file(link) as file:
        file.write(b"new")
    assert link.is_symlink() and (tmp_path / "there" / "file").read_text() == "new"
