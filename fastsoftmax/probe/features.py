"""What features may be, and the objective over them, standardised or with rows of unit norm, without a copy of X.

*Standardising* divides each column by its standard deviation over all rows. The bias takes up what the means would
change. X diag(1 / s) theta = X (theta / s), so the scale is folded into theta, and only the rare sweeps that read rows
themselves make scaled chunks.

*Normalising* divides each row by its norm. That is made a chunk at a time in every pass.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..data import validation
from ..data.archive import map_array
from ..data.bfloat16 import as_numbers, bits_of, is_bfloat16
from ..data.sources.parts import PartsSource
from ..data.sources.scan import Scan
from ..kernels.backends import select
from ..objective.derived import OverSource, Scaled, Shifted, Transformed, unit_rows
from ..objective.objective import Objective
from ..solvers.geometry.centering import centered
from ..solvers.geometry.metric import Moments


class Parts:
    """Features in several arrays, or in bfloat16: what `open_features` returns for them.

    Attributes
    ----------
    arrays : list of ndarray (rows, n)
    names : list of str or None
    shape : tuple of int
    """

    def __init__(self, arrays: Sequence[np.ndarray], names: Sequence[str] | None = None) -> None:
        self.names, first = names, arrays[0]
        self.arrays = [bits_of(array) if is_bfloat16(array) else array for array in arrays]
        for i, array in enumerate(arrays):
            what = f"part {i}" + ("" if names is None else f" ({names[i]})")
            if array.ndim != 2 or array.shape[1:] != first.shape[1:] or array.dtype != first.dtype:
                raise ValueError(
                    f"{what} has shape {array.shape} and dtype {array.dtype}; all parts must have columns and dtype of"
                    f" the first, {first.shape[1:]} and {first.dtype}"
                )
            if array.dtype.kind not in "fiub" and not is_bfloat16(array):
                raise TypeError(f"{what} has dtype {array.dtype}; real numbers are wanted")
        self.shape = (sum(map(len, arrays)), first.shape[1])

    def joined(self) -> np.ndarray:
        """A copy of all rows, in float32 if they are in bfloat16: for predictions."""
        return as_numbers(np.concatenate(self.arrays))


def open_features(X: Any) -> Any:
    """X as `Objective` takes it, or `Parts`: a path is opened, files are mapped into memory and not read.

    Parameters
    ----------
    X : array_like, path, or sequence of arrays in two dimensions
        A path is that of a .npy file, or of a folder of them, whose rows come in the order of the numbers in their
        names. bfloat16 is what the package ml_dtypes calls so, also where NumPy reads it from a file as two bytes
        without a type.
    """
    if isinstance(X, str | PathLike):
        return _open_path(Path(X))
    if isinstance(X, list | tuple) and X and all(isinstance(part, np.ndarray) and part.ndim == 2 for part in X):
        return Parts(X)
    return X


def open_labels(y: Any) -> Any:
    """Labels, those of a .npy file or of a folder of them where y is a path."""
    if not isinstance(y, str | PathLike):
        return y
    path = Path(y)
    return np.concatenate([_mapped(part) for part in _parts_of(path)]) if path.is_dir() else _mapped(path)


def _open_path(path: Path) -> Any:
    if not path.is_dir():
        return _mapped(path)
    files = _parts_of(path)
    return Parts([_mapped(file) for file in files], [file.name for file in files])


def _parts_of(folder: Path) -> list[Path]:
    """The .npy files of a folder, part-2 before part-10."""

    def key(path: Path) -> list[Any]:
        return [int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", path.name)]

    files = sorted(folder.glob("*.npy"), key=key)
    if not files:
        raise ValueError(f"{folder} holds no .npy file; parts of features or labels are wanted")
    return files


def _mapped(path: Path) -> np.ndarray:
    try:
        return map_array(path)
    except ValueError as error:
        raise ValueError(f"{path} is no .npy file of numbers ({error})") from error


# ---------------------------------------------------------------------------------------------------- objectives


def n_rows(X: Any) -> int:
    """The number of rows of what `open_features` returned."""
    return int(X.shape[0]) if hasattr(X, "shape") else len(np.asarray(X))


def objective_of(
    X: Any, y: np.ndarray, k: int, *, w: np.ndarray | None, normalize: bool, fit_intercept: bool, **options: Any
) -> Objective:
    """The objective without a penalty over what `open_features` returned, its rows of unit norm if asked for."""
    if isinstance(X, Parts):
        reads = select(options["backend"])[1].READS
        labels = validation.check_y(y, X.shape[0], k)[0]
        source = PartsSource(X.arrays, labels, w, reads=reads, names=X.names)
        obj: Objective = OverSource(source, k, fit_intercept=fit_intercept, **options)
    else:
        own = isinstance(X, Scan)  # which has labels of its own
        obj = Objective(X, None if own else y, k, sample_weight=w, fit_intercept=fit_intercept, **options)
    if not normalize:
        return obj
    dtype = obj.dtype
    return Transformed(obj, lambda chunk: unit_rows(chunk, dtype))


class Coordinates:
    """The parameters that solvers see, beside those for the features as they are.

    Parameters
    ----------
    given : Objective
        All rows.
    standardize : bool

    Attributes
    ----------
    obj : Objective
        The one to minimize.
    moments : Moments
        Of ``obj``.
    """

    def __init__(self, given: Objective, *, standardize: bool) -> None:
        inner, self.moments = centered(given)
        assert isinstance(inner, Objective)
        self.obj, self._factors = inner, np.ones(given.n_features)
        self._shift = inner.shift if isinstance(inner, Shifted) else np.zeros(given.n_features)
        self._standardize = standardize
        if standardize:
            variance = self.moments.variance
            self._factors = 1.0 / np.sqrt(np.where(variance > self.moments.noise, variance, 1.0))
            self.obj, self.moments = Scaled(inner, self._factors), _scaled_moments(self.moments, self._factors)

    def of(self, obj: Objective) -> Objective:
        """An objective of other rows as a function of the same parameters, but for the bias: see `held_theta`."""
        return Scaled(obj, self._factors) if self._standardize else obj

    def held_theta(self, theta: np.ndarray) -> np.ndarray:
        """Theta for what `of` returned: its columns are not shifted."""
        if not self._shift.any():
            return theta
        out = theta.copy()
        out[-1] -= (self._shift * self._factors) @ theta[:-1]
        return out

    def to_features(self, theta: np.ndarray) -> np.ndarray:
        """Theta for the features as they are."""
        out = self.held_theta(theta).copy()
        out[: len(self._factors)] *= self._factors[:, None]
        return out


def _scaled_moments(found: Moments, factors: np.ndarray) -> Moments:
    second = found.second * (factors**2 if found.second.ndim == 1 else np.outer(factors, factors))
    return Moments(second, None if found.mean is None else found.mean * factors, found.eps, found.summed)
