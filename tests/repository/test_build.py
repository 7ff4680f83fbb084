"""What setup.py asks of the compiler and what comes out: the instructions of a module are those of its level."""

import os
import re
import shutil
import subprocess
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import fastsoftmax

ROOT = Path(__file__).parents[2]
WING = Path(fastsoftmax.__file__).parent / "kernels" / "cython"
# Registers of 256 and 512 bits; what a level has, its module uses.
REGISTERS = {"v2": set(), "v3": {"ymm"}, "v4": {"ymm", "zmm"}}


@pytest.fixture(scope="module")
def extensions(tmp_path_factory):
    """The extension modules as setup.py describes them, by name; in a copy, since Cython writes beside the sources."""
    setuptools = pytest.importorskip("setuptools")
    pytest.importorskip("Cython")
    if not (ROOT / "setup.py").exists():
        pytest.skip("no checkout: there is no setup.py")
    folder = tmp_path_factory.mktemp("build")
    shutil.copy(ROOT / "setup.py", folder)
    shutil.copytree(ROOT / "fastsoftmax" / "kernels", folder / "fastsoftmax" / "kernels")
    described = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **arguments: described.update(arguments))
        patch.chdir(folder)
        exec(compile((folder / "setup.py").read_text(), "setup.py", "exec"), {"__name__": "setup"})
    return {module.name.rpartition(".")[2]: module for module in described["ext_modules"]}


def test_a_module_is_compiled_for_its_own_level_only(extensions):
    for name, module in extensions.items():
        levels = [flag for flag in module.extra_compile_args if flag.startswith("-march=")]
        level = name.removeprefix("kernels_")
        assert levels == ([] if level in ("cpu", "generic") else [f"-march=x86-64-{level}"])


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
