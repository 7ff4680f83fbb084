"""Arrow files, and objects that hand out streams of Arrow data."""

import numpy as np
import polars
import pyarrow
import pytest
from problems import fitted, lettered_problem, names_of

import fastsoftmax

X, LABELS = lettered_problem(2000)
CODES = np.unique(LABELS, return_inverse=True)[1]
COLUMNS = {name: X[:, j] for j, name in enumerate(names_of(X))}
TABLE = pyarrow.table(COLUMNS | {"y": pyarrow.array(LABELS).dictionary_encode()})
THETA = fitted(np.asfortranarray(X), CODES)


def write(path, kind):
    with getattr(pyarrow.ipc, kind)(str(path), TABLE.schema) as file:
        file.write_table(TABLE, max_chunksize=300)
    return path


@pytest.mark.parametrize("kind", ["new_file", "new_stream"])
def test_files_of_both_kinds(tmp_path, kind):
    data = fastsoftmax.scan(write(tmp_path / "t.arrow", kind), "y")
    np.testing.assert_array_equal(fitted(data), THETA)
    assert data.classes.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("data", [TABLE, polars.DataFrame(COLUMNS | {"y": LABELS})], ids=["pyarrow", "polars"])
def test_frames(data):
    np.testing.assert_array_equal(fitted(fastsoftmax.scan(data, "y")), THETA)


def test_a_stream_that_can_be_read_once_is_refused():
    with pytest.raises(TypeError, match="RecordBatchReader, which can be read once"):
        fastsoftmax.scan(TABLE.to_reader(), "y")


def test_a_function_may_yield_batches_of_a_stream():
    def batches():
        for batch in TABLE.to_batches(300):
            yield batch.drop_columns("y"), batch.column("y").cast(pyarrow.string())

    np.testing.assert_array_equal(fitted(fastsoftmax.scan(batches)), THETA)


def test_what_is_wrong_is_named(tmp_path):
    path = write(tmp_path / "t.arrow", "new_file")
    for match, options in [
        ("t.arrow has no column 'z'; it has x0", {"target": "z"}),
        ("t.arrow, column 'y' holds dictionary", {"target": "x0"}),
        ("filters has no meaning for t.arrow", {"target": "y", "filters": [("x0", ">", 0)]}),
    ]:
        with pytest.raises(ValueError, match=match):
            fastsoftmax.scan(path, **options)
    empty = TABLE.set_column(0, "x0", pyarrow.array([1.0] * 700 + [None] * 1300))
    with pytest.raises(ValueError, match=r"Table, batch 0, row 700 \(the first is 0\), column 'x0' is empty"):
        fitted(fastsoftmax.scan(empty, "y"))
    path.write_bytes(b"no Arrow at all" * 100)
    with pytest.raises(ValueError, match="t.arrow is not a sound Arrow file"):
        fastsoftmax.scan(path, "y")
