"""Arrays of other libraries, where scikit-learn's array API dispatch is on: read where they are, results in kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...data.arrays import as_array
from . import host
from .call import Call, is_numpy

_ARRAYS = ("X", "y", "classes", "sample_weight")


def in_numpy(call: Call) -> Call:
    """The call with NumPy's arrays over the same memory; unchanged where NumPy cannot read it, as on another device."""
    if is_numpy(call.X):
        return call
    try:
        given: dict[str, Any] = {
            name: as_array(value, name) for name in _ARRAYS if (value := getattr(call, name)) is not None
        }
    except TypeError:
        return call
    return replace(call, **given)


def like(X: Any, results: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
    """Results as arrays of the library, and on the device, that X is of."""
    if is_numpy(X):
        return results
    xp, device = host.namespace_and_device(X)
    return tuple(xp.asarray(result, device=device) for result in results)
