"""`bench` with a user's own shapes, data and rivals. What it measures is not looked at, only what it tells."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from command import assert_one_line

from fastsoftmax.cli import bench, commands
from fastsoftmax.datasets import make_problem

cases, machine, roofline, timing, races, peers = (
    importlib.import_module(f"{bench._harness()}.{name}")
    for name in ("harness.cases", "harness.machine", "harness.roofline", "harness.timing", "races", "peers")
)
OWN = """
import numpy as np
from fastsoftmax import reference

def prepare(X, y, theta, n_threads):
    def one_pass():
        return reference.value_and_grad(X.astype(float), y, theta.astype(float))
    return one_pass

def wrong(X, y, theta, n_threads):
    return lambda: (0.0, np.zeros_like(theta))

def first(X, y, l2, n_threads):
    return lambda tell: tell(np.zeros((X.shape[1] + 1, y.max() + 1)))

def descent(X, y, l2, n_threads):
    def solve(tell):
        theta = np.zeros((X.shape[1] + 1, y.max() + 1))
        for _ in range(200):
            tell(theta)
            theta = theta - reference.value_and_grad(X, y, theta, fit_intercept=True, l2=l2)[1]
    return solve
"""


@pytest.fixture
def timed(monkeypatch, tmp_path, capsys):
    """A function that runs the command in a folder with a module of rivals, at once, and returns what `run` does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_rivals.py").write_text(OWN)
    monkeypatch.setattr(machine, "busy", lambda *_, **__: "")
    monkeypatch.setattr(timing, "fix_threads", lambda threads: None)
    monkeypatch.setattr(timing, "PAUSE", 0.0)
    monkeypatch.setattr(timing, "WAKE_SECONDS", 0.0)
    roof = roofline.Roof({"float64": 9.0, "float32": 9.0}, 9.0, 1, "")
    monkeypatch.setattr(roofline, "measure", lambda *_, **__: roof)

    def call(*arguments):
        code = commands.run(["bench", "--quick", *map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def test_shapes_and_rivals_of_ones_own(timed):
    options = ["--case", "311x5x3:f32:F", "--peer", "own_rivals:prepare", "--peer", "own_rivals:wrong", "--json"]
    code, out, err = timed(*options)
    assert code == 0 and "311x5x3-f32-F (311 × 5, 3)" in err
    table = json.loads(out)
    (record,) = table["records"]
    assert (record["case"], record["order"], record["dtype"]) == ("311x5x3-f32-F", "F", "float32")
    own, wrong = (record["rivals"][f"own_rivals:{name}"] for name in ("prepare", "wrong"))
    assert own["ms"] > 0 and own["rounds"] >= 3 and own["error_in_tolerances"] <= 1
    assert "ms" not in wrong and wrong["missing"].startswith("wrong answer")
    assert "own_rivals:prepare" in timed(*options[:-1])[1]
    assert not [name for name in peers.PEERS if "own" in name]


def test_data_of_ones_own(timed, tmp_path):
    X, y, _ = make_problem(150, 4, 3)
    np.save(tmp_path / "d.npy", np.column_stack([X, 10 * y]))
    code, out, _ = timed("--data", "d.npy", "--target", "4", "--peer", "own_rivals:prepare", "--json")
    (record,) = json.loads(out)["records"]
    assert code == 0 and record["case"].startswith("d.npy-f64") and record["shape"] == "150 × 4, 3"
    assert record["rivals"]["own_rivals:prepare"]["error_in_tolerances"] <= 1


def test_a_race_of_solvers_with_a_rival_and_a_picture(timed, tmp_path, monkeypatch):
    monkeypatch.setattr(races, "OURS", ("auto", "lbfgs"))
    options = ["--solvers", "--case", "400x4x3:f64", "--l2", "0.01", "--peer", "own_rivals:descent"]
    code, out, _ = timed(*options, "--plot", "race.png", "--json")
    (record,) = json.loads(out)["records"]
    rivals = record["rivals"]
    assert code == 0 and (tmp_path / "race.png").stat().st_size > 1000 and record["l2"] == 0.01
    for name in ("auto", "lbfgs", "own_rivals:descent", "sklearn lbfgs", "SciPy L-BFGS-B, NumPy"):
        gaps = [gap for _, _, gap in rivals[name]["curve"]]
        assert gaps == sorted(gaps, reverse=True) and 0 <= gaps[-1] <= 1e-6 and rivals[name]["ms"] > 0
        assert list(rivals[name]["to"]) == ["1e-02", "1e-04", "1e-06"]
        seconds = [point[0] for point in rivals[name]["curve"]]
        assert seconds == sorted(seconds)
    assert "own_rivals:descent" in timed(*options)[1]


def test_a_solver_that_does_not_arrive_is_said(timed):
    code, out, _ = timed("--solvers", "--case", "400x4x3:f64", "--peer", "own_rivals:first", "--l2", "0.01")
    assert code == 0 and "own_rivals:first, 400x4x3-f64: came to a gap of" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--case", "5x5"], "no case '5x5'; known are 500k-f64, "),
        (["--case", "5x5x1"], "two classes or more"),
        (["--case", "5x5x3:f33"], "case '5x5x3:f33' is not ROWSxFEATURESxCLASSES"),
        (["--peer", "none_such:f"], "peer 'none_such:f': No module named 'none_such'"),
        (["--peer", "own_rivals:none"], "module own_rivals has no function none"),
        (["--peer", "own_rivals"], "peer 'own_rivals' is not module:function"),
        (["--data", "d.npy", "--case", "500k"], "--data and --case exclude each other"),
        (["--target", "y"], "--target names a column of --data"),
        (["--l2", "1"], "--l2 and --plot go with --solvers"),
        (["--data", "none.csv"], "none.csv"),
    ],
)
def test_mistakes_are_one_line(timed, options, words):
    code, out, err = timed(*options)
    assert_one_line((code, out, err), words)


def test_a_shape_is_read_and_written():
    case = cases.parse("1e6x54x7:F:f32")
    assert (case.m, case.n, case.k, case.dtype, case.order) == (1_000_000, 54, 7, "float32", "F")
    assert cases.parse("2.5e3x4x2").m == 2500 and cases.parse("500k") is None


def test_the_rivals_of_the_readme_take_part(timed, tmp_path):
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if "def prepare(" in block]
    (tmp_path / "my_rival.py").write_text(code)
    passes = json.loads(timed("--case", "311x5x3", "--peer", "my_rival:prepare", "--json")[1])
    assert passes["records"][0]["rivals"]["my_rival:prepare"]["error_in_tolerances"] <= 1
    options = ["--solvers", "--case", "300x4x3", "--l2", "0.1", "--peer", "my_rival:solver", "--json"]
    (record,) = json.loads(timed(*options)[1])["records"]
    assert record["rivals"]["my_rival:solver"]["gap"] <= 1e-6
