"""Checkpoints: a run goes on from any of its writings to the same bits; other data and options are refused by name."""

import errno
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse

import fastsoftmax
from fastsoftmax import Checkpoint, Objective, minimize
from fastsoftmax.datasets import make_problem
from fastsoftmax.solvers.checkpoint import file, keep
from fastsoftmax.solvers.minimize import SOLVERS

X, Y, _ = make_problem(300, 6, 3)
LARGE = make_problem(30_000, 8, 3)[:2]  # "auto" begins with a subsample
RANDOM = np.random.default_rng(0)
SPARSE = scipy.sparse.random_array((400, 60), density=0.05, format="csr", rng=RANDOM), RANDOM.integers(0, 3, 400)


def objective(X=X, y=Y, *, l2=1e-4, fit_intercept=True, **options):
    return Objective(X, y, l2=l2, fit_intercept=fit_intercept, **options)


def in_chunks(rows):
    """An objective whose passes have several chunks."""
    obj = objective(*LARGE)
    obj.plan = replace(obj.plan, chunk=rows)
    return obj


RUNS = {name: (objective, {"solver": name, "max_iter": 6}) for name in ("auto", *SOLVERS)} | {
    "l1": (objective, {"l1": 1e-2, "max_iter": 12}),
    "without a minimum": (lambda: objective(l2=0.0), {"max_iter": 12}),
    "far from zero": (lambda: objective(np.float32(X) + 1e4), {}),
    "from a start": (objective, {"theta0": np.ones((7, 3)), "solver": "lbfgs"}),
    "subsample": (lambda: objective(*LARGE), {}),
    "sparse": (lambda: objective(*SPARSE), {}),
    "sparse sgd": (lambda: objective(*SPARSE), {"solver": "sgd", "max_iter": 3}),
    "sgd in chunks": (lambda: in_chunks(7_000), {"solver": "sgd", "max_iter": 2}),
}


@pytest.fixture
def writings(monkeypatch, tmp_path):
    """Copies of everything that is written to a checkpoint, in order."""
    copies = []

    def write_and_copy(path, saved):
        file.write(path, saved)
        copies.append(tmp_path / f"{len(copies)}.npz")
        shutil.copy(path, copies[-1])

    monkeypatch.setattr(keep, "write", write_and_copy)
    return copies


def outcome(result):
    """All that must not differ, which is all but the time."""
    steps = [replace(step, seconds=0.0) for step in result.history]
    return result.theta.tobytes(), result.value, result.gap_bound, result.n_passes, result.message, steps


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_from_any_writing_to_the_same_bits(name, writings, tmp_path):
    make, options = RUNS[name]
    alone = minimize(make(), **options)
    every = Checkpoint(tmp_path / "run.npz", passes=1)
    assert outcome(minimize(make(), checkpoint=every, **options)) == outcome(alone)
    assert len(writings) > 4
    for path in writings[:]:
        result = minimize(make(), checkpoint=Checkpoint(path, resume=True), **options)
        assert outcome(result) == outcome(alone)
        assert result.resumed.endswith("to the same bits as without the interruption") or path is writings[0]


class Counting(Objective):
    """An objective that counts the mini-batches of sgd."""

    batches = 0

    def gradient_on(self, rows, theta):
        self.batches += 1
        return super().gradient_on(rows, theta)


def test_a_walk_of_sgd_goes_on_at_the_chunk_where_it_was(writings, monkeypatch, tmp_path):
    def make():
        obj = Counting(*LARGE, fit_intercept=True)
        obj.plan = replace(obj.plan, chunk=3_000)
        return obj

    monkeypatch.setattr(keep, "REST", 0)
    whole, options = make(), {"solver": "sgd", "max_iter": 1}
    minimize(whole, checkpoint=Checkpoint(tmp_path / "run.npz", minutes=0), **options)
    left = []
    for path in writings[:-1]:
        obj = make()
        minimize(obj, checkpoint=Checkpoint(path, resume=True), **options)
        left.append(obj.batches)
    assert left[0] == whole.batches and left[-1] == 0
    assert len(set(left)) >= 10 and left == sorted(left, reverse=True)


def test_what_was_computed_is_not_computed_again(tmp_path):
    class Failing(Objective):
        left = 8

        def value_and_grad(self, theta):
            self.left -= 1
            if not self.left:
                raise ConnectionError("a worker is lost")
            return super().value_and_grad(theta)

    with pytest.raises(ConnectionError) as raised:
        minimize(Failing(X, Y, l2=1e-4), solver="lbfgs", checkpoint=tmp_path / "run.npz")
    assert raised.value.__notes__ == [f"The run until here is in the checkpoint {tmp_path / 'run.npz'}."]
    obj = Failing(X, Y, l2=1e-4)
    obj.left = 1000
    result = minimize(obj, solver="lbfgs", checkpoint=Checkpoint(tmp_path / "run.npz", resume=True))
    # The start is computed again, to compare the data; passes for the Gram matrix and for metrics compute no values.
    assert 1000 - obj.left == result.n_iter + 1 - 7 + 1
    assert result.resumed.startswith("after 8 passes")


def test_ctrl_c_writes_and_says_where(tmp_path):
    def third(step):
        if step.iteration == 3:
            raise KeyboardInterrupt

    path = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt) as raised:
        minimize(objective(), callback=third, checkpoint=path)
    assert str(path) in raised.value.__notes__[0] and file.read(path).now.steps == 3


def test_more_steps_may_be_wanted(tmp_path):
    alone = minimize(objective(), solver="lbfgs")
    short = minimize(objective(), solver="lbfgs", max_iter=3, checkpoint=tmp_path / "run.npz")
    assert short.n_iter == 3
    more = minimize(objective(), solver="lbfgs", checkpoint=Checkpoint(tmp_path / "run.npz", resume=True))
    assert outcome(more) == outcome(alone)


def test_the_callback_hears_of_every_step(tmp_path):
    minimize(objective(), max_iter=2, checkpoint=tmp_path / "run.npz")
    heard = []
    again = Checkpoint(tmp_path / "run.npz", resume=True)
    result = minimize(objective(), callback=heard.append, checkpoint=again)
    assert [step.iteration for step in heard] == list(range(result.n_iter + 1))
    assert all(a.seconds <= b.seconds for a, b in zip(heard, heard[1:], strict=False))


# ------------------------------------------------------------------------------------- what is refused


def changed(X, row, column, by):
    other = X.copy()
    other[row, column] += by
    return other


OTHERS = {
    "l2 was 0.0001, is 0.001": {"l2": 1e-3},
    "tol was 1e-06, is 0.01": {"tol": 1e-2},
    "solver was auto, is newton": {"solver": "newton"},
    "l1 was 0.0, is 0.5": {"l1": 0.5},
    "fit_intercept was True, is False; theta0": {"fit_intercept": False, "theta0": np.ones((6, 3))},
    "theta0 was zeros, is ": {"theta0": np.ones((7, 3))},
    "label_smoothing was 0.0, is 0.1": {"label_smoothing": 0.1},
    "number of rows was 300, is 299": {"X": X[1:], "y": Y[1:]},
    "number of features was 6, is 5; .*stored numbers": {"X": X[:, 1:]},
    "number of classes was 3, is 4": {"n_classes": 4},
    "dtype of the computation was float64, is float32": {"X": np.float32(X)},
    "sparse X was False, is True": {"X": scipy.sparse.csr_array(X)},
    "name was one, is other": {"facts": {"name": "other"}},
    r"other data of the same shape.*\(X, y or sample_weight": {"X": changed(X, 17, 2, 1e-9)},
    "other data": {"y": np.where(np.arange(300) == 17, (Y + 1) % 3, Y)},
    "other data of": {"sample_weight": np.where(np.arange(300) == 17, 2.0, 1.0)},
}


@pytest.mark.parametrize("sentence", OTHERS)
def test_other_data_and_options_are_refused_by_name_and_the_file_stays(sentence, tmp_path):
    path, other = tmp_path / "run.npz", dict(OTHERS[sentence])
    minimize(objective(), max_iter=2, checkpoint=Checkpoint(path, facts={"name": "one"}))
    before = path.read_bytes()
    given = Checkpoint(path, resume=True, facts=other.pop("facts", {"name": "one"}))
    options = {name: other.pop(name) for name in ("tol", "solver", "l1", "theta0") if name in other}
    with pytest.raises(ValueError, match=sentence):
        minimize(objective(**other), checkpoint=given, **options)
    assert path.read_bytes() == before


def test_a_file_that_is_there_is_not_lost(tmp_path):
    path = tmp_path / "run.npz"
    minimize(objective(), checkpoint=path)
    with pytest.raises(FileExistsError, match="is there already"):
        minimize(objective(), checkpoint=path)


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        (7, TypeError, "checkpoint must be a path or a Checkpoint; got 7"),
        ({"passes": 0}, ValueError, "passes"),
        ({"minutes": -1}, ValueError, "minutes"),
        ({"most_bytes": 0.5}, TypeError, "most_bytes"),
        ({"facts": {"rows": np.arange(3)}}, TypeError, "facts must be a dict of numbers and texts"),
    ],
)
def test_bad_arguments_are_named(given, error, sentence, tmp_path):
    with pytest.raises(error, match=sentence):
        minimize(objective(), checkpoint=Checkpoint(tmp_path / "f", **given) if isinstance(given, dict) else given)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    minimize(objective(), checkpoint=path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is damaged or no fastsoftmax checkpoint"):
        minimize(objective(), checkpoint=Checkpoint(path, resume=True))
    assert path.read_bytes() == data


@pytest.mark.parametrize("of", ["theta", "answer", "number"])
def test_a_file_whose_numbers_do_not_fit_is_refused_by_its_name(tmp_path, of):
    path = tmp_path / "run.npz"
    minimize(objective(), solver="lbfgs", max_iter=3, checkpoint=path)
    saved = file.read(path)
    at = next(i for i, answer in enumerate(saved.answers) if answer.what == "value" and i > 2)
    value, grad = saved.answers[at].parts
    if of == "theta":
        saved.iterate = np.zeros((2, 2))
    else:
        saved.answers[at] = replace(saved.answers[at], parts=(value, grad[:2] if of == "answer" else grad * np.inf))
    file.write(path, saved)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"run\.npz is damaged: its (theta|answer)"):
        minimize(objective(), solver="lbfgs", checkpoint=Checkpoint(path, resume=True))


# ----------------------------------------------------------------- where the bits cannot be the same


def test_other_kernels_go_on_and_it_is_said(tmp_path):
    path, alone = tmp_path / "run.npz", minimize(objective(), solver="lbfgs", tol=1e-8)
    minimize(objective(backend="numpy"), solver="lbfgs", tol=1e-8, max_iter=3, checkpoint=path)
    result = minimize(objective(), solver="lbfgs", tol=1e-8, checkpoint=Checkpoint(path, resume=True))
    assert result.converged and result.value == pytest.approx(alone.value, rel=1e-8)
    assert "on another machine: the last bits may differ" in result.resumed


def test_a_run_that_cannot_be_repeated_goes_on_from_its_iterate(tmp_path):
    path = tmp_path / "run.npz"
    minimize(objective(), solver="lbfgs", max_iter=4, checkpoint=path)
    saved = file.read(path)
    saved.answers[3] = replace(saved.answers[3], digest="other")
    file.write(path, saved)
    result = minimize(objective(), solver="lbfgs", checkpoint=Checkpoint(path, resume=True))
    assert result.converged and result.history[0].value == saved.answers[-1].parts[0]
    assert "from an iterate alone, since another version of a library" in result.resumed
    again = minimize(objective(), solver="lbfgs", checkpoint=Checkpoint(path, resume=True))
    assert outcome(again) == outcome(result) and "from an iterate alone" in again.resumed


def test_of_a_run_that_takes_too_much_memory_the_iterate_is_kept(writings, tmp_path):
    alone = minimize(objective(), solver="lbfgs", max_iter=9)
    little = Checkpoint(tmp_path / "run.npz", passes=1, most_bytes=1000)
    assert outcome(minimize(objective(), solver="lbfgs", max_iter=9, checkpoint=little)) == outcome(alone)
    assert max(len(file.read(path).answers) for path in writings) == 4
    saved = file.read(writings[6])
    result = minimize(objective(), solver="lbfgs", max_iter=9, checkpoint=Checkpoint(writings[6], resume=True))
    assert result.history[0].value == saved.answers[-1].parts[0] < alone.history[0].value
    assert result.n_iter <= 9 - saved.now.steps and "most_bytes = 1000" in result.resumed


# ---------------------------------------------------------------------------------------- full disks


def test_a_disk_that_fills_is_a_warning_and_the_checkpoint_before_stays(writings, monkeypatch, tmp_path):
    path, alone = tmp_path / "run.npz", minimize(objective(), solver="lbfgs")
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 6:  # two for each writing: the file and its folder
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(
        RuntimeWarning, match="was not written .No space left on device.; the one before stays"
    ) as warned:
        result = minimize(objective(), solver="lbfgs", checkpoint=Checkpoint(path, passes=1))
    assert outcome(result) == outcome(alone) and len(warned) > 2
    assert path.read_bytes() == writings[-1].read_bytes() and len(writings) == 3
    assert not list(tmp_path.glob(".*"))
    monkeypatch.setattr(os, "fsync", real)
    assert outcome(minimize(objective(), solver="lbfgs", checkpoint=Checkpoint(path, resume=True))) == outcome(alone)


def test_a_place_that_cannot_be_written_is_an_error_before_the_work(tmp_path):
    obj = objective()
    with pytest.raises(OSError, match="No such file"):
        minimize(obj, checkpoint=tmp_path / "none" / "run.npz")
    assert obj.n_passes == 0


# --------------------------------------------------------------------------------------- the estimator


def test_the_estimator_goes_on(tmp_path):
    from sklearn.base import clone

    path, alone = tmp_path / "run.npz", fastsoftmax.SoftmaxRegression().fit(X, Y)
    clf = fastsoftmax.SoftmaxRegression(checkpoint=path)

    def third(step):
        if step.iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clone(clf).set_params(callback=third).fit(X, Y)
    again = clone(clf).set_params(checkpoint=Checkpoint(path, resume=True))
    with pytest.raises(ValueError, match=r"classes was \[0, 1, 2\], is \['0', '1', '2'\]"):
        again.fit(X, Y.astype(str))
    again.fit(X, Y)
    np.testing.assert_array_equal(again.coef_, alone.coef_)
    assert again.result_.resumed.endswith("to the same bits as without the interruption")


def test_a_run_with_l1_goes_on_from_an_iterate_alone(tmp_path):
    path = tmp_path / "run.npz"
    minimize(objective(), l1=1e-2, max_iter=3, checkpoint=Checkpoint(path, most_bytes=10))
    found = minimize(objective(), l1=1e-2, checkpoint=Checkpoint(path, resume=True, most_bytes=10))
    assert found.converged and "from an iterate alone" in found.resumed
    assert found.value == pytest.approx(minimize(objective(), l1=1e-2).value, rel=1e-6)


def test_the_same_numbers_in_another_layout_are_the_same_data(tmp_path):
    path = tmp_path / "run.npz"
    rows = np.float32(LARGE[0])
    minimize(objective(rows, LARGE[1]), solver="lbfgs", max_iter=3, checkpoint=path)
    by_column = objective(np.asfortranarray(rows), LARGE[1])
    found = minimize(by_column, solver="lbfgs", checkpoint=Checkpoint(path, resume=True))
    assert found.converged and found.resumed


def test_another_precision_is_refused_by_name(tmp_path):
    path = tmp_path / "run.npz"
    minimize(objective(), max_iter=2, checkpoint=path)
    with pytest.raises(ValueError, match="precision was exact, is bfloat16"):
        minimize(objective(precision="bfloat16"), checkpoint=Checkpoint(path, resume=True))
