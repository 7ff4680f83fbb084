"""Files of every format version that there was are read, and a process that is killed while it saves loses nothing.

What `fastsoftmax.scan` keeps beside data holds for files of one time of change, so that no fixture of it can be kept.
"""

import shutil
from pathlib import Path

import child
import numpy as np
import pytest

from fastsoftmax import Checkpoint, Model, Objective, minimize
from fastsoftmax.model import file as model_file
from fastsoftmax.probe import checkpoint as sweep
from fastsoftmax.solvers.checkpoint import file as checkpoint_file

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats"


def versions(kind):
    """The versions that there are fixtures of."""
    return sorted(int(path.stem.removeprefix(f"{kind}-")) for path in FORMATS.glob(f"{kind}-*"))


def test_there_is_a_file_of_each_version():
    assert sorted(set(versions("model"))) == list(range(1, model_file.FORMAT_VERSION + 1))
    assert versions("checkpoint") == list(range(1, checkpoint_file.FORMAT_VERSION + 1))
    assert versions("sweep") == list(range(1, sweep.FORMAT + 1))


@pytest.mark.parametrize("path", sorted(FORMATS.glob("model-*")), ids=lambda path: path.name)
def test_models_are_read(path):
    model = Model.load(path)
    np.testing.assert_array_equal(model.theta, np.arange(6.0).reshape(3, 2) / 4)
    np.testing.assert_array_equal(model.bias, [0.5, -0.25])
    assert model.classes.tolist() == ["no", "yes"]
    assert (model.feature_names, model.metadata) == (("a", "b", "c"), {"l2": "0.1"})


@pytest.mark.parametrize("version", versions("checkpoint"))
def test_runs_go_on_from_checkpoints(tmp_path, version):
    path = Path(shutil.copy(FORMATS / f"checkpoint-{version}.npz", tmp_path / "run.npz"))
    i = np.arange(40)
    X, y = np.stack([i % 7, i % 5], axis=1).astype(float), (i % 3 == 0).astype(int)
    obj = Objective(X, y, fit_intercept=True, l2=0.01, n_threads=1)
    result = minimize(obj, solver="lbfgs", checkpoint=Checkpoint(path, resume=True))
    assert result.converged and result.resumed.startswith("after ")
    assert abs(result.value - minimize(obj, solver="lbfgs", tol=1e-10).value) <= 1e-6 * result.value


@pytest.mark.parametrize("version", versions("sweep"))
def test_sweeps_are_read(tmp_path, version):
    shutil.copytree(FORMATS / f"sweep-{version}", tmp_path / "sweep")
    facts, thetas = sweep.Checkpoint(tmp_path / "sweep", "digest").load(0)
    assert facts == {"l2": 0.1}
    np.testing.assert_array_equal(thetas, np.arange(6.0).reshape(1, 3, 2))


SAVES = {
    "model.npz": "Model([[1.0, 2.0]]).save(path)",
    "model.safetensors": "Model([[1.0, 2.0]]).save(path)",
    "predictions.csv": "Model([[1.0, 2.0]]).write_predictions(path, [[1.0]])",
    "predictions.npy": "Model([[1.0, 2.0]]).write_predictions(path, [[1.0]])",
    "run.npz": "minimize(Objective([[0.0], [1.0]], [0, 1], l2=1.0), checkpoint=Checkpoint(path, resume=True))",
}


@pytest.mark.parametrize("name", SAVES)
def test_a_process_that_is_killed_while_it_saves_leaves_the_file_before(tmp_path, name):
    """Killed where all is written, and the file has not got its name."""
    program = f"""
import os, sys
from pathlib import Path
from fastsoftmax import Checkpoint, Model, Objective, minimize
path = Path({str(tmp_path / name)!r})
{SAVES[name]}
print(path.read_bytes().hex(), flush=True)
os.replace = lambda *_: os.kill(os.getpid(), 9)
{SAVES[name].replace("2.0", "3.0")}
"""
    done = child.python("-c", program)
    assert done.returncode == -9, done.stderr
    assert (tmp_path / name).read_bytes() == bytes.fromhex(done.stdout)
