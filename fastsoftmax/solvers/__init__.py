"""Minimization: `minimize`, `minimize_many`, `regularization_path`, and the table of methods behind them."""

from .checkpoint import Checkpoint
from .many import minimize_many
from .minimize import SOLVERS, minimize, select
from .path import regularization_path
from .result import Result, Step

__all__ = ["SOLVERS", "Checkpoint", "Result", "Step", "minimize", "minimize_many", "regularization_path", "select"]
