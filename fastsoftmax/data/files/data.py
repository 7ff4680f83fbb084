"""What a reader returns, and how it is told to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Data:
    """Samples from a file.

    Attributes
    ----------
    X : ndarray (m, n), or csr_array from svmlight files
        float32 or float64; from .npy and .npz files any real dtype.
    y : ndarray (m,) of integers or strings, or None
        Labels.
    feature_names : list of str (n,)
        Names of the columns of X; their numbers where the file has no names.
    target : str
        Name of the column that y came from, "" if there is none.
    notes : tuple of str
        What the reader found out or left out by itself, a line each.
    """

    X: Any
    y: np.ndarray | None
    feature_names: list[str]
    target: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file where it does not say so itself; None is for the reader to find out.

    Attributes
    ----------
    format : {"csv", "parquet", "npy", "npz", "svmlight"} or None
        What is in the file; its suffix says so unless given.
    header : bool or None
        Whether the first line of a text table holds the names of the columns.
    sep : str or None
        What separates the cells of a text table, one character; a space stands for any run of spaces and tabs.
    decimal : str or None
        The decimal mark of a text table.
    thousands : str
        What separates thousands in a text table; "" for nothing.
    encoding : str or None
        The encoding of a text table; its byte order mark says so, or it is UTF-8, unless given.
    ignore : tuple of str
        Columns to leave out, by name (in a text table also by number from 0).
    fill : float or None
        The number that stands for an empty cell (in arrays for NaN); an empty cell is an error if None.
    extra_features : {"error", "ignore"}
        What to do with features of an svmlight file that are beyond the model's.
    """

    format: str | None = None
    header: bool | None = None
    sep: str | None = None
    decimal: str | None = None
    thousands: str = ""
    encoding: str | None = None
    ignore: tuple[str, ...] = ()
    fill: float | None = None
    extra_features: str = "error"


DEFAULTS = ReadOptions()
