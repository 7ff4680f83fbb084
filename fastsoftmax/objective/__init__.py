"""The loss as a function of theta: `Objective`, and several models of the same data in one pass."""

from .objective import Objective, loss_and_grad

__all__ = ["Objective", "loss_and_grad"]
