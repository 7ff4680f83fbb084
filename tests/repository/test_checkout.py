"""Which package is tested: the checkout's if its kernels are built there, else the installed one, else none at all."""

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import checkout
import pytest

import fastsoftmax

PACKAGE = Path(fastsoftmax.__file__).parent
TESTS = Path(__file__).parents[1]


def make_package(folder, suffix=None):
    """A package in ``folder``, with a kernel's file of that suffix."""
    kernels = folder / "fastsoftmax" / "kernels" / "cython"
    kernels.mkdir(parents=True)
    (folder / "fastsoftmax" / "__init__.py").touch()
    if suffix:
        (kernels / f"kernels_v2{suffix}").touch()


BUILT, NOT_BUILT, NOT_THERE = "built", "not built", "not there"
CASES = [
    (BUILT, BUILT, "checkout"),
    (BUILT, NOT_THERE, "checkout"),
    (NOT_BUILT, BUILT, "site"),
    (NOT_BUILT, NOT_BUILT, "site"),
    (NOT_BUILT, NOT_THERE, "checkout"),
]


@pytest.fixture
def folders(tmp_path):
    """A function that makes a checkout and a folder of installed packages, and returns both."""

    def make(own, installed):
        for name, state in (("checkout", own), ("site", installed)):
            (tmp_path / name).mkdir()
            if state != NOT_THERE:
                make_package(tmp_path / name, EXTENSION_SUFFIXES[0] if state == BUILT else None)
        return tmp_path / "checkout", tmp_path / "site"

    return make


@pytest.mark.parametrize(("own", "installed", "wanted"), CASES)
def test_python_m_pytest_takes_the_checkout_only_where_it_is_built(folders, own, installed, wanted):
    root, site = folders(own, installed)
    path, folder = checkout.choose([str(root), str(site)], root)
    assert folder.name == wanted
    assert path == [str(site)] if wanted == "site" else [str(root), str(site)]
    assert checkout.has_kernels(folder) == (BUILT in (own, installed))


@pytest.mark.parametrize(("own", "installed"), [case[:2] for case in CASES])
def test_pytest_takes_the_installed_package_where_there_is_one(folders, own, installed):
    root, site = folders(own, installed)
    path, folder = checkout.choose([str(site)], root)
    assert folder == (root if installed == NOT_THERE else site)
    assert checkout.folder_of_package(path) == folder


def test_kernels_built_for_another_python_do_not_count(tmp_path):
    make_package(tmp_path, ".cpython-27-x86_64-linux-gnu.so")
    assert not checkout.has_kernels(tmp_path)


@pytest.fixture
def run_pytest(tmp_path):
    """A function that runs `python -m pytest` in a checkout without kernels, after an installed package."""
    root = tmp_path / "checkout"
    shutil.copytree(PACKAGE, root / "fastsoftmax", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    shutil.copytree(TESTS / "support", root / "tests" / "support", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TESTS / "conftest.py", root / "tests")
    shutil.copy(TESTS.parent / "pyproject.toml", root)
    (root / "tests" / "test_one.py").write_text(
        "import child, fastsoftmax\n"
        "def test():\n"
        "    run = child.python('-c', 'import fastsoftmax; print(fastsoftmax.__file__)')\n"
        f"    assert run.stdout.strip() == fastsoftmax.__file__ == {str(PACKAGE / '__init__.py')!r}\n"
    )

    def run(installed):
        variables = os.environ | {"PYTHONPATH": str(installed)}
        for name in ("PYTHONSAFEPATH", "FASTSOFTMAX_SKIP_MISSING"):
            variables.pop(name, None)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_one.py"]
        return subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True)

    return run


@pytest.mark.skipif(not checkout.has_kernels(PACKAGE.parent), reason="no Cython kernels to test with")
def test_a_run_in_such_a_checkout_and_its_children_take_the_installed_package(run_pytest):
    done = run_pytest(PACKAGE.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"fastsoftmax {fastsoftmax.__version__} of {PACKAGE.parent}" in done.stdout
    assert "backends: cython (" in done.stdout and "1 passed" in done.stdout


def test_a_run_without_kernels_ends_at_once_with_what_to_do(run_pytest, tmp_path):
    shutil.copytree(tmp_path / "checkout" / "fastsoftmax", tmp_path / "site" / "fastsoftmax")
    done = run_pytest(tmp_path / "site")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    said = done.stderr.strip()
    assert "pip install '.[test]'" in said and "\n" not in said
