"""Labels and weights of partitions, turned into class numbers and weights of rows where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from dask.delayed import delayed
from distributed import Client
from sklearn.utils import column_or_1d

from ..data import validation
from ..data.validation_labels import check_labels
from ..objective.absent import renumbered
from ..objective.parts.part import naming
from ..sklearn.base import class_factors, encode


@dataclass(frozen=True)
class Labelled:
    """What an estimator has to know of the labels of all partitions.

    Attributes
    ----------
    chunks : list of (X, codes, weights)
        Delayed, with numbers of the present classes.
    classes : ndarray (k,)
        All labels, sorted.
    present : bool ndarray (k,)
        Which of them have rows of positive weight.
    weight_sum : float
        Of all rows, class weights included.
    """

    chunks: list[tuple[Any, ...]]
    classes: np.ndarray
    present: np.ndarray
    weight_sum: float


def labelled(
    client: Client, chunks: list[tuple[Any, ...]], class_weight: Mapping[Any, float] | Literal["balanced"] | None
) -> Labelled:
    """Number the labels of all partitions.

    Raises
    ------
    ValueError
        For one class only, or one with rows of positive weight.
    """
    found = client.gather(client.compute([delayed(_found)(i, y, w) for i, (_, y, w) in enumerate(chunks)]))
    found = [each for each in found if each is not None]
    if not found:
        raise ValueError("X has no rows; at least one row is wanted")
    classes = np.unique(np.concatenate([labels for labels, _ in found]))
    if len(classes) < 2:
        raise ValueError(f"y holds one class only ({classes[0]!r}); at least two classes are wanted")
    sums = np.zeros(len(classes))
    for labels, weights in found:
        sums[np.searchsorted(classes, labels)] += weights
    factors = class_factors(class_weight, classes, lambda: sums)
    sums = sums if factors is None else sums * factors
    present = sums > 0
    if present.sum() < 2:
        only = classes[present].tolist()
        raise ValueError(f"y holds rows of positive weight of the classes {only} only; at least two are wanted")
    given = None if factors is None and present.all() else np.ones(len(classes)) if factors is None else factors
    code = delayed(_coded, nout=2)
    rows = []
    for X, y, w in chunks:
        codes, weights = code(y, w, classes, given, present)
        rows.append((X, codes, None if w is None and given is None else weights))
    return Labelled(rows, classes, present, float(sums.sum()))


def _labels(y: Any) -> np.ndarray:
    labels: np.ndarray = column_or_1d(check_labels(y))
    return labels


def _found(number: int, y: Any, w: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """The labels of a partition and the weight of each; None if there are no rows."""
    if not len(y):
        return None
    with naming(number):
        classes, codes = encode(_labels(y))
        if w is not None and np.any(w):
            validation.check_weights(w, len(codes))
        return classes, np.bincount(codes, None if w is None else np.asarray(w, np.float64), len(classes))


def _coded(
    y: Any, w: Any, classes: np.ndarray, factors: np.ndarray | None, present: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Class numbers among the present classes, and weights times the factors of the classes."""
    codes = np.searchsorted(classes, _labels(y)) if len(y) else np.zeros(0, np.int32)
    weights: Any = None if w is None else np.asarray(w)
    if factors is not None:
        weights = factors[codes] if weights is None else factors[codes] * weights
    return renumbered(codes, present), weights
