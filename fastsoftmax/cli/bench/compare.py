r"""``fastsoftmax bench compare``: two results of ``bench --json``, and which differences are more than noise.

The median of r rounds, whose quartiles lie a share s of it away (half the distance between them), has a standard error
of about

.. math:: 1.253 \cdot \frac{s}{0.674} \cdot \frac{1}{\sqrt r}

of itself, as for normal noise: 0.674 deviations reach to a quartile, and a median is 1.253 times as uncertain as a
mean. Two runs differ beyond that in how fast the machine was. Each has measured the machine's limits: by how much these
differ is the least that a difference must be.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from .passes import BenchTable

# Standard errors that a difference must be, and the smallest that is believed in any case.
ERRORS, LEAST = 2.0, 0.01


def read(path: str) -> dict[str, Any]:
    """A file that ``bench --json`` wrote.

    Raises
    ------
    ValueError
        For any other.
    """
    try:
        found = json.loads(Path(path).read_text())
        assert found["records"] is not None and found["kind"] and found["roof"]
    except (ValueError, TypeError, KeyError, AssertionError) as error:
        raise ValueError(f"{path} is not what 'fastsoftmax bench --json' prints") from error
    return dict(found)


def compare(first: dict[str, Any], second: dict[str, Any]) -> BenchTable:
    """The ratios of times of what both have timed, second over first.

    Raises
    ------
    ValueError
        If one has timed passes and the other solvers, or both have nothing in common.
    """
    if first["kind"] != second["kind"]:
        raise ValueError(f"the first has timed {first['kind']} and the second {second['kind']}")
    drift = _drift(first["roof"], second["roof"])
    table = BenchTable(
        title=f"second over first; the machine's own limits differ by {drift:.1%} between the two",
        columns=("case", "rival", "ms", "ms now", "ratio", "±", "it is"),
        kind="comparison",
    )
    for case, before, after in _pairs(first["records"], second["records"]):
        for rival in (name for name in before if "ms" in before[name] and "ms" in after.get(name, {})):
            table.records.append(_ratio(case, rival, before[rival], after[rival], drift))
    if not table.records:
        raise ValueError("the two have timed nothing in common")
    for r in table.records:
        numbers = (f"{r['first_ms']:.3g}", f"{r['second_ms']:.3g}", f"{r['ratio']:.3f}", f"{r['noise']:.1%}")
        table.rows.append((r["case"], r["rival"], *numbers, r["verdict"]))
    for name in ("processor", "threads", "fastsoftmax", "python"):
        was, now = (each["machine"].get(name) for each in (first, second))
        if was != now:
            table.notes.append(f"{name}: {was} in the first, {now} in the second")
    return table


def _pairs(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> list[tuple[str, Any, Any]]:
    """Case and rivals of what both have."""
    after = {(r["case"], r["shape"]): r["rivals"] for r in second}
    return [(r["case"], r["rivals"], after[r["case"], r["shape"]]) for r in first if (r["case"], r["shape"]) in after]


def _ratio(case: str, rival: str, before: dict[str, Any], after: dict[str, Any], drift: float) -> dict[str, Any]:
    ratio = after["ms"] / before["ms"]
    error = math.hypot(*(1.253 / 0.674 * each["spread"] / math.sqrt(each["rounds"]) for each in (before, after)))
    noise = max(ERRORS * error, drift, LEAST)
    verdict = "noise" if abs(math.log(ratio)) <= noise else "slower" if ratio > 1 else "faster"
    times = {"first_ms": before["ms"], "second_ms": after["ms"]}
    return {"case": case, "rival": rival, **times, "ratio": ratio, "noise": noise, "verdict": verdict}


def _drift(first: dict[str, Any], second: dict[str, Any]) -> float:
    """The largest logarithm of a ratio between two measurements of the machine's limits."""

    def numbers(value: Any) -> list[float]:
        if isinstance(value, dict):
            return [number for name in sorted(value) for number in numbers(value[name])]
        return [float(value)] if isinstance(value, float) and value > 0 else []

    pairs = zip(numbers(first), numbers(second), strict=False)
    return max((abs(math.log(b / a)) for a, b in pairs), default=0.0)
