"""What may come of an input: an answer, or an error of a few types whose one line names what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

NAMED = (TypeError, ValueError, FloatingPointError)
# What users call the arguments that targets hand in.
ARGUMENTS = ("X", "y", "theta", "theta0", "v", "sample_weight", "l2", "l1", "n_classes", "n_threads", "label_smoothing")
ARGUMENTS += ("backend", "precision", "solver", "tol", "max_iter", "H", "bias", "classes", "count", "class_weight")
ARGUMENTS += ("feature_names", "metadata", "warm_start", "penalty", "gradient", "loss", "logits", "prediction")
ARGUMENTS += ("row_loss", "Gram matrix", "Hessian product", "kind", "dX", "fit_intercept")


@dataclass(frozen=True)
class Outcome:
    """What a call returned, or the named error that it raised."""

    answer: Any = None
    error: BaseException | None = None

    @property
    def refused(self) -> bool:
        return self.error is not None


def outcome(call: Callable[[], Any], words: Iterable[str] = ARGUMENTS, types: tuple[type, ...] = NAMED) -> Outcome:
    """Call; any error but a named one goes on to the worker, which tells it as a fault."""
    try:
        return Outcome(call())
    except types as error:
        message = str(error)
        if type(error) not in types:
            raise
        words = tuple(words)
        named = any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message) for word in words)
        if not named or "\n" in message.strip():
            raise AssertionError(f"an error that names nothing: {type(error).__name__}: {message!r}") from error
        return Outcome(error=error)


def require(fact: Any, what: str) -> None:
    """AssertionError, which also ``python -O`` keeps."""
    if not fact:
        raise AssertionError(what)
