"""``fastsoftmax bench``: passes (`passes`) and solvers (`races`) against other libraries, and two runs compared."""

from .harness import harness as _harness
from .passes import BenchTable, run_bench

__all__ = ["BenchTable", "_harness", "run_bench"]
