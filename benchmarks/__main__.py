"""Run the benchmarks and write the report: ``python -m benchmarks``."""

from __future__ import annotations

import argparse

from fastsoftmax.kernels.machine import default_threads

from .harness import records
from .report import report
from .sections import SECTIONS, run


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="small cases and few rounds, into results/quick/")
    add("--section", default=",".join(SECTIONS), help="sections to measure, comma-separated; default all")
    add("--rounds", type=int, help="rounds of each comparison; default 15, or 5 if --quick")
    add("--threads", type=int, default=default_threads())
    add("--render", action="store_true", help="measure nothing, render what is saved")
    args = parser.parse_args(argv)
    sections = [section.strip() for section in args.section.split(",")]
    unknown = set(sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; known are {', '.join(SECTIONS)}")
    if args.render:
        saved = {"quick": records.load(records.results_path(True))} if args.quick else records.all_results()
    else:
        rounds, budget = (5, 2.0) if args.quick else (15, 60.0)
        effort = records.Effort(args.rounds or rounds, budget, args.quick, args.threads)
        saved = {records.results_path(args.quick).parent.name: run(sections, effort)}
    for name, results in saved.items():
        print(f"wrote {report.write(name, results)}")


if __name__ == "__main__":
    main()
