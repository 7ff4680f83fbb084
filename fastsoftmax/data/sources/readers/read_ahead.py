"""One thread that works out what comes next, while the caller works on what came last."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The items of an iterator, each made in a thread while the caller uses the one before it.

    The thread begins an item only when there is at most one other, that which the caller uses: so two places in memory,
    used in turn, are enough. What the iterator raises, the caller gets. If the caller stops early, so does the thread.
    """
    places, made, stopped = threading.Semaphore(2), SimpleQueue[tuple[bool, object]](), threading.Event()

    def work() -> None:
        try:
            while True:
                places.acquire()
                if stopped.is_set():
                    return
                made.put((True, next(items)))
        except StopIteration:
            made.put((False, None))
        except BaseException as error:  # of any kind: it is the caller's
            made.put((False, error))

    thread = threading.Thread(target=work, name="fastsoftmax-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            is_item, item = made.get()
            if not is_item:
                if item is not None:
                    raise item  # type: ignore[misc]
                return
            yield item  # type: ignore[misc]
            places.release()
    finally:
        stopped.set()
        places.release()
        thread.join()
        close = getattr(items, "close", None)  # of a generator: its files are closed
        if close is not None:
            close()
