"""Run random inputs for a stated time, from a stated seed.

    python -m tests.fuzz --seconds 600 --seed 0             # every target, in turn
    python -m tests.fuzz --seconds 60 --target csv          # one
    python -m tests.fuzz --input csv:123                    # one input again, in this process
    python -m tests.fuzz --list                             # the targets

A fault is a crash, a hang, a warning, a wrong answer, or an error that does not say what is wrong. Each is printed with
the number of its input, which is all that makes it. Exit code 1 if there was one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from . import campaign, worker
from .table import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, help="all targets together")
    parser.add_argument("--inputs", type=int, help="of each target, instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", choices=TARGETS, help="may be repeated; all unless given")
    parser.add_argument("--input", metavar="TARGET:NUMBER", help="run one input in this process")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        for target in TARGETS.values():
            print(f"{target.name:12} {target.what}")
        return 0
    if options.input:
        name, number = options.input.split(":")
        with tempfile.TemporaryDirectory() as folder:
            print("refused" if worker.run_one(TARGETS[name], int(number), Path(folder)) else "answered")
        return 0
    seconds = 60.0 if options.seconds is None and options.inputs is None else options.seconds
    counts = campaign.run_targets(options.target or list(TARGETS), options.seed, seconds=seconds, inputs=options.inputs)
    return int(any(count.faults for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
