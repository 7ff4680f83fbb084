"""The Numba backend's threads. Shares are Python functions here, which ctypes calls from the compiled loop."""

import ctypes
import signal
import threading
import time
from types import SimpleNamespace

import child
import pytest

pytest.importorskip("numba")

from fastsoftmax.kernels.machine import refused
from fastsoftmax.kernels.numba.runtime import pool as pool_module
from fastsoftmax.kernels.numba.runtime.compile import Entry
from fastsoftmax.kernels.numba.runtime.pool import ASLEEP, AWAKE, PAUSES, POSTED, STATE, WATCHED, Pool
from fastsoftmax.kernels.numba.runtime.record import new_scratch

TIMEOUT = 20  # seconds; only a failing test waits as long
COMPILING = 300  # for a process that may have to compile passes on a busy machine


def entry_of(share):
    """``share(record, worker)`` as an `Entry`."""
    function = ctypes.CFUNCTYPE(None, ctypes.c_ssize_t, ctypes.c_ssize_t)(share)
    return Entry(ctypes.cast(function, ctypes.c_void_p).value, function, function)


@pytest.fixture(params=[0.0, 1e-3], ids=["blocking", "spinning"])
def pool(request, monkeypatch):
    monkeypatch.setattr(pool_module, "default_threads", lambda: 64)
    pool = Pool(request.param)
    yield pool
    pool.close()


def wait_for_state(worker, state):
    end = time.monotonic() + TIMEOUT
    while worker.numbers[STATE] != state:
        assert time.monotonic() < end, f"state {worker.numbers[STATE]}, not {state}"


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_as_many_threads_as_asked_for_work_at_once_and_are_kept(pool, workers):
    barrier, seen = threading.Barrier(workers), []

    def share(record, worker):
        barrier.wait(TIMEOUT)
        seen.append((record, worker, threading.get_ident()))

    entry = entry_of(share)
    for turn in range(50):
        seen.clear()
        pool.run(entry, turn, workers)
        assert sorted(found[:2] for found in seen) == [(turn, i) for i in range(workers)]
        assert (turn, 0, threading.get_ident()) in seen
        assert len({found[2] for found in seen}) == workers
    assert len(pool._workers) == len(pool._idle) == workers - 1


def test_callers_at_once_all_get_their_threads(pool):
    callers, barrier, calls = 3, threading.Barrier(6), []

    def share(record, worker):
        barrier.wait(TIMEOUT)
        calls.append((record, worker))

    entry = entry_of(share)

    def call(record):
        for _ in range(20):
            pool.run(entry, record, 2)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(calls) == sorted([(i, w) for i in range(callers) for w in (0, 1)] * 20)
    assert len(pool._workers) == callers


@pytest.mark.parametrize("state", [AWAKE, ASLEEP])
def test_a_share_that_nobody_has_begun_is_taken_back(pool, monkeypatch, state):
    memory, box = new_scratch(pool_module.BOX_BYTES)
    nobody = SimpleNamespace(box=box, numbers=memory.view("i8"), wake=pool_module.SimpleQueue())
    nobody.numbers[:] = 0
    nobody.numbers[STATE] = state
    monkeypatch.setattr(pool, "_take", lambda team, count: team.append(nobody) or 0)
    seen = []
    pool.run(entry_of(lambda record, worker: seen.append((worker, nobody.numbers[STATE]))), 0, 2)
    assert seen == [(0, POSTED)]
    assert nobody.numbers[STATE] == AWAKE
    assert nobody.wake.qsize() == (state == ASLEEP)


def test_a_worker_that_found_no_work_for_a_while_blocks_and_is_woken(pool):
    barrier = threading.Barrier(2)
    entry = entry_of(lambda record, worker: barrier.wait(TIMEOUT))
    for _ in range(3):
        pool.run(entry, 0, 2)
        wait_for_state(pool._workers[0], ASLEEP)
    assert len(pool._workers) == 1


def test_the_caller_blocks_where_a_share_takes_long(pool):
    ended = []

    def share(record, worker):
        if worker:
            running.set()
            wait_for_state(pool._workers[0], WATCHED)
            ended.append(worker)
        else:
            assert running.wait(TIMEOUT)

    entry = entry_of(share)
    for turn in range(1, 4):
        running = threading.Event()
        pool.run(entry, 0, 2)
        assert len(ended) == turn


class RaisedByHandler(Exception):
    pass


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals to a thread are POSIX")
@pytest.mark.parametrize("raised", [KeyboardInterrupt, RaisedByHandler, SystemExit])
def test_ctrl_c_is_raised_when_all_shares_have_ended(pool, raised):
    ended = []

    def handler(number, frame):
        raise raised

    before = signal.signal(signal.SIGINT, handler)

    def share(record, worker):
        if worker:
            running.set()
            wait_for_state(pool._workers[0], WATCHED)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            # Where the caller has let go of this one, it is at work on something else.
            for _ in range(100_000):
                assert pool._workers[0].numbers[STATE] == WATCHED
            ended.append(worker)
        else:
            assert running.wait(TIMEOUT)

    running, entry = threading.Event(), entry_of(share)
    try:
        with pytest.raises(raised):
            pool.run(entry, 0, 2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [1]
    assert len(pool._idle) == 1 and not pool._busy
    pool.run(entry_of(lambda record, worker: ended.append(2)), 0, 2)
    assert 2 in ended


def test_a_token_too_many_leaves_a_worker_asleep(pool):
    pool.run(entry_of(lambda record, worker: None), 0, 2)
    (worker,) = pool._workers
    wait_for_state(worker, ASLEEP)
    worker.wake.put(None)
    end = time.monotonic() + TIMEOUT
    while worker.wake.qsize():
        assert time.monotonic() < end
    returned = []
    attend = pool._compiled.attend
    thread = threading.Thread(target=lambda: returned.append(attend(worker.box)), daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    assert returned == [pool_module.SLEEP] and worker.numbers[STATE] == ASLEEP


def test_a_pass_of_a_signal_handler_does_not_wait_for_the_one_it_interrupts(pool):
    done = []
    with pool._lock:  # as in the middle of taking workers
        pool.run(entry_of(lambda record, worker: done.append(worker)), 0, 2)
    assert 0 in done


def test_ctrl_c_before_a_worker_is_woken_does_not_leave_it_asleep(pool, monkeypatch):
    pool.run(entry_of(lambda record, worker: None), 0, 2)
    (worker,) = pool._workers
    wait_for_state(worker, ASLEEP)
    with monkeypatch.context() as patch:
        tokens = worker.wake

        def interrupted(token):
            patch.undo()
            raise KeyboardInterrupt

        patch.setattr(worker, "wake", SimpleNamespace(put=interrupted, get=tokens.get))
        with pytest.raises(KeyboardInterrupt):
            pool.run(entry_of(lambda record, worker: None), 0, 2)
        assert worker.wake is tokens
    barrier = threading.Barrier(2)
    pool.run(entry_of(lambda record, worker: barrier.wait(TIMEOUT)), 0, 2)


@pytest.mark.parametrize("most", [0, 1, 2])
@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()], ids=repr)
def test_where_the_system_refuses_threads_fewer_work_and_a_warning_says_so_once(pool, monkeypatch, most, error):
    attempts, start = [], threading.Thread.start

    def refuse(thread):
        attempts.append(thread)
        if len(attempts) > most:
            raise error
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(refused, "_said", False)
    barrier, seen = threading.Barrier(most + 1), []

    def share(record, worker):
        barrier.wait(TIMEOUT)
        seen.append(worker)

    entry = entry_of(share)
    with pytest.warns(RuntimeWarning, match=f"with {most + 1} of the 4 threads") as caught:
        for _ in range(3):
            pool.run(entry, 0, 4)
    assert len(caught) == 1
    assert sorted(seen) == sorted([*range(most + 1)] * 3) and len(pool._workers) == most
    assert len(attempts) == most + 1, "a refused thread is asked for again in each pass"
    pool.run(entry, 0, most + 1)


def test_a_closed_pool_has_no_threads_and_passes_go_on(pool):
    pool.run(entry_of(lambda record, worker: None), 0, 3)
    threads = [worker.thread for worker in pool._workers]
    pool.close()
    assert len(threads) == 2 and not any(thread.is_alive() for thread in threads)
    seen = []
    pool.run(entry_of(lambda record, worker: seen.append(worker)), 0, 3)
    assert seen == [0]


@pytest.mark.parametrize(("cores", "spins"), [(3, False), (4, True)])
def test_nobody_spins_where_threads_at_work_outnumber_the_cores(monkeypatch, cores, spins):
    """Two callers with two threads each."""
    monkeypatch.setattr(pool_module, "default_threads", lambda: cores)
    pool, pauses = Pool(1e-3), []

    def note():
        pauses.append([worker.numbers[PAUSES] for worker in pool._workers])

    def call_again(record, worker):
        if worker == 0:
            other = threading.Thread(target=pool.run, args=(entry_of(lambda *_: note()), 0, 2))
            other.start()
            other.join()

    pool.run(entry_of(call_again), 0, 2)
    assert len(pauses[0]) == 2 and pauses[0][0] > 0  # two threads of three or four
    assert (pauses[0][1] > 0) == spins
    pool.close()


@pytest.mark.parametrize("policy", [None, "active", "passive", " PASSIVE "])
def test_spinning_follows_openmps_variable(monkeypatch, policy):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    spins = policy is None or policy == "active"
    assert pool_module.spin_seconds() == (pool_module.SPIN_SECONDS if spins else 0.0)


# ------------------------------------------------------------------------------- processes

PASS = """
import atexit
import numpy as np
import fastsoftmax
rng = np.random.default_rng(0)
X, y, theta = rng.standard_normal((40_000, 20)), rng.integers(0, 5, 40_000), rng.standard_normal((20, 5))
obj = fastsoftmax.Objective(X, y, 5, backend="numba", n_threads=2)
def run():
    value, grad = obj.value_and_grad(theta)
    return value, grad.tobytes()
"""
AT_EXIT = f"""{PASS}
wanted = run()
atexit.register(lambda: print(run() == wanted))
"""
# The pool is closed in the middle of passes: what is registered first is called last.
DAEMON = f"""
import atexit, threading
stop, begun, found = threading.Event(), threading.Event(), set()
def end():
    stop.set()
    thread.join()
    print(found == {{wanted}})
atexit.register(end)
{PASS}
wanted = run()
def passes():
    while not stop.is_set():
        found.add(run())
        begun.set()
thread = threading.Thread(target=passes, daemon=True)
thread.start()
begun.wait()
"""


@pytest.mark.parametrize("policy", [None, "passive"], ids=["spinning", "blocking"])
@pytest.mark.parametrize("script", [AT_EXIT, DAEMON], ids=["at exit", "daemon"])
def test_the_interpreter_ends(script, policy):
    done = child.python("-c", script, timeout=COMPILING, OMP_WAIT_POLICY=policy)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "True", "")
