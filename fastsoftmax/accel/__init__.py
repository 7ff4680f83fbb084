"""fastsoftmax in the place of scikit-learn's logistic regression, for programs that stay as they are.

- ``python -m fastsoftmax.accel script.py`` runs a program so; ``--report`` tells at its end which fits ran where.
- `install` and `uninstall` do it from within, `accelerated` for the length of a ``with`` block.
- ``%load_ext fastsoftmax.accel`` does it in a notebook.
- ``--torch`` and `install_torch` do the same for PyTorch's `linear_cross_entropy`, which stays as it is otherwise.
- ``pytest --pyargs sklearn.linear_model.tests.test_logistic -p fastsoftmax.accel.pytest`` runs scikit-learn's tests.

From then on `sklearn.linear_model.LogisticRegression` and `LogisticRegressionCV` fit with our kernels, wherever they
were imported from, before or after. The classes stay scikit-learn's own, so `isinstance`, subclasses and `clone` are
what they were, and what is pickled loads where there is no fastsoftmax. What our kernels do not serve, scikit-learn
fits itself.

Importing this package imports neither scikit-learn nor PyTorch nor our kernels.
"""

from __future__ import annotations

from .patch import accelerated, install, installed, uninstall
from .pytorch import install_torch, uninstall_torch

__all__ = ["accelerated", "install", "install_torch", "installed", "uninstall", "uninstall_torch"]


def load_ipython_extension(shell: object) -> None:
    """``%load_ext fastsoftmax.accel``"""
    install()


def unload_ipython_extension(shell: object) -> None:
    """``%unload_ext fastsoftmax.accel``"""
    uninstall()
