"""The problems that are timed: named, seeded, and generated anew in every run, which takes a second or two.

A case is called ``<shape>-<dtype>``, with ``-F`` at the end where X is in Fortran order: "500k-f32", "60k-u8",
"581k-f64-F". Standard normal features are enough, since no kernel's time depends on the values. (`fastsoftmax.datasets`
makes problems to learn from, on one core; these come in every dtype and layout, and are made on all cores.)

This folder imports NumPy and SciPy alone, so that `harness/revision_worker.py` can use it with any revision.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import drawing, sparse_data

_SHORT = {"f64": "float64", "f32": "float32", "f16": "float16", "u8": "uint8", "i8": "int8", "i16": "int16"}
DTYPES = tuple(_SHORT.values())
_FLOATS = ("float64", "float32")
_RANGE = {"uint8": (0, 256), "int8": (-128, 128), "int16": (-1000, 1000)}  # of int16: as in audio or scaled counts
# Matrix products of m n k multiply-adds in each kind of pass.
_PRODUCTS = {"value_and_grad": 2, "value": 1, "hess_prod": 3, "predict": 1}


@dataclass(frozen=True)
class Case:
    """One problem.

    Attributes
    ----------
    base : str
        Shape's name, such as "500k".
    m, n, k : int
        Rows, features, classes.
    dtype : str
        dtype of X.
    order : {"C", "F"}
        Memory layout of X.
    group : str
        Which table of the report it belongs to.
    dx : bool
        Whether the gradient with respect to X is wanted as well.
    """

    base: str
    m: int
    n: int
    k: int
    dtype: str
    order: str = "C"
    group: str = "main"
    dx: bool = False

    @property
    def name(self) -> str:
        short = next(s for s, d in _SHORT.items() if d == self.dtype)
        return f"{self.base}-{short}" + ("-F" if self.order == "F" else "") + ("-dX" if self.dx else "")

    @property
    def shape(self) -> str:
        return f"{self.m:,} × {self.n}, {self.k:,}"

    @property
    def compute_dtype(self) -> str:
        """float32 for the narrow dtypes, which are exact in it; else X's own."""
        return "float64" if self.dtype == "float64" else "float32"

    def flops(self, operation: str = "value_and_grad") -> float:
        """Multiplications and additions of a pass; dX = D theta^T is one more product."""
        if operation == "gram":
            return float(self.m * self.n * (self.n + 1))  # symmetric: half of X^T X is enough
        return 2.0 * (_PRODUCTS[operation] + self.dx) * self.m * self.n * self.k

    @property
    def bytes(self) -> float:
        """Bytes that must be moved: X read once, dX written once."""
        written = self.m * self.n * np.dtype(self.compute_dtype).itemsize if self.dx else 0
        return float(self.m * self.n * np.dtype(self.dtype).itemsize + written)

    def rows(self, m: int) -> Case:
        """The same case with m rows."""
        return replace(self, m=m, base=f"{self.base}[{m}]")


@dataclass(frozen=True)
class SparseCase(Case):
    """A problem with sparse X in CSR, see `sparse_data`.

    Attributes
    ----------
    per_row : float
        Entries of a row, on average.
    spread : float
        Standard deviation of the logarithm of a row's number of entries; 0 where all rows have the same.
    """

    per_row: float = 20.0
    spread: float = 0.0

    @property
    def entries(self) -> float:
        return self.m * self.per_row

    @property
    def shape(self) -> str:
        return f"{self.m:,} × {self.n:,}, {self.k}; {self.entries / 1e6:.3g}M entries"

    def flops(self, operation: str = "value_and_grad") -> float:
        return 2.0 * _PRODUCTS[operation] * self.entries * self.k

    @property
    def bytes(self) -> float:
        """X and theta read once, the gradient written once."""
        itemsize = np.dtype(self.dtype).itemsize
        return self.entries * (itemsize + 4) + 4.0 * self.m + 2.0 * self.n * self.k * itemsize


@dataclass(frozen=True)
class Problem:
    """The arrays of a case: X (m, n), y int64 (m,), theta (n, k) in the compute dtype."""

    case: Case
    X: Any
    y: np.ndarray
    theta: np.ndarray


MAIN_SHAPES = {
    "500k": (500_000, 50, 3),
    "581k": (581_000, 54, 7),
    "60k": (60_000, 784, 10),
    "200k": (200_000, 384, 20),
    "50k": (50_000, 512, 100),
    "20k": (20_000, 1024, 1000),
}


# m, n, k, entries per row and their spread. The first are the numbers of a real text data set; the other two have many
# rows, and many columns.
SPARSE_SHAPES = {
    "sparse-text": (118_000, 168_000, 45, 17.8, 0.7),
    "sparse-tall": (5_000_000, 100_000, 5, 20.0, 0.0),
    "sparse-wide": (200_000, 1_000_000, 100, 30.0, 0.0),
}


def _table() -> dict[str, Case]:
    cases = [Case(b, *shape, dtype) for b, shape in MAIN_SHAPES.items() for dtype in ("float64", "float32")]
    cases += [replace(c, order="F", group="F-order") for c in cases]
    for dtype in ("uint8", "int8", "int16", "float16"):
        cases += [Case(b, *MAIN_SHAPES[b], dtype, group="narrow") for b in ("500k", "60k")]
    cases += [Case("wide", 5_000, 20_000, 5, d, group="wide") for d in ("float64", "float32")]
    cases += [Case("16k-classes", 2_048, 512, 16_000, "float32", group="many classes")]
    cases += [Case("16k-classes", 2_048, 512, 16_000, "float32", group="many classes", dx=True)]
    cases += [Case("65k-classes", 2_048, 512, 65_536, "float32", group="many classes")]
    # As layers of a network have them: huge heads, and a batch of 512 rows.
    cases += [Case("128k-classes", 2_048, 512, 128_000, "float32", group="layers", dx=True)]
    cases += [Case("60k", *MAIN_SHAPES["60k"], "float32", group="layers", dx=True)]
    cases += [Case("batch", 512, 784, 10, "float32", group="layers", dx=dx) for dx in (False, True)]
    # m, n and k are no multiples of a vector or a tile: the quick cases go through every remainder loop of the kernels.
    for dtype in ("float64", "float32"):
        cases += [
            Case("quick-tall", 20_011, 50, 3, dtype, group="quick"),
            Case("quick-digits", 3_001, 784, 10, dtype, group="quick"),
            Case("quick-many", 1_009, 129, 301, dtype, group="quick"),
        ]
    cases += [
        Case("quick-tall", 20_011, 50, 3, "float32", order="F", group="quick"),
        Case("quick-tall", 20_011, 50, 3, "uint8", group="quick"),
    ]
    for dtype in _FLOATS:
        for base, (m, n, k, per_row, spread) in SPARSE_SHAPES.items():
            cases.append(SparseCase(base, m, n, k, dtype, group="sparse", per_row=per_row, spread=spread))
        cases.append(SparseCase("quick-sparse", 3_001, 2_003, 11, dtype, group="quick sparse", per_row=9, spread=0.7))
    return {c.name: c for c in cases}


CASES: dict[str, Case] = _table()
# Cost against the number of rows, and the memory of a pass, are measured on this one; 10^7 rows of it are 2 GB.
LINE = Case("line", 10_000_000, 50, 3, "float32", group="line")
LINE_ROWS = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)


def parse(text: str) -> Case | None:
    """A case of any shape, written as ROWSxFEATURESxCLASSES[:DTYPE][:ORDER], such as "1e6x54x7:f32:F"; float64 in C
    order unless given. None if the text is not of that form.

    Raises
    ------
    ValueError
        For a dtype, an order or a number that there is not.
    """
    shape, *options = text.split(":")
    numbers = shape.split("x")
    if len(numbers) != 3 or not all(re.fullmatch(r"\d+(\.\d+)?(e\d+)?", number) for number in numbers):
        return None
    m, n, k = (int(float(number)) for number in numbers)
    dtypes = [option for option in options if option in _SHORT]
    orders = [option for option in options if option in ("C", "F")]
    wrong = set(options) - {*dtypes, *orders}
    if wrong or len(dtypes) > 1 or len(orders) > 1 or m < 1 or n < 1 or k < 2:
        raise ValueError(
            f"case {text!r} is not ROWSxFEATURESxCLASSES[:DTYPE][:ORDER] with two classes or more, DTYPE one of"
            f" {', '.join(_SHORT)} and ORDER C or F"
        )
    return Case(shape, m, n, k, _SHORT[(dtypes or ["f64"])[0]], order=(orders or ["C"])[0], group="given")


def of_data(name: str, X: Any, y: np.ndarray, seed: int = 20) -> Problem:
    """The problem of a user's own data: class numbers y, and a theta that gives logits of about unit variance."""
    m, n = X.shape
    k = int(y.max()) + 1
    rng = np.random.default_rng(seed)
    dtype = str(X.dtype)
    if hasattr(X, "indptr"):
        case: Case = SparseCase(name, m, n, k, dtype, group="given", per_row=X.nnz / m)
        squares = np.asarray(X.power(2).mean(axis=0)).ravel()
    else:
        case = Case(name, m, n, k, dtype, order="C" if X.flags.c_contiguous else "F", group="given")
        squares = np.mean(np.square(X, dtype=np.float64), axis=0)
    scale = np.sqrt(np.where(squares > 0, squares, 1.0) * n)
    theta = (rng.standard_normal((n, k)) / scale[:, None]).astype(case.compute_dtype)
    return Problem(case, X, y, theta)


def select(patterns: Iterable[str]) -> list[Case]:
    """Cases by full name, by shape ("500k": both floats in C order), by group ("main", "quick") or as `parse` takes
    them.

    Raises
    ------
    ValueError
        For a name that is none of these; the known ones are listed.
    """
    chosen: dict[str, Case] = {}
    for pattern in patterns:
        found = [c for c in CASES.values() if pattern in (c.name, c.group)]
        found = found or [c for c in [parse(pattern)] if c is not None]
        found = found or [c for c in CASES.values() if c.base == pattern and c.order == "C" and c.dtype in _FLOATS]
        if not found:
            groups = sorted({c.group for c in CASES.values()})
            known = f"{', '.join(CASES)}, the groups {', '.join(groups)}, and shapes such as 1e6x54x7:f32:F"
            raise ValueError(f"no case {pattern!r}; known are {known}")
        chosen.update((c.name, c) for c in found)
    return list(chosen.values())


def make_problem(case: Case, seed: int = 20) -> Problem:
    """The arrays of a case, the same ones for the same seed on any number of threads."""
    if isinstance(case, SparseCase):
        return Problem(case, *sparse_data.make(case, seed))
    rng = np.random.default_rng(seed)
    X = _features(case, seed)
    scale = np.sqrt(case.n * np.mean(np.square(X[:1000], dtype=np.float64)))  # logits of about unit variance
    theta = (rng.standard_normal((case.n, case.k)) / scale).astype(case.compute_dtype)
    drawn_from = (2 * rng.standard_normal((case.n, case.k)) / scale).astype(case.compute_dtype)
    return Problem(case, X, drawing.labels(X, drawn_from, 1.0, seed + 1), theta)


def _features(case: Case, seed: int) -> np.ndarray:
    """X, filled by blocks of rows (C) or columns (F)."""
    X = np.empty((case.m, case.n), case.dtype, order=case.order)

    def work(part: np.ndarray, rng: np.random.Generator) -> None:
        if case.dtype in _RANGE:
            part[:] = rng.integers(*_RANGE[case.dtype], part.size, dtype=case.dtype)
        elif case.dtype == "float16":
            part[:] = rng.standard_normal(part.size, dtype=np.float32)
        else:
            rng.standard_normal(out=part, dtype=case.dtype)

    drawing.fill(X, work, seed)
    return X
