"""Worker processes of joblib: what a process under accel hands them is fitted with ours there too.

A worker imports scikit-learn anew and would know nothing of `install`. It is told by each batch of tasks, not once for
all: workers outlive the call that started them, and a batch sent after `uninstall` is scikit-learn's again.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from .report import watch_if_asked

JOBLIB = "joblib.parallel"


def methods(accelerated: Callable[[], Any]) -> list[tuple[type, Callable[..., Any]]]:
    """The method that replaces one of joblib's while installed, beside its class; none if joblib has changed.

    A batch runs within ``accelerated()``, in the process that it is sent to.
    """
    batches = getattr(sys.modules.get(JOBLIB), "BatchedCalls", None)
    if batches is None or "__reduce__" not in batches.__dict__:
        return []
    host_reduce = batches.__dict__["__reduce__"]

    @functools.wraps(host_reduce)
    def __reduce__(self: Any) -> tuple[Any, ...]:
        return AcceleratedBatch, (accelerated, *host_reduce(self)[:2])

    return [(batches, __reduce__)]


class AcceleratedBatch:
    """A batch of joblib's tasks, made from what it was pickled as, that runs under accel."""

    def __init__(self, accelerated: Callable[[], Any], make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.accelerated, self.batch = accelerated, make(*arguments)

    def __call__(self) -> Any:
        watch_if_asked()
        with self.accelerated():
            return self.batch()

    def __len__(self) -> int:
        return len(self.batch)
