"""``fastsoftmax probe``: what it prints and writes, and what it says about bad input."""

import json

import numpy as np
import pytest
from command import assert_one_line

from fastsoftmax import LinearProbe, Model, datasets


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    X, y, _ = datasets.load_sample("iris")
    folder = tmp_path_factory.mktemp("features")
    np.save(folder / "X.npy", X.astype("f2"))
    np.save(folder / "y.npy", y)
    (folder / "parts").mkdir()
    for i, part in enumerate(np.split(X.astype("f2"), 3)):
        np.save(folder / "parts" / f"{i}.npy", part)
    return folder


def test_the_table_the_model_and_the_picture(run, files, tmp_path):
    out, plot = tmp_path / "m.npz", tmp_path / "sweep.svg"
    code, shown, err = run("probe", files / "X.npy", files / "y.npy", "--grid", 4, "--out", out, "--plot", plot)
    assert code == 0 and err == "" and shown.count("\n") == 8 and "chosen: C = " in shown
    X = np.load(files / "X.npy")
    probe = LinearProbe(grid=4).fit(X, np.load(files / "y.npy"))
    np.testing.assert_allclose(Model.load(out).theta, probe.model_.theta)
    assert plot.read_text().startswith("<?xml")


def test_json_of_parts_with_a_validation_set(run, files):
    X, y = files / "X.npy", files / "y.npy"
    options = ["--C", 1, "--C", 10, "--json", "--scoring", "mean-per-class", "--rule", "one-se", "--normalize"]
    code, shown, err = run("probe", files / "parts", y, "--val", X, y, *options)
    report = json.loads(shown)
    assert code == 0 and err == "" and shown.count("\n") == 1
    assert [value["C"] for value in report["values"]] == [1.0, 10.0] and report["rule"] == "one_se"
    assert (
        report["held_out"] == report["fitted"] == 150 and report["normalize"] and report["scoring"] == "mean_per_class"
    )


def test_a_sweep_goes_on_from_its_folder(run, files, tmp_path):
    command = ["probe", files / "X.npy", files / "y.npy", "--l2", 0.1, "--json", "--checkpoint", tmp_path / "c"]
    first, second = (json.loads(run(*command)[1]) for _ in range(2))
    assert first["values"] == second["values"] and (tmp_path / "c" / "value-000.npz").exists()


def test_bad_input_is_one_line(run, files, tmp_path):
    X, y = files / "X.npy", files / "y.npy"
    for arguments, text in (
        ([X, y, "--grid", "dino"], "grid must be one of 'dinov2', 'clip'"),
        ([X, files / "none.npy"], "none.npy: No such file"),
        ([files / "parts" / "0.npy", y], "X has 50 rows, and y 150 labels"),
        ([X, y, "--l2", 0], "l2s must be finite and above 0; got 0"),
        ([X, y, "--val", X, y, "--folds", 3], "--val and --folds exclude each other"),
        ([X, y, "--out", tmp_path / "m.txt"], "a model is a .safetensors or .npz file"),
    ):
        assert_one_line(run("probe", *arguments), text)
