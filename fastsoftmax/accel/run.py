"""Running a program as Python itself would: `__main__`, `sys.argv`, `sys.path`, tracebacks, exit codes.

`runpy` takes the program's `__main__` away again when its code has run, though threads and exit handlers of the program
may still need it, and shows itself in tracebacks. So the code is found and executed here.
"""

from __future__ import annotations

import importlib.util
import io
import os
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

OWN = Path(__file__).parent  # the folder whose frames no traceback shows


class NotFound(Exception):
    """There is no such program; the message is Python's own, ``code`` the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Program:
    """What is to be run as `__main__`.

    Attributes
    ----------
    code : code object
    name : str
        The first of `sys.argv`.
    folder : str
        The first of `sys.path`.
    names : mapping
        What `__main__` holds at the start.
    """

    code: CodeType
    name: str
    folder: str
    names: Mapping[str, Any] = field(default_factory=dict)


def find_script(path: str) -> Program:
    """A file of Python, source or compiled; or a folder or zip file with a ``__main__.py``."""
    # As in Python, programs know their file by a path that holds wherever they go, in which links and ".." stay.
    absolute = os.path.join(os.getcwd(), path)
    if os.path.isdir(path) or _is_archive(path):
        spec = PathFinder.find_spec("__main__", [absolute])
        if spec is None:
            raise NotFound(f"{sys.executable}: can't find '__main__' module in {absolute!r}", 1)
        return _from_spec(spec, path, absolute)
    try:
        with io.open_code(absolute) as stream:
            compiled = pkgutil.read_code(stream)
            stream.seek(0)
            source = stream.read()
    except OSError as error:
        found = f"{sys.executable}: can't open file {absolute!r}: [Errno {error.errno}] {error.strerror}"
        raise NotFound(found, 2) from error
    code = compiled or _compile(source, absolute)
    names = {"__file__": absolute, "__loader__": SourceFileLoader("__main__", absolute), "__cached__": None}
    return Program(code, path, os.path.dirname(os.path.realpath(path)), names)


def find_module(name: str) -> Program:
    """A module, or the ``__main__`` of a package, by its name (``-m``)."""
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            main = importlib.util.find_spec(f"{name}.__main__")
            if main is None:
                why = f"No module named {name}.__main__; {name!r} is a package and cannot be directly executed"
                raise NotFound(f"{sys.executable}: {why}", 1)
            spec = main
    except ModuleNotFoundError as error:
        why = f"Error while finding module specification for {name!r} (ModuleNotFoundError: {error})"
        raise NotFound(f"{sys.executable}: {why}", 1) from error
    if spec is None or spec.loader is None:
        raise NotFound(f"{sys.executable}: No module named {name}", 1)
    return _from_spec(spec, str(spec.origin), os.getcwd())


def find_command(text: str) -> Program:
    """Code that is an argument of the command line (``-c``)."""
    return Program(_compile(text, "<string>"), "-c", "")


def find_standard_input() -> Program:
    """Code from standard input (``-``)."""
    return Program(_compile(sys.stdin.read(), "<stdin>"), "-", "", {"__file__": "<stdin>"})


def run(program: Program, arguments: Sequence[str]) -> None:
    """Run a program as `__main__`. It ends as under Python: what it raises, `SystemExit` too, goes on upward."""
    main = ModuleType("__main__")
    if "__annotations__" in vars(sys.modules["__main__"]):  # in some versions of Python
        main.__dict__["__annotations__"] = {}
    main.__dict__.update({"__builtins__": __builtins__, "__package__": None, "__spec__": None, **program.names})
    sys.modules["__main__"] = main
    sys.argv[:] = [program.name, *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = program.folder
    elif program.names.get("__spec__") is not None and program.folder == os.path.join(os.getcwd(), program.name):
        sys.path.insert(0, program.folder)  # a folder or zip file is always searched
    try:
        exec(program.code, main.__dict__)
    except BaseException:
        _hide_own_frames()
        raise


def _compile(source: str | bytes, name: str) -> CodeType:
    try:
        return compile(source, name, "exec", dont_inherit=True)
    except SyntaxError:
        _hide_own_frames()
        raise


def _is_archive(path: str) -> bool:
    importer = pkgutil.get_importer(path)
    return importer is not None and type(importer).__name__ == "zipimporter"


def _from_spec(spec: ModuleSpec, name: str, folder: str) -> Program:
    code = spec.loader.get_code(spec.name)  # type: ignore[union-attr]
    if code is None:
        raise NotFound(f"{sys.executable}: No code object available for {spec.name}", 1)
    names = {"__spec__": spec, "__file__": spec.origin, "__loader__": spec.loader, "__package__": spec.parent}
    return Program(code, name, folder, names | {"__cached__": spec.cached})


def _hide_own_frames() -> None:
    """Let the interpreter, which shows what nobody caught, leave out the frames that led to the program."""
    shown = sys.excepthook  # the program may have set its own

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        kept = without_own(traceback)
        shown(kind, error.with_traceback(kept), kept)

    sys.excepthook = show


def without_own(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames at its start that are of this folder or of `runpy`."""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if Path(file).parent != OWN and not file.startswith("<frozen runpy"):
            break
        traceback = traceback.tb_next
    return traceback
