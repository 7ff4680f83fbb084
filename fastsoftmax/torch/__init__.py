"""Softmax regression as the last layer of a network in PyTorch: `linear_cross_entropy`, `LinearCrossEntropyLoss`.

PyTorch is imported with this module, never by the rest of the package.
"""

from .._extras import load

load("torch", "fastsoftmax.torch")

from .functional import linear_cross_entropy  # noqa: E402
from .module import LinearCrossEntropyLoss  # noqa: E402

__all__ = ["LinearCrossEntropyLoss", "linear_cross_entropy"]
