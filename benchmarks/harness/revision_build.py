"""Revisions of this repository, each unpacked in a folder of its own and built there."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

BUILD = ("setup.py", "build_ext", "--inplace")
# Lines of a log that are shown where a build fails.
SHOWN = 20


class RevisionError(Exception):
    """A revision that cannot be had, built or run, and why."""


def git(*arguments: str, folder: str | Path = ".") -> bytes:
    """What a git command prints."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True)
    if done.returncode:
        raise RevisionError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def commit_of(revision: str) -> str:
    """The abbreviated commit that a branch, tag, or commit of the current directory's repository means."""
    return git("rev-parse", "--short", "--verify", revision + "^{commit}").decode().strip()


def unpack(revision: str, folder: Path) -> None:
    """Write the files of a revision into a new folder. The repository itself keeps no trace of it."""
    top = git("rev-parse", "--show-toplevel").decode().strip()
    folder.mkdir(parents=True)
    with zipfile.ZipFile(io.BytesIO(git("archive", "--format=zip", revision, folder=top))) as archive:
        archive.extractall(folder)


def build(folder: Path, log: Path) -> None:
    """Compile the Cython kernels of a revision in place; what the compiler prints goes into ``log``."""
    with log.open("w") as output:
        done = subprocess.run([sys.executable, *BUILD], cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-SHOWN:])
        raise RevisionError(f"python {' '.join(BUILD)} failed in {folder}; the end of what it printed:\n{last}")
