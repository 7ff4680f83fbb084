"""The command in a process of its own, and what it says of bad input."""

import child

FAST = ["--backend", "numpy", "--tol", "1e-2"]


def subprocess_run(code, *arguments):
    """The command in a process of its own, after ``code``."""
    program = f"import sys\n{code}\nfrom fastsoftmax.__main__ import main\nsys.exit(main())"
    return child.python("-c", program, *map(str, arguments))


def assert_one_line(result, *words):
    code, out, err = result
    assert code == 2 and out == ""
    assert err.startswith("fastsoftmax: ") and err.count("\n") == 1 and "Traceback" not in err
    assert not [word for word in words if word not in err], err
