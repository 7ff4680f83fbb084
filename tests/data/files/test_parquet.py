"""Parquet: which columns are features, what types they may have, and folders of parts."""

import decimal
import os

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from fastsoftmax.data.files import ReadOptions, read, read_features

M = 12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(M, 2)).round(3)
COLOURS = np.array(["red", "green", "blue"] * 4)
NAMES = ["a", "b"]


def table(**more):
    return pyarrow.table({"a": X[:, 0], "b": X[:, 1], "colour": COLOURS, **more})


def frame(**more):
    return pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "colour": COLOURS, **more})


@pytest.fixture
def write(tmp_path):
    """A function that writes a pyarrow table (or a frame, with its index) to a file of that name."""

    def to_file(name, rows):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(rows, pd.DataFrame):
            rows.to_parquet(path)
        else:
            pyarrow.parquet.write_table(rows, path)
        return path

    return to_file


def assert_same(data, y=COLOURS, names=NAMES):
    assert data.feature_names == names
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, y)


def message(call, *args, **options):
    with pytest.raises(ValueError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------- columns

INDICES = {
    "sorted by class": (pd.Index(np.argsort(COLOURS)), ["__index_level_0__"]),
    "with a name": (pd.Index(np.argsort(COLOURS), name="id"), ["id"]),
    "of text": (pd.Index(list("abcdefghijkl"), name="id"), ["id"]),
    "of dates": (pd.date_range("2020-01-01", periods=M, name="day", unit="us"), ["day"]),
    "of two levels": (
        pd.MultiIndex.from_arrays([COLOURS, np.arange(M)], names=["k", None]),
        ["k", "__index_level_1__"],
    ),
    "a range with a name": (pd.RangeIndex(M, name="n"), []),
    "none to speak of": (None, []),
}


@pytest.mark.parametrize("kind", INDICES)
def test_the_index_of_a_frame_is_no_feature_nor_the_target(write, kind):
    index, names = INDICES[kind]
    data = read(write("d.parquet", frame().set_index(index) if index is not None else frame()))
    assert_same(data)
    assert data.target == "colour"
    assert [all(name in note for name in names) for note in data.notes] == [True] * bool(names)


def test_an_index_may_be_the_target_by_name_and_a_number_counts_the_other_columns(write):
    path = write("d.parquet", frame(c=X[:, 0]).set_index("colour"))
    data = read(path, "colour")
    np.testing.assert_array_equal(data.y, COLOURS)
    assert data.feature_names == ["a", "b", "c"]
    whole = write("e.parquet", frame(c=np.arange(M) % 2, id=np.arange(M)).drop(columns="colour").set_index("id"))
    assert read(whole, -1).target == read(whole, 2).target == "c"
    assert "no column 3" in message(read, whole, 3)


def test_an_index_is_known_without_its_metadata(write):
    rows = pyarrow.Table.from_pandas(frame().set_index(pd.Index(np.argsort(COLOURS)))).replace_schema_metadata(None)
    assert_same(read(write("d.parquet", rows)))


@pytest.mark.parametrize(
    "told", [b"no json", b"{}", b'{"index_columns": ["gone"]}', b'{"index_columns": [{"kind": 1}]}']
)
def test_strange_metadata_does_no_harm(write, told):
    assert_same(read(write("d.parquet", table().replace_schema_metadata({b"pandas": told}))))


def test_a_model_that_learnt_from_the_index_still_finds_it(write):
    path = write("d.parquet", frame(id=np.argsort(COLOURS)).set_index("id"))
    np.testing.assert_array_equal(read_features(path, ["id", "a"], 2).X[:, 0], np.argsort(COLOURS))


def test_ignored_columns_are_left_out_whatever_they_hold(write):
    path = write("d.parquet", table(day=pyarrow.array([0] * M, pyarrow.date32()), name=list("abcdefghijkl")))
    assert_same(read(path, options=ReadOptions(ignore=("day", "name"))))
    assert_same(read(path, "colour", options=ReadOptions(ignore=("name", "day"))))
    wrong = message(read, path, options=ReadOptions(ignore=("dya",)))
    assert "'dya'" in wrong and "a, b, colour, day, name" in wrong
    assert "'day'" in message(read, path, "day", options=ReadOptions(ignore=("day",)))
    assert "'a'" in message(read_features, path, ["a"], 1, options=ReadOptions(ignore=("a",)))


def test_columns_without_numbers_are_named_with_the_options_that_leave_them_out(write):
    rows = {
        "day": pyarrow.array([0] * M, pyarrow.date32()),
        "list": [[1.0]] * M,
        "struct": [{"p": 1}] * M,
        "word": COLOURS,
        "category": pyarrow.array(COLOURS).dictionary_encode(),
    }
    wrong = message(read, write("d.parquet", table(**rows)), "colour")
    for name in rows:
        assert f"--ignore {name}" in wrong and f"'{name}' holds" in wrong
    assert "date32[day]" in wrong and "list<" in wrong and "numbers are wanted" in wrong


def test_names_that_occur_twice_are_an_error_only_where_they_are_needed(write):
    columns, names = [X[:, 0], X[:, 1], COLOURS, COLOURS, X[:, 0]], ["a", "b", "twice", "colour", "twice"]
    path = write("d.parquet", pyarrow.Table.from_arrays([pyarrow.array(c) for c in columns], names=names))
    np.testing.assert_array_equal(read_features(path, NAMES, 2).X, X)
    assert_same(read(path, "colour", options=ReadOptions(ignore=("twice",))))
    wrong = message(read, path, "colour")
    assert "2 columns" in wrong and "'twice'" in wrong and "--ignore" in wrong
    assert "'twice'" in message(read_features, path, ["a", "twice"], 2)


def test_columns_that_a_model_does_not_need_are_not_read(write):
    path = write("d.parquet", table(junk=["x" * 1000] * M))
    damaged = bytearray(path.read_bytes())
    meta = pyarrow.parquet.read_metadata(path).row_group(0).column(3)
    start = meta.dictionary_page_offset or meta.data_page_offset
    damaged[start : start + meta.total_compressed_size] = b"\xff" * meta.total_compressed_size
    path.write_bytes(bytes(damaged))
    np.testing.assert_array_equal(read_features(path, NAMES, 2).X, X)
    with pytest.raises(ValueError, match="damaged"):
        read(path, "junk", options=ReadOptions(ignore=("colour",)))


@pytest.mark.parametrize("name", ["sepal.length", "a", "a b", "é", "x\ny", "a.b.c"])
def test_any_name_is_found(write, name):
    path = write("d.parquet", pyarrow.table({"a.b": X[:, 1], name: X[:, 0], "colour": COLOURS}))
    np.testing.assert_array_equal(read_features(path, [name, "a.b"], 2).X, X)


# --------------------------------------------------------------------------------------------- types

WHOLE = np.arange(M) % 5
HALVES = WHOLE / 2
DECIMALS = [decimal.Decimal(str(value)) for value in HALVES]
TYPES = {
    **{f"i{8 * size}": (WHOLE.astype(f"i{size}"), WHOLE) for size in (1, 2, 4, 8)},
    **{f"u{8 * size}": (WHOLE.astype(f"u{size}"), WHOLE) for size in (1, 2, 4, 8)},
    "beyond int64": (WHOLE.astype("u8") + np.uint64(1 << 63), WHOLE + 2.0**63),
    **{f"f{8 * size}": (HALVES.astype(f"f{size}"), HALVES) for size in (2, 4, 8)},
    "bool": (WHOLE > 2, WHOLE > 2),
    "decimal128": (pyarrow.array(DECIMALS, pyarrow.decimal128(10, 2)), HALVES),
    "decimal256": (pyarrow.array(DECIMALS, pyarrow.decimal256(50, 20)), HALVES),
    "categories of floats": (pyarrow.array(HALVES).dictionary_encode(), HALVES),
    "categories of integers": (pyarrow.array(WHOLE.astype("i2")).dictionary_encode(), WHOLE),
    "a pandas category": (pyarrow.array(pd.Categorical(WHOLE, categories=[9, 4, 3, 2, 1, 0])), WHOLE),
}


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_of_number_is_a_feature(write, kind):
    column, wanted = TYPES[kind]
    data = read(write("d.parquet", table(x=column)), "colour")
    assert data.X.dtype == np.float64
    np.testing.assert_array_equal(data.X, np.column_stack([X, wanted]))


def test_decimals_are_rounded_once(write):
    values = [decimal.Decimal(int(n)).scaleb(-2) for n in RNG.integers(-(10**7), 10**7, 3000)]
    path = write(
        "d.parquet", pyarrow.table({"x": pyarrow.array(values, pyarrow.decimal128(10, 2)), "y": [0, 1, 2] * 1000})
    )
    np.testing.assert_array_equal(read(path).X[:, 0], [float(value) for value in values])


def test_single_precision_stays_single(write):
    path = write("d.parquet", pyarrow.table({"a": X[:, 0].astype("f4"), "b": X[:, 1].astype("f4"), "y": COLOURS}))
    data = read(path)
    assert data.X.dtype == np.float32
    np.testing.assert_array_equal(data.X, X.astype("f4"))
    categories = pyarrow.table({"a": pyarrow.array(X[:, 0].astype("f4")).dictionary_encode(), "y": COLOURS})
    assert read(write("e.parquet", categories)).X.dtype == np.float32


GAPS = {
    "integers": pyarrow.array([1, None] * 6),
    "floats": pyarrow.array([1.0, None] * 6),
    "single": pyarrow.array([1.0, None] * 6, pyarrow.float32()),
    "booleans": pyarrow.array([True, None] * 6),
    "decimals": pyarrow.array([decimal.Decimal(1), None] * 6),
    "categories": pyarrow.array([1, None] * 6).dictionary_encode(),
    "NaN": pyarrow.array([1, np.nan] * 6),
    "NaN and nulls": pyarrow.array([1, np.nan, 1, None] * 3),
}


@pytest.mark.parametrize("kind", GAPS)
def test_empty_cells_get_the_number_that_is_said(write, kind):
    path = write("d.parquet", pyarrow.table({"x": GAPS[kind], "colour": COLOURS}))
    data = read(path, options=ReadOptions(fill=-0.5))
    np.testing.assert_array_equal(data.X[:, 0], [1, -0.5] * 6)
    assert data.notes == ("empty cells are read as -0.5: x (6)",)
    np.testing.assert_array_equal(read_features(path, ["x"], 1, options=ReadOptions(fill=0)).X[:, 0], [1, 0] * 6)
    wrong = message(read, path)
    if kind == "NaN":
        assert "row 1" in wrong and "nan" in wrong
    else:
        assert ("row 3" if "NaN" in kind else "row 1") in wrong and "'x' is empty" in wrong and "--fill" in wrong


def test_a_column_without_values_is_empty_or_filled(write):
    path = write("d.parquet", table(gap=pyarrow.nulls(M)))
    assert "row 0" in message(read, path, "colour")
    np.testing.assert_array_equal(read(path, "colour", options=ReadOptions(fill=3)).X[:, 2], np.full(M, 3))
    assert "'gap' is empty; a label" in message(read, path, options=ReadOptions(fill=3, ignore=("colour",)))


def test_labels_are_never_filled(write):
    path = write("d.parquet", table(y=pyarrow.array([1, None] * 6)).drop_columns("colour"))
    assert "row 1" in message(read, path, options=ReadOptions(fill=0))


# ------------------------------------------------------------------------------------------- folders


@pytest.fixture
def spark(write, tmp_path):
    """A folder as Spark writes it."""
    for part in range(3):
        write(f"d/part-0000{part}-c0ffee.snappy.parquet", table().slice(4 * part, 4))
        (tmp_path / f"d/.part-0000{part}-c0ffee.snappy.parquet.crc").write_bytes(b"crc")
    (tmp_path / "d/_SUCCESS").write_bytes(b"")
    (tmp_path / "d/._SUCCESS.crc").write_bytes(b"crc")
    write("d/_temporary/0/part-00009.parquet", table())
    return tmp_path / "d"


def test_a_folder_is_read_in_the_order_of_its_parts(spark):
    assert_same(read(spark))
    assert read(spark).notes == ("3 Parquet files, read in the order of their names",)
    np.testing.assert_array_equal(read_features(spark, ["b", "a"], 2).X, X[:, ::-1])


def test_a_row_of_a_single_part_names_the_part(write):
    path = write("d/0.parquet", table(c=pyarrow.array([np.nan] * M))).parent
    assert "d/0.parquet, row 0" in message(read, path, "colour")


def test_a_folder_may_have_a_suffix_and_other_files(write, tmp_path):
    path = write("d.parquet/0.parquet", table())
    (path.parent / "README.txt").write_text("what this is")
    data = read(path.parent)
    assert_same(data)
    assert "README.txt" in data.notes[0]


def test_parts_are_matched_by_name(write):
    write("d/0.parquet", table().slice(0, 5))
    write("d/1.parquet", table().slice(5).select(["colour", "b", "a"]))
    path = write("d/2.parquet", table().slice(0, 0).select(["colour"])).parent
    assert_same(read(path))


def test_parts_may_have_types_of_their_own(write):
    rows = table().slice(0, 5)
    write("d/0.parquet", rows.set_column(0, "a", pyarrow.array([1] * 5)))
    write("d/1.parquet", table(a=X[:, 0].astype("f4"), colour=pyarrow.array(COLOURS).dictionary_encode()).slice(5))
    data = read(write("d/2.parquet", table(a=np.arange(M) > 5)).parent)
    wanted = np.concatenate([[1] * 5, X[5:, 0].astype("f4"), np.arange(M) > 5])
    np.testing.assert_array_equal(data.X[:, 0], wanted)
    np.testing.assert_array_equal(data.y, [*COLOURS, *COLOURS])


def test_single_precision_needs_it_in_every_part(write):
    rows = pyarrow.table({"a": X[:, 0].astype("f4"), "colour": COLOURS})
    path = write("d/0.parquet", rows).parent
    assert read(path).X.dtype == np.float32
    write("d/1.parquet", table().select(["a", "colour"]))
    assert read(path).X.dtype == np.float64


def test_a_part_that_lacks_a_column_is_an_error_where_it_is_needed(write):
    write("d/0.parquet", table())
    path = write("d/1.parquet", table(c=X[:, 0])).parent
    wrong = message(read, path, "colour")
    assert "d/0.parquet lacks c" in wrong and "--ignore" in wrong
    assert read(path, "colour", options=ReadOptions(ignore=("c",))).X.shape == (2 * M, 2)
    assert read_features(path, NAMES, 2).X.shape == (2 * M, 2)


@pytest.mark.parametrize("which", ["empty", "infinite", "no label", "damaged", "text"])
def test_what_is_wrong_names_the_part_and_its_row(spark, write, which):
    columns = {"a": [1.0, 2.0], "b": [1.0, None if which == "empty" else np.inf if which == "infinite" else 2.0]}
    if which == "text":
        columns["b"] = ["1", "2"]
    path = write(
        "d/part-00001-more.parquet",
        pyarrow.table(columns | {"colour": ["red", None if which == "no label" else "blue"]}),
    )
    if which == "damaged":
        path.write_bytes(path.read_bytes()[:40])
    wrong = message(read, spark)
    assert "d/part-00001-more.parquet" in wrong
    assert which in ("damaged", "text") or "row 1 " in wrong


def test_labels_of_parts_must_be_of_one_kind(write):
    write("d/0.parquet", pyarrow.table({"a": [1.0], "y": pyarrow.array([1], pyarrow.int8())}))
    path = write("d/1.parquet", pyarrow.table({"a": [1.0], "y": pyarrow.array([300], pyarrow.uint64())})).parent
    np.testing.assert_array_equal(read(path).y, [1, 300])
    write("d/2.parquet", pyarrow.table({"a": [1.0], "y": pyarrow.array([1 << 63], pyarrow.uint64())}))
    assert read(path).y.tolist() == [1, 300, 1 << 63]
    write("d/3.parquet", pyarrow.table({"a": [1.0], "y": pyarrow.array([-1], pyarrow.int64())}))
    assert "uint64" in message(read, path)
    write("d/3.parquet", pyarrow.table({"a": [1.0], "y": ["one"]}))
    assert "one type is wanted" in message(read, path)


def test_the_names_of_folders_are_columns(write):
    for year in (2020, 2021):
        for colour in ("red", "07"):
            write(f"d/year={year}/colour={colour}/part.parquet", pyarrow.table({"a": [1.0], "b": [0, 1][:1]}))
    path = write("d/year=2021/colour=dark%20blue/part.parquet", pyarrow.table({"a": [2.0], "b": [1]})).parents[2]
    data = read(path, "colour")
    assert data.feature_names == ["year", "a", "b"]
    assert data.y.tolist() == ["07", "red", "07", "dark blue", "red"]
    np.testing.assert_array_equal(data.X[:, 0], [2020, 2020, 2021, 2021, 2021])
    assert any("year, colour" in note for note in data.notes)
    assert read(path, options=ReadOptions(ignore=("colour",))).target == "b"
    wrong = message(read, path)
    assert "'colour'" in wrong and "'07'" not in wrong and "red" in wrong


def test_a_missing_value_in_the_name_of_a_folder_is_empty(write):
    path = write("d/k=__HIVE_DEFAULT_PARTITION__/p.parquet", table()).parents[1]
    assert "'k' is empty" in message(read, path)
    np.testing.assert_array_equal(read(path, options=ReadOptions(fill=9)).X[:, 0], np.full(M, 9))


def test_a_column_in_the_files_goes_before_the_name_of_a_folder(write):
    path = write("d/a=5/p.parquet", table()).parents[1]
    assert_same(read(path))


def test_the_index_of_a_frame_in_parts_is_left_out(write):
    write("d/0.parquet", frame().set_index(pd.Index(np.argsort(COLOURS))))
    path = write("d/1.parquet", frame().set_index(pd.Index(np.argsort(COLOURS)))).parent
    assert read(path).feature_names == NAMES


def test_a_folder_without_parquet_says_what_it_has(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    assert "no files" in message(read, folder)
    (folder / "a.csv").write_text("a,y\n1,2\n")
    assert "a.csv" in message(read, folder)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="open files are counted on Linux")
def test_more_parts_than_a_process_may_open(write):
    """Only the part that is read is open."""
    resource = pytest.importorskip("resource")
    for part in range(120):
        path = write(f"d/{part:03}.parquet", pyarrow.table({"a": [1.0 * part], "y": [part % 3]})).parent
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 60, hard))
    try:
        data = read(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    np.testing.assert_array_equal(data.X[:, 0], np.arange(120))
