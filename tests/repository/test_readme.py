"""What the README shows is true: its examples run, its commands stand where CI looks, its names exist."""

import re
import shlex
from pathlib import Path

import child
import numpy as np
import pytest

import fastsoftmax
from fastsoftmax import datasets, reference

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
EXAMPLES = [code for language, code in BLOCKS if language == "python"]
OPTIONAL = {"dask", "onnxruntime", "skops", "torch"}
SHELL = [code for language, code in BLOCKS if language == "sh"]


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_runs_as_it_is(code, tmp_path, monkeypatch):
    for package in OPTIONAL & set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)):
        pytest.importorskip(package, reason=f"{package}, which the example shows, is not installed")
    monkeypatch.chdir(tmp_path)  # some write files
    exec(compile(code, "README.md", "exec"), {})


def test_there_is_an_example_of_ten_lines():
    assert len(EXAMPLES) > 10
    assert len(EXAMPLES[0].splitlines()) <= 10


def test_each_set_up_command_is_one_line_in_a_block_of_its_own():
    assert SHELL[:2] == ["pip install '.[cli]' && fastsoftmax train\n", "pip install '.[test]' && pytest\n"]


def test_every_step_names_functions_that_exist_and_every_function_of_the_ten_steps_is_named():
    steps = re.findall(r"^\d+\. .*?(?=^\d+\. |^$)", README, re.MULTILINE | re.DOTALL)
    assert len(steps) == 10
    assert all(re.search(r"`reference\.\w+`", step) for step in steps)
    named = set(re.findall(r"`reference\.(\w+)`", README)) - {"py"}
    assert all(callable(getattr(reference, name)) for name in named)
    table = set(re.findall(r"`(\w+)`", reference.__doc__.split("`value_and_grad`")[0]))
    assert named == table


def test_every_file_of_the_map_exists():
    rows = re.findall(r"^\| (`[^.].*?`) \|", README, re.MULTILINE)  # not those of data files, which are suffixes
    files = [name for row in rows for name in re.findall("`(.*?)`", row)]
    assert len(files) >= 10
    assert not [name for name in files if not (Path(fastsoftmax.__file__).parent / name).exists()]


def test_every_option_of_the_shell_examples_exists():
    from click.testing import CliRunner

    from fastsoftmax.cli.commands import cli

    for line in [line for block in SHELL[2:] for line in block.splitlines() if line.startswith("fastsoftmax")]:
        _, command, *words = line.split()
        shown = CliRunner().invoke(cli, [command, "--help"])
        assert shown.exit_code == 0
        assert not [word for word in words if word.startswith("--") and word not in shown.output]


def test_the_line_of_the_probe_runs_on_the_digits(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from fastsoftmax.cli.commands import cli

    (line,) = [block for block in SHELL if "fastsoftmax probe" in block]
    X, y, _ = datasets.load_sample("digits")
    monkeypatch.chdir(tmp_path)
    np.save("features.npy", X.astype(np.float16))
    np.save("labels.npy", y)
    shown = CliRunner().invoke(cli, shlex.split(line)[1:])
    assert shown.exit_code == 0 and "chosen: C = " in shown.output
    assert (tmp_path / "sweep.png").exists() and (tmp_path / "probe.safetensors").exists()


def test_the_line_that_speeds_up_a_script_runs_as_it_is(tmp_path):
    (line,) = [block for block in SHELL if "accel" in block]
    python, *words = shlex.split(line)
    assert python == "python" and Path(words[-1]).name == words[-1]
    program = """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

X, y = load_iris(return_X_y=True)
print(f"{LogisticRegression(max_iter=1000).fit(X, y).score(X, y):.2f}", LogisticRegression.fit.__code__.co_filename)
"""
    (tmp_path / words[-1]).write_text(program)
    plain, ours = child.python(*words[-1:], cwd=tmp_path), child.python(*words, cwd=tmp_path)
    assert plain.returncode == ours.returncode == 0, ours.stderr
    score, place = ours.stdout.split()
    assert score == plain.stdout.split()[0] and Path(place) == Path(fastsoftmax.__file__).parent / "accel" / "patch.py"
