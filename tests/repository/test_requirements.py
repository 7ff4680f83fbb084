"""oldest.txt holds the floors of pyproject.toml, so that what is tested with it is what is declared."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Of these extras, and of what is needed always.
EXTRAS = ("numba", "sklearn", "safetensors", "dask", "onnx", "zarr", "cli", "test")


def floors(requirements):
    """By name, of "name[extras]>=version"; requirements without a floor are the package's own extras."""
    found = (re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?(?:>=([\w.]+))?", text) for text in requirements)
    return {(match[1], match[2]) for match in found if match[2]}


def whole(version):
    """3 and 3.0.0 are the same version."""
    return [*map(int, version.split(".")), 0, 0, 0][:3]


def test_the_oldest_versions_are_the_declared_ones():
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("no checkout: there is no pyproject.toml")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = floors(project["dependencies"] + [r for e in EXTRAS for r in project["optional-dependencies"][e]])
    lines = (ROOT / "tests" / "repository" / "oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert len(dict(declared)) == len(declared), "a package has two floors"
    assert {name for name, _ in declared} == set(pinned)
    different = {name: (floor, pinned[name]) for name, floor in declared if whole(floor) != whole(pinned[name])}
    assert different in ({}, {"setuptools": ("77", "77.0.1")})  # there is no 77.0.0
