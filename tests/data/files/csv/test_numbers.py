"""What numbers, truth values and missing cells look like in tables that people have."""

import numpy as np
import pytest


def column(cells, before=0):
    """A table whose column b has these cells, behind rows of plain numbers."""
    return (
        "a;b;y\n"
        + "".join(f"{i};1;{i % 2}\n" for i in range(before))
        + "".join(f'{i};"{cell}";{i % 2}\n' for i, cell in enumerate(cells))
    )


TRUTH = {
    "pandas": ["True", "False", "True"],
    "R": ["TRUE", "FALSE", "TRUE"],
    "JSON": ["true", "false", "true"],
    "mixed": ["True", "FALSE", "true"],
    "spaces": [" True", "False ", " True"],
}


@pytest.mark.parametrize("kind", TRUTH)
@pytest.mark.parametrize("repeat", [1, 50_000])
def test_true_and_false_are_1_and_0(files, kind, repeat):
    data = files.read(column(TRUTH[kind] * repeat))
    np.testing.assert_array_equal(data.X[:, 1], [1, 0, 1] * repeat)
    np.testing.assert_array_equal(files.features(column(TRUTH[kind]), ["b"]).X, [[1], [0], [1]])


def test_truth_behind_missing_cells_and_beside_numbers(files):
    np.testing.assert_array_equal(files.read(column([""] * 60 + ["True"]), fill=0).X[:, 1], [0] * 60 + [1])
    files.error(column(["True", "2"]), "'b'", "'True'")
    files.error(column(["yes", "no"]), "line 2,", "'b'", "'yes'", "--ignore")


@pytest.mark.parametrize("cell", ["", " ", "NA", "N/A", "nan", "NaN", "null", "NULL", "None", "?", " ?", ".", "<NA>"])
@pytest.mark.parametrize("before", [0, 80_000])
def test_a_missing_cell_is_an_error_or_the_stated_number(files, cell, before):
    text = column(["2", cell, "3"], before)
    files.error(text, f"line {before + 3},", "'b'", "--fill", "--ignore")
    data = files.read(text, fill=-1.5)
    np.testing.assert_array_equal(data.X[before:, 1], [2, -1.5, 3])
    assert any("1 missing cell read as -1.5" in note for note in data.notes)
    np.testing.assert_array_equal(files.features(text, ["b"], fill=0).X[before:, 0], [2, 0, 3])
    files.error(text, f"line {before + 3},", "--fill", features=["b"])
    assert files.read(text, ignore=("b",)).feature_names == ["a"]


def test_labels_are_not_filled(files):
    files.error("a,b,y\n1,2,u\n3,4,\n", "line 3,", "'y'", "label", fill=0)
    assert set(files.read("a,b,y\n1,2,NA\n3,4,nan\n5,6,?\n", fill=0).y) == {"NA", "nan", "?"}


def test_a_label_with_a_nul_character_is_an_error(files):
    files.error("a,b,y\n1,2,u\n3,4,u\0\n", "line 3,", "'y'")


NUMBERS = {
    "decimal comma": (["1,5", "-0,25", "1e3", "7"], {"decimal": ","}, [1.5, -0.25, 1000, 7]),
    "comma and points": (
        ["1.234,5", "12.345.678", "1,5", "7"],
        {"decimal": ",", "thousands": "."},
        [1234.5, 12345678, 1.5, 7],
    ),
    "point and commas": (["1,234.5", "12,345,678", "1.5", "7"], {"thousands": ","}, [1234.5, 12345678, 1.5, 7]),
    "spaces": (
        ["1 234,5", "12\u202f345", "1\u00a0000", "7"],
        {"decimal": ",", "thousands": " "},
        [1234.5, 12345, 1000, 7],
    ),
    "apostrophes": (["1'234.5", "12'345'678", "-1'000", "7"], {"thousands": "'"}, [1234.5, 12345678, -1000, 7]),
    "signs and exponents": (["+1.5", "-1E-2", ".5", "3504."], {}, [1.5, -0.01, 0.5, 3504]),
    "signs and exponents, spaces around": ([" +1.5", "-1E-2 ", " .5", "?"], {"fill": 0}, [1.5, -0.01, 0.5, 0]),
}


@pytest.mark.parametrize("what", NUMBERS)
def test_marks_that_are_stated(files, what):
    cells, options, wanted = NUMBERS[what]
    np.testing.assert_array_equal(files.read(column(cells), **options).X[:, 1], wanted)
    np.testing.assert_array_equal(files.features(column(cells), ["b"], **options).X[:, 0], wanted)


@pytest.mark.parametrize(
    ("cells", "options", "hint"),
    [
        (["7", "1,5"], {"decimal": "."}, "--decimal ,"),
        (["7", "1,234"], {}, "--thousands"),
        (["7", "1.234,5"], {}, "--thousands"),
        (["7", "1.5"], {"decimal": ","}, "'1.5'"),
        (["7", "1,5"], {"thousands": ","}, "'1,5'"),
        (["7", "12,34,567"], {"thousands": ","}, "'12,34,567'"),
        (["7", "1.234.5"], {"thousands": ",", "decimal": "."}, "'1.234.5'"),
        (["7", "1_000"], {}, "'1_000'"),
        (["7", "0x10"], {}, "'0x10'"),
        (["7", "inf"], {}, "'inf'"),
        (["7", "-inf "], {"thousands": ","}, "'-inf'"),
        (["7", "1e999"], {}, "'1e999'"),
        (["7", "5%"], {}, "'5%'"),
    ],
)
def test_what_is_no_number_is_an_error_with_its_place(files, cells, options, hint):
    for before in (0, 80_000):
        files.error(column(cells, before), f"line {before + 3},", "'b'", hint, **options)


def test_an_excel_export_is_read_as_it_is(files, iris):
    text = "\ufeff" + iris.text("a;b;c;d;species", sep=";", decimal=",").replace("\n", "\r\n")
    data = iris.same(files.read(text))
    assert any("--decimal" in note for note in data.notes)
    files.error(text, "line 2,", "'a'", "--decimal ,", decimal=".")
    iris.same(files.read(text, decimal=",", sep=";", encoding="utf-8"))


@pytest.mark.parametrize("options", [{"decimal": ","}, {"thousands": ".", "sep": ","}, {"decimal": ",,"}])
def test_marks_that_contradict_each_other(files, iris, options):
    files.error(iris.text(), "three different characters", **options)
