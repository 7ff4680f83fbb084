"""Which fastsoftmax the tests import: the one of this checkout if its kernels are built there, else the installed one.

`python -m pytest` puts the checkout before the installed package. Where nothing was built in the checkout, its
fastsoftmax has no Cython, so every Cython case would be skipped, or fail, though an installed one could run it.
"""

from __future__ import annotations

import os
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADVICE = (
    "has a fastsoftmax without Cython kernels; pip install '.[test]' or python setup.py build_ext --inplace builds "
    "them, and FASTSOFTMAX_SKIP_MISSING=1 tests without them"
)
SKIP_MISSING = os.environ.get("FASTSOFTMAX_SKIP_MISSING") == "1"


def fail_or_skip(error):
    """End a test for which something is missing."""
    (pytest.skip if SKIP_MISSING else pytest.fail)(str(error))


def has_kernels(folder):
    """Whether the package in ``folder`` has Cython kernels built for this Python."""
    files = Path(folder, "fastsoftmax", "kernels", "cython").glob("kernels_*")
    return any("." + file.name.partition(".")[2] in EXTENSION_SUFFIXES for file in files)


def folder_of_package(path):
    """The folder from which an import with the search path ``path`` would take fastsoftmax, or None."""
    found = PathFinder.find_spec("fastsoftmax", path)
    return Path(found.origin).resolve().parents[1] if found and found.origin else None


def choose(path, root=ROOT):
    """The search path with which the right package is imported, and that package's folder."""
    if not has_kernels(root):
        others = [entry for entry in path if Path(entry).resolve() != root]
        if installed := folder_of_package(others):
            return others, installed
    folder = folder_of_package(path)
    return (path, folder) if folder else ([*path, str(root)], root)
