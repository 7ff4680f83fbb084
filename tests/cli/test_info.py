"""`fastsoftmax info`: what this machine has, and what is missing."""

import json

import numpy as np

import fastsoftmax


def test_info_shows_backends_caches_and_versions(run):
    code, out, _ = run("info")
    assert code == 0
    for words in ("cython", "numba", "numpy", "threads", "caches", "L2", "scikit-learn", np.__version__):
        assert words in out
    machine = json.loads(run("info", "--json")[1])
    assert machine["backends"] == fastsoftmax.backends() and machine["packages"]["numpy"] == np.__version__
    assert machine["version"] == fastsoftmax.__version__ and machine["threads"] >= 1
    assert set(machine["caches"]) == {"L1", "L2", "L3"}


def test_info_tells_what_is_missing_and_the_command_that_installs_it(run, monkeypatch):
    from fastsoftmax.cli import info
    from fastsoftmax.kernels import backends

    gone = backends.Backend("numba", "fastsoftmax.kernels.none", "numba", "pip install numba")
    monkeypatch.setitem(backends.BACKENDS, "numba", gone)
    monkeypatch.setitem(info.PACKAGES, "no-such-package", "matplotlib")
    code, out, _ = run("info")
    assert code == 0
    assert "missing: backend numba" in out and "pip install numba" in out
    assert "missing: no-such-package: pip install 'fastsoftmax[cli]'" in out
