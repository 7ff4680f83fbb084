"""Solve random problems and compare: exit code 1 if an answer cannot be right.

python -m tests.differential --problems 2000 --seed 0
python -m tests.differential --problem 123              # one of them again
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from .. import fuzz as fuzz  # isort: skip  # first: it puts the package under test on the path
from .compare import check
from .problems import draw


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__.split("\n")[0])
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="problems from 10^6 times this number on")
    parser.add_argument("--problem", type=int, help="this one alone")
    options = parser.parse_args()
    first = options.seed * 10**6
    numbers = range(first, first + options.problems) if options.problem is None else [options.problem]
    compared, kinds, wrong = Counter(), Counter(), 0
    for number in numbers:
        case = draw(number)
        kinds[case.kind] += 1
        try:
            compared.update(check(case))
        except AssertionError as error:
            wrong += 1
            print(f"--problem {number} ({case.kind}, l2 {case.l2}, l1 {case.l1:.3g}): {error}", flush=True)
    print(f"{len(numbers)} problems, {wrong} wrong; compared with {dict(compared)}; {dict(kinds)}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
