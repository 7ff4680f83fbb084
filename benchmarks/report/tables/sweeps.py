"""The tables of the section on sweeps."""

from __future__ import annotations

from ...harness.records import Json
from ..text import number, times


def probe_rows(section: Json) -> tuple[list[str], list[list[str]]]:
    """Whole sweeps beside the hardest fit alone and scikit-learn."""
    head = ["features", "sweep", "passes", "with early ends", "hardest alone", "sweep over it"]
    head += ["scikit-learn cold, a value", "over ours", "warm-started, a value", "over ours", "chosen C"]
    rows = []
    for r in section["probes"]:
        bounds = ["≥ " if r.get(cuts) else "" for cuts in ("cuts", "warm_cuts")]
        gains = [bound + times(r.get(key)) for bound, key in zip(bounds, ("cold_gain", "warm_gain"), strict=True)]
        alone = f"{number(r['alone'])} s ({r['alone_passes']} passes)"
        rows.append(
            [r["shape"], seconds(r["seconds"]), str(r["passes"]), seconds(r.get("early_seconds")), alone]
            + [times(r["seconds"] / r["alone"]), seconds(r.get("cold")), gains[0], seconds(r.get("warm")), gains[1]]
            + [f"{r['C']:.3g}"]
        )
    return head, rows


def seconds(value: float | None) -> str:
    return "–" if value is None else f"{number(value)} s"


def notes(section: Json) -> str:
    """What the tables leave out."""
    lines = []
    for r in section["probes"]:
        if "cold_each" not in r:
            continue
        cut = f"{r['cuts']} of {len(r['cold_each'])} cold fits were cut" if r["cuts"] else "no cold fit was cut"
        close = r["difference"]
        same = "" if close is None else f"; log losses of the others differ from ours by {close:.1e} at most, relative"
        lines.append(f"{r['shape']}: {cut}{same}.")
    if section["probes"] and all(r.get("torch") is None for r in section["probes"]):
        lines.append("PyTorch is not installed, and its L-BFGS not measured.")
    return " ".join(lines)


def model_rows(section: Json) -> tuple[list[str], list[list[str]]]:
    """Passes that serve several models."""
    rows = [
        [r["shape"], str(r["models"]), number(r["one"]), number(r["together"]), times(r["together"] / r["one"])]
        for r in section["models"]
    ]
    return ["X", "models", "a pass of one, ms", "a pass of all, ms", "over one"], rows


def bootstrap_text(section: Json) -> str:
    b = section["bootstrap"]
    return (
        f"{b['fits']} bootstrap fits of {b['shape']}: {number(b['seconds'])} s together, {b['passes']:.1f} passes each;"
        f" {number(b['alone'])} s one by one by our own solver (the mean of {b['timed']}), {times(b['gain'])}. The"
        f" values are higher by {b['higher']:.1e} of theirs at most."
    )


def imagenet_text(section: Json) -> str:
    i = section["imagenet"]
    hours = ", ".join(f"{value:.2g} hours on {cores} cores" for cores, value in i["hours"].items())
    return (
        f"ImageNet, 1.28 million × 768, k = 1000, 45 values: {hours}. That is {i['passes']:.0f} passes, as the sweeps"
        f" above took, of {i['pass']:.3g} s on {i['threads']} threads (scaled from a sample of the rows) and"
        f" {i['step']:.2g} s for a step between them. An estimate: more cores are taken to share a pass with an"
        " efficiency of 85 %."
    )
