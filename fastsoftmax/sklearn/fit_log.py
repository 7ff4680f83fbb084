"""Which fits of `LogisticRegression` and `LogisticRegressionCV` ran on these kernels, and why any did not.

Whoever wants to know adds a function to `observers`, which is called with a `FitRecord` after each fit. A fit that is
handed over to scikit-learn is also logged, once for each estimator and reason in a process, by the logger
``fastsoftmax.sklearn`` at WARNING.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

logger = logging.getLogger("fastsoftmax.sklearn")


@dataclass(frozen=True)
class FitRecord:
    """One fit.

    Attributes
    ----------
    estimator : str
        Name of its class.
    shape : tuple of int
        Shape of X; empty where X has none.
    n_classes : int or None
        None where an error came before they were counted.
    ran_on : {"fastsoftmax", "scikit-learn", "neither"}
        scikit-learn also where only a part was handed over, such as one fold of a cross-validation; neither where the
        fit raised an error.
    seconds : float
        Wall time of the whole fit.
    reason : str or None
        Why it was handed over to scikit-learn, or the error that it raised; else None.
    """

    estimator: str
    shape: tuple[int, ...]
    n_classes: int | None
    ran_on: Literal["fastsoftmax", "scikit-learn", "neither"]
    seconds: float
    reason: str | None = None


observers: list[Callable[[FitRecord], object]] = []
_logged: set[tuple[str, str]] = set()


def tell(record: FitRecord) -> None:
    """Hand a record to all observers, and log why scikit-learn ran the fit, if it did and the reason is new."""
    for observer in list(observers):
        observer(record)
    said = (record.estimator, record.reason or "")
    if record.ran_on == "scikit-learn" and said not in _logged:
        _logged.add(said)
        logger.warning("%s.fit ran on scikit-learn's own code: %s", *said)
