"""What CONTRIBUTING shows is true: its examples run as they are, its paths and links lead somewhere."""

import importlib.util
import re
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

import fastsoftmax
from fastsoftmax.kernels.backends import BACKENDS
from fastsoftmax.solvers.minimize import SOLVERS

ROOT = Path(__file__).parents[1]
PACKAGE = Path(fastsoftmax.__file__).parent
PAGE = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = {title: re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S) for title, text in SECTIONS.items()}
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
ADDITIONS = ["Add a backend", "Add a micro-kernel", "Add a solver", "Add a source"]


def add_module(path, code, monkeypatch):
    """Make ``code`` the module that a file of the package at this path would be."""
    name = path.removesuffix(".py").replace("/", ".")
    spec = importlib.util.spec_from_loader(name, loader=None)
    module = importlib.util.module_from_spec(spec)
    assert not (PACKAGE.parent / path).exists(), f"the example would replace {path}"
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(code, path, "exec"), module.__dict__)


def test_there_is_an_example_of_each_addition():
    assert [title for title, blocks in EXAMPLES.items() if blocks] == ADDITIONS


@pytest.mark.parametrize("title", ADDITIONS)
def test_an_example_runs_as_it_is(title, monkeypatch):
    """A block that begins with the path of a file is that file; the one after it uses it."""
    if title == "Add a micro-kernel":
        pytest.importorskip("numba")
    file, use = EXAMPLES[title]
    path = re.match(r"# (fastsoftmax/[\w/]+\.py)\n", file)[1]
    assert "assert" in use
    with patch.dict(BACKENDS), patch.dict(SOLVERS):  # what the example registers goes when it ends
        add_module(path, file, monkeypatch)
        exec(compile(use, f"CONTRIBUTING.md, {title}", "exec"), {})


def test_the_page_has_the_set_up_in_one_line_and_the_three_commands():
    set_up, commands = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert set_up == "pip install -e '.[dev]'\n"
    assert [line.split()[0] for line in commands.splitlines()] == ["python", "ruff", "python"]


def test_every_path_of_the_page_exists():
    paths = re.findall(r"`([\w./]+/[\w.]*|\w+\.(?:py|md))`", PROSE)
    places = [ROOT, PACKAGE, PACKAGE / "kernels", PACKAGE / "kernels/numba", PACKAGE / "kernels/numba/microkernels"]
    places.append(ROOT / "tests/kernels")
    assert len(paths) >= 10
    assert not [path for path in paths if not any((place / path).exists() for place in places)]


def test_every_link_of_the_page_leads_somewhere():
    links = re.findall(r"\]\((?!http)(.*?)\)", PAGE)
    assert links and all((ROOT / ".github" / link).exists() for link in links)


def test_the_citation_is_of_this_version():
    assert f"\nversion: {fastsoftmax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
