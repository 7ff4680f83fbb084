"""The peers: libraries that compute loss and gradient of softmax regression, and our backends. One file each.

Each file has ``prepare(X, y, theta, n_threads, dx=False)``, which converts the data to whatever the library likes best
and returns a function without arguments. That function is what is timed: it makes one pass and returns
``(value, gradient (n, k))``, or ``(value, gradient, dX)`` if ``dx``. Conversions happen before the clock starts.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..harness.cases import SparseCase

_FILE = re.compile(r" \([^()]*/[^()]*\)")  # some import errors end on a path of this machine: not for a report


class MissingError(Exception):
    """A peer that cannot take part, and why: not installed, or it cannot do this case."""


@dataclass(frozen=True)
class Peer:
    """One peer: where it is and what it can do.

    Attributes
    ----------
    name : str
        Key in `PEERS`.
    label : str
        Name in tables.
    module : str
        Its file in this folder.
    package : str
        The installed package that is timed; its version is reported.
    ours : bool
        Whether it is a backend of fastsoftmax.
    dx : bool
        Whether it can return dX.
    per_iteration : bool
        Whether it is timed by whole fits: a call then returns the time of an iteration, not an answer to check.
    narrow : bool
        Whether it reads 8- and 16-bit X as they are; others get X converted beforehand.
    dense, sparse : bool
        Whether it takes dense X and sparse X, a csr_array.
    host : str
        The library within which it is a layer of a network, "torch" or "jax"; "" for passes over NumPy's arrays.
    options : dict
        Passed on to ``prepare``.
    function : callable or None
        ``prepare`` itself, where it is in no file of this folder.
    """

    name: str
    label: str
    module: str
    package: str
    ours: bool = False
    dx: bool = False
    per_iteration: bool = False
    narrow: bool = False
    dense: bool = True
    sparse: bool = False
    host: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    function: Callable[..., Callable[[], tuple[Any, ...]]] | None = None

    def takes(self, case: Any) -> bool:
        """Whether it can do this kind of X."""
        return self.sparse if isinstance(case, SparseCase) else self.dense

    def prepare(
        self, X: Any, y: np.ndarray, theta: np.ndarray, n_threads: int, *, dx: bool = False
    ) -> Callable[[], tuple[Any, ...]]:
        """The timed function for this data.

        Raises
        ------
        MissingError
            If the peer is not installed or cannot do this.
        """
        if dx and not self.dx:
            raise MissingError("does not return dX")
        if not self.narrow and X.dtype != theta.dtype:
            X = X.astype(theta.dtype)
        try:
            prepare = self.function or importlib.import_module(f"{__name__}.{self.module}").prepare
            extra = {"dx": True} if dx else {}
            return prepare(X, y, theta, n_threads, **extra, **self.options)
        except ImportError as error:
            raise MissingError(_FILE.sub("", str(error))) from error


def _ours(backend: str) -> Peer:
    return Peer(
        backend,
        backend.capitalize(),
        "fastsoftmax_backend",
        "fastsoftmax",
        ours=True,
        dx=True,
        narrow=True,
        sparse=True,
        options={"backend": backend},
    )


def load(given: str) -> Callable[..., Any]:
    """The function that ``module:function`` names; modules are looked for in the current folder first.

    Raises
    ------
    ValueError
        If there is no such module or function.
    """
    module, colon, name = given.partition(":")
    if not (module and colon and name):
        raise ValueError(f"peer {given!r} is not module:function")
    sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"peer {given!r}: {error}") from error
    finally:
        sys.path.remove("")
    if not callable(found):
        raise ValueError(f"peer {given!r}: module {module} has no function {name}")
    return found


def own(given: str) -> Peer:
    """A user's own peer, ``module:function`` with `prepare` of this file's head, for dense and sparse X."""
    return Peer(given, given, "", given.partition(":")[0], sparse=True, function=load(given))


def _torch(way: str, label: str) -> Peer:
    """A way of `hosts/torch_layer.py`."""
    ours = way == "ours"
    package = "fastsoftmax" if ours else "torch"
    name = f"torch_layer_{way}"
    return Peer(name, label, "hosts.torch_layer", package, ours=ours, dx=True, host="torch", options={"way": way})


PEERS: dict[str, Peer] = {
    p.name: p
    for p in (
        _ours("cython"),
        _ours("numba"),
        Peer("numpy_formula", "NumPy", "numpy_formula", "numpy", sparse=True),
        Peer("sklearn_loss", "scikit-learn", "sklearn_loss", "scikit-learn", sparse=True),
        Peer("torch_eager", "PyTorch", "torch_eager", "torch", dx=True),
        Peer("torch_sparse", "PyTorch CSR", "torch_sparse", "torch", dense=False, sparse=True),
        Peer("torch_fused", "PyTorch fused", "torch_fused", "torch", dx=True),
        Peer("jax_jit", "JAX", "jax_jit", "jax", dx=True),
        Peer("sklearnex_fit", "sklearnex", "sklearnex_fit", "scikit-learn-intelex", per_iteration=True),
        _torch("ours", "fastsoftmax.torch"),
        _torch("eager", "linear, cross_entropy"),
        _torch("fused", "linear_cross_entropy"),
        _torch("chunked", "the same, with options"),
        _torch("compiled", "torch.compile"),
        Peer("jax_layer", "fastsoftmax.jax", "hosts.jax_layer", "fastsoftmax", ours=True, dx=True, host="jax"),
        Peer("jax_layer_xla", "XLA", "jax_jit", "jax", dx=True, host="jax"),
    )
}
# Those that take arrays of NumPy, and those that are layers within a host.
LOSSES = tuple(name for name, peer in PEERS.items() if not peer.host)
LAYERS = {host: tuple(name for name, peer in PEERS.items() if peer.host == host) for host in ("torch", "jax")}
