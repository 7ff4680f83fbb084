"""Builds the Cython kernels, once for each instruction set; everything else is in pyproject.toml.

FASTSOFTMAX_DEBUG=1      bounds checks in Cython, assertions and no optimisation in C++
FASTSOFTMAX_NO_OPENMP=1  a build without OpenMP
FASTSOFTMAX_SANITIZE=address,undefined  checks at run time by GCC's or Clang's sanitizers, or by =thread
FASTSOFTMAX_LEVELS=v3    of x86-64's levels these alone, as v4,v3: what is checked need not be built three times
"""

import gzip
import io
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
from setuptools.errors import CompileError

WING = "fastsoftmax/kernels/cython"
API = "fastsoftmax/kernels/api"  # for programs in C and Cython
DEBUG = os.environ.get("FASTSOFTMAX_DEBUG") == "1"
# Of the processor that it is built for, which a cross compilation names.
X86 = os.environ.get("_PYTHON_HOST_PLATFORM", platform.machine()).lower().endswith(("x86_64", "amd64"))


def chosen(variable, known, default):
    """The words of a list in an environment variable, all of them known."""
    words = tuple(filter(None, os.environ.get(variable, "").split(","))) or default
    if unknown := [word for word in words if word not in known]:
        raise SystemExit(f"{variable} must be some of {', '.join(known)}, with commas between; got {unknown[0]!r}")
    return words


# A module per instruction set: the best one the processor has is picked at import.
ALL_LEVELS = ("v4", "v3", "v2") if X86 else ("generic",)
LEVELS = chosen("FASTSOFTMAX_LEVELS", ALL_LEVELS, ALL_LEVELS)
SANITIZERS = chosen("FASTSOFTMAX_SANITIZE", ("address", "undefined", "thread"), ())
# -ffast-math would delete the rounding trick in exp; contraction (fused multiply-add) and no errno is all we want.
FLAGS = ["-std=c++17", "-ffp-contract=fast", "-fno-math-errno", "-fvisibility=hidden"]
# Functions begin on a cache line: 500k x 50, k = 3, float16 takes 4.70 ms, else 4.83. Aligned loops took float64 in F
# order from 6.3 to 7.1.
FLAGS += ["-falign-functions=64"]
# What a sanitizer finds ends the process: a report that others scroll past would be no report.
CHECKS = [f"-fsanitize={','.join(SANITIZERS)}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g1"]
CHECKS = CHECKS if SANITIZERS else []
if "undefined" in SANITIZERS:
    # Python's own flags have -fwrapv, with which nothing overflows; casts are not among what "undefined" stands for.
    CHECKS += ["-fno-wrapv", "-fsanitize=float-cast-overflow"]
if DEBUG:
    FLAGS += ["-O0", "-g", "-UNDEBUG"]
else:
    FLAGS += ["-O1", "-UNDEBUG"] if SANITIZERS else ["-O3", "-DNDEBUG", "-g0"]
DIRECTIVES = {"boundscheck": DEBUG, "wraparound": DEBUG, "initializedcheck": DEBUG, "cdivision": True}
# The longest first, so that no core waits for it in the end.
UNITS = [
    f"{WING}/units/{unit}.cpp" for unit in ("dense_f32", "dense_f64", "sparse_f32", "sparse_f64", "common", "threads")
]
HEADERS = sorted(str(path) for path in Path(WING).rglob("*.hpp"))


# What the C++ cannot do without, and a program that has it.
NEEDS = "the kernels need C++17 and GCC's vector extension, as GCC 12 and Clang 14 have them"
TRIAL = """#include <cstdint>
typedef double V __attribute__((vector_size(16)));
typedef float Half __attribute__((vector_size(8)));
int main() {
    Half h = {1, 2};
    V v = __builtin_convertvector(h, V);
    if constexpr (sizeof(V) == 16) v = __builtin_shufflevector(v, v > 1.5 ? v : -v, 0, 3);
    return int(v[0]);
}
"""
OPENMP_TRIAL = "#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n"


class BuildExt(build_ext):
    """Compiles all sources of all modules side by side, with OpenMP where a trial program with it links."""

    def build_extensions(self):
        self._leave_out_unknown_levels()
        flags = self._openmp_flags()
        for module in self.extensions:
            if ".kernels_" in module.name:
                module.extra_compile_args += flags
                module.extra_link_args += flags
        self.parallel = len(self.extensions)  # threads that wait for the pool
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._compile_in(pool)
            super().build_extensions()

    def _leave_out_unknown_levels(self):
        """Try the compiler on a few lines, with the flags of each level; stop where it can do none of them."""
        if self.compiler.compiler_type == "msvc":
            raise CompileError(f"{NEEDS}; Microsoft's compiler does not, MinGW-w64 does (build_ext --compiler=mingw32)")
        levels = [module for module in self.extensions if ".kernels_" in module.name]
        failures = [self._failure(TRIAL, "-c", *module.extra_compile_args) for module in levels]
        if levels and all(failures):
            tried = " ".join(self.compiler.compiler_cxx)
            raise CompileError(f"{NEEDS}; a trial of {tried!r}, which $CXX may replace, failed: {failures[-1]}")
        for module, failure in zip(levels, failures, strict=True):
            if failure:
                self.warn(f"{module.name} is left out: {failure}")
                self.extensions.remove(module)

    def _failure(self, program, *flags):
        """Why the C++ compiler cannot compile a program, in a line; empty where it can."""
        with tempfile.TemporaryDirectory() as folder:
            source, out = Path(folder) / "trial.cpp", Path(folder) / "trial.out"
            source.write_text(program)
            command = [*self.compiler.compiler_cxx, *flags, str(source), "-o", str(out)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
            except OSError as error:
                return f"it cannot be run ({error.strerror})"
            if done.returncode == 0 and out.exists():
                return ""
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        return "".join(errors[:1]) or f"it ends with status {done.returncode} and writes nothing"

    def _compile_in(self, pool):
        """Have the compiler hand each source to the pool, where distutils would compile one after the other."""
        compiler = self.compiler

        def compile(sources, output_dir=None, macros=None, include_dirs=None, debug=0, extra_preargs=None,
                    extra_postargs=None, depends=None):  # fmt: skip
            # The same source is compiled for each level.
            level = next((flag for flag in extra_postargs or [] if flag.startswith("-march=")), "baseline")
            output_dir = os.path.join(output_dir or "", level.removeprefix("-march="))
            cut = compiler._setup_compile(output_dir, macros, include_dirs, sources, depends, extra_postargs)
            _, objects, arguments, preprocessor, build = cut
            options = compiler._get_cc_args(preprocessor, debug, extra_preargs)

            def one(target):
                source, suffix = build[target]
                # What Cython writes calls the units and has no loops of its own: 1.2 s less for each level.
                own = arguments if source in UNITS or DEBUG else [*arguments, "-O1"]
                compiler._compile(target, source, suffix, options, own, preprocessor)

            list(pool.map(one, build))
            return objects

        compiler.compile = compile

    def _openmp_flags(self):
        if os.environ.get("FASTSOFTMAX_NO_OPENMP") == "1" or sys.platform == "win32":
            return []
        return [] if self._failure(OPENMP_TRIAL, "-fopenmp") else ["-fopenmp"]


class Module:
    """An extension module: what Cython makes of a .pyx, and units of C++."""

    def __init__(self, name, source, flags, language, units=(), directives=None):
        self.source, self.flags, self.language, self.units = Path(source), flags, language, units
        self.name = f"{self.source.parent.as_posix().replace('/', '.')}.{name}"
        self.directives = directives or {}
        # It carries the module's name: the same source needs a folder for each level.
        suffix = ".cpp" if language == "c++" else ".c"
        self.written = Path(
            "build", "cython-debug" if DEBUG else "cython", name, self.source.parent, self.source.stem + suffix
        )

    def translate(self):
        """Run Cython in a process of its own, unless what it wrote is newer than all it read."""
        read = [*self.source.parent.glob("*.p[yx][xd]"), *self.source.parent.glob("*.h*"), Path("setup.py")]
        if self.written.exists() and self.written.stat().st_mtime > max(file.stat().st_mtime for file in read):
            return
        self.written.parent.mkdir(parents=True, exist_ok=True)
        options = [f"-X{name}={value}" for name, value in self.directives.items()]
        options += ["--cplus"] if self.language == "c++" else []
        command = [sys.executable, "-m", "cython", "-3", "-I.", *options, "--module-name", self.name]
        subprocess.run([*command, "-o", str(self.written), str(self.source)], check=True)

    def extension(self):
        return Extension(
            self.name,
            [*self.units, str(self.written)],
            include_dirs=[str(self.source.parent), numpy.get_include()],
            depends=[*HEADERS, f"{API}/fastsoftmax.h"],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            language=self.language,
            extra_compile_args=[*self.flags, *CHECKS],
            extra_link_args=[*CHECKS],
        )


def flags_of(level):
    if level == "generic":
        return FLAGS
    # Processors without AVX2 are older than 2013: a tenth less of compiling for a few per cent of their speed.
    optimisation = ["-O2"] if level == "v2" and not DEBUG and not SANITIZERS else []
    return [*FLAGS, *optimisation, f"-march=x86-64-{level}"]


def extensions():
    modules = [
        Module(f"kernels_{level}", f"{WING}/kernels.pyx", flags_of(level), "c++", UNITS, DIRECTIVES) for level in LEVELS
    ]
    # All that these do is a few calls of Python.
    # Without -g0, which is in FLAGS, debugging information would hold the folder of the build.
    plain = ["-g"] if DEBUG else ["-g0"]
    modules += [Module("functions", f"{API}/functions.pyx", ["-O1", *plain], "c")]
    modules += [Module("cpu", f"{WING}/cpu.pyx", plain, "c")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(Module.translate, modules))
    return [module.extension() for module in modules]


class Sdist(sdist):
    """Where SOURCE_DATE_EPOCH is set, an archive of the same bytes from every build: wheels are that without more."""

    def make_archive(self, base_name, format, **options):
        written = super().make_archive(base_name, format, **options)
        if format == "gztar" and "SOURCE_DATE_EPOCH" in os.environ:
            self._settle(written, int(os.environ["SOURCE_DATE_EPOCH"]))
        return written

    def _settle(self, path, seconds):
        """Write the archive again: sorted, all of one date, nobody's."""
        with tarfile.open(path) as old:
            members = sorted(old.getmembers(), key=lambda member: member.name)
            contents = [old.extractfile(member).read() if member.isfile() else b"" for member in members]
        with (
            open(path, "wb") as raw,
            gzip.GzipFile("", "wb", mtime=seconds, fileobj=raw) as packed,
            tarfile.open(fileobj=packed, mode="w") as new,
        ):
            for member, content in zip(members, contents, strict=True):
                member.mtime, member.uid, member.gid, member.uname, member.gname = seconds, 0, 0, "", ""
                member.pax_headers = {}
                new.addfile(member, io.BytesIO(content))


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt, "sdist": Sdist})
