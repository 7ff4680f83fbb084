"""Labels of any kind become one array in which each is what it was, or one sentence says why they do not."""

import numpy as np
import pandas as pd
import pyarrow
import pytest

from fastsoftmax.data.validation_labels import check_labels

BIG = 1 << 63
TAILS = ["a", "a\0"]
KEPT = {
    "a list of text": (["07", "7", " 7"], "U"),
    "a tuple of text": (("b", "a"), "U"),
    "a list of NumPy's text": ([np.str_("b"), np.str_("a")], "U"),
    "text that ends in NUL": (TAILS, "O"),
    "an array of such text": (np.array(TAILS, object), "O"),
    "text of variable width": (np.array(TAILS, np.dtypes.StringDType()), "O"),
    "an array of text": (np.array(["1", "a"]), "U"),
    "a list of integers": ([3, 1, 2], "i"),
    "a list beyond int64": ([BIG, BIG + 1, 0], "u"),
    "integers of several widths": ([np.int64(-1), np.uint64(BIG - 1), 5], "i"),
    "objects that are integers": (np.array([1, np.int8(2)], object), "i"),
    "objects beyond int64": (np.array([BIG, BIG + 1], object), "u"),
    "objects beyond 64 bits": (np.array([1 << 70, 1], object), "O"),
    "a list of booleans": ([True, np.False_], "b"),
    "objects that are booleans": (np.array([True, False], object), "b"),
    "integers and floats": ([1, 2.5], "f"),
    "floats": ([1.0, 2.0], "f"),
    "uint64": (np.array([BIG, 2 * BIG - 1], "u8"), "u"),
    "a pandas series": (pd.Series(["b", "a"]), "O"),
    "a pandas category": (pd.Series(["b", "a"], dtype="category"), "O"),
    "a category of integers": (pd.Series([2, 1], dtype="category"), "i"),
    "nullable integers": (pd.Series([2, 1], dtype="Int64"), "i"),
    "nullable integers beyond int64": (pd.Series([BIG, BIG + 1], dtype="UInt64"), "u"),
    "nullable booleans": (pd.Series([True, False], dtype="boolean"), "b"),
    "pandas text": (pd.Series(["b", "a"], dtype="string"), "O"),
    "pandas text of Arrow": (pd.Series(["b", "a"], dtype="string[pyarrow]"), "O"),
    "pandas integers of Arrow": (pd.Series([BIG, BIG + 1], dtype="uint64[pyarrow]"), "u"),
    "a pandas index": (pd.Index([BIG - 1, BIG - 2]), "i"),
    "a pandas array": (pd.array([1, 2], dtype="Int8"), "i"),
    "Arrow text": (pyarrow.array(["b", "a"]), "O"),
    "Arrow integers in chunks": (pyarrow.chunked_array([[BIG, 1], [2]], pyarrow.uint64()), "u"),
}


@pytest.mark.parametrize("kind", KEPT)
def test_no_label_becomes_another(kind):
    y, dtype = KEPT[kind]
    wanted = y.to_pylist() if hasattr(y, "to_pylist") else list(y)
    array = check_labels(y)
    assert array.dtype.kind == dtype
    assert array.tolist() == wanted
    assert len(set(array.tolist())) == len(set(wanted))


WRONG = {
    "a number and its text": ([1, "1"], ["row 0 holds 1", "row 1 '1'"]),
    "objects": (np.array(["a", "b", 1], object), ["row 0 holds 'a'", "row 2 1"]),
    "a truth and a number": ([True, 1, 0], ["row 0 holds True", "row 1 1"]),
    "a missing text": (np.array(["a", None], object), ["row 1 None"]),
    "a missing text of pandas": (pd.Series(["a", None], dtype="string"), ["row 1 <NA>"]),
    "nan among text": (pd.Series(["a", np.nan]), ["row 1 nan"]),
    "a missing number": (np.array([1, None], object), ["row 1 None"]),
    "bytes and text": ([b"a", "a"], ["row 0 holds b'a'"]),
    "beyond 64 bits": ([1 << 64, 1], ["integers from 1 to 18446744073709551616", "64 bits"]),
    "negative beside beyond int64": ([-1, BIG], ["integers from -1"]),
    "an integer that is no float": ([2**53 + 1, 0.5], ["row 0 9007199254740993", "no float"]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_labels_that_an_array_would_merge_are_one_sentence(kind):
    y, words = WRONG[kind]
    with pytest.raises(ValueError) as caught:
        check_labels(y, "labels")
    message = str(caught.value)
    assert message.startswith("labels ") and "\n" not in message
    assert not [word for word in words if word not in message], message


@pytest.mark.parametrize(
    "y", [None, [], [[0, 1], [1, 0]], np.eye(2), pd.DataFrame({"y": [1, 2]}), [b"a", b"b"], "text", 3]
)
def test_what_is_not_a_column_of_labels_is_for_others_to_judge(y):
    assert check_labels(y) is y
