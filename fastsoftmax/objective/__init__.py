"""The objective as a function of theta: `Objective`, and `stacked` for several models of the same X in one pass."""

from .objective import Objective, loss_and_grad

__all__ = ["Objective", "loss_and_grad"]
