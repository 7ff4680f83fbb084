"""Clusters of two worker processes: one for all tests of this folder that leave it as it was, one for the others."""

import pytest

distributed = pytest.importorskip("distributed")


def start(workers):
    """A cluster of processes on this machine."""
    return distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=0
    )


@pytest.fixture(scope="session")
def client():
    with start(2) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture(scope="module")
def doomed():
    """The client of another cluster, for tests that end its processes."""
    with start(2) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def current(client):
    """The client, as the one that estimators find."""
    with client.as_current():
        yield client
