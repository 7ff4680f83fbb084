"""Private memory of passes stays within the budget, measured in a process of its own."""

import sys

import child
import pytest
from problems import lettered_problem, write_parquet

PROGRAM = """
import sys
import fastsoftmax

def most():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1e3

def work(path):
    obj = fastsoftmax.Objective(fastsoftmax.scan(path, "y", memory="20MB"), fit_intercept=True, n_threads=2)
    for _ in range(4):
        obj.value_and_grad([[0.0] * 3] * 21)
    obj.gram()

work(sys.argv[1])  # a few rows: what imports and threads take
before = most()
work(sys.argv[2])
print(most() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the most memory that a process has had")
def test_passes_over_a_file_larger_than_the_budget(tmp_path):
    X, labels = lettered_problem(600_000, 20)
    few = write_parquet(tmp_path / "few.parquet", X[:2000], labels[:2000])
    many = write_parquet(tmp_path / "many.parquet", X, labels, rows=20_000)
    assert many.stat().st_size > 48e6
    done = child.python("-c", PROGRAM, str(few), str(many))
    assert done.returncode == 0, done.stderr
    # With a budget of 20 MB. What allocators and threads take besides does not grow with the file. Maps of labels, 2.4
    # MB, count in this figure and are not private.
    assert float(done.stdout) < 30
