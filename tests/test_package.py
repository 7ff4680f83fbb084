"""What the package shows: its names, and the cost of importing it."""

import child
import pytest

import fastsoftmax

PUBLIC = [
    "LinearProbe",
    "Model",
    "Objective",
    "Result",
    "SoftmaxRegression",
    "SoftmaxRegressionCV",
    "backends",
    "loss_and_grad",
    "minimize",
    "minimize_many",
]
PUBLIC += ["Checkpoint", "get_include", "predict_proba", "regularization_path", "scan", "softmax"]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_exists_is_listed_and_documented(name):
    assert name in fastsoftmax.__all__ and name in dir(fastsoftmax)
    assert getattr(fastsoftmax, name).__doc__


def test_all_lists_public_names_only():
    assert sorted(fastsoftmax.__all__) == sorted(PUBLIC)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'softmaks'"):
        fastsoftmax.softmaks  # noqa: B018


def test_version_is_a_release_number():
    assert [int(part) for part in fastsoftmax.__version__.split(".")[:2]]


def loaded_by(code, tmp_path):
    """Top-level modules a fresh interpreter holds after ``code``."""
    show = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules} | set(sys.modules)))"
    run = child.python("-c", f"{code}\n{show}", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


HEAVY = {"numba", "llvmlite", "scipy", "sklearn", "torch", "pandas", "pyarrow", "matplotlib", "rich", "typer"}
HEAVY |= {"threadpoolctl", "dask", "distributed"}


def test_importing_the_package_loads_nothing_heavy(tmp_path):
    loaded = loaded_by("import fastsoftmax", tmp_path)
    assert not loaded & HEAVY
    assert "fastsoftmax.kernels" not in loaded


def test_the_numpy_backend_loads_nothing_heavy(tmp_path):
    code = "import fastsoftmax; fastsoftmax.loss_and_grad([[1.0]], [1], [[0.0, 0.0]], backend='numpy')"
    assert not loaded_by(code, tmp_path) & HEAVY


def test_a_big_endian_processor_is_refused_in_one_sentence():
    done = child.python("-c", "import sys; sys.byteorder = 'big'; import fastsoftmax")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: fastsoftmax wants a little-endian processor; this one is big-endian"
    )
