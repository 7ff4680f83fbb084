"""Who may import whom: the whole table, for every module and every C++ header; no room too full, no file too long."""

import ast
import re
from pathlib import Path

import pytest

import fastsoftmax

HERE = Path(fastsoftmax.__file__).parent
ROOT = Path(__file__).parents[1]
# What each room may import besides what is in it: other rooms, whole.
KERNELS = ["kernels.contract", "kernels.machine", "kernels.plan", "kernels.backends", "kernels.units"]
MAY_IMPORT = {
    "_version": [],
    "_extras": [],
    "reference": [],
    "kernels.sums": [],
    "kernels.contract": ["kernels.sums"],
    "kernels.machine": [],
    "kernels.tuning": ["kernels.machine"],
    "kernels.plan": ["kernels.contract", "kernels.machine", "kernels.tuning"],
    "kernels.units": [],
    "kernels.strategy": ["kernels.machine", "kernels.tuning", "kernels.plan", "kernels.units"],
    "kernels.numpy": ["kernels.contract", "reference"],
    "kernels.cython": ["kernels.contract", "kernels.machine", "kernels.strategy"],
    "kernels.numba": ["kernels.contract", "kernels.machine", "kernels.plan", "kernels.strategy"],
    "kernels.backends": ["kernels.contract"],
    "data": ["kernels.contract", "_extras"],
    "datasets": ["data", "_extras"],
    "objective": ["data", *KERNELS],
    "solvers": ["objective", "data", *KERNELS, "_version"],
    "model": ["objective", "data", *KERNELS, "_extras", "_version"],
    "kernels.api": ["model", "objective", "data", *KERNELS],
    "numba": ["objective", "kernels.api", "_extras"],
    "jax": ["kernels.api", "_extras"],
    "sklearn": ["model", "solvers", "objective", "data", "kernels.backends", "_extras"],
    "dask": ["sklearn", "objective", "data", "_extras"],
    "torch": ["objective", "data", "_extras"],
    "accel": ["sklearn", "torch", "_extras", "_version"],
    "probe": ["sklearn", "solvers", "objective", "data", "datasets", "kernels.contract", "kernels.backends", "_extras"],
    "cli": ["probe", "model", "solvers", "objective", "data", "datasets", "reference", "_extras", "_version"],
    "__main__": ["cli"],
    "__init__": ["accel", "model", "objective", "probe", "sklearn", "solvers", "kernels.backends", "kernels.api"],
}
MAY_IMPORT["__init__"] += ["data"]
MAY_IMPORT["cli"] += ["jax", "kernels.backends", "kernels.machine", "kernels.units"]
MAY_IMPORT["__init__"] += ["_version"]
# Storeys of a wing, from the top; each may import those below it.
STOREYS = {
    "numba": ["backend", "launch_dense", "launch_sparse", "passes", "block", "runtime", "microkernels"],
    "numpy": ["backend", "passes"],
    "cython": ["units", "passes", "block", "microkernels", "call"],
}
BENCHMARKS = [
    "__main__",
    "benchopt_softmax",
    "bench_kernels",
    "revisions",
    "tune",
    "report",
    "races",
    "sections",
    "peers",
    "harness",
]
SOURCES = (".py", ".pyx", ".pxd", ".hpp", ".h", ".cpp", ".md", ".typed")
MOST_FILES, MOST_LINES = 9, 400


def modules(folder, name):
    """Import name: file, of a package in a folder."""
    found = {}
    for file in folder.rglob("*.py"):
        parts = file.relative_to(folder).with_suffix("").parts
        if "benchmarks" not in parts:
            found[".".join([name, *parts]).removesuffix(".__init__")] = file
    return found


def imports_of(name, file, known):
    """Modules of ``known`` that a file imports, wherever in it."""
    parts = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
        base = ".".join(filter(None, [base, node.module]))
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            if inner in known or base in known:
                yield inner if inner in known else base


def graph(folder, name):
    known = modules(folder, name)
    return {module: set(imports_of(module, file, known)) - {module} for module, file in known.items()}


PACKAGE = graph(HERE, "fastsoftmax")


def room_of(module):
    """The row of the table that a module belongs to."""
    inside = module.removeprefix("fastsoftmax").removeprefix(".") or "__init__"
    parts = inside.split(".")
    return ".".join(parts[:2]) if parts[0] == "kernels" and len(parts) > 1 else parts[0]


def first_circle(edges):
    """The modules of a circle of imports, or None."""
    done, path = set(), []

    def walk(module):
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return None
        path.append(module)
        found = next(filter(None, map(walk, sorted(edges[module]))), None)
        path.pop()
        done.add(module)
        return found

    return next(filter(None, map(walk, sorted(edges))), None)


def test_the_table_has_every_room():
    assert {room_of(module) for module in PACKAGE} - {"kernels"} == set(MAY_IMPORT)


@pytest.mark.parametrize("module", PACKAGE)
def test_a_module_imports_only_what_its_row_allows(module):
    room = room_of(module)
    others = {other for other in PACKAGE[module] if room_of(other) != room}
    wrong = [other for other in others if room_of(other) not in MAY_IMPORT.get(room, [])]
    assert not wrong, f"{module} imports {wrong}"


def test_no_imports_run_in_a_circle():
    assert first_circle(PACKAGE) is None


def test_a_circle_would_be_found():
    assert first_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_the_reference_imports_numpy_alone():
    imported = re.findall(r"^\s*(?:import|from) (\S+)", (HERE / "reference.py").read_text(), re.MULTILINE)
    assert imported == ["numpy"]


# ------------------------------------------------------------------------------ storeys of the wings


def storey(wing, module):
    return STOREYS[wing].index(module) if module in STOREYS[wing] else None


@pytest.mark.parametrize("wing", ["numba", "numpy"])
def test_a_wing_of_python_imports_downward(wing):
    prefix = f"fastsoftmax.kernels.{wing}."
    for module, imported in PACKAGE.items():
        if not module.startswith(prefix):
            continue
        own = storey(wing, module.removeprefix(prefix).split(".")[0])
        for other in imported:
            if other.startswith(prefix):
                assert storey(wing, other.removeprefix(prefix).split(".")[0]) >= own, f"{module} imports {other}"


HEADERS = sorted((HERE / "kernels" / "cython").rglob("*.hpp"))


def includes_of(file):
    return re.findall(r'^#include "(.*)"$', file.read_text(), re.MULTILINE)


@pytest.mark.skipif(not HEADERS, reason="an installation without its sources")
def test_the_cython_wing_includes_downward():
    wing = HERE / "kernels" / "cython"
    names = {str(file.relative_to(wing)): file for file in HEADERS}
    edges = {name: set(includes_of(file)) for name, file in names.items()}
    assert all(included <= set(names) for included in edges.values())
    assert first_circle(edges) is None

    def height(name):
        return storey("cython", name.split("/")[0].removesuffix(".hpp"))

    for name, included in edges.items():
        assert all(height(other) >= height(name) for other in included), f"{name} includes {included}"


# --------------------------------------------------------------------------- the repository's own folders

CHECKOUT = (ROOT / "benchmarks" / "harness").exists()
needs_checkout = pytest.mark.skipif(not CHECKOUT, reason="not a checkout")


@needs_checkout
def test_the_benchmarks_import_downward():
    edges = graph(ROOT / "benchmarks", "benchmarks") if CHECKOUT else {}
    assert first_circle(edges) is None

    def height(module):
        return BENCHMARKS.index(module.split(".")[1])

    for module, imported in edges.items():
        inside = {other for other in imported if other.count(".")}
        assert all(height(other) >= height(module) for other in inside if module.count(".")), f"{module}: {inside}"


def source_files():
    for top in ("fastsoftmax", "benchmarks", "tests"):
        for file in (ROOT / top).rglob("*"):
            if (
                file.suffix in (".py", ".pyx", ".pxd", ".hpp", ".h", ".cpp", ".md", ".typed")
                and "build" not in file.parts
            ):
                yield file


@needs_checkout
def test_no_room_is_too_full():
    rooms = {}
    for file in source_files():
        rooms.setdefault(file.parent.relative_to(ROOT), []).append(file.name)
    full = {str(room): len(files) for room, files in rooms.items() if len(files) > MOST_FILES}
    assert not full


@needs_checkout
def test_no_file_is_too_long():
    long = {str(file): count for file in source_files() if (count := len(file.read_text().splitlines())) > MOST_LINES}
    assert not {name: count for name, count in long.items() if not name.endswith(".md")}
