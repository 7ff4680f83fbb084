"""Text tables and svmlight files: what a table holds is what is read, and a damaged one is refused or read as it is."""

from __future__ import annotations

import csv as plain
import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from fastsoftmax.data.files import read

from .. import damage, draw
from ..verdict import outcome, require

Rng = np.random.Generator
LABELS = ("cat", "dog", "ä", "x y", "a,b", 'he said "no"', "line\nbreak", "0", "1", "007", "-3", "v1.5", "NA?", "é" * 9)
OPTIONS: tuple[dict[str, Any], ...] = ({}, {"header": True}, {"header": True, "sep": ","}, {"fill": 0.0})
OPTIONS += ({"encoding": "latin-1"}, {"sep": ";", "decimal": ","}, {"header": False}, {"thousands": "'"})


def csv(rng: Rng, folder: Path) -> bool:
    m, n = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    X = np.array([[_cell(rng) for _ in range(n)] for _ in range(m)])
    y = [draw.one_of(rng, LABELS) for _ in range(m)]
    sep, end = draw.one_of(rng, (",", ",", ";", "\t", "|")), draw.one_of(rng, ("\n", "\r\n"))
    quoting = draw.one_of(rng, (plain.QUOTE_MINIMAL, plain.QUOTE_ALL, plain.QUOTE_NONNUMERIC))
    text = io.StringIO()
    writer = plain.writer(text, delimiter=sep, lineterminator=end, quoting=quoting)
    writer.writerow([*(f"x{j}" for j in range(n)), "label"])
    writer.writerows([*row, label] for row, label in zip(X.tolist(), y, strict=True))
    data, path = text.getvalue().encode(), folder / "table.csv"
    sound = rng.random() < 0.4
    options = {"header": True, "sep": sep, "decimal": "."} if sound else draw.one_of(rng, OPTIONS)
    if not sound:
        data = rng.bytes(int(rng.integers(1, 60))) if rng.random() < 0.05 else damage.changed_bytes(rng, data)
    path.write_bytes(data)
    found = outcome(
        lambda: read(path, "label" if sound else None, **options), ("table.csv", "separator"), (ValueError,)
    )
    if found.refused:
        # Distinct fractions, or a label of numbers beyond what it may be, are refused of a sound table too.
        require(not sound, f"a sound table is refused: {found.error}")
        return True
    got = found.answer
    require(np.isfinite(got.X).all() and got.X.shape == (len(got.y), len(got.feature_names)), "X is not sound")
    if sound:
        np.testing.assert_array_equal(got.X, X)
        require([str(label) for label in got.y.tolist()] == y, f"labels {got.y.tolist()} of {y}")
    elif b'"' not in data and options == {"header": True, "sep": ","}:
        _same_as_plain(data, got)
    return False


def _cell(rng: Rng) -> float:
    kind = int(rng.integers(5))
    x = float(rng.standard_normal())
    return (round(x, 3), x, x * 10.0 ** rng.uniform(-300, 300), float(rng.integers(-9, 9)), 5e-324)[kind]


def _same_as_plain(data: bytes, got: Any) -> None:
    """Python's own reader finds the same rows, and its float the same numbers, where cells are numbers to both."""
    lines = data.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    rows = [line.split(",") for line in lines if line.strip()][1:]
    if not all(len(row) == len(got.feature_names) + 1 for row in rows):
        return
    require(len(rows) == len(got.X), f"{len(got.X)} rows of {len(rows)}")
    for row, numbers in zip(rows, got.X, strict=True):
        for cell, number in zip(row, numbers, strict=False):
            if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", cell.strip(" ")):
                require(float(cell) == number, f"{cell!r} is read as {number!r}")


def svmlight(rng: Rng, folder: Path) -> bool:
    lines = []
    for _ in range(int(rng.integers(1, 9))):
        places = np.sort(rng.choice(30, int(rng.integers(0, 5)), replace=False)) + int(rng.integers(2))
        pairs = [f"{place}:{draw.one_of(rng, (repr(_cell(rng)), '1', '.5', '-2.', '1e3'))}" for place in places]
        comment = [draw.one_of(rng, ("# a comment", "#", "#1:2"))] if rng.random() < 0.2 else []
        query = [f"qid:{int(rng.integers(9))}"] if rng.random() < 0.1 else []
        lines.append(draw.one_of(rng, (" ", " ", "\t")).join([str(int(rng.integers(-1, 3))), *query, *pairs, *comment]))
    data = (draw.one_of(rng, ("\n", "\r\n")).join(lines) + draw.one_of(rng, ("\n", ""))).encode()
    sound = rng.random() < 0.4
    if not sound:
        data = rng.bytes(int(rng.integers(1, 60))) if rng.random() < 0.05 else damage.changed_bytes(rng, data)
    path = folder / "rows.svm"
    path.write_bytes(data)
    found = outcome(lambda: read(path), ("rows.svm",), (ValueError,))
    if found.refused:
        return True
    got, rows = found.answer, _parsed(data)
    require(rows is not None, "a line that is none is read")
    require([str(label) for label in got.y.tolist()] == [str(int(label)) for label, _ in rows], "other labels")
    first = int(got.feature_names[0].removeprefix("feature "))
    for row, (_, pairs) in zip(got.X, rows, strict=True):
        here = row.toarray().ravel()
        wanted = np.zeros(len(here))
        for place, value in pairs:
            wanted[place - first] = value
        np.testing.assert_array_equal(here, wanted)
    return False


def _parsed(data: bytes) -> list[tuple[float, list[tuple[int, float]]]] | None:
    """The rows by the plainest reading of the format; None if one is none."""
    rows = []
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        cells = line.split(b"#")[0].split()
        if not cells:
            continue
        try:
            pairs = [cell.split(b":") for cell in cells[1:] if not cell.startswith(b"qid:")]
            rows.append((float(cells[0]), [(int(place), float(value)) for place, value in pairs]))
        except ValueError:
            return None
        if not math.isfinite(rows[-1][0]):
            return None
    return rows
