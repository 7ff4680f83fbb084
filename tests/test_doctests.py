"""Every example in a docstring of the package runs and prints what it says; every public name has one."""

import doctest
import importlib
import importlib.util
import operator
import pkgutil
from pathlib import Path

import pytest
from checkout import fail_or_skip

import fastsoftmax
import fastsoftmax.data.files
import fastsoftmax.datasets

# Of the public names this one alone is not called: `minimize` and `regularization_path` return it.
NO_EXAMPLE = {"Result"}
DOCUMENTED = [name for name in fastsoftmax.__all__ if name not in NO_EXAMPLE]
DOCUMENTED += ["datasets.load_sample", "datasets.make_problem", "datasets.split_rows", "data.files.read"]


def module_files(paths, prefix):
    """(import name, file) of every Python module of a package, none of them imported."""
    for found in pkgutil.iter_modules(paths, prefix):
        spec = found.module_finder.find_spec(found.name)
        if spec.origin.endswith(".py"):
            yield found.name, Path(spec.origin)
        if found.ispkg and found.name != "fastsoftmax.benchmarks":
            yield from module_files(spec.submodule_search_locations, f"{found.name}.")


WITH_EXAMPLES = [
    name for name, file in module_files(fastsoftmax.__path__, "fastsoftmax.") if ">>> " in file.read_text("utf-8")
]


def run_examples(module):
    """Run all examples of a module; the first that prints something else, or raises, is an error."""
    runner = doctest.DebugRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for example in doctest.DocTestFinder().find(module):
        try:
            runner.run(example)
        except doctest.DocTestFailure as failure:
            pytest.fail(f"{example.name}: {failure.example.source}wanted {failure.example.want}got {failure.got}")
        except doctest.UnexpectedException as failure:
            raise failure.exc_info[1] from None
    return runner.tries


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_print_what_they_say(name):
    if name.startswith("fastsoftmax.torch."):
        pytest.importorskip("torch", reason="PyTorch is not installed: no extra of the tests brings it")
    if name.startswith("fastsoftmax.dask."):
        pytest.importorskip("distributed", reason="Dask is not installed")
    try:
        assert run_examples(importlib.import_module(name)) > 0
    except ImportError as error:
        fail_or_skip(error)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_name_has_an_example(name):
    try:
        text = operator.attrgetter(name)(fastsoftmax).__doc__
    except ImportError as error:
        fail_or_skip(error)
    assert "Examples\n" in text and ">>> " in text.split("Examples\n")[1]


def test_a_wrong_example_is_an_error(tmp_path):
    (tmp_path / "wrong.py").write_text('"""\n>>> 1 + 1\n3\n"""\n')
    spec = importlib.util.spec_from_file_location("wrong", tmp_path / "wrong.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(pytest.fail.Exception, match="wanted 3"):
        run_examples(module)
