"""Separators, comments, ignored and repeated columns."""

import numpy as np
import pytest

SEPARATORS = {",": "", ";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "spaces", " \t  ": "tabs"}


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("sep", SEPARATORS)
def test_the_separator_is_found_and_said(files, iris, sep, header):
    data = files.read(iris.text(sep.join("abcd") + f"{sep}species" if header else "", sep=sep))
    iris.same(data, *([] if header else [["0", "1", "2", "3"], "4"]))
    assert any(SEPARATORS[sep] in note and "--sep" in note for note in data.notes) == bool(SEPARATORS[sep])


QUOTED = {
    "commas in names of a ; file": ('"a, x";"b, y, z";c;d;species', ";", ["a, x", "b, y, z", "c", "d"]),
    "semicolons in names of a comma file": ('"a; x","b; y; z",c,d,species', ",", ["a; x", "b; y; z", "c", "d"]),
    "tabs and bars": ('"a\tx"|"b|y"|c|d|species', "|", ["a\tx", "b|y", "c", "d"]),
    "spaces": ('"sepal length (cm)" "b b" c d species', " ", ["sepal length (cm)", "b b", "c", "d"]),
    "names of words": (
        "sepal length (cm),b b,c c c,d,species",
        ",",
        ["sepal length (cm)", "b b", "c c c", "d"],
    ),
}


@pytest.mark.parametrize("what", QUOTED)
def test_the_separator_is_judged_outside_quotes(files, iris, what):
    header, sep, names = QUOTED[what]
    iris.same(files.read(iris.text(header, sep=sep)), names)
    iris.same(files.read(iris.text(header, sep=sep), sep=sep), names)


def test_spaces_after_commas(files, iris):
    iris.same(files.read(iris.text("a, b, c, d, species", sep=", "), "species"))
    iris.same(files.read(iris.text('"a", "b", "c", "d", "species"', sep=", ", labels=[f'"{y}"' for y in iris.y])))


def test_text_that_holds_a_separator_is_no_reason_to_take_it(files):
    text = "\n".join(f"{3 * i},{i % 5}.5,a;b" for i in range(20))
    assert files.read(text, header=False).X.shape == (20, 2)


def test_the_separator_may_be_said(files, iris):
    for sep, spelled in {";": ";", "\t": "\\t", "|": "pipe", " ": "space", ":": ":", "^": "^"}.items():
        iris.same(files.read(iris.text(sep.join([*"abcd", "species"]), sep=sep), sep=spelled))
    files.error(iris.text(), "one column only", "--sep", sep=";")
    for wrong in ("::", "", "é", '"', "a"):
        files.error(iris.text(), "separator", repr(wrong), sep=wrong)


def test_excels_first_line_says_the_separator(files, iris):
    iris.same(files.read("sep=;\r\n" + iris.text("a;b;c;d;species", sep=";")))


def test_runs_of_spaces_and_tabs_are_one_separator(files, iris):
    lines = [f'  {x[0]:8.2f}   {x[1]}\t{x[2]} {x[3]}  \t"{y}"  ' for x, y in zip(iris.X, iris.y, strict=True)]
    iris.same(files.read("\n".join(lines), name="auto.data"), ["0", "1", "2", "3"], "4")
    named = [line.replace("setosa", "Iris  setosa") for line in lines]
    labels = files.read("\n".join(named), name="auto.data").y
    assert set(labels) == {"Iris  setosa", "versicolor", "virginica"}


def test_leading_comments_are_left_out_and_may_hold_the_names(files, iris):
    data = iris.same(files.read('# made in May\n# by "us\n' + iris.text()))
    assert any("2 lines" in note and "#" in note for note in data.notes)
    data = iris.same(files.read(iris.text("# a b c d species", sep=" ")))
    assert any("begins with #" in note for note in data.notes)
    iris.same(files.read("## version 1\n" + iris.text("#a\tb\tc\td\tspecies", sep="\t")))
    files.error("# x\n" + iris.text() + "# the end\n", "line 43 has 1 cells")


def test_ignored_columns_may_hold_anything(files, iris):
    text = "\n".join(f"{i % 3},{line},{'text' * (i % 4)}" for i, line in enumerate(iris.text().splitlines()))
    text = text.replace("0,a", "code,a", 1).replace("species,", "species,note", 1)
    iris.same(files.read(text, "species", ignore=("note", "code")))
    iris.same(files.read(text, ignore=("6", "0")))
    files.error(text, "'nothing' to ignore", ignore=("nothing",))
    files.error(text, "'a'", "ignored", features=["a"], ignore=("a",))


def test_repeated_names_are_an_error_where_they_are_needed(files, iris):
    text = iris.text("a,twice,twice,d,species")
    files.error(text, "2 columns", "'twice'", "--ignore")
    assert files.read(text, ignore=("twice",)).feature_names == ["a", "d"]
    np.testing.assert_array_equal(files.features(text, ["d", "a"]).X, iris.X[:, [3, 0]])
    files.error(text, "2 columns", "'twice'", features=["a", "twice"])


def test_columns_that_a_model_does_not_need_are_never_parsed(files):
    for junk in ("abc", "", "NA", "1e999", "\0", "1,5".replace(",", "."), "nan"):
        assert files.features(f"a,b,b,y\n1,{junk},x,u\n3,{junk},,\n", ["a"]).X.tolist() == [[1], [3]]
    assert files.features(b"a,b,y\n1,\xff\xfe,u\n3,\xe4,v\n", ["a"]).X.tolist() == [[1], [3]]


def test_old_macs_end_lines_with_a_return(files, iris):
    iris.same(files.read(iris.text().replace("\n", "\r")))


@pytest.mark.parametrize(("row", "cells"), [("3", 1), ("3,4,5,6", 4)])
def test_a_row_of_another_width_is_named_where_thousands_are_separated_too(files, row, cells):
    text = f"a,b,y\n1'000,2,x\n{row}\n1,2,x\n"
    files.error(text, f"line 3 has {cells} cells; 3 are wanted", target="y", header=True, sep=",", thousands="'")


def test_an_error_is_one_line_where_names_are_not(files):
    files.error('"","l\nbreak"\n"3.0","a"\n"-1.5","b"\n"2.5","c"\n', "may hold names or data", fill=0.0)
