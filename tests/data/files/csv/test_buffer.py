"""Compressed and encoded text."""

import bz2
import gzip
import lzma
import os
import threading

import numpy as np
import pyarrow
import pytest

from fastsoftmax.data.files import read

PACK = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pyarrow.Codec("zstd").compress(data, asbytes=True),
}


@pytest.mark.parametrize("packed", PACK)
def test_compressed_text_is_read_whatever_its_name(files, iris, packed):
    content = PACK[packed](iris.text().encode())
    iris.same(files.read(content, name=f"d.csv.{packed}"))
    iris.same(files.read(content, name="d.csv"))
    iris.same(files.read(iris.text(), name=f"d.csv.{packed}"))
    np.testing.assert_array_equal(files.features(content, iris.names, name=f"D.CSV.{packed.upper()}").X, iris.X)


@pytest.mark.parametrize("packed", ["gz", "bz2", "xz"])
def test_parts_that_follow_each_other_are_one_file(files, iris, packed):
    text = iris.text().encode()
    iris.same(files.read(PACK[packed](text[:300]) + PACK[packed](text[300:]), name=f"d.csv.{packed}"))


@pytest.mark.parametrize("packed", PACK)
def test_a_damaged_file_gives_no_rows(files, iris, packed):
    content = PACK[packed](iris.text().encode() * 100)
    files.error(content[: len(content) // 2], "not a sound", name=f"d.csv.{packed}")
    files.error(PACK[packed](b""), "empty", name=f"d.csv.{packed}")


def test_archives_and_compressed_tables_are_refused(files, iris):
    files.error(b"PK\x03\x04" + bytes(50), "ZIP archive", name="d.csv")
    for name in ("d.parquet.gz", "d.npy.gz", "d.npz.xz"):
        files.error(gzip.compress(b"x"), "compressed", name=name)
    files.error(b"1", "unknown type", ".csv", "--format", name="d.xlsx.gz")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(files, iris, encoding):
    text = iris.text("ä,b,c,d,species").replace("setosa", "sétosa青")
    data = files.read(text.encode(encoding))
    assert data.feature_names[0] == "ä" and "sétosa青" in data.y
    np.testing.assert_array_equal(data.X, iris.X)
    assert files.read(gzip.compress(text.encode(encoding)), name="d.csv.gz").feature_names[0] == "ä"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "utf-16-be", "iso8859-15", "shift-jis"])
def test_an_encoding_may_be_said(files, iris, encoding):
    letter = "青" if encoding == "shift-jis" else "ä"
    text = iris.text(f"{letter},b,c,d,species").replace("setosa", f"s{letter}tosa")
    data = files.read(text.encode(encoding), encoding=encoding)
    assert data.feature_names[0] == letter and f"s{letter}tosa" in data.y
    files.error(text.encode(encoding), "--encoding")


def test_bytes_that_are_not_of_the_encoding_are_an_error_with_the_line(files):
    files.error(b"a,b,y\n1,2,u\n3,4,\xe4\n", "line 3 ", "UTF-8", "--encoding")
    files.error(b"a,b,y\n1,2,u\n3,\xe4,v\n", "line 3 ", "UTF-8", "--encoding")
    files.error(b"a,b,y\n1,2,u\n3,4,\xe4\n", "line 3 ", "ascii", encoding="ascii")
    files.error("a,b,y\n1,2,u\n3,4,\x81\n".encode("latin-1"), "line 3 ", "cp1252", encoding="cp1252")
    with pytest.raises(ValueError, match="unknown encoding 'klingon'"):
        files.read("a,b\n1,2\n", encoding="klingon")
    with pytest.raises(ValueError, match="unknown encoding 'hex'"):
        files.read("a,b\n1,2\n", encoding="hex")


def test_a_pipe_is_read_with_its_format_stated(tmp_path, iris):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(iris.text()), daemon=True)
    writer.start()
    data = read(tmp_path / "pipe", format="csv")
    writer.join()
    iris.same(data)
