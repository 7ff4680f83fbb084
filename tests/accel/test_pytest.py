"""The plug-in: scikit-learn's tests run on ours, and its list of expected failures is strict."""

import re
from pathlib import Path

import child
import pytest
import sklearn

from fastsoftmax.accel.pytest import LIST, Expected, expected_failures

SUITE = Path(sklearn.__file__).parent
FILE = "linear_model/tests/test_logistic.py"
TEST = f"{FILE}::test_dtype_match"
MOST = 10


def run_pytest(tmp_path, entries, *arguments):
    """pytest with the plug-in and a list of its own, in a process of its own."""
    path = tmp_path / "expected.toml"
    path.write_text("\n".join(f"[[failure]]\ntest = '{test}'\nreason = 'a test'" for test in entries))
    options = ["-p", "fastsoftmax.accel.pytest", "--expected-failures", str(path), "-rA", "-q", "-W", "ignore"]
    return child.python("-m", "pytest", *options, "-p", "no:cacheprovider", *arguments, cwd=tmp_path)


def outcome(run):
    """How many tests had each outcome."""
    return dict(
        reversed(pair.split()) for pair in re.findall(r"\d+ [a-z]+", run.stdout.splitlines()[-1].split(" in ")[0])
    )


@pytest.fixture
def only_one(tmp_path):
    """Arguments that select one cheap test of scikit-learn's, the whole file being collected."""
    return ["--pyargs", "sklearn.linear_model.tests.test_logistic", "-k", "test_predict_2_classes"]


def test_tests_run_on_ours(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n"
        "def test_it():\n    assert LogisticRegression.fit.__code__.co_filename.endswith('patch.py')\n"
    )
    run = run_pytest(tmp_path, [TEST], "test_it.py")
    assert run.returncode == 0, run.stdout


def test_an_entry_whose_test_passes_fails_the_run(tmp_path, only_one):
    run = run_pytest(tmp_path, [f"{FILE}::test_predict_2_classes"], *only_one)
    assert run.returncode == 1 and "[XPASS(strict)] a test" in run.stdout, run.stdout


def test_an_entry_of_one_case_concerns_no_other(tmp_path, only_one):
    run = run_pytest(tmp_path, [f"{FILE}::test_predict_2_classes[csr_array]"], *only_one)
    assert outcome(run)["failed"] == "1" and "passed" in outcome(run), run.stdout


@pytest.mark.parametrize("processes", ["0", "2"])
def test_an_entry_that_matches_nothing_fails_the_run(tmp_path, processes):
    if processes != "0":
        pytest.importorskip("xdist")
    folder = "sklearn.linear_model.tests.test_logistic"
    stale = f"{FILE}::test_that_is_not_there"
    run = run_pytest(tmp_path, [stale], "--pyargs", folder, "-n", processes, "-k", "accel or test_predict_2_classes")
    assert run.returncode == 1 and f"no test matches '{stale}'" in run.stdout, run.stdout
    assert outcome(run)["failed"] == "1"


def test_an_entry_of_a_module_that_does_not_run_is_left_alone(tmp_path):
    entries = ["linear_model/tests/test_ridge.py::test_that_is_not_there", f"{FILE}::test_that_is_not_there"]
    only = str(SUITE / FILE) + "::test_predict_2_classes"
    run = run_pytest(tmp_path, entries, only)
    assert run.returncode == 0, run.stdout


def test_an_entry_matches_all_cases_or_one():
    assert Expected("a.py::t", "").matches("a.py::t[1]") and Expected("a.py::t", "").matches("a.py::t")
    assert Expected("a.py::t[1]", "").matches("a.py::t[1]") and not Expected("a.py::t[1]", "").matches("a.py::t[2]")
    assert not Expected("a.py::t", "").matches("a.py::tt") and not Expected("a.py::t", "").matches("b.py::t")


def test_an_entry_matches_the_cases_of_its_expression():
    entry = Expected("a.py::t", "", cases="(x|y)-.*")
    assert entry.matches("a.py::t[x-1]") and entry.matches("a.py::t[y-2]")
    assert not entry.matches("a.py::t[z-1]") and not entry.matches("a.py::t")


def test_versions_limit_an_entry(tmp_path):
    path = tmp_path / "list.toml"
    path.write_text("[[failure]]\ntest = 'a.py::t'\nreason = 'why'\nversions = '>=1.8'\n")
    assert expected_failures("1.8.0", path) and expected_failures("1.9.dev0", path)
    assert not expected_failures("1.7.2", path)


@pytest.mark.parametrize("version", ["1.6.1", "1.7.2", "1.8.0", "1.9.1"])
def test_the_list_is_short_and_each_entry_has_its_reason(version):
    entries = expected_failures(version)
    assert len(entries) <= MOST and len({entry.test for entry in entries}) == len(entries)
    for entry in entries:
        assert len(entry.reason.split()) >= 8, entry
        assert (SUITE / entry.file).exists(), entry
    assert LIST.exists()
