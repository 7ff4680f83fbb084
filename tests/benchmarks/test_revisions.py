"""Two revisions against each other: here this one against itself. No test looks at how long anything takes."""

import importlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax
from fastsoftmax.cli import bench

revisions, cases, revision_build = (
    importlib.import_module(f"{bench._harness()}.{name}")
    for name in ("revisions", "harness.cases", "harness.revision_build")
)
HERE = str(Path(fastsoftmax.__file__).parents[1])
CASE = cases.CASES["quick-tall-f32"]
SMALL = "quick-tall-f32,hess_prod:quick-sparse-f64,predict:quick-tall-f32"
SMOKE = ["--prebuilt", HERE, HERE, "--backends", "numpy", "--rounds", "2", "--pause", "0", "--threads", "1"]


@pytest.fixture(autouse=True)
def nobody_is_waited_for(monkeypatch):
    monkeypatch.setattr(revisions.machine, "busy", lambda patience: "")


def record(ratio, name="500k-f64", backend="cython"):
    times = {"base_ms": 10.0, "head_ms": 10.0 * ratio, "ratio": ratio, "quartiles": [ratio, ratio]}
    return {"pass": name, "backend": backend, "shape": "", **times}


# ---------------------------------------------------------------------------------------- whole runs


@pytest.mark.parametrize(("limit", "slower"), [("1e9", False), ("-100", True)])
def test_a_run_on_itself(limit, slower, tmp_path, capsys):
    """With so high a limit nothing is slower, and with so low a one all is, both times."""
    file = tmp_path / "out.json"
    assert revisions.main([*SMOKE, "--cases", SMALL, "--limit", limit, "--json", str(file)]) == slower
    saved, out = json.loads(file.read_text()), capsys.readouterr().out
    names = ["quick-tall-f32", "predict:quick-tall-f32", "hess_prod:quick-sparse-f64"]
    assert [r["pass"] for r in saved["passes"]] == names
    assert [r["pass"] for r in saved["again"]] == (names if slower else [])
    assert saved["slower"] == saved["again"]
    for r in saved["passes"] + saved["again"]:
        assert "problem" not in r and r["backend"] == "numpy"
        assert r["rounds"] == len(r["ratios"]) == (2 if r in saved["passes"] else 6)
        assert min(r["base_ms"], r["head_ms"], r["ratio"]) > 0 and r["quartiles"] == sorted(r["quartiles"])
    assert (saved["threads"], saved["limit"]) == (1, float(limit))
    assert [line.split()[0] for line in out.splitlines() if line.startswith(tuple(names))][:3] == names
    assert ("nothing is slower" in out) is not slower and ("measured again in 6 rounds" in out) is slower


def test_the_gradient_with_respect_to_X_is_a_pass_too(monkeypatch):
    worker = importlib.import_module(f"{bench._harness()}.harness.revision_worker")
    case = cases.Case("tiny", 501, 5, 3, "float64", dx=True)
    problem = cases.make_problem(case)
    answer = worker.make_call(problem, "value_and_grad", "numpy", 1)()
    assert answer.dX.shape == (501, 5)
    plain = fastsoftmax.Objective(problem.X, problem.y, 3, backend="numpy").value_and_grad(problem.theta)
    wanted = worker.digest("value_and_grad", plain, problem.theta)
    assert worker.digest("value_and_grad", answer, problem.theta) == wanted


def test_what_cannot_be_compared_ends_with_2_and_says_why(tmp_path, capsys):
    (tmp_path / "fastsoftmax.py").write_text("raise ImportError('no kernels')")
    assert revisions.main(["--prebuilt", str(tmp_path), HERE]) == 2
    assert "no kernels" in capsys.readouterr().err
    assert revisions.main([*SMOKE, "--backends", "none"]) == 2
    assert "no backend loads in both revisions" in capsys.readouterr().err
    assert revisions.main(["HEAD", "--cases", "nowhere"]) == 2
    assert "no case 'nowhere'; known are 500k-f64, " in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        revisions.main([])


def test_a_folder_without_the_package_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE)
    with revisions.Worker(tmp_path, 1) as worker, pytest.raises(revisions.RevisionError, match="holds no fastsoftmax"):
        worker.backends()


def test_a_process_that_dies_is_named(tmp_path):
    (tmp_path / "fastsoftmax.py").write_text("import os\nos._exit(3)")
    with (
        revisions.Worker(tmp_path, 1) as worker,
        pytest.raises(revisions.RevisionError, match=f"{tmp_path} died, exit status 3"),
    ):
        worker.backends()


# ------------------------------------------------------------------------------------- their parts


def test_passes_over_a_case_come_together():
    found = revisions.select_passes(["500k", "predict:500k-f64", "500k-f64", "20k-f32"], ["cython", "numba"])
    names = ["500k-f64", "predict:500k-f64", "500k-f32", "20k-f32"]
    assert [p.name for p in found[::2]] == names
    assert [p.backend for p in found] == 4 * ["cython", "numba"]


@pytest.mark.parametrize("group", ["ALL", "QUICK"])
def test_what_runs_by_default_exists(group):
    names = [p.name for p in revisions.select_passes(getattr(revisions, group), ["cython"])]
    assert len(names) == len(set(names)) > 10


def test_an_unknown_operation_lists_the_known():
    with pytest.raises(ValueError, match="no operation 'gram'; known are value_and_grad, hess_prod, predict"):
        revisions.select_passes(["gram:500k"], ["cython"])


def test_ratios_are_taken_round_by_round():
    found = revisions.statistics([10.0, 20.0, 40.0], [11.0, 20.0, 60.0])
    assert (found["base_ms"], found["head_ms"], found["rounds"]) == (20.0, 20.0, 3)
    np.testing.assert_allclose([found["ratio"], *found["quartiles"]], [1.1, 1.05, 1.3])


def test_answers_may_differ_by_rounding_alone():
    eps = float(np.finfo("float32").eps)
    assert revisions.difference(CASE, {"answer": [1.0, 0.1]}, {"answer": [1.0 + eps, 0.1]}) == ""
    assert "another answer in HEAD" in revisions.difference(CASE, {"answer": [1.0]}, {"answer": [1.01]})
    assert "another answer in HEAD" in revisions.difference(CASE, {"answer": [1.0]}, {"answer": [float("nan")]})
    assert revisions.difference(CASE, {"error": "no"}, {"answer": [1.0]}) == "fails in BASE: no"
    assert revisions.difference(CASE, {"answer": [1.0]}, {"error": "no"}) == "fails in HEAD: no"


@pytest.mark.parametrize(("ratio", "slower"), [(1.02, False), (1.04, True)])
def test_slower_is_what_takes_longer_by_more_than_the_limit(ratio, slower):
    assert revisions.is_slower(record(ratio), 3.0) is slower
    assert not revisions.is_slower({"problem": "fails in HEAD: no"}, 3.0)


def test_only_what_seems_slower_is_measured_again(monkeypatch):
    passes = revisions.select_passes(["500k"], ["cython", "numba"])
    seen = []
    monkeypatch.setattr(revisions, "measure", lambda folders, passes, effort: seen.append((passes, effort)) or ["new"])
    records = [record(1.1, backend="numba"), record(1.0), record(1.01, "500k-f32")]
    assert revisions.measure_again([], passes, records, revisions.Effort(5, 0.0, 2), 3.0) == ["new"]
    assert seen == [([passes[1]], revisions.Effort(15, 0.0, 2))]
    assert revisions.measure_again([], passes, records[1:], revisions.Effort(5, 0.0, 2), 3.0) == []


def test_the_summary_ends_with_what_is_slower():
    records = [record(1.5), record(1.1, "60k-f64"), record(1.0, backend="numba")]
    text = revisions.summary(records, [record(1.05)], 3.0)
    last = text[text.index("slower by more than 3 %, twice:") :]
    assert "500k-f64" in last and "1.050" in last and "60k-f64" not in last
    assert "numba: HEAD / BASE is 1.000 in the geometric mean of 1 passes" in text
    assert revisions.summary(records, [], 3.0).endswith("nothing is slower by more than 3 %")
    broken = {"pass": "wide-f32", "backend": "numba", "problem": "fails in HEAD: no"}
    assert "fails in HEAD: no" in revisions.summary([*records, broken], [], 3.0)


# ------------------------------------------------------------------------------ revisions of a repository

SETUP = "import pathlib\nprint('compiling')\npathlib.Path('{name}').touch()\n"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two commits: the setup.py of "old" makes a file, that of "HEAD" fails after it."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]

    def commit(text, tag):
        (folder / "setup.py").write_text(text)
        for arguments in (["add", "."], [*who, "commit", "-q", "-m", "Setup"], ["tag", tag]):
            subprocess.run(["git", *arguments], check=True)

    subprocess.run(["git", "init", "-q"], check=True)
    commit(SETUP.format(name="old.so"), "old")
    commit(SETUP.format(name="new.so") + "raise SystemExit('no compiler')\n", "new")
    return folder


def test_revisions_are_built_apart(repository, tmp_path, capsys):
    one, other = revisions.built(["old", "old"], tmp_path / "builds", ("a", "b"))
    assert one != other and all((folder / "old.so").exists() for folder in (one, other))
    assert not (repository / "old.so").exists()
    assert (tmp_path / "builds" / "a.log").read_text() == "compiling\n"
    assert revision_build.commit_of("old") != revision_build.commit_of("HEAD")


def test_a_build_that_fails_shows_the_end_of_its_log(repository, tmp_path):
    with pytest.raises(revisions.RevisionError, match="failed in .*new.*\ncompiling\nno compiler$"):
        revisions.built(["new", "new"], tmp_path, ("new", "newer"))


def test_an_unknown_revision_is_told_by_git(repository, capsys):
    assert revisions.main(["nowhere"]) == 2
    assert "git rev-parse: fatal: Needed a single revision" in capsys.readouterr().err
