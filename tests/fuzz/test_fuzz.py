"""A few inputs of each target: that they run at all, and that a fault is told. The volume is `python -m tests.fuzz`."""

import ast
from pathlib import Path

import child
import pytest

HERE = Path(__file__).parent
ROWS = ast.parse((HERE / "table.py").read_text())
NAMES = [
    call.args[0].value
    for call in ast.walk(ROWS)
    if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Target" and call.args
]


def fuzz(*arguments):
    # The folder that the command is run in comes first, as a user has it.
    return child.python("-m", "tests.fuzz", *arguments, cwd=HERE.parents[1], PYTHONSAFEPATH=None, timeout=300)


@pytest.mark.parametrize("name", NAMES)
def test_a_few_inputs_of_each_target_have_no_fault(name):
    done = fuzz("--target", name, "--inputs", "25", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(name) and " 25 inputs" in done.stdout and "no fault" in done.stdout


KINDS = {
    "raise ValueError('no name')": "ValueError: no name",
    "import warnings; warnings.warn('loud')": "UserWarning: loud",
    "import os; os.kill(os.getpid(), 11)": "crash (-11)",
}


@pytest.mark.parametrize("code", KINDS)
def test_a_fault_is_told_with_its_input_and_the_others_go_on(tmp_path, code):
    program = """
import sys
from tests.fuzz import campaign, table
if sys.argv[1:2] != ["-m"]:
    target = table.Target("csr", "sparse_arrays.check", "")
    count = campaign.run_target(target, 0, inputs=5)
    campaign.show("csr", count)
"""
    # Workers import this first, and so get a target that has a fault at its second input.
    (tmp_path / "sitecustomize.py").write_text(
        f"""
import sys
if "tests.fuzz.worker" in sys.orig_argv:
    import numpy as np
    from types import SimpleNamespace
    calls = []
    def check(rng, folder):
        calls.append(1)
        if int(rng.bit_generator.seed_seq.entropy[1]) == 1:
            {code}
        return False
    sys.modules["tests.fuzz.targets.sparse_arrays"] = SimpleNamespace(check=check)
"""
    )
    path = f"{tmp_path}:{HERE.parents[1]}"
    done = child.python("-c", program, cwd=HERE.parents[1], PYTHONPATH=path, PYTHONSAFEPATH=None, timeout=120)
    assert "--input csr:1\n" in done.stdout and KINDS[code] in done.stdout, done.stdout + done.stderr
    assert "5 inputs" in done.stdout or "4 inputs" in done.stdout  # one that crashes is not done
