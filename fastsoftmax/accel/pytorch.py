"""The same for PyTorch, for those who ask for it: the function `torch.nn.functional.linear_cross_entropy`.

What is called by that name, as `torch.nn.LinearCrossEntropyLoss` does, is then `fastsoftmax.torch`'s function for
tensors of the CPU. Other devices and layouts, subclasses of tensors and gradients by targets stay with PyTorch.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
import threading
import warnings
from typing import Any

from .._extras import load
from .imports import after_import, forget

HOST, NAME = "torch.nn.functional", "linear_cross_entropy"
OURS = "fastsoftmax.torch"
# Tells the processes that a program starts to install ours too.
VARIABLE = "FASTSOFTMAX_ACCEL_TORCH"

_LOCK = threading.RLock()
_WANTED = threading.Event()
# PyTorch's function and ours, while installed.
_REPLACED: list[tuple[Any, Any]] = []


def install_torch() -> None:
    """Have PyTorch's `linear_cross_entropy` computed by ours for tensors of the CPU, until `uninstall_torch`.

    It holds for the whole process. PyTorch is imported when the program does so; who has imported the function itself,
    by ``from torch.nn.functional import linear_cross_entropy``, before that keeps PyTorch's. Ours has first derivatives
    only. A second call changes nothing.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    """
    if HOST not in sys.modules and importlib.util.find_spec("torch") is None:
        load("torch", "fastsoftmax.accel --torch")  # raises, with the command that installs it
    _WANTED.set()
    after_import(HOST, _replace)


def uninstall_torch() -> None:
    """Put PyTorch's own function back."""
    with _LOCK:
        _WANTED.clear()
        forget(_replace)
        while _REPLACED:
            theirs, ours = _REPLACED.pop()
            host = sys.modules[HOST]
            if getattr(host, NAME) is ours:  # else somebody has put a function of his own in the place of ours
                setattr(host, NAME, theirs)


def install_torch_if_asked() -> None:
    """`install_torch` in a process whose parent has it, unless this Python has no PyTorch."""
    if os.environ.get(VARIABLE) and importlib.util.find_spec("torch") is not None:
        install_torch()


def _replace() -> None:
    """Put ours in the place of PyTorch's, whose module has been imported."""
    with _LOCK:
        host = sys.modules[HOST]
        if _REPLACED or not _WANTED.is_set():
            return
        theirs = getattr(host, NAME, None)
        if theirs is None:
            warnings.warn(f"fastsoftmax.accel: this PyTorch has no {NAME}; 2.13 or newer is wanted", stacklevel=2)
            return
        ours = _function(theirs)
        _REPLACED.append((theirs, ours))
        setattr(host, NAME, ours)


def _function(theirs: Any) -> Any:
    """The function that stands in for ``theirs``, with its name, its signature and its documentation.

    Ours is imported by the first call: when PyTorch is being imported, what it needs of it is not there yet.
    """

    @functools.wraps(theirs)
    def linear_cross_entropy(input: Any, linear_weight: Any, target: Any, **options: Any) -> Any:
        tensors = input, linear_weight, target, options.get("linear_bias"), options.get("weight")
        if not all(map(_is_served, tensors)) or target.requires_grad:
            return theirs(input, linear_weight, target, **options)
        return importlib.import_module(OURS).linear_cross_entropy(input, linear_weight, target, **options)

    return linear_cross_entropy


def _is_served(tensor: Any) -> bool:
    """Whether ours takes an argument: a dense tensor of the CPU, or None."""
    import torch

    if tensor is None:
        return True
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter)
    return plain and tensor.device.type == "cpu" and tensor.layout is torch.strided
