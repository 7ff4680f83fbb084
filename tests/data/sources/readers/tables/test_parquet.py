"""Parquet: what is wrong with a file is named with the row group, the column, and the row where there is one."""

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from problems import fitted, lettered_problem, names_of, write_parquet

import fastsoftmax

X, LABELS = lettered_problem(2800)
CODES = np.unique(LABELS, return_inverse=True)[1]


@pytest.fixture
def path(tmp_path):
    return write_parquet(tmp_path / "t.parquet", X, LABELS)


def value_of(data):
    obj = fastsoftmax.Objective(data)
    return obj.value_and_grad(np.zeros(obj.shape))


@pytest.mark.parametrize("group, column", [(0, "x0"), (2, "x3"), (3, "y")])
def test_damage_in_the_middle_is_named(path, group, column):
    about = pyarrow.parquet.read_metadata(path).row_group(group)
    place = next(about.column(j) for j in range(6) if about.column(j).path_in_schema == column)
    content = bytearray(path.read_bytes())
    content[place.data_page_offset : place.data_page_offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"t.parquet, row group {group}, column '{column}' is damaged: "):
        value_of(fastsoftmax.scan(path, "y"))


def test_a_number_that_has_changed_is_found_by_its_checksum(tmp_path):
    path = tmp_path / "t.parquet"
    table = pyarrow.table({name: X[:, j] for j, name in enumerate(names_of(X))} | {"y": LABELS})
    options = {"compression": "NONE", "use_dictionary": False, "write_page_checksum": True}
    pyarrow.parquet.write_table(table, path, row_group_size=700, **options)
    place = pyarrow.parquet.read_metadata(path).row_group(1).column(2)
    content = bytearray(path.read_bytes())
    content[place.data_page_offset + place.total_compressed_size - 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="t.parquet, row group 1, column 'x2' is damaged: .*CRC"):
        value_of(fastsoftmax.scan(path, "y"))


def test_a_file_that_is_cut_off_is_named(path):
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="t.parquet is not a sound Parquet file"):
        fastsoftmax.scan(path, "y")


@pytest.mark.parametrize("column", ["x2", "y"])
def test_an_empty_cell_is_named(tmp_path, column):
    values = X[:, 2].tolist() if column == "x2" else LABELS.tolist()
    values[1500] = None
    path = write_parquet(tmp_path / "t.parquet", X, LABELS, **{column: pyarrow.array(values)})
    with pytest.raises(ValueError, match=rf"t.parquet, row group 2, row 1500 \(the first is 0\), column '{column}' is"):
        value_of(fastsoftmax.scan(path, "y"))


def test_an_empty_cell_may_be_filled(tmp_path):
    values = X[:, 2].copy()
    values[[3, 1500]] = 7.0
    empty = np.isin(np.arange(2800), [3, 1500])
    path = write_parquet(tmp_path / "t.parquet", X, LABELS, x2=pyarrow.array(values, mask=empty))
    filled = X.copy()
    filled[:, 2] = values
    data = fastsoftmax.scan(path, "y", fill=7)
    np.testing.assert_array_equal(fitted(data), fitted(np.asfortranarray(filled), CODES))


def test_nan_is_named_by_file_and_row(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    write_parquet(folder / "a.parquet", X[:1000], LABELS[:1000])
    bad = X[1000:].copy()
    bad[900, 3] = np.nan
    write_parquet(folder / "b.parquet", bad, LABELS[1000:])
    wanted = r"parts/b.parquet, row group 1, row 900 .*, column 'x3' \(row 1900 of all\) holds nan"
    with pytest.raises(ValueError, match=wanted):
        value_of(fastsoftmax.scan(folder, "y"))


def test_a_part_that_vanishes_or_appears_or_changes_is_named(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for name in "ab":
        write_parquet(folder / f"{name}.parquet", X, LABELS)
    obj = fastsoftmax.Objective(fastsoftmax.scan(folder, "y"))
    theta = np.zeros(obj.shape)
    obj.value_and_grad(theta)
    (folder / "b.parquet").rename(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="parts/b.parquet has vanished since"):
        obj.value_and_grad(theta)
    (tmp_path / "b.parquet").rename(folder / "b.parquet")
    obj.value_and_grad(theta)
    write_parquet(folder / "c.parquet", X, LABELS)
    with pytest.raises(ValueError, match="parts/c.parquet has appeared since"):
        obj.value_and_grad(theta)
    (folder / "c.parquet").unlink()
    write_parquet(folder / "a.parquet", X[:1400], LABELS[:1400])
    with pytest.raises(ValueError, match=r"parts/a.parquet has changed since .* \(it had [\d,]+ bytes and has"):
        obj.value_and_grad(theta)


def test_a_file_that_changes_while_it_is_read_is_named(path, monkeypatch):
    obj = fastsoftmax.Objective(fastsoftmax.scan(path, "y"))
    walk = obj.source.chunks(500)
    next(walk)
    write_parquet(path, X[::-1], LABELS)
    with pytest.raises(ValueError, match="t.parquet"):
        list(walk)


@pytest.mark.parametrize("options", [{}, {"filters": [("x1", ">", 0)]}, {"columns": ["x3"]}], ids=str)
def test_two_threads_decode_what_one_does(path, options):
    reader = fastsoftmax.scan(path, "y", **options)._reader
    reader.batch = 300
    one = list(reader.blocks())
    reader.parallel = True
    two = list(reader.blocks())
    assert [(block.where, block.first, block.rows) for block in one] == [(b.where, b.first, b.rows) for b in two]
    for mine, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(np.column_stack(mine.X), np.column_stack(other.X))
        assert mine.y.checksum() == other.y.checksum()


def test_labels_may_be_the_names_of_folders(tmp_path):
    folder = tmp_path / "parts"
    for label in "abc":
        (folder / f"y={label}").mkdir(parents=True)
        write_parquet(folder / f"y={label}" / "part.parquet", X[LABELS == label])
    data, order = fastsoftmax.scan(folder, "y"), np.argsort(CODES, kind="stable")
    np.testing.assert_array_equal(fitted(data), fitted(np.asfortranarray(X[order]), CODES[order]))


def test_integers_and_decimals_and_dictionaries(tmp_path):
    whole = np.arange(2800) % 5
    cents = pyarrow.array((whole * 25).tolist(), pyarrow.decimal128(9, 2))
    more = {"z": whole, "cents": cents, "kind": pyarrow.array(whole.astype(float)).dictionary_encode()}
    data = fastsoftmax.scan(write_parquet(tmp_path / "t.parquet", X, LABELS, **more), "y")
    assert data.feature_names == [*names_of(X), "z", "cents", "kind"]
    wanted = np.asfortranarray(np.column_stack([X, whole, whole * 25, whole]).astype("f8"))
    np.testing.assert_array_equal(fitted(data), fitted(wanted, CODES))
    single = fastsoftmax.scan(data._reader.path, "y", dtype="float32")
    np.testing.assert_array_equal(fitted(single), fitted(np.asfortranarray(wanted, "f4"), CODES))


@pytest.mark.parametrize(
    "options, match",
    [
        ({"target": "z"}, "t.parquet has no column 'z'; it has x0, x1"),
        ({"target": 9}, "t.parquet has no column 9; it has x0, x1"),
        ({"target": "y", "columns": ["x9"]}, "lacks x9"),
        ({"target": "x0"}, "column 'y' holds string; numbers are wanted"),
        ({"target": "y", "columns": []}, "has no features beside y"),
        ({"target": "y", "filters": "x0 > 3"}, "filters must be a list of"),
        ({"target": "y", "filters": [("x9", ">", 3)]}, "has no column 'x9' to filter by"),
    ],
    ids=str,
)
def test_what_cannot_be_asked(path, options, match):
    with pytest.raises(ValueError, match=match):
        value_of(fastsoftmax.scan(path, **options))


def test_a_file_without_rows_is_an_error(tmp_path):
    empty = write_parquet(tmp_path / "empty.parquet", X[:0], LABELS[:0])
    for options in ({"target": "y"}, {"columns": ["x0"]}):
        with pytest.raises(ValueError, match="empty.parquet has no rows"):
            fastsoftmax.scan(empty, **options).source(labels=False)
    path = write_parquet(tmp_path / "t.parquet", X, LABELS)
    with pytest.raises(ValueError, match="t.parquet has no rows"):
        value_of(fastsoftmax.scan(path, "y", filters=[("x0", ">", 1e9)]))


def test_columns_have_names_and_numbers(path):
    assert fastsoftmax.scan(path, -1).target == fastsoftmax.scan(path, "5").target == "y"
    with pytest.raises(TypeError, match="t.parquet: target must be the name or number of a column; got ndarray"):
        fastsoftmax.scan(path, CODES)
