"""Builds the Cython kernels, once for each instruction set; everything else is in pyproject.toml.

FASTSOFTMAX_DEBUG=1      bounds checks in Cython, assertions and no optimisation in C++
FASTSOFTMAX_NO_OPENMP=1  a build without OpenMP
"""

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = "fastsoftmax/kernels/cython"
DEBUG = os.environ.get("FASTSOFTMAX_DEBUG") == "1"
X86 = platform.machine().lower() in ("x86_64", "amd64")

# A module per instruction set: the best one the processor has is picked at import.
LEVELS = (
    {"v2": ["-march=x86-64-v2"], "v3": ["-march=x86-64-v3"], "v4": ["-march=x86-64-v4"]} if X86 else {"generic": []}
)
# -ffast-math would delete the rounding trick in exp; contraction (fused multiply-add) and no errno is all we want.
FLAGS = ["-std=c++17", "-ffp-contract=fast", "-fno-math-errno", "-fvisibility=hidden"]
FLAGS += ["-O0", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-DNDEBUG", "-g0"]
DIRECTIVES = {"boundscheck": DEBUG, "wraparound": DEBUG, "initializedcheck": DEBUG, "cdivision": True}
HEADERS = sorted(str(p) for p in Path(KERNELS).rglob("*.hpp"))


class BuildExt(build_ext):
    """Adds OpenMP where a trial program with it compiles and links."""

    def build_extensions(self):
        flags = self._openmp_flags()
        for extension in self.extensions:
            if ".kernels_" in extension.name:
                extension.extra_compile_args += flags
                extension.extra_link_args += flags
        super().build_extensions()

    def _openmp_flags(self):
        if os.environ.get("FASTSOFTMAX_NO_OPENMP") == "1" or sys.platform == "win32":
            return []
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "trial.cpp"
            source.write_text("#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n")
            command = [*self.compiler.compiler_cxx, "-fopenmp", str(source), "-o", str(source.with_suffix(""))]
            try:
                subprocess.run(command, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                return []
        return ["-fopenmp"]


def extension(name, source, flags, language):
    return Extension(
        f"fastsoftmax.kernels.cython.{name}",
        [f"{KERNELS}/{source}"],
        include_dirs=[KERNELS, numpy.get_include()],
        depends=HEADERS,
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=flags,
        extra_link_args=[],
        language=language,
    )


def extensions():
    """The same .pyx once per level: its C++ carries the module's name, so each needs a folder of its own."""
    built = cythonize(extension("cpu", "cpu.pyx", [], "c"), build_dir="build/cython/cpu")
    for level, march in LEVELS.items():
        module = extension(f"kernels_{level}", "kernels.pyx", [*FLAGS, *march], "c++")
        built += cythonize(module, build_dir=f"build/cython/{level}", compiler_directives=DIRECTIVES)
    return built


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
