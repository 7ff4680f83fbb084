"""The machine as the kernels see it: its cores and the sizes of its caches."""

import os

import pytest

from fastsoftmax.kernels import machine
from fastsoftmax.kernels.machine import cache_bytes, default_threads


@pytest.mark.parametrize(
    ("value", "wanted"), [("1", 1), ("1,4", 1), ("", None), ("0", None), ("many", None), ("100000", None)]
)
def test_default_threads_is_the_smaller_of_omp_num_threads_and_the_cores(monkeypatch, value, wanted):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = default_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert default_threads() == (wanted or cores)


def test_default_threads_is_at_least_one_and_at_most_the_affinity():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert 1 <= default_threads() <= cores


def test_cache_sizes_are_plausible_and_a_broken_sysfs_leaves_the_usual_ones(monkeypatch):
    sizes = cache_bytes()
    assert 0 < sizes["L1"] < sizes["L2"] <= sizes["L3"]
    monkeypatch.setattr(machine.Path, "read_text", lambda self: "?")
    assert cache_bytes.__wrapped__() == {"L1": 32 << 10, "L2": 1 << 20, "L3": 16 << 20}
