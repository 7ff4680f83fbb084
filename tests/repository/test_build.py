"""What setup.py asks of the compiler and what comes out: the instructions of a module are those of its level."""

import copy
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import SimpleNamespace

import pytest
from expect import assert_raises

import fastsoftmax

posix = pytest.mark.skipif(os.name != "posix", reason="the compilers of these tests are scripts of a POSIX shell")
x86 = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="the levels are x86-64's")
ROOT = Path(__file__).parents[2]
WING = Path(fastsoftmax.__file__).parent / "kernels" / "cython"
# Registers of 256 and 512 bits; what a level has, its module uses.
REGISTERS = {"v2": set(), "v3": {"ymm"}, "v4": {"ymm", "zmm"}}


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """What setup.py passes to `setup`; in a copy, since Cython writes beside the sources."""
    return describe(tmp_path_factory.mktemp("build"))


def describe(folder, **variables):
    """The same for an empty folder, and variables of the environment."""
    setuptools = pytest.importorskip("setuptools")
    pytest.importorskip("Cython")
    if not (ROOT / "setup.py").exists():
        pytest.skip("no checkout: there is no setup.py")
    shutil.copy(ROOT / "setup.py", folder)
    shutil.copytree(ROOT / "fastsoftmax" / "kernels", folder / "fastsoftmax" / "kernels")
    found = {"folder": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **arguments: found.update(arguments))
        patch.chdir(folder)
        for name, value in variables.items():
            patch.setenv(name, value)
        exec(compile((folder / "setup.py").read_text(), "setup.py", "exec"), {"__name__": "setup"})
    return found


@pytest.fixture(scope="module")
def extensions(described):
    """The extension modules, by name."""
    return {module.name.rpartition(".")[2]: module for module in described["ext_modules"]}


def test_a_module_is_compiled_for_its_own_level_only(extensions):
    for name, module in extensions.items():
        levels = [flag for flag in module.extra_compile_args if flag.startswith("-march=")]
        level = name.removeprefix("kernels_")
        assert levels == ([] if level in ("cpu", "functions", "generic") else [f"-march=x86-64-{level}"])


@x86
def test_sanitizers_and_levels_can_be_chosen(tmp_path):
    modules = describe(tmp_path, FASTSOFTMAX_SANITIZE="address,undefined", FASTSOFTMAX_LEVELS="v3")["ext_modules"]
    assert {module.name.rpartition(".")[2] for module in modules} == {"kernels_v3", "cpu", "functions"}
    for module in modules:
        assert {"-fsanitize=address,undefined", "-fno-sanitize-recover=all"} <= {*module.extra_compile_args}
        assert "-fsanitize=address,undefined" in module.extra_link_args


@x86
@pytest.mark.parametrize("variable", ["FASTSOFTMAX_SANITIZE", "FASTSOFTMAX_LEVELS"])
def test_a_choice_that_is_not_known_is_named(tmp_path, variable):
    wanted = "address, undefined, thread" if "SAN" in variable else "v4, v3, v2"
    assert_raises(SystemExit, [variable, wanted, "'best'"], lambda: describe(tmp_path, **{variable: "best"}))


def test_a_module_has_a_folder_for_what_cython_writes(extensions):
    written = [source for module in extensions.values() for source in module.sources if source.startswith("build")]
    assert len(written) == len(set(written)) == len(extensions)


@pytest.mark.parametrize("level", REGISTERS)
def test_a_module_uses_the_registers_of_its_level(level):
    files = [WING / f"kernels_{level}{suffix}" for suffix in EXTENSION_SUFFIXES]
    built = next((file for file in files if file.exists()), None)
    if built is None or not shutil.which("objdump"):
        pytest.skip("the module is not built, or there is no objdump")
    environment = {**os.environ, "LC_ALL": "C"}
    code = subprocess.run(["objdump", "-d", built], check=True, capture_output=True, text=True, env=environment).stdout
    assert set(re.findall(r"%([yz]mm)\d", code)) == REGISTERS[level]


def test_what_programs_in_c_and_cython_are_built_with_is_installed():
    """In a run of the tests on an installed package; in a checkout, it is in the list of what goes along."""
    room = Path(fastsoftmax.get_include())
    assert {"fastsoftmax.h", "functions.pxd", "__init__.pxd"} <= {file.name for file in room.iterdir()}
    if (ROOT / "pyproject.toml").exists():
        tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
        assert "fastsoftmax.kernels.api" in tools["packages"]
        assert {"*.h", "*.pxd"} <= set(tools["package-data"]["fastsoftmax.kernels.api"])


# ------------------------------------------------------------------------------ the compiler

# Passes on to the real one, but for the words that it refuses.
COMPILER = """#!/bin/sh
for word in "$@"; do
    case "$word" in {refused}) echo "c++: error: unrecognized option '$word'" >&2; exit 1;; esac
done
exec {real} "$@"
"""


@pytest.fixture
def built_with(described, monkeypatch, tmp_path):
    """A function: the modules that would be compiled by a compiler, by name, and what is said about others."""
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    def build(compiler, kind="unix"):
        monkeypatch.setenv("CXX", str(compiler))
        command = described["cmdclass"]["build_ext"](
            Distribution({"ext_modules": copy.deepcopy(described["ext_modules"])})
        )
        command.build_lib = command.build_temp = str(tmp_path)
        command.ensure_finalized()
        said = []
        command.warn = said.append
        if kind != "unix":
            command.compiler = SimpleNamespace(compiler_type=kind)
            command.build_extensions()
        monkeypatch.setattr(build_ext, "build_extensions", lambda self: None)
        command.run()
        return {module.name.rpartition(".")[2]: module for module in command.extensions}, said

    return build


def setuptools_errors():
    return pytest.importorskip("setuptools.errors")


@pytest.fixture
def refusing(tmp_path):
    """A function: a compiler that refuses some words on its command line."""
    from setuptools._distutils.sysconfig import get_config_var

    def write(refused):
        file = tmp_path / "c++"
        real = os.environ.get("CXX") or get_config_var("CXX") or "c++"
        file.write_text(COMPILER.format(refused=refused, real=real))
        file.chmod(0o755)
        return file

    return write


def test_a_compiler_that_can_builds_all_modules(built_with, refusing, extensions):
    modules, said = built_with(refusing("-no-such-word"))
    assert (set(modules), said) == (set(extensions), [])


@posix
@pytest.mark.parametrize(
    ("compiler", "why"),
    [
        ("/bin/false", "it ends with status 1"),
        ("/bin/true", "writes nothing"),
        ("no-such-compiler", "cannot be run"),
        ("/", "cannot be run"),
    ],
)
def test_without_a_compiler_one_sentence_says_what_is_wanted(built_with, compiler, why):
    words = [compiler, "C++17", "GCC 12", "Clang 14", "$CXX", why]
    assert_raises(setuptools_errors().CompileError, words, lambda: built_with(compiler))


@posix
@pytest.mark.parametrize("refused", ["-std=c++17", "-march=*|-std=*", "-fno-math-errno"])
def test_a_compiler_that_is_too_old_is_named_with_what_it_says(built_with, refusing, refused):
    compiler = refusing(refused)
    words = [str(compiler), "C++17", "unrecognized option"]
    assert_raises(setuptools_errors().CompileError, words, lambda: built_with(compiler))


@posix
@pytest.mark.parametrize("missing", [["v4"], ["v3", "v4"]], ids="".join)
def test_a_level_that_the_compiler_does_not_know_is_left_out_and_said(built_with, refusing, extensions, missing):
    if "kernels_v4" not in extensions:
        pytest.skip("the levels are x86-64's")
    compiler = refusing("|".join(f"-march=x86-64-{level}" for level in missing))
    left_out = {f"kernels_{level}" for level in missing}
    modules, said = built_with(compiler)
    assert set(modules) == set(extensions) - left_out
    assert len(said) == len(missing)
    for name in left_out:
        (line,) = [line for line in said if name in line]
        assert "unrecognized option" in line and "\n" not in line


@posix
def test_without_openmp_the_modules_have_no_threads(built_with, refusing, extensions):
    modules, said = built_with(refusing("-fopenmp"))
    assert (set(modules), said) == (set(extensions), [])
    assert not [name for name, module in modules.items() if "-fopenmp" in module.extra_compile_args]


def test_microsofts_compiler_is_refused_in_one_sentence(built_with):
    assert_raises(
        setuptools_errors().CompileError,
        ["vector extension", "Microsoft's", "MinGW-w64"],
        lambda: built_with("", "msvc"),
    )


@posix
def test_setup_ends_with_that_sentence(described):
    command = [sys.executable, "setup.py", "-q", "build_ext"]
    environment = {**os.environ, "CXX": "no-such-compiler"}
    done = subprocess.run(command, cwd=described["folder"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert line.startswith("error: the kernels need C++17") and "no-such-compiler" in line
    assert "Traceback" not in done.stderr
