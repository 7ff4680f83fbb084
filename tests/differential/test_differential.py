"""A few of the problems of ``python -m tests.differential``, which has the volume."""

from pathlib import Path

import child

HERE = Path(__file__).parent


def test_a_few_dozen_problems_are_solved_as_others_solve_them():
    done = child.python("-m", "tests.differential", "--problems", "48", cwd=HERE.parents[1], PYTHONSAFEPATH=None)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "48 problems, 0 wrong" in done.stdout and "'scipy': " in done.stdout and "'scikit-learn': " in done.stdout
