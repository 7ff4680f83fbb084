"""`train --checkpoint`: a killed process goes on to the same bits; what Ctrl-C, a full disk and a wrong file say."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import FAST, assert_one_line, subprocess_run

import fastsoftmax
from fastsoftmax.datasets import make_problem

SLOW = ["--solver", "gradient_descent", "--tol", "1e-10", "--max-iter", "1500", "--json", "--backend", "cython"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A file of badly scaled columns, on which gradient descent takes all of its steps."""
    X, y, _ = make_problem(4_000, 12, 3)
    path = tmp_path_factory.mktemp("data") / "table.npy"
    np.save(path, np.column_stack([X * np.logspace(0, 2, 12), y]))
    return path


def start(*arguments):
    """The command in a process of its own that goes on while the test does."""
    code = "import sys; from fastsoftmax.__main__ import main; sys.exit(main())"
    path = os.pathsep.join([str(Path(fastsoftmax.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
    )


def ends_within(process, seconds):
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def report_of(process):
    out, err = process.communicate()
    assert process.returncode == 0, err
    return json.loads(out)


def test_sigkill_at_random_moments_and_resume_give_the_bits_of_one_run(table, tmp_path):
    wanted = report_of(start("train", table, *SLOW, "--out", tmp_path / "one.npz"))
    rng, path, killed = np.random.default_rng(), tmp_path / "run.npz", []
    arguments = ["train", table, *SLOW, "--out", tmp_path / "two.npz", "--checkpoint", path, "--resume"]
    for _ in range(3):
        process = start(*arguments, "--checkpoint-passes", 1)
        before = path.stat().st_mtime_ns if path.exists() else 0
        while not path.exists() or path.stat().st_mtime_ns == before:
            if ends_within(process, 0.01):
                break
        if not ends_within(process, rng.uniform(0.0, 0.3)):
            process.kill()
            process.communicate()
            killed.append(process.returncode)
    report = report_of(start(*arguments))
    assert killed and set(killed) == {-signal.SIGKILL}
    assert report["resumed"].endswith("to the same bits as without the interruption")
    for name in ("message", "loss", "grad_norm", "gap_bound", "iterations", "passes", "test"):
        assert report[name] == wanted[name]
    one, two = (fastsoftmax.Model.load(tmp_path / name) for name in ("one.npz", "two.npz"))
    np.testing.assert_array_equal(one.theta, two.theta)
    np.testing.assert_array_equal(one.bias, two.bias)


INTERRUPT = f"""
import os, signal
from fastsoftmax.solvers.run import Run
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
accept = Run.accept
def interrupted(run, *arguments):
    if len(run.history) == 4:
        os.kill(os.getpid(), {int(signal.SIGINT)})
    accept(run, *arguments)
Run.accept = interrupted
"""


def test_ctrl_c_writes_a_checkpoint_and_says_where(iris, run, tmp_path):
    path = tmp_path / "run.npz"
    options = ["train", iris, "--backend", "numpy", "--solver", "lbfgs"]
    shown = subprocess_run(INTERRUPT, *options, "--checkpoint", path)
    assert (shown.returncode, shown.stdout) == (130, "")
    told = f"fastsoftmax: The run until here is in the checkpoint {path}. The same command with --resume goes on"
    assert told in shown.stderr
    code, out, err = run(*options, "--checkpoint", path, "--resume")
    assert code == 0 and err == ""
    assert "resumed     after " in out and "to the same bits as without the interruption" in out
    alone, resumed = (
        json.loads(run(*options, "--json", *more)[1]) for more in ([], ["--checkpoint", path, "--resume"])
    )
    assert (alone["loss"], alone["passes"]) == (resumed["loss"], resumed["passes"])


def test_a_checkpoint_of_other_options_is_one_line_with_their_names(iris, run, tmp_path):
    path = tmp_path / "run.npz"
    kept = ["train", iris, *FAST, "--checkpoint", path]
    assert run(*kept, "--json")[0] == 0
    assert_one_line(run(*kept), "run.npz is there already: --resume goes on from it")
    assert_one_line(
        run(*kept, "--resume", "--seed", 1, "--l2", 0.5), "another run: ", "l2 was 0.0001, is 0.5", "seed was 0, is 1"
    )
    assert_one_line(run(*kept, "--resume", "--test-fraction", 0.5), "number of rows was 120, is 75")
    path.write_bytes(path.read_bytes()[:-100])
    assert_one_line(run(*kept, "--resume"), "run.npz is damaged or no fastsoftmax checkpoint")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--resume"], "--resume and --checkpoint-passes need --checkpoint FILE"),
        (["--checkpoint", "none/run.npz"], "there is no directory none to write a checkpoint to"),
    ],
)
def test_what_cannot_be_kept_is_known_before_the_work(options, words, iris, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_line(run("train", iris, *options), words)


def test_a_disk_that_fills_is_a_line_and_the_training_goes_on(iris, run, tmp_path):
    # A limit on the size of files fails in the middle of a writing, as a full disk does.
    full = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    full += "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))"
    path = tmp_path / "run.npz"
    options = ["train", iris, "--backend", "numpy", "--solver", "lbfgs", "--json", "--checkpoint", path]
    shown = subprocess_run(full, *options, "--checkpoint-passes", 1)
    assert shown.returncode == 0, shown.stderr
    lines, report = shown.stderr.splitlines(), json.loads(shown.stdout)
    told = (
        f"fastsoftmax: the checkpoint {path} was not written (File too large); the one before stays, and the run goes"
    )
    assert len(lines) >= 2 and set(lines) == {f"{told} on"}
    assert report["converged"] and path.stat().st_size <= 4000 and not list(tmp_path.glob(".*"))
    again = json.loads(run(*options, "--resume")[1])
    assert again["loss"] == report["loss"] and again["resumed"].endswith("to the same bits as without the interruption")
