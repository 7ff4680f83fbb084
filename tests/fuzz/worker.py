"""A process that runs one target on one input after the other, and says in a file which it is at.

``python -m tests.fuzz.worker TARGET FIRST COUNT SECONDS FOLDER``: input numbers from FIRST on, COUNT of them or as many
as SECONDS allow. In FOLDER, ``state`` has four int64: the number of the input, how many are done, how many of these
were named errors, and whether the worker has ended; ``faults.jsonl`` a line for each fault.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
import traceback
import warnings
import zlib
from pathlib import Path

import numpy as np

from .table import TARGETS, Target

STATE = ("input", "done", "refused", "ended")


def generator(target: str, number: int) -> np.random.Generator:
    """That of an input, which its target and its number make."""
    return np.random.default_rng((zlib.crc32(target.encode()), number))


def run_one(target: Target, number: int, folder: Path) -> bool:
    """Whether the input was refused by a named error. Any other error, and any warning, is a fault."""
    unraised: list[str] = []
    sys.unraisablehook = lambda args: unraised.append(f"{args.object!r}: {args.exc_value!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused = bool(target.function(generator(target.name, number), folder))
    if unraised:
        raise AssertionError(f"an error where none can be raised: {unraised[0]}")
    return refused


def place_of(error: BaseException) -> str:
    """File and line of the innermost frame in the package, or else of the innermost of all: equal faults have one."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "fastsoftmax" in Path(frame.filename).parts[-6:-1]]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} {type(error).__name__}"


def run(target: Target, first: int, count: int, seconds: float, folder: Path) -> None:
    state = np.memmap(folder / "state", np.int64, "w+", shape=(len(STATE),))
    scratch = folder / "files"
    scratch.mkdir(exist_ok=True)
    ends = time.monotonic() + seconds
    for number in range(first, first + count):
        if time.monotonic() > ends:
            break
        state[0] = number
        try:
            state[2] += run_one(target, number, scratch)
        except Exception as error:
            fault = {"input": number, "place": place_of(error), "error": f"{type(error).__name__}: {error}"[:600]}
            fault["trace"] = traceback.format_exc()[-4000:]
            with (folder / "faults.jsonl").open("a") as file:
                file.write(json.dumps(fault) + "\n")
        state[1] += target.weight
    state[3] = 1


def main() -> None:
    name, first, count, seconds, folder = sys.argv[1:]
    faulthandler.enable()
    os.fsync = lambda _: None  # 15 ms for a file, and no fault of ours is found by it
    run(TARGETS[name], int(first), int(count), float(seconds), Path(folder))


if __name__ == "__main__":
    main()
