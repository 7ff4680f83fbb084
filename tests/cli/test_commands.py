"""The command as its user meets it: what it prints, writes, and says about bad input."""

import json
import signal

import child
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner
from command import FAST, assert_one_line, subprocess_run

import fastsoftmax
from fastsoftmax import Model, Objective, datasets, reference
from fastsoftmax.cli import commands


@pytest.fixture(scope="module")
def model(iris, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "iris.npz"
    assert commands.run(["train", str(iris), "--json", "--out", str(path), *FAST]) == 0
    return path


# ------------------------------------------------------------------------------------------- train


def test_json_is_one_object_and_its_numbers_are_those_of_the_model(run, iris, tmp_path):
    out_file = tmp_path / "m.safetensors"
    code, out, err = run("train", iris, "--json", "--out", out_file, "--l2", 0.01, "--seed", 3, "--threads", 1, *FAST)
    report = json.loads(out)
    assert code == 0 and err == "" and out.count("\n") == 1
    assert report["rows"] == {"train": 120, "test": 30} and report["features"] == 4
    assert report["classes"] == ["setosa", "versicolor", "virginica"] and report["target"] == "species"
    assert report["backend"] == "numpy" and report["threads"] == 1 and report["solver"] == "newton"
    assert report["converged"] and min(report["grad_norm"], report["gap_bound"]) <= 1e-2

    X, y, names = datasets.load_sample("iris")
    classes, codes = np.unique(y, return_inverse=True)
    train, test = datasets.split_rows(codes, 0.2, seed=3)
    fitted = Model.load(out_file)
    assert fitted.feature_names == tuple(names)
    theta = np.vstack([fitted.theta, fitted.bias])
    value = reference.value_and_grad(X[train], codes[train], theta, fit_intercept=True, l2=0.01)[0]
    assert report["loss"] == pytest.approx(value)
    log_loss = reference.value_and_grad(X[test], codes[test], theta, fit_intercept=True)[0]
    assert report["test"]["log_loss"] == pytest.approx(log_loss)
    confusion = np.array(report["test"]["confusion"])
    np.testing.assert_array_equal(confusion.sum(axis=1), np.bincount(codes[test]))
    right = np.mean(fitted.predict(X[test], backend="numpy") == y[test])
    assert report["test"]["accuracy"] == right == np.trace(confusion) / confusion.sum()
    assert report["test"]["largest_class"] == pytest.approx(1 / 3)


def test_the_seed_decides_the_result(run, iris):
    def loss(seed):
        return json.loads(run("train", iris, "--json", "--seed", seed, *FAST)[1])["loss"]

    assert loss(1) == loss(1) != loss(2)


def test_a_class_of_one_row_is_trained_on(run, tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("a,y\n" + "".join(f"{i},{'rare' if i == 7 else i % 2}\n" for i in range(40)))
    report = json.loads(run("train", path, "--json", *FAST)[1])
    assert report["classes"] == ["0", "1", "rare"] and report["rows"] == {"train": 32, "test": 8}
    assert sum(report["test"]["confusion"][2]) == 0


def test_the_target_by_name_and_by_number(run, tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("a,kind,b\n" + "".join(f"{i % 7},{i % 2},{i % 5}\n" for i in range(40)))
    for target in ("kind", "1", "-2"):
        report = json.loads(run("train", path, "--target", target, "--json", *FAST)[1])
        assert report["target"] == "kind" and report["features"] == 2


def test_each_backend_runs_when_asked_for(run, iris, backend):
    report = json.loads(run("train", iris, "--json", "--backend", backend, "--tol", 1e-3)[1])
    assert report["backend"] == backend and report["converged"]
    assert report["isa"] == fastsoftmax.backends()[backend]["isa"]


def test_a_precision_that_is_not_faster_here_changes_nothing(run, iris):
    reports = [json.loads(run("train", iris, "--json", "--precision", p)[1]) for p in ("exact", "bfloat16")]
    assert reports[0]["loss"] == reports[1]["loss"] and reports[1]["converged"]


def test_each_solver_runs_when_asked_for_and_the_end_is_told(run, iris):
    for solver in fastsoftmax.solvers.SOLVERS:
        code, out, _ = run("train", iris, "--solver", solver, "--max-iter", 2, "--backend", "numpy")
        assert code == 0 and f"{solver} stopped at max_iter = 2" in out


@pytest.mark.parametrize(("given", "written"), [("m", "m.npz"), ("m.npz", "m.npz"), ("m.safetensors", "m.safetensors")])
def test_a_model_is_written_and_found_again(run, iris, tmp_path, given, written):
    code, out, _ = run("train", iris, "--out", tmp_path / given, *FAST)
    assert code == 0 and f"model written to {tmp_path / written}" in out
    code, out, _ = run("predict", tmp_path / given, iris, "--out", tmp_path / "p.csv")
    assert code == 0 and "150 predictions written" in out


# ----------------------------------------------------------------------------------------- predict


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_predictions_are_those_of_the_model(run, iris, model, tmp_path, suffix):
    path = tmp_path / f"p.{suffix}"
    X, _, _ = datasets.load_sample("iris")
    fitted = Model.load(model)

    def predict(*options):
        code, out, err = run("predict", model, iris, "--out", path, "--backend", "numpy", *options)
        assert (code, err) == (0, "") and out == f"150 predictions written to {path}\n"
        return pyarrow.csv.read_csv(path) if suffix == "csv" else pyarrow.parquet.read_table(path)

    labels, Z = fitted.predict(X, backend="numpy"), fitted.predict_proba(X, backend="numpy")
    assert predict().to_pydict() == {"prediction": labels.tolist()}
    table = predict("--proba")
    assert table.column_names == ["prediction", "p(setosa)", "p(versicolor)", "p(virginica)"]
    assert table["prediction"].to_pylist() == labels.tolist()
    for c, name in enumerate(table.column_names[1:]):
        np.testing.assert_array_equal(table[name].to_numpy(), Z[:, c])
    table = predict("--top", 2)
    assert table.column_names == ["top_1", "p_1", "top_2", "p_2"]
    assert table["top_1"].to_pylist() == labels.tolist()
    np.testing.assert_array_equal(table["p_2"].to_numpy(), np.sort(Z, axis=1)[:, -2])


@pytest.fixture
def svmlight(tmp_path):
    """Words of 3,000 rows in 200,000 columns: 4.8 GB as a dense array."""
    rng = np.random.default_rng(0)
    path = tmp_path / "words.svm"
    with path.open("w") as file:
        for y in rng.integers(3, size=3000):
            words = np.unique(np.append(rng.integers(1, 200_000, 5), [1 + y, 200_000]))
            file.write(f"{y} " + " ".join(f"{j}:1" for j in words) + "\n")
    return path


def test_svmlight_is_trained_on_and_predicted_without_being_dense(run, svmlight, tmp_path):
    model = tmp_path / "words.npz"
    code, out, err = run("train", svmlight, "--json", "--out", model, *FAST)
    report = json.loads(out)
    assert code == 0 and report["features"] == 200_000 and report["test"]["accuracy"] > 0.9, err
    code, out, err = run("predict", model, svmlight, "--out", tmp_path / "p.npy", "--backend", "numpy")
    assert code == 0 and "3000 predictions" in out, err
    labels = np.array([int(line[0]) for line in svmlight.read_text().splitlines()])
    assert np.mean(np.load(tmp_path / "p.npy") == labels) > 0.9
    code, out, err = run("predict", model, svmlight, "--top", 2, "--out", tmp_path / "p.csv", "--backend", "numpy")
    assert code == 0, err


def test_arrays_of_labels_or_probabilities(run, iris, model, tmp_path):
    path = tmp_path / "p.npy"
    assert run("predict", model, iris, "--out", path)[0] == 0
    assert set(np.load(path)) == {"setosa", "versicolor", "virginica"}
    assert run("predict", model, iris, "--out", path, "--proba")[0] == 0
    np.testing.assert_allclose(np.load(path).sum(axis=1), 1, rtol=0, atol=4 * np.finfo(float).eps)
    assert_one_line(run("predict", model, iris, "--out", path, "--top", 2), "labels beside numbers")


def test_a_model_is_exported(run, iris, model, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    code, out, _ = run("export", model, tmp_path / "model")
    assert (code, out) == (0, f"4 features, 3 classes written to {tmp_path / 'model.onnx'}\n")
    X, _, _ = datasets.load_sample("iris")
    label, proba = runtime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"X": X})
    fitted = Model.load(model)
    assert label.tolist() == fitted.predict(X).tolist()
    np.testing.assert_allclose(proba, fitted.predict_proba(X), rtol=0, atol=1e-12)


def test_a_model_is_exported_to_onnx_alone(run, model, tmp_path):
    assert_one_line(run("export", model, tmp_path / "model.pt"), "model.pt: an ONNX model is a .onnx file")
    assert_one_line(run("export", tmp_path / "none.npz", tmp_path / "m.onnx"), "none.npz")
    assert not (tmp_path / "m.onnx").exists()


def test_version_and_help(run):
    assert run("--version") == (0, f"fastsoftmax {fastsoftmax.__version__}\n", "")
    assert "train" in run()[1]
    for command in ("train", "predict", "export", "info"):
        assert CliRunner().invoke(commands.cli, [command, "-h"]).exit_code == 0


# --------------------------------------------------------------------------------------- bad input

BAD_OPTIONS = {
    "backend": (["--backend", "fortran"], ["backend", "'cython'", "'fortran'"]),
    "solver": (["--solver", "magic"], ["solver", "'lbfgs'", "'magic'"]),
    "threads": (["--threads", "0"], ["--threads", "0", "x>=1"]),
    "text for a number": (["--threads", "two"], ["--threads", "'two'"]),
    "fraction": (["--test-fraction", "1"], ["--test-fraction", "0<=x<1"]),
    "negative l2": (["--l2", "-1"], ["--l2", "-1"]),
    "l2": (["--l2", "nan"], ["l2", "nan"]),
    "tol": (["--tol", "0"], ["--tol", "x>0"]),
    "max-iter": (["--max-iter", "0"], ["--max-iter"]),
    "precision": (["--precision", "float8"], ["--precision", "'float8'", "'bfloat16'"]),
    "unknown option": (["--speed", "9"], ["--speed", "train --help"]),
    "target": (["--target", "colour"], ["'colour'", "species"]),
    "model type": (["--out", "m.pkl"], ["m.pkl", ".safetensors or .npz"]),
    "model directory": (["--out", "no/such/m.npz"], ["no directory"]),
    "model folder": (["--out", "."], [".: a model is a .safetensors or .npz file"]),
    "plot type": (["--plot", "p.gif"], ["p.gif", ".png"]),
}


@pytest.mark.parametrize("what", BAD_OPTIONS)
def test_bad_options_of_train_are_one_line(run, iris, what):
    options, words = BAD_OPTIONS[what]
    assert_one_line(run("train", iris, *options), *words)


def test_bad_data_is_one_line(run, tmp_path):
    path = tmp_path / "d.csv"
    for text, words in {
        "": ["d.csv is empty"],
        "a,y\n1,2\nx,3\n": ["d.csv", "line 3", "'a'", "'x'"],
        "a,y\n1,2\n3,2\n": ["d.csv", "'y'", "one class only (2)"],
    }.items():
        path.write_text(text)
        assert_one_line(run("train", path), *words)
    assert_one_line(run("train", tmp_path / "none.csv"), "none.csv", "No such file")
    assert_one_line(run("train", tmp_path / "d.exe"), "unknown type", ".csv")
    assert_one_line(run("train", "--target", "y"), "--target", "digits")
    assert_one_line(run("sing"), "No such command 'sing'")


def test_bad_predictions_are_one_line(run, iris, model, tmp_path):
    out = tmp_path / "p.csv"
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(model.read_bytes()[:-100])
    narrow = tmp_path / "narrow.csv"
    narrow.write_text("sepal length (cm),x\n1,2\n")
    assert_one_line(run("predict", damaged, iris, "--out", out), "damaged.npz")
    assert_one_line(run("predict", tmp_path / "none.npz", iris, "--out", out), "none.npz", "No such file")
    assert_one_line(run("predict", iris, iris, "--out", out), "iris.csv", ".npz")
    assert_one_line(run("predict", model, narrow, "--out", out), "3 of the model's 4", "petal width (cm)", "it has")
    assert_one_line(run("predict", model, iris, "--out", tmp_path / "p.xls"), "'.xls'")
    assert_one_line(run("predict", model, iris, "--out", tmp_path / "no" / "p.csv"), "no directory")
    assert_one_line(run("predict", model, iris), "--out")
    assert_one_line(run("predict", model, iris, "--out", out, "--top", 4), "3 classes")
    assert_one_line(run("predict", model, iris, "--out", out, "--top", 1, "--proba"), "exclude each other")
    assert not out.exists()


def test_a_mistake_of_the_program_is_not_hidden(run, iris, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(Objective, "value_and_grad", broken)
    with pytest.raises(ZeroDivisionError):
        run("train", iris)


# ------------------------------------------------------------------------------ in its own process


def test_python_m_runs_the_command():
    shown = child.python("-m", "fastsoftmax", "--version")
    assert (shown.returncode, shown.stdout) == (0, f"fastsoftmax {fastsoftmax.__version__}\n")


def test_ctrl_c_ends_with_130_and_a_sentence(tmp_path):
    interrupt = f"""
import os, signal
from fastsoftmax import solvers
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
minimize = solvers.minimize
def interrupted(obj, callback=None, **settings):
    def third(step):
        if step.iteration == 3:
            os.kill(os.getpid(), {int(signal.SIGINT)})
    return minimize(obj, callback=third, **settings)
solvers.minimize = interrupted
"""
    model = tmp_path / "m.npz"
    shown = subprocess_run(interrupt, "train", "--backend", "numpy", "--out", model)
    assert (shown.returncode, shown.stdout) == (130, "")
    # click ends the line of the terminal's ^C first.
    assert shown.stderr.strip() == "fastsoftmax: interrupted by Ctrl-C" and not model.exists()


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("click", ["--version"]),
        ("rich", ["train"]),
        ("rich", ["info"]),
        ("matplotlib", ["train", "--plot", "p.png"]),
        ("pyarrow", ["train", "d.csv"]),
        ("safetensors", ["train", "--out", "m.safetensors"]),
        ("sklearn", ["train"]),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(module, arguments, tmp_path):
    (tmp_path / "d.csv").write_text("a,y\n1,2\n2,3\n")
    block = f"import os; sys.modules['{module}'] = None; os.chdir({str(tmp_path)!r})"
    shown = subprocess_run(block, *arguments)
    assert_one_line((shown.returncode, shown.stdout, shown.stderr), module, "pip install 'fastsoftmax[")
