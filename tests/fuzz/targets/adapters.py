"""Frames of several libraries, Arrow data, DLPack: read as the numbers that they hold, or refused by name."""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import samples
import xarray as xr

from fastsoftmax import Model, Objective
from fastsoftmax.data.validation import check_X, nonfinite_place

from .. import draw
from ..verdict import outcome, require

Rng = np.random.Generator
DTYPES = ("f8", "f4", "i8", "i4", "i1", "u1", "u8", "?", "f2")


def adapters(rng: Rng, folder: Path) -> bool:
    m, n = int(rng.integers(1, 30)), int(rng.integers(1, 7))
    kinds = [draw.one_of(rng, DTYPES)] * n if rng.random() < 0.5 else [draw.one_of(rng, DTYPES) for _ in range(n)]
    columns = [draw.numbers(rng, (m,), kind) for kind in kinds]
    wanted = np.stack([column.astype(np.longdouble) for column in columns], axis=1)
    names = [f"x{j}" for j in range(n)]
    missing = np.zeros((m, n), bool)
    if rng.random() < 0.3:
        missing[rng.integers(m), rng.integers(n)] = True
    make = draw.one_of(rng, (_pandas, _pandas_nullable, _polars, _arrow, _stream, _batch, _xarray, _array))
    frame = make(rng, columns, names, missing)
    found = outcome(lambda: check_X(frame))
    if found.refused:
        odd = missing.any() or make is _array
        require(odd, f"a sound frame of {make.__name__} is refused: {found.error}")
        return True
    got = found.answer
    require(got.shape == wanted.shape, f"shape {got.shape} of {wanted.shape}")
    _require_numbers(got, wanted, missing, kinds)
    if nonfinite_place(got) is None and not missing.any() and rng.random() < 0.3:
        _by_names(rng, frame, make, got, names)
    return False


def _require_numbers(got: np.ndarray, wanted: np.ndarray, missing: np.ndarray, kinds: list[str]) -> None:
    """The same numbers, rounded once where columns of several dtypes are joined; NaN for those that are missing."""
    exact = not {"i8", "u8"} & set(kinds)  # which are computed in float64 anyway
    with np.errstate(all="ignore"):
        rounded = wanted.astype(got.dtype).astype(np.longdouble)
        here = got.astype(np.longdouble)
    same = (here == rounded) | (missing & np.isnan(here))
    if not exact:
        same |= abs(here - wanted) <= 2 * np.finfo(np.float64).eps * abs(wanted)
    require(same.all(), f"other numbers: {here[~same][:3]}, {rounded[~same][:3]}")
    require(np.isnan(here[missing]).all(), "a value that is missing is read as a number")
    require(
        got.dtype.kind != "f" or exact is False or (rounded == wanted)[~missing].all(), f"lost digits in {got.dtype}"
    )


def _by_names(rng: Rng, frame: Any, make: Any, got: np.ndarray, names: list[str]) -> None:
    """A model finds the columns by their names; an objective takes the frame as it takes the array."""
    if make is _array:
        return
    theta = rng.standard_normal((got.shape[1], 3))
    order = rng.permutation(len(names))
    named = Model(theta[order], feature_names=[names[j] for j in order])
    y = np.arange(len(got)) % 3
    one = outcome(lambda: (named.decision_function(frame), Objective(frame, y, 3).value(theta)))
    other = outcome(lambda: (Model(theta).decision_function(got), Objective(got, y, 3).value(theta)))
    require(one.refused == other.refused, f"frame: {one.error}, array: {other.error}")
    if not one.refused:
        np.testing.assert_array_equal(one.answer[0], other.answer[0])
        require(one.answer[1] == other.answer[1], "another value of a frame")


def _pandas(rng: Rng, columns: list[np.ndarray], names: list[str], missing: np.ndarray) -> Any:
    columns = [_with_nan(column, gone) for column, gone in zip(columns, missing.T, strict=True)]
    if rng.random() < 0.3 and len({column.dtype for column in columns}) == 1:
        return pd.DataFrame(np.stack(columns, axis=1), columns=names, copy=False)
    frame = pd.DataFrame(dict(zip(names, columns, strict=True)), index=rng.permutation(len(columns[0])))
    return frame if rng.random() < 0.8 else frame.astype("object")


def _with_nan(column: np.ndarray, gone: np.ndarray) -> np.ndarray:
    return np.where(gone, np.nan, column.astype("f8")) if gone.any() else column


def _pandas_nullable(rng: Rng, columns: list[np.ndarray], names: list[str], missing: np.ndarray) -> Any:
    columns = [pd.array(column.astype("f4") if column.dtype == "f2" else column) for column in columns]
    for column, gone in zip(columns, missing.T, strict=True):
        column = column if hasattr(column, "_mask") else column
        column[gone] = pd.NA
    return pd.DataFrame(dict(zip(names, columns, strict=True)))


def _polars(rng: Rng, columns: list[np.ndarray], names: list[str], missing: np.ndarray) -> Any:
    series = {}
    for name, column, gone in zip(names, columns, missing.T, strict=True):
        one = pl.Series(name, column.astype("f4") if column.dtype == "f2" else column)
        series[name] = pl.Series(name, [None if g else v for g, v in zip(gone, one, strict=True)], one.dtype)
    frame = pl.DataFrame(series)
    return pl.concat([frame[:3], frame[3:]], rechunk=False) if rng.random() < 0.4 else frame


def _table(columns: list[np.ndarray], names: list[str], missing: np.ndarray) -> pa.Table:
    return pa.table({n: pa.array(c, mask=g) for n, c, g in zip(names, columns, missing.T, strict=True)})


def _arrow(rng: Rng, columns: list[np.ndarray], names: list[str], missing: np.ndarray) -> Any:
    table = _table(columns, names, missing)
    if rng.random() < 0.3:
        table = pa.concat_tables([table.slice(0, 2), table.slice(2)])
    return table


def _stream(rng: Rng, columns: list[np.ndarray], names: list[str], missing: np.ndarray) -> Any:
    return samples.ArrowStream(_table(columns, names, missing))


def _batch(rng: Rng, columns: list[np.ndarray], names: list[str], missing: np.ndarray) -> Any:
    batches = _table(columns, names, missing).combine_chunks().to_batches()
    return batches[0] if rng.random() < 0.5 else samples.ArrowArray(batches[0])


def _xarray(rng: Rng, columns: list[np.ndarray], names: list[str], missing: np.ndarray) -> Any:
    columns = [_with_nan(column, gone) for column, gone in zip(columns, missing.T, strict=True)]
    return xr.Dataset({name: ("row", column) for name, column in zip(names, columns, strict=True)})


def _array(rng: Rng, columns: list[np.ndarray], names: list[str], missing: np.ndarray) -> Any:
    """One array behind a protocol, or objects that NumPy makes an array of numbers of."""
    columns = [_with_nan(column, gone) for column, gone in zip(columns, missing.T, strict=True)]
    X = np.stack(columns, axis=1)
    X = X[::-1].copy()[::-1] if rng.random() < 0.3 else X
    way = draw.one_of(rng, ("dlpack", "wrapped", "decimals", "pickle"))
    if way == "dlpack":
        return samples.Capsule(X)
    if way == "wrapped":
        return samples.Wrapped(X)
    if way == "decimals":
        return [[decimal.Decimal(1)] * X.shape[1]] * len(X)
    return X.astype(object)
