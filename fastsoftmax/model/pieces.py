"""Predictions of some rows at a time: the most probable classes, and the columns of a file."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .prediction import Prediction

# Bytes of the logits (as float64) that are held at a time.
BYTES = 64 << 20


def rows_at_once(k: int) -> int:
    """Rows whose logits take `BYTES`."""
    return max(1, BYTES // (k * 8))


def top_pieces(work: Prediction, count: int) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Numbers and probabilities of the most probable classes, some rows at a time."""
    for rows, H in work.pieces(rows_at_once(work.k)):
        order = _largest(H, count)
        # Ranked by logits, because probabilities that round to the same number (often 0) have lost their order.
        yield rows, order, np.take_along_axis(softmax_of_rows(H), order, axis=1)


def columns_of(
    work: Prediction, classes: np.ndarray, proba: bool, top: int | None, one_array: bool
) -> Iterator[dict[str, np.ndarray]]:
    """The columns of a file of predictions, as `Model.write_predictions` has them, some rows at a time."""
    if top is not None:
        for _, order, p in top_pieces(work, top):
            labels = np.take(classes, order)
            ranked = [(f"top_{i + 1}", labels[:, i], f"p_{i + 1}", p[:, i]) for i in range(top)]
            yield {name: values for row in ranked for name, values in (row[:2], row[2:])}
        return
    for _, out in work.pieces(rows_at_once(work.k), "proba" if proba else "label"):
        if not proba:
            yield {"prediction": np.take(classes, out)}
            continue
        columns = {f"p({label})": out[:, c] for c, label in enumerate(classes.tolist())}
        # Labels may be text, which a .npy array of probabilities cannot have beside them.
        named = {} if one_array else {"prediction": classes[np.argmax(out, axis=1)]}
        yield named | columns


def softmax_of_rows(H: np.ndarray) -> np.ndarray:
    """Probabilities of finite logits. A difference that overflows to -inf has the exp 0, which is right."""
    with np.errstate(over="ignore", under="ignore"):
        Z: np.ndarray = np.exp(H - H.max(axis=1, keepdims=True))
        Z /= Z.sum(axis=1, keepdims=True)
    return Z


def _largest(H: np.ndarray, count: int) -> np.ndarray:
    """Columns of the ``count`` largest values of each row, the largest first; of equal values the first first."""
    k = H.shape[1]
    if count <= math.log2(k):  # then finding one maximum after the other is less work than sorting
        return _largest_by_search(H.copy(), count)
    order: np.ndarray = np.argsort(-H, axis=1, kind="stable")
    return order[:, :count]


def _largest_by_search(H: np.ndarray, count: int) -> np.ndarray:
    """`_largest` by ``count`` searches for a maximum, which is then overwritten."""
    order = np.empty((len(H), count), np.int64)
    for rank in range(count):
        order[:, rank] = H.argmax(axis=1)
        np.put_along_axis(H, order[:, [rank]], -np.inf, axis=1)
    return order
