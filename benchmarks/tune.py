"""Which constants are best on this machine? Tries those of `fastsoftmax.kernels.tuning` and prints the row.

    python -m benchmarks.tune
    python -m benchmarks.tune --quick --only block_max,least_lanes --backends cython

Constant by constant, loss and gradient of a few cases that it matters to are timed with each value, in turns, with the
constants before it at the best values found so far. A value replaces the present one if the geometric mean of its
times over the cases is lower by `GAIN`. What is printed in the end goes into the table, with the figures beside it.

All of it takes about ten minutes for a backend, on a machine that should have nothing else to do.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from math import exp, log
from typing import Any

import fastsoftmax
from fastsoftmax.kernels import tuning
from fastsoftmax.kernels.machine import cpu_model, default_threads
from fastsoftmax.kernels.tuning import Tuning, WingTuning

from .harness import timing
from .harness.cases import Case, make_problem, select

# Values to try, and the cases they matter to. Those of a wing are tried for each backend.
SHARED: dict[str, tuple[Sequence[Any], str]] = {
    "block_max": ((64, 96, 128, 192), "500k 581k 50k"),
    "l2_share": ((0.5, 0.7, 0.9, 1.1), "60k 200k 500k-f32-F"),
    "large_bytes": ((1 << 20, 5 << 18, 5 << 19), "20k"),
    "large_max": ((128, 192, 256, 320), "20k"),
    "long_row": ((8, 16, 32), "60k 200k"),
    "kc_block_rows": (((288, 192), (416, 288), (544, 384)), "60k-f32-F 60k-f64-F 200k-f64-F"),
}
OF_A_WING: dict[str, tuple[Sequence[Any], str]] = {
    "column_bytes": ((1024, 1536, 2048, 2560, 3584), "500k-f32-F 581k-f64-F"),
    "byte_columns": ((0, 128), "500k-u8"),
    "kc_block_bytes": ((96 << 10, 128 << 10, 192 << 10, 256 << 10), "60k-f32-F 60k-f64-F 200k-f64-F"),
    "class_lane_dtypes": (("", "d", "fd"), "500k 581k"),
    "least_lanes": ((4, 8), "500k-f64"),
    "group_bytes": ((0, 512 << 10, 768 << 10), "20k 50k"),
    "crowded_tiles": ((0, 8, 16), "20k 50k"),
    "packing_share": ((0.5, 1.0, 2.0, 4.0), "500k 581k"),
}
# Constants that make no difference to a wing: its times would differ by noise alone.
WITHOUT_EFFECT = {"numba": {"least_lanes", "crowded_tiles", "packing_share"}}
GAIN = 0.98
QUICK = "quick-tall-f32 quick-digits-f64"


def with_value(row: Tuning, name: str, value: Any, wing: str = "") -> Tuning:
    """A row with another value of one constant."""
    if not wing:
        return replace(row, **{name: value})
    return replace(row, wings={**row.wings, wing: replace(row.wing(wing), **{name: value})})


def timed(case: Case, rows: Sequence[Tuning], backend: str, rounds: int) -> list[float]:
    """Median milliseconds of loss and gradient of a case with each row, in turns."""
    problem = make_problem(case)
    calls: dict[str, Callable[[], Any]] = {}
    before = os.environ.get("FASTSOFTMAX_CPU")
    try:
        for i, row in enumerate(rows):
            name = f"{row.name} {i}"
            tuning.TABLE[name] = row
            calls[name] = _pass(problem, backend, name)
            calls[name]()
        times = timing.interleave(calls, rounds, pause=timing.OWN_PAUSE)
    finally:
        os.environ.pop("FASTSOFTMAX_CPU", None)
        if before is not None:
            os.environ["FASTSOFTMAX_CPU"] = before
        for name in calls:
            del tuning.TABLE[name]
    return [statistics.median(times[name]) for name in calls]


def _pass(problem: Any, backend: str, name: str) -> Callable[[], Any]:
    """A pass whose plan, and what is chosen for its shape, follow the row of that name."""
    os.environ["FASTSOFTMAX_CPU"] = name
    objective = fastsoftmax.Objective(problem.X, problem.y, problem.case.k, backend=backend)
    forget = _nothing
    if backend == "numba":
        from fastsoftmax.kernels.numba.launch_dense import launch_config

        # Passes of one shape share what was chosen for it: without this all rows would run what the last one chose.
        forget = launch_config.cache_clear

    def run() -> Any:
        os.environ["FASTSOFTMAX_CPU"] = name
        forget()
        return objective.value_and_grad(problem.theta)

    return run


def _nothing() -> None:
    """What a backend has to forget between two passes that remembers nothing."""


def tune(row: Tuning, backends: Sequence[str], only: Sequence[str], quick: bool) -> Tuning:
    """The best row that was found, from this one on."""
    constants = [(name, "", *choice) for name, choice in SHARED.items()]
    for wing in backends:
        without = WITHOUT_EFFECT.get(wing, set())
        constants += [(name, wing, *choice) for name, choice in OF_A_WING.items() if name not in without]
    for name, wing, values, patterns in constants:
        if only and name not in only:
            continue
        cases = select(QUICK.split() if quick else patterns.split())
        present = getattr(row.wing(wing) if wing else row, name)
        rows = [row, *(with_value(row, name, value, wing) for value in values if value != present)]
        logs = [0.0] * len(rows)
        for case in cases:
            for backend in [wing] if wing else backends:
                times = timed(case, rows, backend, 3 if quick else 15)
                logs = [total + log(ms / times[0]) for total, ms in zip(logs, times, strict=True)]
        count = len(cases) * (1 if wing else len(backends))
        ratios = [exp(total / count) for total in logs]
        best = min(range(len(rows)), key=ratios.__getitem__)
        tried = [getattr(r.wing(wing) if wing else r, name) for r in rows]
        found = ", ".join(f"{value} {ratio:.3f}" for value, ratio in zip(tried, ratios, strict=True))
        print(f"{wing + '.' if wing else ''}{name}: {found}")
        if ratios[best] < GAIN:
            row = rows[best]
    return row


def as_code(row: Tuning) -> str:
    """The row as it is written in the table."""
    lines = [f"    {f.name}={getattr(row, f.name)!r}," for f in fields(Tuning) if f.name not in ("name", "wings")]
    wings = [f'        "{wing}": {_wing_code(own)},' for wing, own in row.wings.items()]
    return "\n".join(["Tuning(", f"    name={row.name!r},", *lines, "    wings={", *wings, "    },", ")"])


def _wing_code(own: WingTuning) -> str:
    return f"WingTuning({', '.join(f'{f.name}={getattr(own, f.name)!r}' for f in fields(WingTuning))})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", default="cython,numba")
    parser.add_argument("--only", default="", help="names of constants, with commas")
    parser.add_argument("--quick", action="store_true", help="two small cases and three rounds: to see that it runs")
    options = parser.parse_args(arguments)
    timing.fix_threads(default_threads())
    only = [name for name in options.only.split(",") if name]
    unknown = set(only) - set(SHARED) - set(OF_A_WING)
    if unknown:
        parser.error(f"no constants {', '.join(sorted(unknown))}; known are {', '.join([*SHARED, *OF_A_WING])}")
    print("ratios to the present value, which is the first:")
    row = tune(tuning.tuning(), options.backends.split(","), only, options.quick)
    print(f"\n# {' '.join(map(str, cpu_model()))}, {default_threads()} threads\n{as_code(row)}")


if __name__ == "__main__":
    main()
