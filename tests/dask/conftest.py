"""Clusters of two worker processes: one for all tests of this folder that leave it as it was, one for the others."""

import importlib.util
from contextlib import contextmanager

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("distributed") else ["test_*.py"]


@contextmanager
def processes():
    """A client of two worker processes on this machine."""
    from distributed import Client, LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
    with LocalCluster(processes=True, **options) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture(scope="session")
def client():
    with processes() as client:
        yield client


@pytest.fixture(scope="module")
def doomed():
    """The client of another cluster, for tests that end its processes."""
    with processes() as client:
        yield client


@pytest.fixture
def current(client):
    """The client, as the one that estimators find."""
    with client.as_current():
        yield client
