"""The threads that share a pass of the Numba backend with the one that asked for it.

A pass of 10,000 rows takes a tenth of a millisecond. To hand half of it to another Python thread by a queue took as
long: that thread has to be woken by the kernel, then to win the GIL. So a worker that has done its share waits for the
next one in compiled code, without the GIL, for `SPIN_SECONDS`, as OpenMP's threads do; passes that follow each other
find it there. After that it blocks on a queue of Python's and costs nothing.

Each worker has a box, six numbers on a cache line of its own. Its state says whose turn it is:

    AWAKE      the worker looks for work, or will before long
    ASLEEP     ... or must be woken by its queue first
    POSTED     a share is in the box; the worker takes it, or the caller, done with its own, takes it back
    RUNNING    the worker is at it
    WATCHED    ... and the caller blocks until it has finished

A worker belongs to one caller at a time, so that several may call at once. A share is a compiled function that is
called by address and raises nothing: workers hold the GIL only to fall asleep.

Nothing here depends on Numba's threading layers (one of them aborts the process when two threads enter it).
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
import time
from queue import SimpleQueue
from types import SimpleNamespace

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ...machine import default_threads
from ..microkernels.simd import INT32, INT64, call, call_address, host_features, pointer, read, write
from .compile import Entry, compiled_for_python
from .record import new_scratch

AWAKE, ASLEEP, POSTED, RUNNING, WATCHED = range(5)
# What a box holds: its state, the share and its arguments, pauses to wait for another, whether the worker is to end.
STATE, ENTRY, RECORD, INDEX, PAUSES, CLOSED = range(6)
BOX_BYTES = 128  # two lines, since the CPU may fetch them in pairs
SLEEP, TELL, END = range(3)  # why `attend` returns
# As long as passes that follow each other may be apart; a solver's steps between two take some 0.1 ms.
SPIN_SECONDS = 1e-3
# Threads that a pass may ask for: each has scratch.
MOST = 1024


# --------------------------------------------------------------------------------- compiled


@intrinsic
def swap(typingctx, box, value):
    """Put another state into the box; what it was."""

    def emit(context, builder, sig, args):
        return builder.atomic_rmw("xchg", state_of(builder, args[0]), args[1], "seq_cst")

    return types.intp(types.intp, types.intp), emit


@intrinsic
def swap_if(typingctx, box, expected, value):
    """The same if it is the one expected; what it was."""

    def emit(context, builder, sig, args):
        pair = builder.cmpxchg(state_of(builder, args[0]), args[1], args[2], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 0)

    return types.intp(types.intp, types.intp, types.intp), emit


@intrinsic
def look(typingctx, address):
    """The number at the address, read anew each time."""

    def emit(context, builder, sig, args):
        return builder.load_atomic(state_of(builder, args[0]), "acquire", 8)

    return types.intp(types.intp), emit


@intrinsic
def pause(typingctx):
    """Tell the CPU that this is a loop which waits."""

    def emit(context, builder, sig, args):
        features = host_features()
        if features & {"x86_64", "i686", "i386"}:
            call(builder, "llvm.x86.sse2.pause", ir.VoidType())
        elif features & {"aarch64", "arm64"}:
            call(builder, "llvm.aarch64.hint", ir.VoidType(), ir.Constant(INT32, 1))
        return context.get_dummy_value()

    return types.void(), emit


def state_of(builder, box):
    return builder.inttoptr(box, INT64.as_pointer())


def make_attend(digest):
    def attend(box):
        """A worker's loop: do what is posted; return when there has been nothing for a while, or to tell a caller who
        blocks."""
        digest  # noqa: B018 - see `numba_pass`
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
            elif swap_if(box, AWAKE, ASLEEP) <= ASLEEP:  # it sleeps already where there was a token too many
                return SLEEP
        return END

    return attend


def make_post(digest):
    def post(box, entry, record, index, pauses):
        """Put a share into the box; whether the worker must be woken."""
        digest  # noqa: B018 - see `numba_pass`
        numbers = pointer(box, np.int64(0))
        write(numbers, ENTRY, entry)
        write(numbers, RECORD, record)
        write(numbers, INDEX, index)
        write(numbers, PAUSES, pauses)
        return swap(box, POSTED) == ASLEEP

    return post


def make_settle(digest):
    def settle(box, pauses):
        """Take back a share that has not begun, where there would be nothing left to do, or wait for its end; whether
        that has to be done by blocking, after so many pauses."""
        digest  # noqa: B018 - see `numba_pass`
        state = swap_if(box, POSTED, AWAKE)
        while state == RUNNING and pauses > 0:
            pauses -= 1
            pause()
            state = look(box)
        return state == WATCHED or (state == RUNNING and swap_if(box, RUNNING, WATCHED) == RUNNING)

    return settle


# ----------------------------------------------------------------------------------- Python


class Worker:
    """A thread, and what it shares with its callers. Queues, not locks: one token too many does no harm."""

    def __init__(self, attend) -> None:
        self._memory, self.box = new_scratch(BOX_BYTES)
        self.numbers = self._memory[:BOX_BYTES].view(np.int64)
        self.numbers[:] = 0
        self.wake, self.done = SimpleQueue(), SimpleQueue()
        self.thread = threading.Thread(target=self._serve, args=(attend,), name="fastsoftmax", daemon=True)
        self.thread.start()

    def _serve(self, attend) -> None:
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
    """Workers, started when first needed and kept. ``spin_seconds`` is how long they wait before they block."""

    def __init__(self, spin_seconds: float) -> None:
        self._spin_seconds = spin_seconds
        self._lock = threading.RLock()  # a signal's handler may make a pass while this thread holds it
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._busy: dict[int, int] = {}  # threads at work, by the caller among them
        self._cores = 0
        self._closed = False

    def run(self, entry: Entry, record: int, workers: int) -> None:
        """Call ``entry(record, i)`` for each i < workers that finds something to do, in as many threads, 0 in this."""
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
            for worker in team:  # Ctrl-C may have come between the two: it sleeps, and its box says awake
                worker.wake.put(None)
            raise
        finally:
            self._settle(team, pauses)

    def _take(self, team: list[Worker], count: int) -> int:
        """Fill the team with idle workers, those that were busy last, or new ones; for how many pauses they are to
        wait when they have done their share."""
        with self._lock:
            while len(team) < count:
                try:
                    team.append(self._idle.pop() if self._idle else self._start())
                except RuntimeError:  # there are no more threads to be had, or the interpreter is about to end
                    break
            self._busy[threading.get_ident()] = len(team) + 1
            # A thread that spins on the core another one wants keeps that from working.
            crowded = sum(self._busy.values()) > self._cores
        return 0 if crowded or not self._spin_seconds else self._pauses

    def _start(self) -> Worker:
        if self._closed:
            raise RuntimeError("the pool is closed")
        worker = Worker(self._compiled.attend)
        self._workers.append(worker)
        self._cores = default_threads()
        return worker

    def _settle(self, team: list[Worker], pauses: int) -> None:
        """Wait for the team: it uses the caller's arrays, so that not even Ctrl-C may cut this short."""
        interrupt = None
        while team:
            try:
                while self._compiled.settle(team[-1].box, pauses):
                    team[-1].done.get()
                self._idle.append(team.pop())
            except BaseException as error:  # whatever a signal's handler raises
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
            settle=compiled_for_python(make_settle),
        )

    @functools.cached_property
    def _pauses(self) -> int:
        """How many take `spin_seconds`: one takes 3 to 50 ns, by the CPU."""
        memory, box = new_scratch(BOX_BYTES)
        state, trials, seconds = memory.view(np.int64)[STATE:], 10_000, []
        for _ in range(3):
            state[0] = RUNNING
            begin = time.perf_counter()
            self._compiled.settle(box, trials)
            seconds.append(time.perf_counter() - begin)
        return int(self._spin_seconds * trials / min(seconds))

    def close(self) -> None:
        """End the workers, those at work when they have done their share. Passes go on without."""
        with self._lock:
            self._closed = True
        for worker in self._workers:
            worker.close()


def spin_seconds() -> float:
    """Seconds to spin for; none where OpenMP's threads are not to spin either."""
    return 0.0 if os.environ.get("OMP_WAIT_POLICY", "").strip().lower() == "passive" else SPIN_SECONDS


def _restart() -> None:
    global _pool
    _pool = Pool(spin_seconds())


_restart()
atexit.register(lambda: _pool.close())  # before the interpreter takes away what workers use
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart)  # threads do not survive a fork


def run(entry: Entry, record: int, workers: int) -> None:
    """`Pool.run` on the threads of this process."""
    _pool.run(entry, record, workers)
