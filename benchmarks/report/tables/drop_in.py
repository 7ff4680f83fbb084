"""The table of the section on programs that know only scikit-learn."""

from __future__ import annotations

from ...harness.records import Json
from ..targets import drop_in_gain
from ..text import times


def rows(section: Json) -> tuple[list[str], list[list[str]]]:
    """Seconds of a fit before and after, and how the objectives of the final models compare."""
    head = ["program", "data", "scikit-learn", "accelerated", "gain", "objective", "accelerated, relative"]
    lines = []
    for r in section["programs"]:
        before, after = r["before"], r["after"]
        higher = after["value"] / before["value"] - 1.0
        other = "" if before["C"] == after["C"] else f" (C = {after['C']:.3g}, not {before['C']:.3g})"
        times_taken = [f"{run['seconds']:.3g} s" for run in (before, after)]
        value = [f"{before['value']:.8f}", f"{higher:+.1e}{other}"]
        lines.append([r["program"], r["shape"], *times_taken, times(drop_in_gain(r)), *value])
    return head, lines
