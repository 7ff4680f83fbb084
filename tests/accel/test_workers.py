"""Worker processes of joblib fit with what the process that calls them fits with."""

import child
import pytest
import sklearn.linear_model  # noqa: F401  (installing waits for it)
from joblib.parallel import BatchedCalls, SequentialBackend

from fastsoftmax import accel
from fastsoftmax.accel.workers import AcceleratedBatch

# What a task tells: whether ours are in place in the process that runs it, and whether that is another one.
TASKS = """
import os
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression

parent = os.getpid()

def where():
    from sklearn.linear_model import LogisticRegression
    return os.getpid() != parent, LogisticRegression.fit.__code__.co_filename.endswith("patch.py")

def ask():
    return set(Parallel(n_jobs=2, backend={backend!r})(delayed(where)() for _ in range(6)))
"""


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_a_batch_is_fitted_as_its_sender_fits(backend):
    code = f"""{TASKS.format(backend=backend)}
from fastsoftmax import accel
print(ask())
with accel.accelerated():
    print(ask())
print(ask())
"""
    run = child.python("-c", code)
    assert run.stdout.splitlines() == ["{(True, False)}", "{(True, True)}", "{(True, False)}"], run.stderr


def test_a_search_of_two_processes_is_in_the_report(tmp_path):
    script = tmp_path / "search.py"
    script.write_text(
        """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

X, y = load_iris(return_X_y=True)
pipeline = make_pipeline(StandardScaler(), LogisticRegression())
print(GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1]}, n_jobs=2, cv=3).fit(X, y).best_params_)
"""
    )
    run = child.python("-m", "fastsoftmax.accel", "--report", str(script))
    assert run.stdout == "{'logisticregression__C': 1}\n"
    assert "7 fits by fastsoftmax" in run.stderr and "0 fits by scikit-learn" in run.stderr, run.stderr


def test_processes_that_a_program_spawns_fit_with_ours(tmp_path):
    script = tmp_path / "spawn.py"
    script.write_text(
        """
import multiprocessing
import subprocess
import sys

def ours(_):
    from sklearn.linear_model import LogisticRegression
    return LogisticRegression.fit.__code__.co_filename.endswith("patch.py")

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(ours, [0]), flush=True)
    code = "import spawn; print(spawn.ours(0))"
    subprocess.run([sys.executable, "-c", code], check=True)
"""
    )
    run = child.python("-m", "fastsoftmax.accel", str(script), cwd=tmp_path, beside=script)
    assert run.stdout == "[True]\nTrue\n", run.stderr
    assert child.python(str(script), cwd=tmp_path, beside=script).stdout == "[False]\nFalse\n"


def test_a_sitecustomize_of_the_users_own_runs_as_well(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import os\nos.environ['THEIRS'] = 'ran'\n")
    code = (
        "import os, subprocess, sys; subprocess.run([sys.executable, '-c', 'import os; print(os.environ[\"THEIRS\"])'])"
    )
    run = child.python("-m", "fastsoftmax.accel", "-c", f"{code}; del os.environ['THEIRS']", beside=tmp_path / "x")
    assert run.stdout == "ran\n", run.stderr


def test_the_batch_is_joblibs_own_again_after_uninstalling():
    host = BatchedCalls.__dict__["__reduce__"]
    accel.install()
    make, arguments = BatchedCalls([(len, ("ab",), {})], (SequentialBackend(0), 1)).__reduce__()
    accel.uninstall()
    assert make is AcceleratedBatch
    batch = make(*arguments)
    assert len(batch) == 1 and batch() == [2]
    assert BatchedCalls.__dict__["__reduce__"] is host and not accel.installed()
