"""`LinearCrossEntropyLoss`: the module around `linear_cross_entropy`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .functional import linear_cross_entropy


class LinearCrossEntropyLoss(torch.nn.Module):
    """A linear layer and its cross entropy: a drop-in for ``torch.nn.LinearCrossEntropyLoss``.

    The parameters are those of PyTorch's, ``linear.weight`` and ``linear.bias`` beside the buffer ``weight``, so that
    each loads the other's ``state_dict``.

    Parameters
    ----------
    in_features, num_classes : int
    out_features : tuple of int
        (d_1, ..., d_K) of a K-dimensional loss.
    bias : bool
    device, dtype : optional
        Of the parameters.
    reduction, weight, ignore_index, label_smoothing, options
        As of `linear_cross_entropy`.

    Examples
    --------
    >>> import torch
    >>> from fastsoftmax.torch import LinearCrossEntropyLoss
    >>> head = LinearCrossEntropyLoss(8, 10, bias=True)
    >>> head(torch.zeros(4, 8), torch.tensor([1, 2, 3, 4])).shape
    torch.Size([])
    """

    weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ) -> None:
        super().__init__()
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise RuntimeError(f"weight has shape {tuple(weight.shape)}; ({num_classes},) is wanted")
        if not 0.0 <= label_smoothing <= 1.0:
            raise RuntimeError(f"label_smoothing must be in [0, 1]; got {label_smoothing}")
        self.num_classes, self.out_features = num_classes, tuple(out_features)
        self.reduction, self.ignore_index, self.label_smoothing = reduction, ignore_index, label_smoothing
        self.options = options
        self.register_buffer("weight", weight)
        outputs = num_classes * math.prod(self.out_features)
        self.linear = torch.nn.Linear(in_features, outputs, bias=bias, device=device, dtype=dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss; see `linear_cross_entropy`."""
        shape = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return linear_cross_entropy(
            input,
            self.linear.weight.reshape(*shape, self.linear.in_features),
            target,
            linear_bias=None if bias is None else bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        """What the module's line in a printed model says."""
        names = ("num_classes", "out_features", "reduction", "ignore_index", "label_smoothing")
        parts = [f"in_features={self.linear.in_features}", *(f"{name}={getattr(self, name)!r}" for name in names)]
        return ", ".join(parts)
