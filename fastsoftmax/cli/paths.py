"""Paths that the user gives, checked before the work and not after it."""

from __future__ import annotations

from pathlib import Path

MODEL_SUFFIXES = (".safetensors", ".npz")
PLOT_SUFFIXES = (".png", ".pdf", ".svg")


def writable(given: str | None, suffixes: tuple[str, ...], what: str, default: str = "") -> Path | None:
    """The path of a file to write, as `with_suffix`; ValueError if it is a directory, or in one that does not exist."""
    if given is None:
        return None
    path = with_suffix(given, suffixes, what, default)
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no directory {path.parent} to write {what} to")
    if path.is_dir():
        raise ValueError(f"{path} is a directory; a file to write {what} to is wanted")
    return path


def with_suffix(given: str, suffixes: tuple[str, ...], what: str, default: str = "") -> Path:
    """The path with the suffix ``default`` if it has none; ValueError if its suffix is not one of ``suffixes``."""
    path = Path(given)
    if not path.suffix and path.name and default:
        path = path.with_name(path.name + default)
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: {what} is a {' or '.join(suffixes)} file")
    return path
