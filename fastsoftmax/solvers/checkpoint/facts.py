"""What a checkpoint is of: the options that must be the same, by name, and the data.

Options and shapes are compared by name. Data are compared by an answer: value and gradient at the start of the run are
computed anew, which takes a pass and reads every number, and must be those of the checkpoint, to the last bit where the
same kernels cut the same passes. Where they do not, as on another machine, they must agree up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..._version import __version__
from ...kernels.backends import select
from ...kernels.machine import cache_bytes, cpu_model
from ...objective.objective import Objective
from ...objective.problem import Problem
from .journal import Answer, digest

# What a problem may say of itself, and the name under which a user knows it.
ATTRIBUTES = {
    "n_rows": "number of rows",
    "dtype": "dtype of the computation",
    "sparse": "sparse X",
    "nnz": "number of stored numbers of X",
    "has_labels": "labels for each row",
    "smoothing": "label_smoothing",
    "l2": "l2",
    "fit_intercept": "fit_intercept",
    "precision": "precision",
}


def facts_of(obj: Problem, theta0: np.ndarray, options: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same in the run that goes on, as JSON has it."""
    rows, k = obj.shape
    facts: dict[str, Any] = {"number of features": rows - bool(obj.fit_intercept), "number of classes": k}
    for attribute, name in ATTRIBUTES.items():
        if (value := getattr(obj, attribute, None)) is not None:
            facts[name] = value if isinstance(value, bool | int | float) else str(value)
    facts["theta0"] = digest(theta0) if theta0.any() else "zeros"
    return facts | dict(options)


def machine_of(obj: Problem) -> dict[str, Any]:
    """What the last bits of a pass depend on beside the data."""
    return {
        "fastsoftmax": __version__,
        "backend": str(getattr(obj, "backend", "")),
        "cut": str(getattr(obj, "cut", "")),
        "isa": str(select(obj.backend)[1].isa()) if isinstance(obj, Objective) else "",
        "cpu": list(cpu_model()),
        "caches": cache_bytes(),
        "numpy": np.__version__,
    }


def refuse_other(path: Any, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ValueError where facts differ, naming each with what it was and what it is."""
    changed = [
        f"{name} was {was.get(name, 'not given')}, is {now.get(name, 'not given')}"
        for name in {**was, **now}
        if was.get(name) != now.get(name)
    ]
    if changed:
        raise ValueError(f"{path} is a checkpoint of another run: {'; '.join(changed)}")


def refuse_other_data(path: Any, obj: Problem, again: Answer, kept: Answer, *, same_machine: bool) -> bool:
    """Whether an answer that was computed anew has the bits of the one kept; ValueError where the data must be others.

    Parameters
    ----------
    path : Path
        Of the checkpoint.
    obj : Problem
    again, kept : Answer
        Value and gradient at the start.
    same_machine : bool
        Whether `machine_of` is what it was, so that other bits mean other data.
    """
    if again.what == kept.what and _bits(again) == _bits(kept):
        return True
    grads = [np.asarray(answer.parts[-1]) for answer in (again, kept)]
    alike = again.what == kept.what and grads[0].shape == grads[1].shape and not same_machine
    if alike:
        # Sums that are cut in another way differ by far less than the root of a rounding, other data by more.
        rounding = float(np.sqrt(np.finfo(getattr(obj, "dtype", np.float64)).eps))
        alike = bool(np.linalg.norm(grads[0] - grads[1]) <= rounding * np.linalg.norm(grads[1]))
    if not alike:
        raise ValueError(
            f"{path} is a checkpoint of other data of the same shape: the gradient at its start has other numbers (X, y"
            " or sample_weight has changed)"
        )
    return False


def _bits(answer: Answer) -> list[bytes]:
    """Of the point and of the gradient there: with l1 the value has been rounded once more than the objective's."""
    return [answer.digest.encode(), np.asarray(answer.parts[-1]).tobytes()]
