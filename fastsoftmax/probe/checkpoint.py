"""The values of a sweep that are done, kept in a folder, so that a sweep that was killed goes on where it was.

``sweep.json`` says what is swept: a digest of data and options. ``value-007.npz`` has the outcome of the eighth
strength of the grid. Each file is written beside its place and renamed into it, so that there is never half of one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..data.archive import first_line, load_arrays, whole_file

FORMAT = 1
# So many rows of X are part of the digest.
SAMPLED = 64


class Checkpoint:
    """A folder with the values of one sweep.

    Parameters
    ----------
    folder : path
        Made if it does not exist; its parent must.
    digest : str
        Of what is swept: see `digest_of`.

    Raises
    ------
    ValueError
        If the folder holds another sweep, or something else.
    """

    def __init__(self, folder: str | os.PathLike[str], digest: str) -> None:
        self.folder = Path(folder)
        about, found = self.folder / "sweep.json", {}
        if self.folder.exists():
            if not self.folder.is_dir():
                raise ValueError(f"{self.folder} is a file; a folder for the checkpoint of a sweep is wanted")
            if not about.exists() and any(self.folder.iterdir()):
                raise ValueError(f"{self.folder} is no checkpoint of a sweep, and not empty; another folder is wanted")
        self.folder.mkdir(exist_ok=True)
        if about.exists():
            found = _read_json(about)
            version = found.get("format")
            if isinstance(version, int) and version > FORMAT:
                raise ValueError(
                    f"{self.folder} has format version {version}, this fastsoftmax reads up to {FORMAT}; a newer one is"
                    " wanted"
                )
            if found.get("digest") != digest or version != FORMAT:
                raise ValueError(f"{self.folder} is the checkpoint of a sweep of other data or options; another folder"
                                 " is wanted, or none")  # fmt: skip
        else:
            with whole_file(about) as file:
                file.write(json.dumps({"format": FORMAT, "digest": digest}).encode())

    def load(self, number: int) -> tuple[dict[str, Any], np.ndarray] | None:
        """What `save` wrote for a value of the grid; None if it is not done."""
        path = self._path(number)
        if not path.exists():
            return None
        try:
            with path.open("rb") as file:
                parts = load_arrays(file, ("facts", "thetas"))[1]
            return dict(json.loads(parts["facts"].tobytes())), parts["thetas"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            why = first_line(error)
            raise ValueError(f"{path} is damaged ({why}); without this file its value is fitted anew") from error

    def save(self, number: int, facts: dict[str, Any], thetas: np.ndarray) -> None:
        """Keep the outcome of a value: what JSON can hold, and the theta of each of its fits."""
        buffer = io.BytesIO()
        np.savez(buffer, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), thetas=thetas)
        with whole_file(self._path(number)) as file:
            file.write(buffer.getvalue())

    def _path(self, number: int) -> Path:
        return self.folder / f"value-{number:03d}.npz"


def digest_of(options: dict[str, Any], labels: list[np.ndarray], samples: list[np.ndarray]) -> str:
    """A digest of options, of all labels and of some rows of X."""
    out = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode())
    for array in (*labels, *samples):
        out.update(f"{array.dtype} {array.shape}".encode())
        out.update(np.ascontiguousarray(array).tobytes())
    return out.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({first_line(error)}); a checkpoint of a sweep is wanted") from error
    return found if isinstance(found, dict) else {}
