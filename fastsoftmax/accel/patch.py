"""Install and uninstall: the method `fit` of two classes of scikit-learn.

The classes themselves stay, with all that refers to them: only their attribute ``fit`` is another function while
installed. What that leaves to scikit-learn goes to the function that was there before.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .._extras import load
from . import workers
from .imports import after_import, forget

HOST = "sklearn.linear_model._logistic"  # the module that has both classes
OURS = "fastsoftmax.sklearn.logistic_fit"
# Class of scikit-learn -> the function of ours that fits it.
FUNCTIONS = {"LogisticRegression": "fit_logistic", "LogisticRegressionCV": "fit_logistic_cv"}

_LOCK = threading.RLock()
_INSTALL = object()
# On whose behalf ours are in place: `_INSTALL`, and an object for each `with` block that is open.
_HOLDERS: set[object] = set()
# What was replaced while installed: owner, name of the attribute, the host's, ours.
_REPLACED: list[tuple[type, str, Any, Any]] = []


def install() -> None:
    """Fit `LogisticRegression` and `LogisticRegressionCV` of scikit-learn with our kernels, until `uninstall`.

    It holds for the whole process, all threads, and for the worker processes of joblib. scikit-learn is imported when
    the program does so. A second call changes nothing.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    """
    _hold(_INSTALL)


def uninstall() -> None:
    """Put scikit-learn's own methods back, the very same functions, whoever installed ours and however often.

    Fits that are under way end as they began.
    """
    with _LOCK:
        _HOLDERS.clear()
        _restore()


def installed() -> bool:
    """Whether ours are in place (or will be, as soon as scikit-learn is imported)."""
    return bool(_HOLDERS)


@contextmanager
def accelerated() -> Iterator[None]:
    """`install` for the length of a ``with`` block; what was installed before it stays.

    It too holds for the whole process: other threads fit with ours meanwhile. Blocks may be nested, and those of
    several threads may overlap: the last to end uninstalls.
    """
    holder = object()
    _hold(holder)
    try:
        yield
    finally:
        with _LOCK:
            _HOLDERS.discard(holder)
            if not _HOLDERS:
                _restore()


def _hold(holder: object) -> None:
    if HOST not in sys.modules and importlib.util.find_spec("sklearn") is None:
        load("sklearn", "fastsoftmax.accel")  # raises, with the command that installs it
    with _LOCK:
        _HOLDERS.add(holder)
    after_import(HOST, _replace)  # without the lock: another thread may be importing it, and waits for the lock then


def _replace() -> None:
    """Put ours in the place of the host's, whose module has been imported."""
    with _LOCK:
        if _REPLACED or not _HOLDERS:
            return
        host = sys.modules[HOST]
        for name, function in FUNCTIONS.items():
            owner = getattr(host, name)
            _put(owner, "fit", _method(owner.__dict__["fit"], function))
        for owner, method in workers.methods(accelerated):
            _put(owner, method.__name__, method)


def _put(owner: type, name: str, ours: Any) -> None:
    _REPLACED.append((owner, name, owner.__dict__[name], ours))
    setattr(owner, name, ours)


def _restore() -> None:
    forget(_replace)
    while _REPLACED:
        owner, name, host, ours = _REPLACED.pop()
        # Somebody may have put a function of his own in the place of ours. It stays; ours beneath it then does nothing.
        if owner.__dict__.get(name) is ours:
            setattr(owner, name, host)


def _method(host_fit: Callable[..., Any], function: str) -> Callable[..., Any]:
    """The method that stands in for ``host_fit``, with its name, its signature and its documentation.

    Ours is imported by the first fit: when scikit-learn is being imported, what it needs of it is not there yet.
    """

    def fit(self: Any, X: Any, y: Any, sample_weight: Any, params: dict[str, Any]) -> Any:
        if not _HOLDERS or _is_ours(type(self)):
            return host_fit(self, X, y, sample_weight=sample_weight, **params)
        ours = getattr(importlib.import_module(OURS), function)
        return ours(self, X, y, sample_weight, host_fit=host_fit, **params)

    if function == "fit_logistic":

        @functools.wraps(host_fit)
        def plain(self: Any, X: Any, y: Any, sample_weight: Any = None) -> Any:
            return fit(self, X, y, sample_weight, {})

        return plain

    @functools.wraps(host_fit)
    def routed(self: Any, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> Any:
        return fit(self, X, y, sample_weight, params)

    return routed


def _is_ours(kind: type) -> bool:
    """Whether an estimator is of this package, so that a call of the host's method is its own decision."""
    return any(base.__module__.startswith("fastsoftmax.") for base in kind.__mro__)
