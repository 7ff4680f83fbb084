"""What the passes over all chunks add up: losses and gradients by slab, and how they become one gradient.

A part of `contract`, from where it is imported.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike


@dataclass(frozen=True)
class Hot:
    """The columns of sparse float32 X with too many entries to be summed in float32 to the end.

    Columns of level l are ``columns[starts[l]:starts[l + 1]]``. After each 2^l blocks of a slab (`Plan.block` rows,
    counted from the first row of the slab in the chunk) their sums move from `Sums.grad` to ``grad``, in float64.
    `plan.hot_columns` chooses columns and levels.

    Attributes
    ----------
    columns : int64 ndarray (h,)
        Ascending in each level.
    starts : int64 ndarray (levels + 1,)
    grad : float64 ndarray (slabs, h, k)
    """

    columns: np.ndarray
    starts: np.ndarray
    grad: np.ndarray


@dataclass(slots=True)
class Sums:
    """What a pass adds into, one entry for each slab.

    All of it is float64, with two exceptions: the gradient of sparse float32 X (see `Hot`), and the only gradient of a
    class-parallel pass over float32 X with so few rows that float32 sums need no flush.

    Attributes
    ----------
    loss : ndarray (slabs,), or (slabs, L) for L models
    grad : ndarray (slabs, k, n), (slabs, n, k) if ``by_feature``, or None
        The gradient by theta of each slab, not yet scaled. Dense kernels write its transpose, where the features of a
        class are contiguous; sparse kernels write it as it is. `Kernels.gram` and others say their own shapes.
    bias : ndarray (slabs, k) or None
        The gradient by the bias, not yet scaled.
    scale : float
        1 / sum(w). Losses are scaled as they are added, so that a mean of huge ones cannot overflow on the way;
        gradients are scaled once, at the end.
    by_feature : bool
        Whether ``grad`` is (slabs, n, k), as of sparse X.
    joint : ndarray (n + 1, k) or None
        Memory that ends in a row for the bias, and whose first n rows are the only slab of ``grad``: the whole gradient
        needs no copy.
    held : ndarray (slabs, L, 2) or None
        Of the rows that each model leaves out (the held-out rows): their loss, and the weight of those classified
        rightly, both scaled.
    hot : Hot or None
        Beside a float32 ``grad`` of sparse X.
    scratch : ndarray or None
        Memory that a backend keeps for its next call with these sums.
    """

    loss: np.ndarray
    grad: np.ndarray | None
    bias: np.ndarray | None
    scale: float
    by_feature: bool = False
    joint: np.ndarray | None = None
    held: np.ndarray | None = None
    hot: Hot | None = None
    scratch: np.ndarray | None = None

    @classmethod
    def zeros(
        cls,
        slabs: int,
        k: int,
        n: int,
        scale: float,
        *,
        grad: bool = True,
        dtype: DTypeLike = np.float64,
        models: int = 0,
        held: bool = False,
    ) -> Sums:
        """Sums for dense X. With ``models`` above 0 they are by model, and k counts the classes of all models."""
        return cls(
            loss=np.zeros((slabs, models) if models else slabs),
            grad=np.zeros((slabs, k, n), dtype) if grad else None,
            bias=np.zeros((slabs, k)) if grad else None,
            scale=scale,
            held=np.zeros((slabs, models, 2)) if held else None,
        )

    @classmethod
    def zeros_by_feature(
        cls,
        slabs: int,
        k: int,
        n: int,
        scale: float,
        *,
        grad: bool = True,
        hot: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Sums:
        """Sums for sparse X: a float32 gradient where ``hot`` gives the result of `plan.hot_columns`, else float64."""
        if not grad:
            return cls(np.zeros(slabs), None, None, scale, by_feature=True)
        dtype = np.float64 if hot is None else np.float32
        joint = np.zeros((n + 1, k), dtype) if slabs == 1 else None
        out = np.zeros((slabs, n, k), dtype) if joint is None else joint[None, :n]
        moved = None if hot is None else Hot(*hot, np.zeros((slabs, len(hot[0]), k)))
        return cls(np.zeros(slabs), out, np.zeros((slabs, k)), scale, by_feature=True, joint=joint, hot=moved)

    def clear(self, scale: float) -> None:
        """Set sums of dense X to zero again, for a pass with another scale."""
        for array in (self.loss, self.grad, self.bias):
            if array is not None:
                array.fill(0)
        self.scale = scale

    def total(self) -> tuple[np.ndarray, np.ndarray]:
        """Gradient (n, k) and bias gradient (k,), scaled: the slabs added in the order of their numbers.

        Where there is one slab its gradient is scaled in place: call this once.
        """
        grad, bias = self._added()
        grad *= self.scale
        return grad, bias * self.scale

    def joined(self, with_bias: bool) -> np.ndarray:
        """The same as one array, (n, k) or with the bias (n + 1, k), not yet scaled. The caller may write to it."""
        grad, bias = self._added()
        if not with_bias:
            return grad
        n, k = grad.shape
        dtype = np.promote_types(grad.dtype, bias.dtype)
        # The memory order of the gradient, so that the copy reads and writes contiguous lines.
        out = np.empty((n + 1, k), dtype) if self.by_feature else np.empty((k, n + 1), dtype).T
        out[:n], out[n] = grad, bias
        return out

    def hot_total(self) -> np.ndarray:
        """Sums of the hot columns, (h, k) float64, not yet scaled."""
        assert self.hot is not None and self.grad is not None
        out: np.ndarray = np.add.reduce(self.grad[:, self.hot.columns], axis=0, dtype=np.float64)
        out += np.add.reduce(self.hot.grad, axis=0)
        return out

    def _added(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.grad is not None and self.bias is not None
        grad = self.grad[0] if len(self.grad) == 1 else np.add.reduce(self.grad, axis=0)
        return grad if self.by_feature else grad.T, np.add.reduce(self.bias, axis=0)
