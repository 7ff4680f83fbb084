"""The Cython backend as ``FASTSOFTMAX_ISA`` asks for it, for the length of a test."""

import importlib
import os
from contextlib import contextmanager
from unittest import mock

import pytest

from fastsoftmax.kernels import backends


@pytest.fixture(scope="session")
def loaded():
    """A context: ``loaded(isa)`` gives the module of the backend. ImportError, with why, where it does not run here."""

    @contextmanager
    def load(isa):
        module = backends.select("cython")[1]
        try:
            with mock.patch.dict(os.environ, FASTSOFTMAX_ISA=isa):
                importlib.reload(module)
            yield module
        finally:
            importlib.reload(module)

    return load
