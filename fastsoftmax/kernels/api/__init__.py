"""fastsoftmax for programs of C, C++, Cython and Numba: `fastsoftmax.h`, and the same functions to ``cimport``.

`call` says what a function does and returns, `functions.pyx` has them, with errors turned into numbers and a text.
Unlike what lies around it, this room stands above the objective, like every other adapter: each function is a call of
`Objective` or of a prediction, on the caller's memory. Its name is what programs ``cimport``.
"""

from __future__ import annotations

from pathlib import Path


def get_include() -> str:
    """The folder of ``fastsoftmax.h``, for the ``include_dirs`` of an extension module.

    Cython modules need it only if they include that header: what they ``cimport`` from ``fastsoftmax.kernels.api`` is
    found where the package is.

    Examples
    --------
    >>> import os, fastsoftmax
    >>> os.listdir(fastsoftmax.get_include()).count("fastsoftmax.h")
    1
    """
    return str(Path(__file__).parent)
