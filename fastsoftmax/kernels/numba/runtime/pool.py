"""The threads that share a pass of the Numba backend with the thread that asked for it.

A pass over 10,000 rows takes a tenth of a millisecond. Handing half of it to another Python thread through a queue took
as long: the operating system has to wake that thread, which then has to win the GIL. So a worker that has done its
share waits for the next one in compiled code, without the GIL, for `SPIN_SECONDS`, as OpenMP's threads do; passes that
follow each other find it there. After that it blocks on a Python queue and costs nothing.

Each worker has a box, six numbers on cache lines of its own. Its state says what the worker is doing:

    AWAKE      it looks for work, or will before long
    ASLEEP     it blocks on its queue, or will, and must be woken by it
    POSTED     a share is in the box; the worker takes it, or the caller, when done with its own, takes it back
    RUNNING    the worker works on the share
    WATCHED    so it does, and the caller blocks until it has finished

A worker belongs to one caller at a time, so that several threads may call at once. A share is a compiled function that
is called by address and raises nothing: a worker holds the GIL only to fall asleep.

Nothing here depends on Numba's threading layers, one of which aborts the process when two threads enter it.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ...machine import default_threads
from ...machine.refused import warn_of_refused_threads
from ..microkernels.memory import INT32, call, call_address, look, pointer, read, swap, swap_if, write
from ..microkernels.simd import host_features
from .compile import Entry, compiled_for_python
from .record import new_scratch

AWAKE, ASLEEP, POSTED, RUNNING, WATCHED = range(5)
# What a box holds: its state, the share and its arguments, how many pauses to wait for another share, and whether the
# worker is to end.
STATE, ENTRY, RECORD, INDEX, PAUSES, CLOSED = range(6)
BOX_BYTES = 128  # two cache lines, since CPUs may prefetch lines in pairs
SLEEP, TELL, END = range(3)  # why `attend` returns
# Longer than the time between passes that follow each other: a solver takes some 0.1 ms between two.
SPIN_SECONDS = 1e-3
# The most threads that a pass may ask for, since each has scratch memory.
MAX_THREADS = 1024


# --------------------------------------------------------------------------------- compiled


@intrinsic
def pause(typingctx: Any) -> Any:
    """Tell the CPU that this is a loop which waits."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        features = host_features()
        if features & {"x86_64", "i686", "i386"}:
            call(builder, "llvm.x86.sse2.pause", ir.VoidType())
        elif features & {"aarch64", "arm64"}:
            call(builder, "llvm.aarch64.hint", ir.VoidType(), ir.Constant(INT32, 1))
        return context.get_dummy_value()

    return types.void(), emit


def make_attend(digest: str) -> Callable[[int], int]:
    """The loop of a worker; see `runtime/compile.py` for ``digest``."""

    def attend(box: int) -> int:
        """Do what is posted. Returns when there has been nothing for a while (SLEEP), when a caller blocks and must be
        told (TELL), or when the worker is to end (END)."""
        digest  # noqa: B018 - only so that it is part of the closure
        numbers = pointer(box, np.int64(0))
        left = read(numbers, PAUSES)
        while look(box + 8 * CLOSED) == 0:
            if look(box) == POSTED:
                if swap_if(box, POSTED, RUNNING) != POSTED:
                    continue
                call_address(read(numbers, ENTRY), (read(numbers, RECORD), read(numbers, INDEX)))
                left = read(numbers, PAUSES)  # before the next caller may write there
                if swap(box, AWAKE) == WATCHED:
                    return TELL
            elif left > 0:
                left -= 1
                pause()
            elif swap_if(box, AWAKE, ASLEEP) <= ASLEEP:  # it is ASLEEP already if the queue held a token too many
                return SLEEP
        return END

    return attend


def make_post(digest: str) -> Callable[..., bool]:
    """The function that hands a share to a worker; see `runtime/compile.py` for ``digest``."""

    def post(box: int, entry: int, record: int, index: int, pauses: int) -> bool:
        """Put a share into the box; returns whether the worker must be woken."""
        digest  # noqa: B018 - only so that it is part of the closure
        numbers = pointer(box, np.int64(0))
        write(numbers, ENTRY, entry)
        write(numbers, RECORD, record)
        write(numbers, INDEX, index)
        write(numbers, PAUSES, pauses)
        asleep: bool = swap(box, POSTED) == ASLEEP
        return asleep

    return post


def make_join_worker(digest: str) -> Callable[[int, int], bool]:
    """The function that waits for a worker; see `runtime/compile.py` for ``digest``."""

    def join_worker(box: int, pauses: int) -> bool:
        """Wait for the end of a share, or take it back if it has not begun: there is nothing left to do then. Returns
        whether the caller has to block, because the worker was not done after so many pauses."""
        digest  # noqa: B018 - only so that it is part of the closure
        state = swap_if(box, POSTED, AWAKE)
        while state == RUNNING and pauses > 0:
            pauses -= 1
            pause()
            state = look(box)
        running: bool = state == RUNNING and swap_if(box, RUNNING, WATCHED) == RUNNING
        return running or state == WATCHED

    return join_worker


# ----------------------------------------------------------------------------------- Python


class Worker:
    """A thread, and what it shares with its callers. It has queues and not locks, since a token too many in a queue
    does no harm."""

    def __init__(self, attend: Callable[[int], int]) -> None:
        self._memory, self.box = new_scratch(BOX_BYTES)
        self.numbers = self._memory[:BOX_BYTES].view(np.int64)
        self.numbers[:] = 0
        self.wake: SimpleQueue[None] = SimpleQueue()
        self.done: SimpleQueue[None] = SimpleQueue()
        self.thread = threading.Thread(target=self._serve, args=(attend,), name="fastsoftmax", daemon=True)
        self.thread.start()

    def _serve(self, attend: Callable[[int], int]) -> None:
        while (why := attend(self.box)) != END:
            if why == SLEEP:
                self.wake.get()
            else:
                self.done.put(None)

    def close(self) -> None:
        self.numbers[CLOSED] = 1
        self.wake.put(None)
        self.thread.join()


class Pool:
    """Workers, which are started when first needed, and kept; they wait for ``spin_seconds`` before they block.
    Where the system has refused a thread, no more are asked for: each attempt would take as long as a short pass."""

    def __init__(self, spin_seconds: float) -> None:
        self._spin_seconds = spin_seconds
        self._lock = threading.RLock()  # reentrant: a signal handler may make a pass while this thread holds it
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._busy: dict[int, int] = {}  # by the caller's identity, the threads at work for it, itself included
        self._cores = 0
        self._closed = self._refused = False

    def run(self, entry: Entry, record: int, workers: int) -> None:
        """Call ``entry(record, i)`` for i < workers in as many threads, 0 in this one. A worker that does not begin
        before this thread is done is left out."""
        if workers <= 1:
            entry.call(record, 0)
            return
        compiled, pauses = self._compiled, 0
        team: list[Worker] = []
        try:
            pauses = self._take(team, workers - 1)
            for i, worker in enumerate(team, 1):
                if compiled.post(worker.box, entry.address, record, i, pauses):
                    worker.wake.put(None)
            entry.call(record, 0)
        except BaseException:
            # Ctrl-C may have come between `post` and `wake`: the worker sleeps although its box says AWAKE.
            for worker in team:
                worker.wake.put(None)
            raise
        finally:
            self._join(team, pauses)

    def _take(self, team: list[Worker], count: int) -> int:
        """Fill the team with idle workers, those that were busy last, or with new ones. Returns how many pauses they
        are to wait for another share when they have done this one."""
        with self._lock:
            while len(team) < count and (self._idle or not (self._closed or self._refused)):
                try:
                    team.append(self._idle.pop() if self._idle else self._start())
                except (RuntimeError, MemoryError):  # what Python raises where the system refuses a thread
                    self._refused = True
            self._busy[threading.get_ident()] = len(team) + 1
            # A thread that spins takes its core from another one that has work.
            crowded = sum(self._busy.values()) > self._cores
        if self._refused and len(team) < count:
            warn_of_refused_threads(len(team) + 1, count + 1)
        return 0 if crowded or not self._spin_seconds else self._pauses

    def _start(self) -> Worker:
        worker = Worker(self._compiled.attend)
        self._workers.append(worker)
        self._cores = default_threads()
        return worker

    def _join(self, team: list[Worker], pauses: int) -> None:
        """Wait for the team. It works on the caller's arrays, so that not even Ctrl-C may cut this short."""
        interrupt: BaseException | None = None
        while team:
            try:
                while self._compiled.join_worker(team[-1].box, pauses):
                    team[-1].done.get()
                self._idle.append(team.pop())
            except BaseException as error:  # whatever a signal handler raises
                interrupt = error
        with self._lock:
            self._busy.pop(threading.get_ident(), None)
        if interrupt is not None:
            raise interrupt

    @functools.cached_property
    def _compiled(self) -> SimpleNamespace:
        return SimpleNamespace(
            attend=compiled_for_python(make_attend),
            post=compiled_for_python(make_post),
            join_worker=compiled_for_python(make_join_worker),
        )

    @functools.cached_property
    def _pauses(self) -> int:
        """How many pauses take ``spin_seconds``: one takes 3 to 50 ns, depending on the CPU."""
        memory, box = new_scratch(BOX_BYTES)
        state, trials = memory.view(np.int64)[STATE:], 10_000
        seconds: list[float] = []
        for _ in range(3):
            state[0] = RUNNING
            begin = time.perf_counter()
            self._compiled.join_worker(box, trials)
            seconds.append(time.perf_counter() - begin)
        return int(self._spin_seconds * trials / min(seconds))

    def close(self) -> None:
        """End the workers; those at work end when they have done their share. Later passes run without them."""
        with self._lock:
            self._closed = True
        for worker in self._workers:
            worker.close()


def spin_seconds() -> float:
    """How long to spin: not at all where OpenMP's threads are told not to."""
    return 0.0 if os.environ.get("OMP_WAIT_POLICY", "").strip().lower() == "passive" else SPIN_SECONDS


_pool: Pool


def _restart() -> None:
    global _pool
    _pool = Pool(spin_seconds())


_restart()
atexit.register(lambda: _pool.close())  # before the interpreter destroys what workers use
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart)  # threads do not survive a fork


def run(entry: Entry, record: int, workers: int) -> None:
    """`Pool.run` on the threads of this process."""
    _pool.run(entry, record, workers)
