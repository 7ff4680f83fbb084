"""Workers that are killed, added, slow or out of memory, a scheduler that is lost: the same bits, or a clear error."""

import os
import signal
import threading

import dask.array as da
import numpy as np
import pytest
from dask.delayed import delayed
from distributed import Client, LocalCluster

import fastsoftmax
from fastsoftmax import datasets
from fastsoftmax.dask import Objective
from fastsoftmax.objective.parts.local import total_of
from fastsoftmax.solvers.checkpoint.keep import Checkpoint

ROWS = 250
X, Y, _ = datasets.make_problem(2000, 5, 3, signal=1.0, seed=2)
OPTIONS = {"fit_intercept": True, "l2": 1e-3}
CHUNKS = [(X[a : a + ROWS], Y[a : a + ROWS]) for a in range(0, len(X), ROWS)]


@pytest.fixture(scope="module")
def wanted():
    return fastsoftmax.minimize(total_of(CHUNKS, **OPTIONS), solver="lbfgs")


def fit(client, at_step, **given):
    """The objective and the result of a fit in the middle of which something happens."""
    obj = Objective(da.from_array(X, chunks=(ROWS, 5)), Y, client=client, **OPTIONS)

    def callback(step):
        if step.iteration == 2:
            at_step(obj)

    return obj, fastsoftmax.minimize(obj, solver="lbfgs", callback=callback, **given)


def pid(doomed, address):
    return doomed.run(os.getpid, workers=[address])[address]


def test_a_worker_that_is_slow(doomed, wanted):
    def pause(obj):
        number = pid(doomed, obj.parts.places[0])
        os.kill(number, signal.SIGSTOP)
        threading.Timer(0.8, os.kill, (number, signal.SIGCONT)).start()

    obj, found = fit(doomed, pause)
    np.testing.assert_array_equal(found.theta, wanted.theta)


def test_a_worker_that_is_added_gets_no_rows(doomed, wanted):
    places = []

    def add(obj):
        places.extend(obj.parts.places)
        doomed.cluster.scale(3)
        doomed.wait_for_workers(3)

    obj, found = fit(doomed, add)
    np.testing.assert_array_equal(found.theta, wanted.theta)
    assert obj.parts.places == places and len(set(places)) == 2


def test_answers_of_many_workers_are_joined_by_workers(doomed, wanted, monkeypatch):
    monkeypatch.setattr("fastsoftmax.dask.workers.FAN_IN", 2)
    obj, found = fit(doomed, lambda obj: None)
    assert len(set(obj.parts.places)) == len(doomed.scheduler_info(n_workers=-1)["workers"]) > 1
    np.testing.assert_array_equal(found.theta, wanted.theta)


def test_a_worker_that_is_killed(doomed, wanted):
    places = []

    def kill(obj):
        places.extend(obj.parts.places)
        os.kill(pid(doomed, places[0]), signal.SIGKILL)

    obj, found = fit(doomed, kill)
    np.testing.assert_array_equal(found.theta, wanted.theta)
    assert places[0] not in obj.parts.places
    kept = [i for i, place in enumerate(places) if place != places[0]]
    assert [obj.parts.places[i] for i in kept] == [places[i] for i in kept]


def test_rows_that_only_the_client_had_are_lost_with_their_worker(doomed):
    rows = doomed.scatter([X[:500], X[500:]], workers=list(doomed.scheduler_info()["workers"])[:1])
    obj = Objective(rows, [delayed(Y[:500]), delayed(Y[500:])], client=doomed)
    os.kill(pid(doomed, obj.parts.places[0]), signal.SIGKILL)
    with pytest.raises(RuntimeError, match="cannot be made again, since they came from the client"):
        obj.value(np.zeros(obj.shape))


def test_a_partition_that_is_too_large(doomed):
    def load(array):
        raise MemoryError

    with pytest.raises(MemoryError):
        Objective([delayed(load)(X)], [delayed(Y)], client=doomed)

    def end(array):  # as the system does to a process that takes too much
        os.kill(os.getpid(), signal.SIGKILL)

    doomed.cluster.scheduler.allowed_failures = 0
    with pytest.raises(RuntimeError, match="a partition ended each worker that took it: .* memory of a worker"):
        Objective([delayed(end)(X)], [delayed(Y)], client=doomed)


def test_a_scheduler_that_is_lost_and_a_checkpoint_that_goes_on(wanted, tmp_path):
    cluster = LocalCluster(n_workers=1, processes=False, protocol="tcp://", dashboard_address=":0")
    client = Client(cluster, set_as_default=False)
    with pytest.raises(ConnectionError, match="the Dask scheduler tcp://.* is lost"):
        fit(client, lambda obj: cluster.close(), checkpoint=tmp_path / "fit.npz")
    client.close(timeout=0.1)  # there is no scheduler to take leave of
    obj = total_of(CHUNKS, **OPTIONS)
    found = fastsoftmax.minimize(obj, solver="lbfgs", checkpoint=Checkpoint(tmp_path / "fit.npz", resume=True))
    assert "to the same bits" in found.resumed
    np.testing.assert_array_equal(found.theta, wanted.theta)
