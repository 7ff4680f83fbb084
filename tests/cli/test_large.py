"""Commands on files that take more than the budget: the same models and predictions, read anew in each pass."""

import json
import re
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest
from problems import chunks_of, lettered_problem, names_of, write_parquet

import fastsoftmax
from fastsoftmax import Model
from fastsoftmax.cli import display, large
from fastsoftmax.data.files import ReadOptions

X, LABELS = lettered_problem(4000)
SMALL = ["--memory", "3MB", "--threads", "1"]


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(large.Room, "is_too_small_for", lambda *_: True)


def write(folder, kind):
    path = folder / f"data.{kind}"
    if kind == "parquet":
        return write_parquet(path, X, LABELS)
    if kind == "npy":
        np.save(path, np.column_stack([X, np.unique(LABELS, return_inverse=True)[1]]))
    if kind == "csv":
        rows = [",".join([*map(str, row), label]) for row, label in zip(X.tolist(), LABELS, strict=True)]
        path.write_text("\n".join([",".join([*names_of(X), "y"]), *rows]))
    if kind == "svm":
        codes = np.unique(LABELS, return_inverse=True)[1]
        rows = [f"{y} " + " ".join(f"{j + 1}:{x}" for j, x in enumerate(row)) for y, row in zip(codes, X, strict=True)]
        path.write_text("\n".join(rows))
    return path


@pytest.mark.parametrize("kind", ["parquet", "npy", "csv", "svm"])
def test_a_model_is_trained_and_predicts(run, tmp_path, kind):
    path, model = write(tmp_path, kind), tmp_path / "m.npz"
    code, out, err = run("train", path, "--out", model, "--json", "--test-fraction", "0.25", *SMALL)
    assert code == 0, err
    report = json.loads(out)
    assert report["rows"]["train"] + report["rows"]["test"] == 4000 and 900 < report["rows"]["test"] < 1100
    assert report["converged"] and report["test"]["accuracy"] > report["test"]["largest_class"] + 0.1
    assert np.sum(report["test"]["confusion"]) == report["rows"]["test"]
    assert "read anew in each pass" in report["notes"][-1]
    for suffix in (".parquet", ".csv", ".npy"):
        code, out, err = run("predict", model, path, "--out", tmp_path / f"p{suffix}", *SMALL)
        assert code == 0 and out.endswith(f"4000 predictions written to {tmp_path / f'p{suffix}'}\n"), err
    right = Model.load(model).predict(X)
    np.testing.assert_array_equal(pyarrow.parquet.read_table(tmp_path / "p.parquet")["prediction"].to_numpy(), right)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), right)
    assert (tmp_path / "p.csv").read_text().replace('"', "").split()[1:] == right.astype(str).tolist()
    assert not [file.name for file in tmp_path.iterdir() if file.name.endswith(".part")]


def test_no_rows_need_be_held_out(run, tmp_path):
    code, out, _ = run("train", write(tmp_path, "parquet"), "--target", "y", "--test-fraction", "0", *SMALL)
    assert code == 0 and "No rows were held out" in out and "4,000 rows to train on, 0 held out" in out


def test_probabilities_and_the_best_classes(run, tmp_path):
    path, model = write(tmp_path, "parquet"), tmp_path / "m.npz"
    run("train", path, "--out", model, *SMALL)
    assert run("predict", model, path, "--proba", "--out", tmp_path / "p.npy", *SMALL)[0] == 0
    proba = Model.load(model).predict_proba(X)
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), proba, rtol=1e-5)
    assert run("predict", model, path, "--top", "2", "--out", tmp_path / "p.parquet", *SMALL)[0] == 0
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    assert table.column_names == ["top_1", "p_1", "top_2", "p_2"]
    np.testing.assert_allclose(table["p_1"].to_numpy(), proba.max(axis=1), rtol=1e-5)


def test_scan_says_what_is_in_a_file(run, tmp_path):
    path = write(tmp_path, "parquet")
    code, out, _ = run("scan", path, "--target", "y", "--json", "--no-keep")
    report = json.loads(out)
    assert report["out"] is None and [file.name for file in tmp_path.iterdir()] == ["data.parquet"]
    assert (code, report["rows"], report["features"], report["dtype"]) == (0, 4000, 5, "float32")
    assert report["classes"] == {label: int(np.sum(LABELS == label)) for label in "abc"}
    code, out, _ = run("scan", path, "--target", "y")
    assert code == 0 and "data.parquet: 4,000 rows, 5 features, float32" in out
    assert run("scan", path, "--target", "z")[0] == 2
    assert out.endswith(f"kept in {path}.scan.json\n")
    report = json.loads(run("train", path, "--target", "y", "--json", *SMALL)[1])
    assert "the first pass is that of data.parquet.scan.json" in report["notes"]
    assert run("scan", path, "--target", "y", "--out", tmp_path / "here")[1].endswith(
        f"kept in {tmp_path / 'here.json'}\n"
    )


def test_a_cache_is_said_and_gone(run, tmp_path):
    (tmp_path / "cache").mkdir()
    path = write(tmp_path, "parquet")
    code, out, _ = run("train", path, "--cache", tmp_path / "cache", *SMALL)
    assert code == 0 and f"note: decoded once into {tmp_path / 'cache'}" in out
    assert not list((tmp_path / "cache").iterdir())


def test_what_is_large(tmp_path, monkeypatch):
    monkeypatch.undo()
    path = write(tmp_path, "parquet")
    for memory, cache, wanted in [("512MB", None, False), ("50kB", None, True), ("512MB", "folder", True)]:
        assert large.Room(memory, cache).is_too_small_for(str(path), ReadOptions()) == wanted


# A program that stops in the middle of a pass, so that a signal finds it there.
STUCK = """
import sys, time
from fastsoftmax.cli import large
from fastsoftmax.data.sources.streamed import StreamedSource

large.Room.is_too_small_for = lambda *_: True
chunks = StreamedSource.chunks

def stuck(self, rows):
    for part in chunks(self, min(rows, 1000)):
        yield part
        if part.start >= 2000:
            print("here", flush=True)
            time.sleep(600)

StreamedSource.chunks = stuck
from fastsoftmax.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("command", ["train", "predict"])
def test_a_signal_in_a_pass_leaves_nothing_under_the_final_name(tmp_path, command, number):
    path, out = write(tmp_path, "parquet"), tmp_path / "p.parquet"
    model = Model(np.ones((5, 3)), classes=["a", "b", "c"], feature_names=names_of(X))
    model.save(tmp_path / "m.npz")
    what = [tmp_path / "m.npz", path] if command == "predict" else [path]
    out = out if command == "predict" else tmp_path / "new.npz"
    arguments = [sys.executable, "-c", STUCK, command, *what, "--out", out, *SMALL]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(list(map(str, arguments)), **pipes) as process:
        first = process.stdout.readline()
        process.send_signal(signal.SIGKILL if first != "here\n" else number)
        _, told = process.communicate(timeout=60)
    assert first == "here\n", told
    assert process.returncode != 0 and not out.exists()
    if number == signal.SIGINT:
        assert not [file.name for file in tmp_path.iterdir() if file.name.endswith(".part")]


def test_a_bar_shows_the_rows_of_a_pass(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(display.Progress, "update", lambda self, task, **fields: shown.append(fields))
    data = fastsoftmax.scan(write(tmp_path, "parquet"), "y")
    with display.reading(data):
        assert data.classes.tolist() == ["a", "b", "c"]
    assert shown[-1]["completed"] == shown[-1]["total"] == 4000
    with display.progress(1e-6, 10, data):
        fastsoftmax.Objective(data).gram()
    assert re.fullmatch(r"4,000 of 4,000 rows  \d+\.\d\d GB/s  0 s left", shown[-1]["description"])
    unknown = fastsoftmax.scan(chunks_of(X, LABELS))
    with display.reading(unknown):
        assert unknown.shape == X.shape
    assert shown[-1]["total"] is None and shown[-1]["description"].startswith("4,000 rows")
