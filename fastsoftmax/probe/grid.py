r"""The strengths of a sweep, as l2 or as C.

scikit-learn, and with it most scripts for linear probes, minimizes :math:`C \sum_i \ell_i + \tfrac12 \|\theta\|^2`.
Here the loss is a mean, :math:`\tfrac1m \sum_i \ell_i + \tfrac{l_2}{2} \|\theta\|^2`. The minimum is the same with

.. math:: l_2 = \frac{1}{C m}

where m is the number of rows that are fitted (their total weight); and with 2 / (C m) for two classes, where
scikit-learn has one column of parameters in place of two. So a C stands for a weaker l2 the more rows there
are: a sweep that holds rows out and then fits all of them keeps the C, if the grid is one of C, and else the l2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import validation

# Grids by name, each of values of C: 45 from 1e-6 to 1e5 (DINOv2's evaluation by logistic regression), and 96 from 1e-6
# to 1e6 (CLIP's).
NAMED: dict[str, Callable[[], np.ndarray]] = {
    "dinov2": lambda: np.logspace(-6.0, 5.0, 45),
    "clip": lambda: np.logspace(-6.0, 6.0, 96),
}
# The range of l2 where a grid is a number of values.
LARGEST, SMALLEST = 1.0, 1e-8


@dataclass(frozen=True, eq=False)
class Grid:
    """Strengths of the penalty, the strongest first.

    Attributes
    ----------
    values : float64 ndarray
        All different.
    is_C : bool
        Whether they are values of C; else of l2.
    factor : float
        l2 C m: 1, or 2 for two classes.
    """

    values: np.ndarray
    is_C: bool
    factor: float = 1.0

    def __len__(self) -> int:
        return len(self.values)

    def l2s(self, weight: float) -> np.ndarray:
        """The values as l2 for a fit to rows of this total weight."""
        return self.factor / (self.values * weight) if self.is_C else self.values

    def Cs(self, weight: float) -> np.ndarray:
        """The values as C."""
        return self.values if self.is_C else self.factor / (self.values * weight)


def make_grid(grid: Any, l2s: Any = None, Cs: Any = None) -> Grid:
    """The grid of a sweep: a name or a number of values, unless strengths themselves are given.

    Raises
    ------
    TypeError, ValueError
        For an unknown name, strengths that are not positive, an empty list, and l2s beside Cs.
    """
    if l2s is not None and Cs is not None:
        raise ValueError("l2s and Cs are two ways to give the same strengths; give one of them")
    if l2s is not None:
        return Grid(_strengths(l2s, "l2s")[::-1], False)
    if Cs is not None:
        return Grid(_strengths(Cs, "Cs"), True)
    if isinstance(grid, str):
        if grid not in NAMED:
            raise ValueError(f"grid must be one of {', '.join(map(repr, NAMED))}, or a number of values; got {grid!r}")
        return Grid(NAMED[grid](), True)
    return Grid(np.geomspace(LARGEST, SMALLEST, validation.check_count(grid, "grid")), False)


def _strengths(given: Any, name: str) -> np.ndarray:
    """Positive numbers, ascending."""
    values = [*given] if isinstance(given, Iterable) else [given]
    if not values:
        raise ValueError(f"{name} is empty; at least one strength is wanted")
    return np.unique([validation.check_real(value, name, positive=True) for value in values])
