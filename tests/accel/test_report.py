"""The report of `--report`."""

import json

from fastsoftmax.accel import report


def fit(process="1", ran_on="fastsoftmax", seconds=0.5, reason=None, shape=(150, 4), estimator="LogisticRegression"):
    kept = {"estimator": estimator, "shape": list(shape), "n_classes": 3, "ran_on": ran_on}
    return {"process": process, **kept, "seconds": seconds, "reason": reason}


def test_without_a_fit_it_says_so():
    lines = list(report.lines_of([]))
    assert lines == ["fastsoftmax.accel: 0 fits by fastsoftmax in 0 s, 0 fits by scikit-learn in 0 s"]


def test_fits_alike_share_a_row_the_longest_first_and_reasons_are_told_once():
    why = "solver='liblinear' penalizes the intercept"
    slow = [fit(ran_on="scikit-learn", seconds=2.0, reason=why, shape=(100, 4)) for _ in range(2)]
    fast = [fit(process=process, seconds=seconds) for process, seconds in [("1", 0.1), ("2", 0.2), ("2", 0.6)]]
    other = [fit(ran_on="scikit-learn", seconds=0.01, reason=why, estimator="Own")]
    lines = list(report.lines_of(fast + slow + other))
    assert lines[0] == "fastsoftmax.accel: 3 fits by fastsoftmax in 0.9 s, 3 fits by scikit-learn in 4.01 s"
    assert [line.split() for line in lines[2:5]] == [
        ["LogisticRegression", "100", "x", "4", "3", "scikit-learn", "[1]", "2", "4", "2", "1"],
        ["LogisticRegression", "150", "x", "4", "3", "fastsoftmax", "3", "0.9", "0.2", "2"],
        ["Own", "150", "x", "4", "3", "scikit-learn", "[1]", "1", "0.01", "0.01", "1"],
    ]
    assert lines[5:] == [f"[1] {why}"]


def test_many_shapes_are_summed_up():
    fits = [fit(shape=(m, 4), seconds=1.0) for m in range(report.MOST_LINES + 3)]
    lines = list(report.lines_of(fits))
    assert lines[-1] == "and of other shapes 3 fits by fastsoftmax in 3 s, 0 fits by scikit-learn in 0 s"
    assert len(lines) == report.MOST_LINES + 3


def test_fits_that_raised_are_told_of():
    raised = fit(ran_on="neither", reason="ValueError: X contains NaN", seconds=0.25) | {"n_classes": None}
    lines = list(report.lines_of([fit(), raised]))
    assert lines[0].endswith("0 fits by scikit-learn in 0 s, 1 fit that raised an error after 0.25 s")
    assert lines[-2].split() == ["LogisticRegression", "150", "x", "4", "neither", "[1]", "1", "0.25", "0.25", "1"]
    assert lines[-1] == "[1] ValueError: X contains NaN"


def test_the_text_is_of_all_processes(tmp_path):
    for process in ("1", "2"):
        line = {key: value for key, value in fit().items() if key != "process"}
        (tmp_path / f"{process}.jsonl").write_text(json.dumps(line) + "\n")
    assert report.text_of_folder(tmp_path).splitlines()[2].split()[-4:] == ["2", "1", "0.5", "2"]
