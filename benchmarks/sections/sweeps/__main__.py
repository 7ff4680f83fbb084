"""Measures parts of the section again: see this package's docstring."""

from __future__ import annotations

import argparse

from fastsoftmax.kernels.machine import default_threads

from ...harness import machine, records, roofline, timing
from ...harness.records import Effort
from . import PARTS, run


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure parts of the section again.")
    parser.add_argument("what", nargs="*", default=PARTS, help=", ".join(map(repr, PARTS)))
    parser.add_argument("--quick", action="store_true", help="small cases; nothing is saved")
    args = parser.parse_args()
    threads = default_threads()
    timing.fix_threads(threads)
    effort = Effort(quick=args.quick, n_threads=threads)
    place = records.results_path(quick=False)
    saved = records.load(place) if place.exists() and not args.quick else {"sections": {}}
    busy = machine.busy(patience=0.0)
    section = run(effort, print, args.what, saved["sections"].get("sweeps"))
    roof = roofline.measure(threads, quick=True).as_dict()
    saved["sections"]["sweeps"] = section | {"date": machine.today(), "busy": busy, "roof": roof}
    if not args.quick:
        saved.setdefault("quick", False)
        saved.setdefault("machine", machine.describe(threads))
        records.save(saved, place)


if __name__ == "__main__":
    main()
