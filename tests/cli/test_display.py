"""What the terminal shows: progress, the report of a fit, a table of timings."""

import json

import numpy as np
import pytest
from command import FAST, subprocess_run

from fastsoftmax import datasets
from fastsoftmax.cli import display
from fastsoftmax.cli.bench import BenchTable
from fastsoftmax.probe.sweep import Value
from fastsoftmax.probe.validation import Measure
from fastsoftmax.solvers.result import Step


def test_without_data_it_trains_on_the_digits_and_says_everything(run):
    code, out, err = run("train", *FAST)
    assert code == 0 and err == ""
    for words in (
        "scikit-learn's digits, target 'digit': 1,797 rows, 64 features, 10 classes",
        "1,438 rows to train on, 359 held out",
        "numpy (NumPy's own)",
        "passes over the data",
        "lbfgs converged",
        "accuracy    0.9",
        "log loss    0.",
        "confusion matrix",
    ):
        assert words in out


def test_nothing_held_out_is_said(run, iris):
    code, out, _ = run("train", iris, "--test-fraction", 0, *FAST)
    assert code == 0 and "150 rows to train on, 0 held out" in out
    assert "No rows were held out" in out and "confusion" not in out
    assert json.loads(run("train", iris, "--test-fraction", 0, "--json", *FAST)[1])["test"] is None


def test_the_progress_bar_shows_all_of_a_step_and_only_moves_forward(monkeypatch):
    seen = []
    monkeypatch.setattr(display.Progress, "update", lambda self, task, **fields: seen.append(fields))
    with display.progress(tol=1e-4, max_iter=100) as callback:
        for i, norm in enumerate([1.0, 1e-2, 1e-1, 0.0, 1e-5]):
            callback(Step(i, 2.5 - i, norm, i + 1, 0.25 * i))
    assert [fields["completed"] for fields in seen] == pytest.approx([0, 0.5, 0.5, 0.5, 1])
    assert seen[1]["description"] == "step 1  loss 1.500000  gradient 1.0e-02  2 passes  0.25 s"
    with display.progress(tol=1e-4, max_iter=100) as callback:
        for i, (norm, bound) in enumerate([(1.0, 10.0), (0.1, 1e-1), (0.01, 1.0), (0.01, 1e-4)]):
            callback(Step(i, 2.5, norm, i + 1, 0.0, bound))
    assert [fields["completed"] for fields in seen[5:]] == pytest.approx([0, 0.4, 0.5, 1])
    assert "gradient 1.0e-01  gap 1e-01  2 passes" in seen[6]["description"]


def test_the_bar_of_a_sweep_counts_values(monkeypatch):
    seen = []
    monkeypatch.setattr(display.Progress, "update", lambda self, task, **fields: seen.append(fields))
    with display.sweep_progress() as callback:
        for l2, metrics in ((0.1, {"log_loss": Measure(0.25, 0.01)}), (0.01, None)):
            callback(7, Value(l2, 1.0, metrics, None if metrics else 0.5, 2, 3, 0.1, bool(metrics), "", np.zeros(1)))
    assert [fields["total"] for fields in seen] == [7, 7] and all(fields["advance"] == 1 for fields in seen)
    assert [fields["description"] for fields in seen] == ["l2 0.1: log loss 0.2500", "l2 0.01: ended early"]


def test_many_classes_show_the_most_frequent_mistakes(run, tmp_path):
    path = tmp_path / "d.npz"
    X, y, _ = datasets.make_problem(2000, 3, 60)
    np.savez(path, X=X, y=y)
    code, out, _ = run("train", path, *FAST)
    assert code == 0 and "most frequent mistakes" in out and "confusion matrix" not in out


def test_names_and_numbers_in_a_table_of_timings_are_not_cut_off(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    row = ("16k-classes-f32-dX", "2,048 × 512, 16,000", "PyTorch fused", "1.01e+03", "128.56", "15.33")
    display.show_bench(BenchTable(title="two threads", rows=[row]))
    shown = capsys.readouterr().out
    assert all(cell in shown for cell in (row[0], *row[2:]))


def test_json_needs_no_display(tmp_path):
    shown = subprocess_run("sys.modules['rich'] = None", "train", "--json", *FAST)
    assert shown.returncode == 0 and json.loads(shown.stdout)["converged"]
