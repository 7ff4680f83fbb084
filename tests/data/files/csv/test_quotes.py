"""Quotes: line breaks within them are part of a cell at any size, and one that is not closed is an error."""

import re

import numpy as np
import pytest

from fastsoftmax.data.files.csv.quotes import CHUNK, Quotes, line_of

# One block of pyarrow's reader and one chunk of the search for quotes are smaller than the larger.
SIZES = [30, 80_000]
HEADER = "x,note,z,y\n"


def lines(m, note="note {i}"):
    return [f"{i % 7},{note.format(i=i)},{i % 5}.5,{'uvw'[i % 3]}" for i in range(m)]


def wanted(m):
    i = np.arange(m)
    return np.column_stack([i % 7, i % 5 + 0.5])


# -------------------------------------------------------------------------------- never closed

OPEN = {
    "a column that is left out": ('1,"5 inch,2.5,u', "'note'"),
    "the first column": ('"1,x,2.5,u', "'x'"),
    "a feature": ('1,x,"2.5,u', "'z'"),
    "the label": ('1,x,2.5,"u', "'y'"),
    "after a space": ('1, "5 inch,2.5,u', "'note'"),
    "after a doubled quote": ('1,"5"" inch,2.5,u', "'note'"),
    "three quotes": ('1,""",2.5,u', "'note'"),
}


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("what", OPEN)
def test_a_quote_that_is_never_closed_is_an_error_with_line_and_column(files, what, where, m):
    row, column = OPEN[what]
    rows = lines(m)
    at = int(where * (m - 1))
    rows[at] = row
    text = HEADER + "\n".join(rows) + "\n"
    files.error(text, f"line {at + 2},", column, "never closed", target="y", ignore=("note",))
    files.error(text, f"line {at + 2},", column, "never closed", features=["x", "z"])


@pytest.mark.parametrize("m", SIZES)
def test_a_quote_that_the_next_one_closes_swallows_no_rows(files, m):
    """Two quotes that stand alone: by the letter of RFC 4180 one cell of several rows."""
    first, quoted = m // 2, lines(m, '"note {i}"')
    for other, gap in (('1,"7 inch,2.5,u', 10), ('1,7",2.5,u', 10), ('1,7",2.5,u', 1), ('1,7" ,2.5,u', 3)):
        rows = lines(m)
        rows[first], rows[first + gap] = '1,"5 inch,2.5,u', other
        files.error(HEADER + "\n".join(rows), f"line {first + 2},", "'note'", features=["x", "z"])
    quoted[first] = '1,"5 inch,2.5,u'
    files.error(HEADER + "\n".join(quoted), f"line {first + 2},", "'note'", "more text", features=["x", "z"])
    files.error((HEADER + "\n".join(quoted)).replace("\n", "\r\n"), f"line {first + 2},", features=["x", "z"])


def test_a_quote_of_the_header_is_closed_in_it(files):
    files.error('x,"note,z,y\n' + "\n".join(lines(30)), "line 1,", "never closed")
    rows = [*lines(10), '1,7",2.5,u', *lines(10)]
    files.error('x,"note,z,y\n' + "\n".join(rows), "line 1,", "row of its own")


def test_text_behind_a_closed_quote_is_an_error(files):
    for cell in ('"5"x', '"say \\"hi\\" twice"', '"a" "b"'):
        files.error(HEADER + "\n".join([*lines(9), f"1,{cell},2.5,u"]), "line 11,", "'note'", features=["x", "z"])


# ------------------------------------------------------------------------------- line breaks


@pytest.mark.parametrize("m", [10, 3_000, 60_000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_breaks_within_quotes_are_read_at_any_size(files, m, end):
    """In labels, in a column that is left out, and in the names."""
    rows = [f'{i % 7},"note\n{i}, and\n{"x" * (i % 40)}\n",{i % 5}.5,"{"uvw"[i % 3]}\n{i % 2}"' for i in range(m)]
    text = "\n".join(['x,"no\nte","length\n(cm)",y', *rows, ""]).replace("\n", end)
    data = files.read(text, ignore=(f"no{end}te",))
    np.testing.assert_array_equal(data.X, wanted(m))
    assert data.feature_names == ["x", f"length{end}(cm)"]
    assert data.y.tolist() == [f"{'uvw'[i % 3]}{end}{i % 2}" for i in range(m)]
    assert f"{4 * m:,} line breaks, the first in line 4, are within quotes" in data.notes[-1]
    np.testing.assert_array_equal(files.features(text, ["x", f"length{end}(cm)"]).X, wanted(m))


def test_a_cell_and_a_row_may_be_longer_than_any_block(files):
    long = "long text, with\n" * 200_000
    data = files.read(f'x,t,y\n1,"{long}",a\n2,b,c\n3,d,a\n', ignore=("t",))
    np.testing.assert_array_equal(data.X, [[1], [2], [3]])
    assert data.y.tolist() == ["a", "c", "a"]
    names = [f"c{j}" for j in range(20_000)]
    row = np.arange(20_000) / 8
    text = ",".join([*names, "y"]) + "\n" + "".join(",".join(map("{:70.3f}".format, row)) + f",{y}\n" for y in "ab")
    np.testing.assert_array_equal(files.read(text).X, [row, row])


def test_errors_count_lines_of_the_file_and_not_rows(files):
    text = 'b,t,y\n1,"a\nb\nc",u\n2,"d\ne",v\n3,f,w\nx,"q\nr",w\n'
    files.error(text, "line 8,", "'b'", "'x'", ignore=("t",))
    files.error('a,t,b,y\n1,"p\nq",x,u\n', "line 3,", "'b'", "'x'", ignore=("t",))


# ---------------------------------------------------------------------------- quotes that are fine


def test_quotes_as_programs_write_them(files):
    cells = [
        '5" pipe',
        "6''",
        'x""y',
        '"say ""hi"""',
        '""',
        '""""',
        '"a,b"',
        '"two\nlines, 3"',
        ' "sp, ace" ',
        'a "b" c',
    ]
    rows = [f"{i},{cell},{i}.5,u" for i, cell in enumerate(cells)]
    m = len(cells)
    for text in (HEADER + "\n".join(rows), HEADER + "\n".join(rows * 3_000) + "\n", HEADER + "\r\n".join(rows)):
        data = files.read(text, ignore=("note",))
        np.testing.assert_array_equal(data.X[-m:], np.column_stack([np.arange(m), np.arange(m) + 0.5]))
        np.testing.assert_array_equal(files.features(text, ["z", "x"]).X, data.X[:, ::-1])
    filled = [cell for cell in cells if cell != '""']
    labels = files.read("x,z,y\n" + "\n".join(f"{i},1,{cell}" for i, cell in enumerate(filled))).y
    files.error("x,z,y\n" + "\n".join(f"{i},1,{cell}" for i, cell in enumerate(cells)), "line 6,", "'y'", "label")
    inner = ['5" pipe', "6''", 'x""y', 'say "hi"', '"', "a,b", "two\nlines, 3", "sp, ace", 'a "b" c']
    assert labels.tolist() == inner


def test_quoted_numbers_are_numbers(files):
    rows = [f'"{i}","{i / 4}","{"uv"[i % 2]}"' for i in range(9)]
    data = files.read('"a","b","y"\n' + "\n".join(rows))
    np.testing.assert_array_equal(data.X, np.column_stack([np.arange(9), np.arange(9) / 4]))
    assert data.notes == ()


@pytest.mark.parametrize("seed", range(4))
def test_rows_of_random_tables_begin_where_they_were_written(seed):
    """Random sound tables across several chunks: the number of rows, and the line of each."""
    rng = np.random.default_rng(seed)
    kinds = ["1.5", '"a,b"', '"x\ny"', '"q""r"', "", '""', '5" p', "word"]
    rows = [",".join(rng.choice(kinds, 3)) for _ in range(180_000)]
    content = "\n".join(rows).encode()
    assert len(content) > 2 * CHUNK
    quotes = Quotes(np.frombuffer(content, np.uint8), ",")
    starts = np.concatenate(list(quotes.row_starts()))
    lengths = [len(row) + 1 for row in rows]
    np.testing.assert_array_equal(starts, np.cumsum([0, *lengths[:-1]]))
    assert quotes.check(3, lambda line: False).breaks == sum(row.count("\n") for row in rows)
    assert quotes.first_row_of_other_width(3) is None
    assert line_of(quotes.text, int(starts[-1])) == len(re.findall("\n", "\n".join(rows[:-1]))) + 2


@pytest.mark.parametrize("cells", ["1,2", "1,2,3,4,5", '1,"a,b,c\n,d"', "x"])
def test_a_row_of_another_width_is_an_error_with_its_line(files, cells):
    for m in SIZES:
        text = HEADER + "\n".join([*lines(m, '"n, {i}\n"'), cells, *lines(3)])
        files.error(text, f"line {2 * m + 2} has", "4 are wanted", features=["x", "z"])


def test_blank_lines_are_no_rows_but_in_a_table_of_one_column(files):
    text = "a,b,y\n\n1,2,u\n\r\n3,4,v\n\n\n"
    np.testing.assert_array_equal(files.read(text).X, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(files.features("b\n1\n\n3\n\n\n", ["b"], fill=0).X, [[1], [0], [3]])
    files.error("b\n1\n\n3\n", "line 3,", "'b'", "empty", "--fill", features=["b"])
