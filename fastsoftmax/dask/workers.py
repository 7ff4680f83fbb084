"""Parts on the workers of a cluster: made there of their partitions, kept there, and asked there.

A pass is one task for each worker, tied to it, which sums whole branches of the tree over the parts that the worker
holds. Tasks are tied because Dask would otherwise move rows to a worker that has nothing to do. If a worker is lost,
its parts are made again elsewhere, of the same partitions, since parts themselves are tied to no worker; the pass,
whose tasks would wait for the lost worker for ever, is made anew. So a pass has the same bits whoever takes part.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import Any

from distributed import Client, Future, KilledWorker, get_worker, wait
from distributed.client import futures_of
from distributed.protocol import pickle

from ..objective.parts.answer import Answer, Forest, joined
from ..objective.parts.part import Facts, Part, Share, Whole, ask, describe, naming

logger = logging.getLogger("fastsoftmax.dask")

# Seconds after which a pass that is not over looks whether its workers are still there.
WATCH = 0.5
# So many times a pass is begun; and seconds that it waits for any worker at all.
ATTEMPTS, PATIENCE = 5, 60.0
# Most answers that a task, or the client, joins.
FAN_IN = 8
# Arguments of at most so many bytes go along with each task; others are on each worker before: 5 ms more, and one copy.
INLINE = 64 << 10

Rows = tuple[Any, Any, Any]


class Lost(Exception):
    """Raised where a pass has lost a worker."""


class DaskParts:
    """Parts on the workers of a cluster; see `objective.parts.total.Parts`.

    Parameters
    ----------
    client : Client
    chunks : list of (X, y, sample_weight)
        Delayed, as of `collections.chunks`. Empty ones are left out.
    n_classes, options
        As `part.Whole.of` takes them.

    Attributes
    ----------
    futures : list of Future
        Of the parts.
    places : list of str
        The addresses of the workers that hold them.
    bytes_of_pass : int
        What the last pass sent: its arguments to each worker, and answers from one process to another.
    """

    def __init__(self, client: Client, chunks: list[tuple[Any, ...]], n_classes: int | None, **options: Any) -> None:
        self.client, self.bytes_of_pass = client, 0
        self._n_threads, self._scheduler = options.get("n_threads"), str(getattr(client.scheduler, "address", ""))
        with _cluster(self.client, self._scheduler):
            rows = _rows_on_workers(client, chunks)
            _places(client, rows)  # before tasks that need them: the scheduler might get to know of those first
            facts: list[Facts | None] = client.gather(client.map(_describe, rows, range(len(rows)), pure=False))
            kept = [i for i, each in enumerate(facts) if each is not None]
            if not kept:
                raise ValueError("X has no rows; at least one row is wanted")
            self.whole = Whole.of([each for each in facts if each is not None], n_classes, **options)
            shares = [self.whole.share(number) for number in range(len(kept))]
            self.futures = client.map(_make, [rows[i] for i in kept], shares, pure=False)
            self.places = _places(self.client, self.futures)

    def ask(self, question: Callable[..., Answer], *arguments: Any) -> Answer:
        """The sum of the answers of all parts."""
        forest: Forest = self._whoever_is_lost(question.__name__, lambda: self._pass(question, arguments))
        return forest.total

    def fold(self, question: Callable[..., Any], *arguments: Any, state: Any) -> Any:
        """The state after all parts, which goes from worker to worker."""
        return self._whoever_is_lost(question.__name__, lambda: self._walk(question, arguments, state))

    def _whoever_is_lost(self, name: str, make: Callable[[], tuple[Any, int]]) -> Any:
        """The result of a pass, which is made anew where a worker is lost in it. ``make`` returns it, with the bytes
        sent."""
        for _ in range(ATTEMPTS):
            began = time.perf_counter()
            try:
                with _cluster(self.client, self._scheduler):
                    out, self.bytes_of_pass = make()
            except (Lost, OSError, TimeoutError) as error:
                # What is sent to a worker as it ends may fail as any connection does.
                if isinstance(error, ConnectionError) or not (isinstance(error, Lost) or self._has_moved()):
                    raise
                logger.warning("a worker was lost in a pass, which begins anew")
                with _cluster(self.client, self._scheduler):
                    self.places = _places(self.client, self.futures)
                continue
            milliseconds, workers = 1e3 * (time.perf_counter() - began), len(set(self.places))
            text = "%s: %d parts on %d workers, %d bytes, %.1f ms"
            logger.info(text, name, len(self.futures), workers, self.bytes_of_pass, milliseconds)
            return out
        raise RuntimeError(f"workers were lost in {ATTEMPTS} passes in a row: {_MEMORY}")

    def _walk(self, question: Callable[..., Any], arguments: tuple[Any, ...], state: Any) -> tuple[Any, int]:
        """A state after all parts, and what was sent. Neighbours on a worker take one task."""
        sent = 0
        at: Any = state
        for place, group in groupby(zip(self.places, self.futures, strict=True), lambda each: each[0]):
            parts = [part for _, part in group]
            options: Any = {"workers": [place], "pure": False}
            at = self.client.submit(_after, question, arguments, parts, at, self._n_threads, **options)
            sent += _bytes((*arguments, state))
        (last,) = self._results([at])
        return last, sent + _bytes((last,))

    def _pass(self, question: Callable[..., Answer], arguments: tuple[Any, ...]) -> tuple[Forest, int]:
        """The forest of all parts, and what was sent."""
        client, count = self.client, len(self.futures)
        groups: dict[str, list[Future[Any]]] = {}
        for part, place in zip(self.futures, self.places, strict=True):
            groups.setdefault(place, []).append(part)
        size = _bytes(arguments)
        (sent,) = [arguments] if size <= INLINE else client.scatter([arguments], broadcast=True, hash=False)
        futures = [
            client.submit(_answers, question, sent, parts, count, self._n_threads, workers=[place], pure=False)
            for place, parts in groups.items()
        ]
        while len(futures) > FAN_IN:
            cuts = range(0, len(futures), FAN_IN)
            futures = [client.submit(joined, futures[a : a + FAN_IN], pure=False) for a in cuts]
        forest = joined(self._results(futures))
        return forest, forest.sent + len(groups) * size

    def _results(self, futures: list[Future[Any]]) -> list[Any]:
        """The results of tasks, as long as the workers that hold the parts are there."""
        patience = WATCH
        while True:
            try:
                wait(futures, timeout=WATCH)
                results: list[Any] = self.client.sync(
                    lambda: self.client.gather(futures, asynchronous=True), callback_timeout=patience
                )
                return results
            except (TimeoutError, CancelledError, KilledWorker) as error:
                if isinstance(error, CancelledError) or self._has_moved():
                    raise Lost from error
                if isinstance(error, KilledWorker):
                    raise
                patience *= 2.0 if all(future.done() for future in futures) else 1.0

    def _has_moved(self) -> bool:
        """Whether a part is not where it was."""
        found = self.client.who_has(self.futures)
        return any(place not in found[part.key] for part, place in zip(self.futures, self.places, strict=True))


_MEMORY = "partitions may be too large for the memory of a worker; smaller ones, or more memory, are wanted"


@contextmanager
def _cluster(client: Client, scheduler: str) -> Iterator[None]:
    """The client as the current one; what goes wrong with its cluster is an error that says so."""
    lost = f"the Dask scheduler {scheduler} is lost, and with it the parts on its workers"
    if client.status != "running":
        raise ConnectionError(lost)
    try:
        with client.as_current():
            yield
    except (OSError, TimeoutError, CancelledError) as error:
        if not _answers_still(client):
            raise ConnectionError(lost) from error
        if not isinstance(error, CancelledError):
            raise
        text = "partitions were lost with their workers, and cannot be made again, since they came from the client"
        raise RuntimeError(f"{text}; collections that workers can compute are wanted") from error
    except KilledWorker as error:
        raise RuntimeError(f"a partition ended each worker that took it: {_MEMORY} ({error})") from error


def _answers_still(client: Client) -> bool:
    """Whether the scheduler does."""
    try:
        client.nthreads()
    except (OSError, TimeoutError, CancelledError, ValueError, AttributeError):
        return False
    return bool(client.status == "running")


def _places(client: Client, futures: list[Future[Any]]) -> list[str]:
    """The address of a worker for each of some results, once all are there."""
    began = time.monotonic()
    while True:
        with suppress(TimeoutError):
            wait(futures, timeout=WATCH)
            found = client.who_has(futures)
            if all(found[future.key] for future in futures):
                return [found[future.key][0] for future in futures]
        for future in futures:
            if future.status in ("error", "cancelled", "lost"):
                future.result()
        if client.scheduler_info()["workers"]:
            began = time.monotonic()
        elif time.monotonic() - began > PATIENCE:
            raise RuntimeError(f"the Dask cluster has had no worker for {PATIENCE:.0f} s; at least one is wanted")


def _rows_on_workers(client: Client, chunks: list[tuple[Any, ...]]) -> list[Future[Any]]:
    """The rows of each chunk, in the memory of a worker.

    Chunks that are there already stay where they are, unless Dask lets an idle worker take one. Else neighbours go to
    the same worker, as many to each as it has threads, so that a worker sums whole branches of the tree.
    """
    from dask.delayed import delayed

    rows = [delayed(_rows, pure=False)(*chunk) for chunk in chunks]
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        return list(client.compute(rows))
    if there := futures_of(rows):
        holders = client.who_has(there)
        return [_compute_where(client, row, holders) for row in rows]
    addresses = [address for address, each in sorted(workers.items()) for _ in range(each["nthreads"])]
    out: list[Future[Any]] = []
    for address, group in groupby(enumerate(rows), lambda item: addresses[item[0] * len(addresses) // len(rows)]):
        out += client.compute([each for _, each in group], workers=[address], allow_other_workers=True)
    return out


def _compute_where(client: Client, row: Any, holders: Mapping[str, Sequence[str]]) -> Future[Any]:
    """Compute a chunk on the worker that has the first of its parts, so that X does not move."""
    places = [holders[future.key][0] for future in futures_of(row) if holders.get(future.key)]
    only = {"workers": places[:1], "allow_other_workers": True} if places else {}
    future: Future[Any] = client.compute(row, **only)
    return future


def _bytes(arguments: tuple[Any, ...]) -> int:
    """Bytes of a pass's arguments as they are sent."""
    buffers: list[Any] = []
    head = pickle.dumps(arguments, protocol=5, buffer_callback=buffers.append)
    return len(head) + sum(int(buffer.raw().nbytes) for buffer in buffers)


def _rows(X: Any, y: Any, sample_weight: Any) -> Rows:
    return X, y, sample_weight


def _describe(rows: Rows, number: int) -> Facts | None:
    """The facts of a chunk; None if it is empty."""
    if rows[0].shape[0] == 0:
        return None
    with naming(number):
        return describe(*rows)


def _make(rows: Rows, share: Share) -> Part:
    with naming(share.number):
        return Part(*rows, share)


def _answers(
    question: Callable[..., Answer], arguments: tuple[Any, ...], parts: list[Part], count: int, n_threads: int | None
) -> Forest:
    """What the parts of one worker answer, on as many threads as the worker has."""
    forest = Forest(count)
    for part in parts:
        part.n_threads = n_threads or get_worker().state.nthreads
        forest.add(part.share.number, ask(part, question, arguments))
    return forest


def _after(
    question: Callable[..., Any], arguments: tuple[Any, ...], parts: list[Part], state: Any, n_threads: int | None
) -> Any:
    """A state after some parts of one worker."""
    for part in parts:
        part.n_threads = n_threads or get_worker().state.nthreads
        state = ask(part, question, (*arguments, state))
    return state
