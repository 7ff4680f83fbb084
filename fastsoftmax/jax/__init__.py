"""Softmax regression as the last layer of a network in JAX: `linear_cross_entropy`.

JAX is imported when that function is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .loss import linear_cross_entropy

__all__ = ["linear_cross_entropy"]


def __getattr__(name: str) -> Any:
    if name == "linear_cross_entropy":
        from .loss import linear_cross_entropy

        return linear_cross_entropy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
