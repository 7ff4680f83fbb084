"""Programs like those of scikit-learn's gallery print the same figures with ours as without."""

import warnings
from contextlib import redirect_stdout
from importlib.util import module_from_spec, spec_from_file_location
from inspect import getmembers, isfunction
from io import StringIO
from pathlib import Path

import pytest

from fastsoftmax import accel

FOLDER = Path(__file__).parent / "examples"


def load(file):
    spec = spec_from_file_location(f"examples_{file.stem}", file)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLES = {
    name: function
    for module in map(load, sorted(FOLDER.glob("*.py")))
    for name, function in getmembers(module, isfunction)
    if function.__module__ == module.__name__ and name != "logistic"
}


def printed(example):
    with redirect_stdout(StringIO()) as out, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example()
    return out.getvalue()


def test_there_are_twenty_examples():
    assert len(EXAMPLES) >= 20


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_it_prints_without_us(name):
    without = printed(EXAMPLES[name])
    with accel.accelerated():
        with_ours = printed(EXAMPLES[name])
    assert without and with_ours == without
