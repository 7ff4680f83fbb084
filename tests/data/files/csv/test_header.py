"""Names or data in the first row: right, or an error that names both options; and index columns."""

import numpy as np
import pytest

NAMES = {
    "words": "a,b,c,d,species",
    "spaces": " a, b ,c , d,species ",
    "wavelengths": "400,401,402,403,species",
    "wavelengths by halves": "400.5,401.0,401.5,402.0,species",
    "years": "1990,1991,1992,1993,species",
    "falling years": "1993,1992,1991,1990,species",
    "1 to n": "1,2,3,4,5",
    "0 to n - 1": "0,1,2,3,4",
    "a column dropped": "0,1,3,4,species",
    "numbers and words": "mean,1,2,3,species",
    "quoted numbers": '"4","17","2","9","species"',
}


@pytest.mark.parametrize("codes", [False, True])
@pytest.mark.parametrize("what", NAMES)
def test_names_are_what_the_header_says(files, iris, what, codes):
    """Whether labels are words or numbers."""
    names = [name.strip('" ') for name in NAMES[what].split(",")]
    labels = np.unique(iris.y, return_inverse=True)[1] if codes else iris.y
    data = files.read(iris.text(NAMES[what], labels=labels))
    assert (data.feature_names, data.target) == (names[:-1], names[-1])
    np.testing.assert_array_equal(data.X, iris.X)
    np.testing.assert_array_equal(data.y, labels)
    told = any("--no-header" in note for note in data.notes)
    assert told == any(name[0].isdigit() for name in names)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("codes", [False, True])
@pytest.mark.parametrize("name", ["iris.data", "d.csv", "d.txt"])
def test_data_without_a_header_is_known(files, iris, name, codes, first):
    labels = np.unique(iris.y, return_inverse=True)[1] if codes else iris.y
    cells = [([str(y), *map(str, x)] if first else [*map(str, x), str(y)]) for x, y in zip(iris.X, labels, strict=True)]
    data = files.read("\n".join(map(",".join, cells)) + "\n\n", 0 if first else None, name)
    np.testing.assert_array_equal(data.X, iris.X)
    np.testing.assert_array_equal(data.y, labels)
    assert data.feature_names == [str(j + first) for j in range(4)] and data.target == ("0" if first else "4")
    assert any("numbered from 0 (--header" in note for note in data.notes)


def test_whole_numbers_without_a_header_are_known(files):
    rng = np.random.default_rng(0)
    X = rng.integers(1, 14, (60, 10))
    X[0] = [1, 10, 1, 11, 1, 13, 1, 12, 1, 1]
    data = files.read("\n".join(",".join(map(str, row)) + f",{i % 3}" for i, row in enumerate(X)))
    np.testing.assert_array_equal(data.X, X)


DOUBT = {
    "names in no order": ("4,17,2,9,species", ["4", "17", "2", "9"]),
    "a slip in the first row of data": ("0.13,oops,0.64,0.1,setosa", ["0.13", "oops", "0.64", "0.1"]),
}


@pytest.mark.parametrize("what", DOUBT)
def test_a_doubt_is_an_error_that_names_both_options(files, iris, what):
    header, names = DOUBT[what]
    files.error(iris.text(header), "line 1", "--header or --no-header")
    assert files.read(iris.text(header), header=True).feature_names == names
    files.error(iris.text(header), "line 1", "'species'" if what[0] == "n" else "'oops'", header=False, target=0)


def test_few_rows_of_numbers_are_a_doubt(files):
    for text in ("1,2\n3,4\n", "5.1,3.5,1.4\n", "1,2,3,0\n3,2,1,1\n"):
        files.error(text, "--header or --no-header")
    assert files.read("1,2\n3,4\n", header=False).X.tolist() == [[1], [3]]
    assert files.read("1,2\n3,4\n", header=True).feature_names == ["1"]
    assert files.features("5.1,3.5,1.4\n", ["a", "b", "c"], header=False).X.tolist() == [[5.1, 3.5, 1.4]]


def test_what_is_wanted_tells_names(files):
    assert files.read("4,17,2,y\n1,2,3,0\n2,3,1,1\n", "y").feature_names == ["4", "17", "2"]
    assert files.features("4,x\n1,2\n", ["x"]).X.tolist() == [[2]]


def test_options_overrule_what_is_guessed(files, iris):
    assert len(files.read(iris.text(""), header=True).X) == 39
    files.error(iris.text(), "line 1,", "'0'", "'a'", header=False)


def test_a_missing_name_says_that_the_first_line_was_taken_for_data(files, iris):
    files.error(iris.text(""), "'species'", "--header", target="species")
    files.error(iris.text(""), "lacks 2", "--header", features=["p", "q"])


# -------------------------------------------------------------------------------------- an index

ROWS = {
    "counts from 0": range(40),
    "counts from 1": range(1, 41),
    "shuffled": np.random.default_rng(1).permutation(40),
    "names": [f"Mazda RX{i}" for i in range(40)],
}


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("header", [",", '"",', "Unnamed: 0,"])
def test_an_index_is_left_out_and_said(files, iris, header, rows, quoted):
    """pandas' to_csv (also of what was read from one) and R's write.csv."""
    mark = '"' if quoted else ""
    lines = [f"{mark}{row}{mark},{line}" for row, line in zip(ROWS[rows], iris.lines(), strict=True)]
    text = "\n".join([header + "a,b,c,d,species", *lines])
    data = iris.same(files.read(text))
    assert any("left out" in note for note in data.notes)
    iris.same(files.read(text, "species"))
    np.testing.assert_array_equal(files.features(text, iris.names).X, iris.X)


def test_rs_write_table_names_no_column_for_its_row_names(files, iris):
    lines = [f'"{i + 1}" {line}' for i, line in enumerate(iris.lines(" "))]
    iris.same(files.read("\n".join(['"a" "b" "c" "d" "species"', *lines]), name="d.txt"))


def test_an_index_without_a_header_counts(files, iris):
    for first in (0, 1):
        data = files.read("\n".join(f"{i + first},{line}" for i, line in enumerate(iris.lines())), name="d.data")
        iris.same(data, ["1", "2", "3", "4"], "5")
        assert any("left out" in note for note in data.notes)


def test_columns_with_a_name_or_values_that_repeat_stay(files, iris):
    text = "\n".join(["id,a,y", *(f"{i},{i % 7},{i % 2}" for i in range(40))])
    assert files.read(text).feature_names == ["id", "a"]
    files.error("\n".join([",a,y", *(f"{i // 2},{i % 7},{i % 2}" for i in range(40))]), "no name", "--ignore 0")
    assert files.read(text.replace("id", ""), ignore=("0",)).feature_names == ["a"]


def test_a_separator_at_the_ends_of_lines_makes_no_column(files, iris):
    data = iris.same(files.read("\n".join(line + "," for line in iris.text().splitlines())))
    assert any("no content" in note for note in data.notes)
