"""`python -m fastsoftmax.accel` runs a program as Python does: the same output, traceback and exit code."""

import sys
import zipfile

import child
import pytest

from fastsoftmax import __version__
from fastsoftmax.accel.__main__ import HELP, UsageError, parse

# What a program sees of itself.
SHOW = """
import sys
print(__name__, __package__, __spec__ and __spec__.name, sorted(name for name in globals() if name[:2] == "__"))
print(globals().get("__file__"), sys.argv, sys.modules["__main__"].__dict__ is globals())
print(sys.path[0])
"""


def both(*arguments, **options):
    """The program under accel and under Python alone."""
    return child.python("-m", "fastsoftmax.accel", *arguments, **options), child.python(*arguments, **options)


def assert_alike(*arguments, **options):
    ours, plain = both(*arguments, **options)
    assert (ours.stdout, ours.returncode) == (plain.stdout, plain.returncode), ours.stderr
    assert ours.stderr == plain.stderr
    return ours


@pytest.fixture
def script(tmp_path):
    def write(text, name="program.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return str(file)

    return write


@pytest.mark.parametrize("safe", [None, "1"])
def test_a_script_sees_what_it_sees_under_python(script, safe):
    assert_alike(script(SHOW), "a", "--report", PYTHONSAFEPATH=safe)


@pytest.mark.parametrize("safe", [None, "1"])
def test_a_folder_and_a_zip_file_run_their_main(script, tmp_path, safe):
    file = script(SHOW, "folder/__main__.py")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.write(file, "__main__.py")
    for path in (tmp_path / "folder", tmp_path / "packed.zip"):
        ours, plain = both(str(path), "a", PYTHONSAFEPATH=safe)
        assert ours.stdout.splitlines()[1:] == plain.stdout.splitlines()[1:] and ours.returncode == 0, ours.stderr


def test_a_relative_path_holds_after_the_program_has_changed_its_folder(script, tmp_path):
    ending = "\nimport os; os.chdir('/'); import beside; print(beside.__name__, open(__file__).read(6))"
    for name in ("program.py", "folder/__main__.py"):
        script(SHOW + ending, name)
    for name in ("beside.py", "folder/beside.py"):
        script("", name)
    for path in ("program.py", "./program.py", "folder/../program.py"):
        assert_alike(path, cwd=tmp_path, PYTHONSAFEPATH=None)
    ours, plain = both("folder", cwd=tmp_path, PYTHONSAFEPATH=None)
    assert ours.stdout.splitlines()[1:] == plain.stdout.splitlines()[1:] and ours.returncode == 0, ours.stderr


def test_a_module_and_a_package_run_by_name(script, tmp_path):
    beside = script(SHOW, "package/__main__.py")
    script("", "package/__init__.py")
    script(SHOW, "package/module.py")
    script("", "bare/__init__.py")
    for name in ("package", "package.module"):
        ours, plain = both("-m", name, "a", "-m", cwd=tmp_path, beside=tmp_path / "x")
        assert ours.stdout == plain.stdout and ours.returncode == 0, ours.stderr
    for name in ("bare", "no_such_module", "no_such.module"):
        assert_alike("-m", name, cwd=tmp_path, beside=tmp_path / "x")
    assert beside


def test_code_of_the_command_line(tmp_path):
    code = "import sys; print(sys.argv, repr(sys.path[0]), __name__)"
    assert_alike("-c", code, "a", "-c", PYTHONSAFEPATH=None)
    assert_alike(f"-c{code}")


@pytest.mark.parametrize(
    "ending",
    [
        "sys.exit(7)",
        "sys.exit()",
        "sys.exit('a message')",
        "raise SystemExit(True)",
        "fail()",
        "raise KeyboardInterrupt",
        "x = (",
        "import threading; threading.Thread(target=lambda: (time.sleep(0.1), print(len(data)))).start()",
        "import atexit; atexit.register(lambda: print('at exit', len(data)))",
        "sys.excepthook = lambda *error: print('hook', error[0].__name__); fail()",
        "import os; os._exit(3)",
    ],
)
def test_it_ends_as_under_python(script, ending):
    program = "import sys, time\ndata = [1, 2]\ndef fail():\n    raise ValueError('x')\nprint('begun', flush=True)\n"
    assert_alike(script(program + ending + "\n"))


def test_a_traceback_has_no_frames_of_ours_and_keeps_what_it_was_caused_by(script):
    run = assert_alike(
        script("def f():\n    1 / 0\ntry:\n    f()\nexcept Exception as e:\n    raise KeyError('x') from e\n")
    )
    assert run.returncode == 1 and "ZeroDivisionError" in run.stderr and "accel" not in run.stderr


def test_files_that_are_none(tmp_path):
    assert_alike(str(tmp_path / "none.py"))
    (tmp_path / "empty").mkdir()
    assert_alike(str(tmp_path / "empty"))


def test_standard_input():
    import subprocess

    text = "import sys\nprint(sys.argv, repr(sys.path[0]))\nsys.exit(4)\n"
    command = [sys.executable, "-m", "fastsoftmax.accel", "-", "a"]
    environment = {"env": {**__import__("os").environ, "PYTHONSAFEPATH": ""}}
    folder = str(__import__("pathlib").Path(child.fastsoftmax.__file__).parents[1])
    run = subprocess.run(command, input=text, capture_output=True, text=True, cwd=folder, **environment)
    assert (run.stdout, run.returncode) == ("['-', 'a'] ''\n", 4), run.stderr


def test_the_report_comes_last_even_if_the_program_fails(script):
    program = """
import atexit, sys
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

atexit.register(lambda: print("their own exit", file=sys.stderr))
X, y = load_iris(return_X_y=True)
LogisticRegression(max_iter=1000).fit(X, y)
LogisticRegression(solver="liblinear").fit(X[y < 2], y[y < 2])
raise RuntimeError("at the end")
"""
    run = child.python("-m", "fastsoftmax.accel", "--report", script(program))
    lines = run.stderr.splitlines()
    assert run.returncode == 1
    first = lines.index("their own exit")
    assert "RuntimeError: at the end" in lines[:first] and lines[first + 1].startswith("fastsoftmax.accel: 1 fit by")
    assert any(line.startswith("[1] solver='liblinear'") for line in lines[first:])


def test_the_environment_may_still_be_set_before_scikit_learn_is_imported(script):
    program = "import sys\nassert 'numpy' not in sys.modules\nimport os\nos.environ['SCIPY_ARRAY_API'] = '1'\n"
    program += "import sklearn.linear_model\nprint('fine')\n"
    assert child.python("-m", "fastsoftmax.accel", script(program)).stdout == "fine\n"


# ------------------------------------------------------------------------------------- its own command line


def test_options_before_the_program_are_ours_and_those_after_it_are_the_programs():
    options, find, rest = parse(["--report", "--torch", "x.py", "--report", "-m"])
    assert options == {"--report", "--torch"} and find is not None and rest == ["--report", "-m"]
    assert parse(["-m", "x", "--help"])[2] == ["--help"]
    assert parse(["--", "-x.py", "a"])[2] == ["a"]


@pytest.mark.parametrize("words", [[], ["--report"], ["--torch"], ["--nonsense", "x.py"], ["-m"], ["-c"], ["--"]])
def test_other_command_lines_are_errors(words):
    with pytest.raises(UsageError):
        parse(words)


def test_help_version_and_errors_are_short():
    assert child.python("-m", "fastsoftmax.accel", "--help").stdout == HELP
    assert child.python("-m", "fastsoftmax.accel", "--version").stdout == f"fastsoftmax {__version__}\n"
    run = child.python("-m", "fastsoftmax.accel", "--nonsense")
    assert run.returncode == 2 and run.stderr.count("\n") == 1


def test_without_scikit_learn_it_says_how_to_install_it(script):
    program = (
        "import sys; sys.modules['sklearn'] = None; from fastsoftmax.accel.__main__ import main; main(['-c', '1'])"
    )
    run = child.python("-c", program)
    assert run.returncode == 2 and run.stderr.startswith("fastsoftmax.accel needs sklearn: pip install")
    assert run.stderr.count("\n") == 1
