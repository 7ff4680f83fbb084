"""The command run in this process, and a table to give it."""

import pyarrow
import pyarrow.csv
import pytest

from fastsoftmax import datasets
from fastsoftmax.cli import commands


@pytest.fixture
def run(capsys):
    """A function that runs the command and returns exit code, stdout and stderr."""

    def call(*arguments):
        code = commands.run([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    """A CSV file of scikit-learn's iris."""
    X, y, names = datasets.load_sample("iris")
    path = tmp_path_factory.mktemp("data") / "iris.csv"
    columns = {name: X[:, j] for j, name in enumerate(names)}
    pyarrow.csv.write_csv(pyarrow.table({**columns, "species": y}), path)
    return path
