"""A plug-in of pytest that runs scikit-learn's own tests on ours.

``pytest --pyargs sklearn.linear_model.tests.test_logistic -p fastsoftmax.accel.pytest``

Tests that are expected to fail stand in ``expected_failures.toml``, each with its reason. The list is strict: an entry
whose test passes fails the run, and so does one that matches no test of a module that is collected.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from . import install, uninstall

LIST = Path(__file__).parent / "expected_failures.toml"


@dataclass(frozen=True)
class Expected:
    """An entry of the list.

    Attributes
    ----------
    test : str
        File below ``sklearn``, and name: ``linear_model/tests/test_x.py::test_name`` for all of its parameters, or
        ``...::test_name[parameters]`` for one case.
    reason : str
        Why it fails, for a maintainer of scikit-learn.
    cases : str
        A regular expression that the parameters of the cases match, where not all of them fail.
    versions : str
        The versions of scikit-learn that it holds for, such as ">=1.8"; all, if empty.
    """

    test: str
    reason: str
    cases: str = ""
    versions: str = ""

    @property
    def file(self) -> str:
        """The file, relative to the package ``sklearn``."""
        return self.test.partition("::")[0]

    def matches(self, test: str) -> bool:
        """Whether a test, by file and name, is the one or one of those meant."""
        name, _, parameters = test.partition("[")
        if self.cases:
            return name == self.test and re.fullmatch(self.cases, parameters[:-1]) is not None
        return self.test in (test, name)


def expected_failures(version: str, path: Path = LIST) -> list[Expected]:
    """The entries of the list that hold for a version of scikit-learn."""
    entries = [Expected(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("failure", [])]
    return [entry for entry in entries if SpecifierSet(entry.versions).contains(version, prereleases=True)]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option for another list."""
    shown = "list of the tests of scikit-learn that are expected to fail (default: that of the package)"
    parser.getgroup("fastsoftmax").addoption("--expected-failures", metavar="FILE", default=str(LIST), help=shown)


def pytest_configure(config: pytest.Config) -> None:
    """Install before any test is imported."""
    install()
    entries = expected_failures(importlib.metadata.version("scikit-learn"), Path(config.getoption("expected_failures")))
    config.pluginmanager.register(_Strict(entries), "fastsoftmax-expected-failures")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave scikit-learn as it was."""
    uninstall()


def pytest_report_header() -> str:
    """Say what the tests run on."""
    return "LogisticRegression and LogisticRegressionCV of scikit-learn are those of fastsoftmax"


class _Strict:
    """Marks the tests of the list, and adds a failing one for each entry that matches none."""

    def __init__(self, expected: Sequence[Expected]) -> None:
        self.expected = expected
        spec = importlib.util.find_spec("sklearn")
        self.host = Path(str(spec and spec.origin)).resolve().parent

    @pytest.hookimpl(tryfirst=True)  # before -k and -m leave tests out, which says nothing of an entry
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        found: dict[Expected, int] = dict.fromkeys(self.expected, 0)
        for item in items:
            name = self._name(item)
            for entry in self.expected:
                if entry.matches(name):
                    found[entry] += 1
                    item.add_marker(pytest.mark.xfail(reason=entry.reason, strict=True))
        whole = self._whole_files(session.config.args, items)
        items.extend(_Stale.of(session, entry) for entry, count in found.items() if not count and entry.file in whole)

    def _name(self, item: pytest.Item) -> str:
        """File below ``sklearn`` and name of a test; the empty text for a test of somebody else."""
        path = item.path.resolve()
        if not path.is_relative_to(self.host):
            return ""
        return f"{path.relative_to(self.host).as_posix()}::{item.nodeid.partition('::')[2]}"

    def _whole_files(self, arguments: Sequence[str], items: Iterable[pytest.Item]) -> set[str]:
        """Files of which all tests were collected: those of which no argument names single tests."""
        parts = {argument.partition("::")[0] for argument in arguments if "::" in argument}
        stems = {Path(part).stem if part.endswith(".py") else part.rpartition(".")[2] for part in parts}
        files = {self._name(item).partition("::")[0] for item in items}
        return {file for file in files if Path(file).stem not in stems}


class _Stale(pytest.Item):
    """The failing test of an entry that matches nothing."""

    entry: Expected

    @classmethod
    def of(cls, session: pytest.Session, entry: Expected) -> Any:
        """The test of an entry."""
        item = cls.from_parent(session, name=f"fastsoftmax.accel expects a failure of {entry.test}")
        item.entry = entry
        return item

    def runtest(self) -> None:
        pytest.fail(f"no test matches {self.entry.test!r}: take it out of the list", pytrace=False)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return LIST, None, self.name
