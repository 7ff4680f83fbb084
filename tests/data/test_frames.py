"""Frames of many libraries: names and numbers of their columns, whatever holds them."""

import gc
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from expect import peak_bytes
from samples import ArrowArray, ArrowStream

from fastsoftmax import Model
from fastsoftmax.data.frames import column_names, columns_in_order, frame_values, is_frame, opened
from fastsoftmax.data.validation import check_X

NAMES = ["a", "b", "c"]
FRAME = pd.DataFrame({"a": [0.5, -1.0, 2.0, 7.25], "b": [True, False, True, True], "c": [3, 0, 5, 1]})
VALUES = np.array([[0.5, 1, 3], [-1, 0, 0], [2, 1, 5], [7.25, 1, 1]])


class Interchange:
    """Has nothing but the interchange protocol."""

    def __init__(self, table):
        self.table = table

    def __dataframe__(self, **options):
        return self.table.__dataframe__(**options)


def arrow():
    return pa.Table.from_pandas(FRAME, preserve_index=False)


def chunked(polars):
    return polars.concat([polars.from_pandas(FRAME[:1]), polars.from_pandas(FRAME[1:])], rechunk=False)


FRAMES = {
    "pandas": lambda: FRAME,
    "pandas nullable": FRAME.convert_dtypes,
    "pandas Arrow": lambda: FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "pandas object": lambda: FRAME.astype(object),
    "pandas float": lambda: FRAME.astype(float),
    "pandas decimals": lambda: FRAME.assign(a=[Decimal(str(a)) for a in FRAME["a"]]),
    "pandas category": lambda: FRAME.assign(c=FRAME["c"].astype("category")),
    "pandas sparse": lambda: FRAME.astype(pd.SparseDtype(float, 0.0)),
    "pandas sparse column": lambda: FRAME.astype({"b": pd.SparseDtype(bool, False)}),
    "Table": arrow,
    "RecordBatch": lambda: arrow().to_batches()[0],
    "Arrow decimals": lambda: arrow().set_column(0, "a", arrow()["a"].cast(pa.decimal128(38, 20))),
    "Arrow chunks": lambda: pa.concat_tables([arrow()[:1], arrow()[1:]]),
    "Arrow stream": lambda: ArrowStream(arrow()),
    "Arrow array": lambda: ArrowArray(arrow().to_batches()[0]),
    "RecordBatchReader": lambda: arrow().to_reader(),
    "interchange": lambda: Interchange(arrow()),
    "polars": lambda: pytest.importorskip("polars").from_pandas(FRAME),
    "polars chunks": lambda: chunked(pytest.importorskip("polars")),
    "xarray": lambda: pytest.importorskip("xarray").Dataset({name: ("row", FRAME[name]) for name in NAMES}),
    "narwhals": lambda: pytest.importorskip("narwhals").from_native(FRAME),
    "narwhals Arrow": lambda: pytest.importorskip("narwhals").from_native(arrow()),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_names_and_numbers(kind):
    assert is_frame(FRAMES[kind]()) and column_names(opened(FRAMES[kind]())) == NAMES
    X = check_X(FRAMES[kind]())
    np.testing.assert_array_equal(X if isinstance(X, np.ndarray) else X.to_scipy().toarray(), VALUES)
    assert isinstance(X, np.ndarray) == (kind != "pandas sparse")


@pytest.mark.parametrize("array", [VALUES, VALUES.tolist(), FRAME["a"], pa.chunked_array([[1.0]]), pa.array([1.0])])
def test_what_is_no_frame(array):
    assert not is_frame(array)


@pytest.mark.parametrize(
    ("dtypes", "wanted"),
    [
        (["f4", "?", "i1"], "f4"),
        (["f4", "f4", "f8"], "f8"),
        (["?", "?", "?"], "?"),
        (["u1", "i1", "?"], "i2"),
        (["i8", "u8", "?"], "f8"),
        (["u2", "u2", "u2"], "u2"),
    ],
)
@pytest.mark.parametrize("make", [pd.DataFrame, pa.table])
def test_the_dtype_is_the_one_that_holds_all_columns(dtypes, wanted, make):
    columns = {name: VALUES[:, i].astype(dtype) % 2 for i, (name, dtype) in enumerate(zip(NAMES, dtypes, strict=True))}
    columns = {name: column.astype(dtype) for (name, column), dtype in zip(columns.items(), dtypes, strict=True)}
    X = frame_values(make(columns))
    assert X.dtype == wanted
    np.testing.assert_array_equal(X, np.column_stack(list(columns.values())))


WIDE = np.asfortranarray(np.random.default_rng(0).normal(size=(500, 6)))
WIDE_NAMES = list("abcdef")
# Frames whose columns lie in WIDE, one behind the other.
SHARING = {
    "pandas": lambda: pd.DataFrame(WIDE, columns=WIDE_NAMES, copy=False),
    "Table": lambda: pa.table(dict(zip(WIDE_NAMES, WIDE.T, strict=True))),
    "RecordBatch": lambda: pa.record_batch(dict(zip(WIDE_NAMES, WIDE.T, strict=True))),
    "Arrow stream": lambda: ArrowStream(SHARING["Table"]()),
    "RecordBatchReader": lambda: SHARING["Table"]().to_reader(),
    "Arrow array": lambda: ArrowArray(SHARING["RecordBatch"]()),
    "polars": lambda: pytest.importorskip("polars").from_numpy(WIDE, schema=WIDE_NAMES),
    "narwhals": lambda: pytest.importorskip("narwhals").from_native(SHARING["Table"]()),
}


@pytest.mark.parametrize("kind", SHARING)
def test_columns_one_behind_the_other_are_read_where_they_are(kind):
    X = check_X(SHARING[kind]())
    assert X.ctypes.data == WIDE.ctypes.data and X.strides == WIDE.strides and X.shape == WIDE.shape
    np.testing.assert_array_equal(X, WIDE)


@pytest.mark.parametrize("kind", ["pandas nullable", "pandas Arrow"])
def test_columns_of_pandas_with_other_dtypes_are_read_where_they_are(kind):
    frame = SHARING["pandas"]()
    frame = frame.astype("Float64") if kind == "pandas nullable" else frame.astype("double[pyarrow]")
    X = check_X(frame)
    assert X.flags.f_contiguous
    if len({np.asarray(frame[name]).ctypes.data - WIDE[:, i].nbytes * i for i, name in enumerate(WIDE_NAMES)}) == 1:
        assert X.ctypes.data == np.asarray(frame["a"]).ctypes.data
    np.testing.assert_array_equal(X, WIDE)


def test_joined_columns_outlive_their_frame():
    X = check_X(pa.table({name: column.copy() for name, column in zip("a", WIDE.T, strict=False)}))
    Y = check_X(pa.table(dict(zip("abc", np.asfortranarray(WIDE[:, :3] + 1).T, strict=True))))
    gc.collect()
    np.full((500, 6), 7.0)
    np.testing.assert_array_equal(X[:, 0], WIDE[:, 0])
    np.testing.assert_array_equal(Y, WIDE[:, :3] + 1)


APART = {
    "Table": lambda: pa.table({name: column.copy() for name, column in zip(WIDE_NAMES, WIDE.T, strict=True)}),
    "chunks": lambda: pa.concat_tables([APART["Table"]()[:9], APART["Table"]()[9:]]),
    "polars chunks": lambda: pytest.importorskip("polars").from_arrow(APART["chunks"](), rechunk=False),
    "polars": lambda: pytest.importorskip("polars").DataFrame(APART["Table"]()),
    "pandas blocks": lambda: SHARING["pandas"]().assign(f=WIDE[:, 5].copy()),
    "two dtypes": lambda: SHARING["pandas"]().assign(f=WIDE[:, 5].astype(np.float32)),
    "backwards": lambda: pa.table(dict(zip(WIDE_NAMES, WIDE[:, ::-1].T, strict=True))),
    "every other": lambda: pa.table(dict(zip("ace", WIDE[:, ::2].T, strict=True))),
}


@pytest.mark.parametrize("kind", APART)
def test_columns_that_lie_elsewhere_are_copied_once_to_columns(kind):
    frame = APART[kind]()
    X = check_X(frame)
    assert X.flags.f_contiguous and not np.shares_memory(X, WIDE)
    wanted = {"backwards": WIDE[:, ::-1], "every other": WIDE[:, ::2]}.get(kind, WIDE)
    np.testing.assert_allclose(X, wanted, rtol=1e-7 if kind == "two dtypes" else 0)
    assert peak_bytes(lambda: check_X(frame)) < 1.5 * WIDE.nbytes + 20_000


def test_a_stream_is_read_once():
    theta = np.arange(18.0).reshape(6, 3) / 18
    got = Model(theta, feature_names=WIDE_NAMES[::-1]).predict_proba(SHARING["RecordBatchReader"]())
    np.testing.assert_array_equal(got, Model(theta[::-1]).predict_proba(WIDE))


def test_a_dataset_has_one_dimension():
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    dataset = xarray.Dataset({"a": ("row", [1.0, 2.0]), "b": ("column", [1.0, 2.0, 3.0])})
    with pytest.raises(
        TypeError, match=r"X is a Dataset of variables with the dimensions \('column',\), \('row',\); one"
    ):
        check_X(dataset)


@pytest.mark.parametrize(
    "missing",
    [
        FRAME.convert_dtypes().where(FRAME["c"] < 5),
        FRAME.convert_dtypes(dtype_backend="pyarrow").where(FRAME["c"] < 5),
        (FRAME > 0).astype("boolean").where(FRAME["c"] < 5),
        pa.table({"a": [1.0, 2.0, None], "b": [True, False, None], "c": [1, 2, None]}),
    ],
)
def test_missing_values_are_nan(missing):
    X = frame_values(missing)
    assert X.dtype == np.float64 and np.isnan(X[2]).all() and np.isfinite(np.delete(X, 2, axis=0)).all()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.assign(b=["x", "y", "z", "x"]), "X has a column 'b' of dtype"),
        (FRAME.assign(b=pd.Timestamp(0)), "X has a column 'b' of dtype datetime64"),
        (FRAME.assign(b=FRAME["a"].map(str).astype("category")), "X has a column 'b' of dtype category"),
        (FRAME.assign(b=[1, "2", 3, 4]), "X has a column 'b' of dtype object"),
        (FRAME.assign(b=1j), "X has a column 'b' of dtype complex128"),
        (pa.table({"a": [1.0], "b": ["x"]}), "X has a column 'b' of dtype string; numbers or booleans are wanted"),
    ],
)
def test_a_column_of_something_else_is_named(frame, message):
    with pytest.raises(TypeError, match=message):
        check_X(frame)


def test_a_lazy_frame_is_told_to_be_collected():
    frame = pytest.importorskip("polars").from_pandas(FRAME).lazy()
    for action in (check_X, opened):
        with pytest.raises(TypeError, match=r"X is a LazyFrame, .* X.collect\(\)"):
            action(frame)


def test_an_empty_frame():
    for frame in (FRAME[:0], FRAME[[]], arrow()[:0]):
        with pytest.raises(ValueError, match="at least one row and one feature"):
            check_X(frame)


@pytest.mark.parametrize(
    ("given", "order"),
    [
        (["a", "b", "c"], [0, 1, 2]),
        (["c", "a", "b"], [2, 0, 1]),
        ([0, 1, 2], None),
    ],
)
def test_the_order_of_columns(given, order):
    assert columns_in_order(given, NAMES) == order


def test_numbers_may_be_names():
    assert columns_in_order([0, 1, 2], ["2", "0", "1"]) == [1, 2, 0]
    assert columns_in_order([1999, 1998], ["1998", "1999"]) == [1, 0]
    with pytest.raises(ValueError, match="X lacks 'a', 'b', 'c' and has '2', '1', '0'"):
        columns_in_order([2, 1, 0], NAMES)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a", "b"], "X lacks 'c'; the model's columns are 'a', 'b', 'c', in any order"),
        (["a", "b", "c", "d"], "X has 'd', which the model does not know; the model's"),
        (["a", "b", "C"], "X lacks 'c' and has 'C', which"),
        (["a", "b", "c", "a"], "X has several columns 'a'"),
        ([f"x{i}" for i in range(9)], "has 'x0', 'x1', 'x2', 'x3', 'x4' and 4 more, which"),
        ([("a", 1), ("b", 1), ("c", 1)], r"has \"\('a', 1\)\""),
    ],
)
def test_other_names_are_an_error(given, message):
    with pytest.raises(ValueError, match=message):
        columns_in_order(given, NAMES)


def test_a_model_whose_names_repeat_takes_frames_with_the_same_names():
    assert columns_in_order(["a", "b", "a"], ["a", "b", "a"]) == [0, 1, 2]
    with pytest.raises(ValueError, match="the model has several columns 'a'"):
        columns_in_order(["b", "a"], ["a", "b", "a"])
