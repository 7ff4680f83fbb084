"""How the kernels are reached from XLA: by a small library, compiled when it is first needed, or by a callback.

The library is made of `ffi.cpp` against the headers of the installed jaxlib and kept in a folder of the user's, under a
name with a digest of all that it is made of. Where there is no compiler, or it fails, `jax.pure_callback` calls Python
with copies of the arrays. Nothing here imports JAX before it is to be used.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

SOURCE = Path(__file__).parent / "ffi.cpp"
FLAGS = ["-std=c++17", "-O2", "-shared", "-fPIC"]
COMPILERS = ("c++", "g++", "clang++")
NO_JAXLIB = "jaxlib is not installed"
TARGETS = {"float32": "fastsoftmax_f32", "float64": "fastsoftmax_f64"}


@dataclass(frozen=True)
class Way:
    """How calls go: by the ``library``, or, if it is None, by a callback, and ``why`` says for what reason."""

    library: Path | None
    why: str = ""

    def __str__(self) -> str:
        return f"callback ({self.why})" if self.library is None else f"ffi ({self.library})"


@functools.cache
def way() -> Way:
    """The library, compiled if need be and registered with JAX, or the reason why there is none."""
    try:
        library = built()
        _register(library)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        lines = [line for line in said.splitlines() if "error" in line] or said.splitlines()
        return Way(None, lines[0] if lines else type(error).__name__)
    return Way(library)


def describe() -> str:
    """What `way` would say, without compiling anything."""
    try:
        library = _path()
        return str(Way(library)) if library.exists() else f"ffi, to be compiled by {compiler()} when first used"
    except OSError as error:
        return "not installed" if str(error) == NO_JAXLIB else str(Way(None, str(error)))


def built() -> Path:
    """The library's file; compiled where there is none. OSError or CalledProcessError if that fails."""
    library = _path()
    if library.exists():
        return library
    command = [compiler(), *FLAGS, f"-I{_jaxlib() / 'include'}", str(SOURCE), "-o"]
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        written = Path(folder, library.name)
        subprocess.run([*command, str(written)], check=True, capture_output=True, text=True)
        os.replace(written, library)  # at once, for other processes that look for it
    return library


def compiler() -> str:
    """The C++ compiler: $CXX, or the first of `COMPILERS` that there is. OSError where there is none."""
    wanted = os.environ.get("CXX")
    found = next(filter(None, map(shutil.which, [wanted] if wanted else COMPILERS)), None)
    if found is None:
        raise OSError(f"no C++ compiler: {wanted or ', '.join(COMPILERS)} not found; $CXX may name one")
    return found


def _jaxlib() -> Path:
    """The folder of jaxlib, without importing it."""
    found = metadata.distribution("jaxlib").locate_file("jaxlib")
    return Path(str(found))


def _path() -> Path:
    """Where the library is, or will be. OSError where jaxlib is not installed."""
    try:
        version = metadata.version("jaxlib")
    except metadata.PackageNotFoundError:
        raise OSError(NO_JAXLIB) from None
    digest = hashlib.sha256(SOURCE.read_bytes() + repr((version, FLAGS, sys.platform)).encode()).hexdigest()[:16]
    return _folder() / f"jax-{version}-{digest}.so"


def _folder() -> Path:
    """The folder of the user's for what programs can make again; FASTSOFTMAX_CACHE_DIR names another."""
    if given := os.environ.get("FASTSOFTMAX_CACHE_DIR"):
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fastsoftmax"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastsoftmax"


def _register(library: Path) -> None:
    import jax

    from ..kernels.api.functions import ADDRESSES

    loaded = ctypes.CDLL(str(library))
    loaded.fastsoftmax_set_functions(*(ctypes.c_void_p(ADDRESSES[name]) for name in ("run_batch", "error")))
    for target in TARGETS.values():
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(loaded, target)), platform="cpu")  # type: ignore[no-untyped-call, unused-ignore]
