"""Files that are whole or not there: what an error leaves behind; archives come back, and damage is an error."""

import errno
import os

import numpy as np
import pytest

from fastsoftmax.data.archive import read_archive, whole_file, write_archive

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
