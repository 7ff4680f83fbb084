"""`fastsoftmax info`: what this machine has, and what is missing."""

import json

import numpy as np
import pytest

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
    assert machine["jax"].split()[0].rstrip(",") in ("ffi", "callback", "not") and "jax " in out


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


@pytest.mark.parametrize("options", [[], ["--dtype", "bool"], ["--dtype", "float32", "--order", "F"]])
def test_info_shows_the_plan_of_a_pass(run, options):
    code, out, _ = run("info", "--plan", "500000x50x3", *options)
    assert code == 0 and len(out.splitlines()) == len(fastsoftmax.backends())
    assert json.loads(run("info", "--json", "--plan", "500000X50X3", *options)[1]) == dict(
        line.split(": ", 1) for line in out.splitlines()
    )


def test_the_plan_of_bytes_is_that_of_booleans(run):
    both = [run("info", "--plan", "500000x50x3", "--dtype", dtype)[1] for dtype in ("bool", "uint8")]
    assert both[0] == both[1]


@pytest.mark.parametrize("size", ["10x10", "10x10x0", "1e3x5x3", "-1x5x3", "10x10x1", "10x10x3x3", "", f"{10**22}x5x3"])
def test_a_size_that_no_pass_has_is_an_error(run, size):
    code, _, err = run("info", "--plan", size)
    assert code == 2 and "--plan must" in err and repr(size) in err


@pytest.mark.parametrize("dtype", ["complex64", "u3", "str", "float", "float32, float64"])
def test_a_dtype_is_that_of_numbers(run, dtype):
    code, _, err = run("info", "--plan", "10x10x3", "--dtype", dtype)
    assert (code == 0) == (dtype == "float")
    assert dtype == "float" or f"--dtype must name a real dtype, such as float32; got '{dtype}'" in err


@pytest.mark.parametrize("option", [["--dtype", "float32"], ["--order", "F"]])
def test_what_X_is_wants_a_plan(run, option):
    code, out, err = run("info", *option)
    assert code == 2 and not out and "there is no --plan" in err
