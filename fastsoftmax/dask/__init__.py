"""Softmax regression on the workers of a Dask cluster: `Objective`, `SoftmaxRegression`, `LogisticRegression`.

Rows are in Dask arrays, data frames or lists of delayed chunks. Each worker evaluates the partitions that it holds, by
the same kernels as in one process; theta goes to the workers, and sums come back. No rows ever move.

Dask is imported with this module, never by the rest of the package.
"""

from .._extras import load

load("distributed", "fastsoftmax.dask")

from .estimators import LogisticRegression, SoftmaxRegression  # noqa: E402
from .objective import Objective  # noqa: E402

__all__ = ["LogisticRegression", "Objective", "SoftmaxRegression"]
