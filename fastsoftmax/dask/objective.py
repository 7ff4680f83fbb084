"""`Objective` on Dask collections."""

from __future__ import annotations

from typing import Any

from distributed import Client, get_client

from ..data import validation
from ..objective.parts.total import Total
from .collections import chunks
from .workers import DaskParts


class Objective(Total):
    r"""Softmax regression on the rows of Dask collections, as a function of theta: `fastsoftmax.Objective`, for rows
    that are on the workers of a cluster. `fastsoftmax.minimize` takes it as it is, with every solver.

    .. math:: L(\theta) = \frac{1}{\sum_i w_i} \sum_i w_i (\log \sum_c e^{H_{ic}} - H_{i y_i})
              + \frac{l_2}{2} \|\theta\|^2, \qquad H = X \theta

    Each partition of X becomes an objective of its own on the worker that holds it, and stays there; it moves only if
    that worker is lost, and is then computed again. A pass sends theta to each worker, and its sums of loss and
    gradient back, by a tree that depends on the partitions alone: results are the same to the last bit whichever
    worker is first, and whether all of them live to the end.

    Parameters
    ----------
    X : Dask array (m, n), Dask data frame, or list of delayed chunks or futures
        Chunks of rows are partitions, of NumPy arrays, data frames or sparse arrays of SciPy; chunks of columns are put
        together first. Collections that workers can compute again survive the loss of a worker.
    y : Dask array (m,) or (m, k), Dask series, or list of delayed chunks
        Class numbers or soft targets, with the partitions of X. Of an array X with known chunks, y may have others, or
        be an array of NumPy.
    n_classes : int, optional
        k; 1 + max(y) unless given.
    sample_weight : like y, (m,), optional
    fit_intercept, l2, label_smoothing, backend
        As of `fastsoftmax.Objective`.
    n_threads : int, optional
        Threads of a pass on each worker; as many as the worker has unless given.
    client : Client, optional
        Of the cluster; the current one unless given.

    Attributes
    ----------
    bytes_of_pass : int
        Bytes that the last pass sent: theta to each worker, sums between processes. The logger ``fastsoftmax.dask``
        tells them of each pass, with its time. Of sparse X with few entries for each column only the rows of the
        gradient that are not 0 are sent.

    Raises
    ------
    TypeError, ValueError
        As `fastsoftmax.Objective`; the partition is named. For collections that do not fit together.
    ConnectionError
        If the scheduler is lost.
    RuntimeError
        If no worker is left, or a partition is too large for one.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> import fastsoftmax.dask
    >>> with Client(n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:  # doctest: +SKIP
    ...     X = da.random.default_rng(0).normal(size=(10_000, 5), chunks=(2_500, 5))
    ...     obj = fastsoftmax.dask.Objective(X, X[:, :3].argmax(axis=1), fit_intercept=True)
    ...     result = fastsoftmax.minimize(obj)
    """

    parts: DaskParts

    def __init__(
        self,
        X: Any,
        y: Any,
        n_classes: int | None = None,
        *,
        fit_intercept: bool = False,
        sample_weight: Any = None,
        l2: float = 0.0,
        label_smoothing: float = 0.0,
        backend: str = "auto",
        n_threads: int | None = None,
        client: Client | None = None,
    ) -> None:
        options = {
            "fit_intercept": bool(fit_intercept),
            "label_smoothing": validation.check_share(label_smoothing, "label_smoothing"),
            "backend": backend,
            "n_threads": None if n_threads is None else validation.check_count(n_threads, "n_threads"),
        }
        l2 = validation.check_real(l2, "l2")
        rows = chunks(X, y, sample_weight)
        super().__init__(DaskParts(current(client), rows, n_classes, **options), l2=l2)

    @property
    def bytes_of_pass(self) -> int:
        return self.parts.bytes_of_pass


def current(client: Client | None = None) -> Client:
    """The client given, or the current one.

    Raises
    ------
    ValueError
        If there is none.
    """
    if client is not None:
        return client
    try:
        return get_client()
    except ValueError as error:
        text = "fastsoftmax.dask needs a cluster, and there is no Client of dask.distributed"
        raise ValueError(f"{text}; Client() starts one on this machine") from error
