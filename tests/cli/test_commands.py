"""The command as its user meets it: what it prints, writes, and says about bad input."""

import json
import signal

import child
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner

import fastsoftmax
from fastsoftmax import Model, Objective, datasets, reference
from fastsoftmax.cli import commands, display, plot
from fastsoftmax.cli.bench import BenchTable
from fastsoftmax.solvers.result import Step

FAST = ["--backend", "numpy", "--tol", "1e-2"]


@pytest.fixture
def run(capsys):
    """A function that runs the command and returns exit code, stdout and stderr."""

    def call(*arguments):
        code = commands.run([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    """A CSV file of scikit-learn's iris."""
    X, y, names = datasets.load_sample("iris")
    path = tmp_path_factory.mktemp("data") / "iris.csv"
    columns = {name: X[:, j] for j, name in enumerate(names)}
    pyarrow.csv.write_csv(pyarrow.table({**columns, "species": y}), path)
    return path


@pytest.fixture(scope="module")
def model(iris, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "iris.npz"
    assert commands.run(["train", str(iris), "--json", "--out", str(path), *FAST]) == 0
    return path


def subprocess_run(code, *arguments):
    """The command in a process of its own, after ``code``."""
    program = f"import sys\n{code}\nfrom fastsoftmax.__main__ import main\nsys.exit(main())"
    return child.python("-c", program, *map(str, arguments))


def assert_one_line(result, *words):
    code, out, err = result
    assert code == 2 and out == ""
    assert err.startswith("fastsoftmax: ") and err.count("\n") == 1 and "Traceback" not in err
    assert not [word for word in words if word not in err], err


# ------------------------------------------------------------------------------------------- train


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


def test_nothing_held_out_is_said(run, iris):
    code, out, _ = run("train", iris, "--test-fraction", 0, *FAST)
    assert code == 0 and "150 rows to train on, 0 held out" in out
    assert "No rows were held out" in out and "confusion" not in out
    assert json.loads(run("train", iris, "--test-fraction", 0, "--json", *FAST)[1])["test"] is None


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


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_a_plot_is_drawn(run, iris, tmp_path, suffix, start):
    path = tmp_path / f"p.{suffix}"
    assert run("train", iris, "--plot", path, *FAST)[0] == 0
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize("bounds", [[4.0, 0.2, 0.1, 1e-3, 1e-7], [None] * 5])
def test_the_plot_holds_the_gap_by_passes_and_by_seconds_beside_the_loss_curve(tmp_path, monkeypatch, bounds):
    figures = []
    monkeypatch.setattr(plot.Figure, "savefig", lambda self, *args, **options: figures.append(self))
    history = [Step(i, 1.0 / (i + 1), 0.1**i, 1 + 2 * i, 0.1 * i, bounds[i]) for i in range(5)]
    plot.save_plot(tmp_path / "p.png", history, k=4)
    passes, seconds, curve = figures[0].axes
    gaps = [s.grad_norm if s.gap_bound is None else s.gap_bound for s in history]
    np.testing.assert_array_equal(passes.lines[0].get_xydata().T, [[s.n_passes for s in history], gaps])
    np.testing.assert_array_equal(seconds.lines[0].get_xydata().T, [[s.seconds for s in history], gaps])
    assert ("gap" in passes.get_ylabel()) == (bounds[0] is not None)
    p, minus_log_p = curve.lines[0].get_xydata().T
    np.testing.assert_array_equal(minus_log_p, -np.log(p))
    for axes in figures[0].axes:
        assert axes.get_ylabel() and axes.get_xlabel()


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


def test_many_classes_show_the_most_frequent_mistakes(run, tmp_path):
    path = tmp_path / "d.npz"
    X, y, _ = datasets.make_problem(2000, 3, 60)
    np.savez(path, X=X, y=y)
    code, out, _ = run("train", path, *FAST)
    assert code == 0 and "most frequent mistakes" in out and "confusion matrix" not in out


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


# -------------------------------------------------------------------------------------------- info


def test_info_shows_backends_caches_and_versions(run):
    code, out, _ = run("info")
    assert code == 0
    for words in ("cython", "numba", "numpy", "threads", "caches", "L2", "scikit-learn", np.__version__):
        assert words in out
    machine = json.loads(run("info", "--json")[1])
    assert machine["backends"] == fastsoftmax.backends() and machine["packages"]["numpy"] == np.__version__
    assert machine["version"] == fastsoftmax.__version__ and machine["threads"] >= 1
    assert set(machine["caches"]) == {"L1", "L2", "L3"}


def test_info_tells_what_is_missing_and_the_command_that_installs_it(run, monkeypatch):
    from fastsoftmax.cli import info
    from fastsoftmax.kernels import backends

    gone = backends.Backend("numba", "fastsoftmax.kernels.none", "numba", "pip install numba")
    monkeypatch.setitem(backends.BACKENDS, "numba", gone)
    monkeypatch.setitem(info.PACKAGES, "no-such-package", "matplotlib")
    code, out, _ = run("info")
    assert code == 0
    assert "missing: backend numba" in out and "pip install numba" in out
    assert "missing: no-such-package: pip install 'fastsoftmax[cli]'" in out


def test_version_and_help(run):
    assert run("--version") == (0, f"fastsoftmax {fastsoftmax.__version__}\n", "")
    assert "train" in run()[1]
    for command in ("train", "predict", "info"):
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
    "unknown option": (["--speed", "9"], ["--speed", "train --help"]),
    "target": (["--target", "colour"], ["'colour'", "species"]),
    "model type": (["--out", "m.pkl"], ["m.pkl", ".safetensors or .npz"]),
    "model directory": (["--out", "no/such/m.npz"], ["no directory"]),
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


def test_names_and_numbers_in_a_table_of_timings_are_not_cut_off(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    row = ("16k-classes-f32-dX", "2,048 × 512, 16,000", "PyTorch fused", "1.01e+03", "128.56", "15.33")
    display.show_bench(BenchTable(title="two threads", rows=[row]))
    shown = capsys.readouterr().out
    assert all(cell in shown for cell in (row[0], *row[2:]))


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


def test_json_needs_no_display(tmp_path):
    shown = subprocess_run("sys.modules['rich'] = None", "train", "--json", *FAST)
    assert shown.returncode == 0 and json.loads(shown.stdout)["converged"]
