"""Writes a page for each CPU, its plots and the front page from the saved results: no number is typed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..harness import records
from ..harness.records import Json
from . import targets
from .parts import MEASURED, PARTS, PICTURES
from .tables import phases
from .text import table, times

HERE = Path(__file__).parent


def about(results: Json) -> str:
    """The machine, its threads, and the versions of everything."""
    machine = results["machine"]
    memory = f"{machine['memory'] / 2**30:.0f} GB" if machine["memory"] else "unknown"
    caches = ", ".join(f"{name} {size / 2**10:,.0f} kB" for name, size in machine["caches"].items())
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    backends = "; ".join(f"{name}: {what}" for name, what in machine["backends"].items())
    cores = f"{machine['cores']} cores"
    spent = [section.get("seconds") for section in results["sections"].values()]
    lines = [
        f"- **Machine**: {machine['processor']}, {cores}, {memory} ({machine['system']}); {caches}",
        f"- **Threads**: {machine['threads']} for everybody",
        f"- **fastsoftmax** {machine['fastsoftmax']} on Python {machine['python']}; {backends}",
        f"- **With** {packages}",
    ]
    if spent and None not in spent:
        lines.append(f"- **Time** {minutes(sum(spent))} for all sections")
    return "\n".join(lines)


def stamp(section: Json) -> str:
    """Date, rounds and roofline of a section, and whether other programs disturbed it; the date alone if untimed."""
    when = section["date"] + (f", in {minutes(section['seconds'])}" if "seconds" in section else "")
    if "roof" not in section:
        return f"*{when}.*"
    roof = section["roof"]
    rates = ", ".join(f"{dtype} {rate:.0f} GF/s" for dtype, rate in roof["gflops"].items())
    text = f"{when}; {rounds(section)}measured in the same run: {rates}, read {roof['gbytes']:.1f} GB/s"
    if roof["method"] != "vector loops":
        text += f" (by {roof['method']}: underestimated)"
    return f"*{text}.*" + (f" **{section['busy']}.**" if section["busy"] else "")


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} s"


def rounds(section: Json) -> str:
    """How many rounds the comparisons of a section had; empty where it has none."""
    counts = [row["rounds"] for r in section.get("cases", []) for row in r["rivals"].values() if "rounds" in row]
    timed = section.get("phases", []) + section.get("line", {}).get("points", [])
    counts += [r["rounds"] for r in timed if "rounds" in r]
    if not counts:
        return ""
    least, most = min(counts), max(counts)
    return f"{most} rounds; " if least == most else f"{least} to {most} rounds; "


def targets_table(results: Json) -> str:
    judged = targets.judge(results)
    rows = [[t.text, t.wanted, t.measured or "–", t.verdict] for t in judged]
    counts = [sum(t.met is met for t in judged) for met in (True, False, None)]
    text = f"{counts[0]} met, {counts[1]} not met, {counts[2]} not measured.\n\n"
    return text + table(["target", "wanted", "measured", ""], rows) + reasons(results, judged)


def reasons(results: Json, judged: Sequence[targets.Target]) -> str:
    """For each missed target that is about passes, their phases."""
    records = results["sections"].get("phases", {}).get("phases", [])
    lines = []
    for target in judged:
        if target.met is False and target.profile:
            why = phases.profile(records, target.profile) or "its phases are not measured"
            lines.append(f"- {target.text}, {target.measured}. {why[0].upper()}{why[1:]}.")
    if not lines:
        return ""
    return "\n\nWhere the time goes in what is not met (see what a pass is made of):\n\n" + "\n".join(lines)


def render(results: Json, plots: list[str]) -> str:
    """The report of one CPU as Markdown."""
    name = "A quick run" if results["quick"] else f"Benchmarks on {results['machine']['processor']}"
    parts = [f"# {name}"]
    if results["quick"]:
        parts.append("**Small cases, to show that everything works. It says nothing about speed.**")
    parts += ["## Measured on", about(results), "## Targets", targets_table(results)]
    for name, title, text, show in PARTS:
        section = results["sections"].get(name)
        if not section or not (section.get("cases") or MEASURED & set(section)):
            continue
        parts += [f"## {title}", stamp(section), text, show(section)]
        parts += [f"![{title}](plots/{picture})" for picture in PICTURES.get(title, ()) if picture in plots]
    return "\n\n".join(part for part in parts if part) + "\n"


def front_page(saved: dict[str, Json]) -> str:
    """How everything is measured, and the CPUs that it was measured on side by side."""
    rows = []
    for name, results in saved.items():
        main = results["sections"].get("main", {"date": "–"})
        judged = targets.judge(results)
        met = f"{sum(t.met is True for t in judged)} of {sum(t.met is not None for t in judged)}"
        means = [targets.mean_over_roof(results, backend) for backend in ("cython", "numba")]
        rows.append(
            [f"[{name}](results/{name}/README.md)", results["machine"]["processor"], main["date"], *map(times, means)]
            + [times(targets.mean_over_peers(results)), met]
        )
    head = ["CPU", "processor", "measured", "Cython, × roof", "Numba, × roof", "Cython, × best peer", "targets met"]
    text = "Geometric means over the cases of *Loss and gradient*. A figure belongs to the CPU that it was measured on."
    return "\n\n".join([(HERE / "intro.md").read_text().strip(), "## Results", text, table(head, rows)]) + "\n"


def write(name: str, results: Json) -> Path:
    """Write the page and the plots of the CPU of that name, and the front page unless it was a quick run."""
    from . import plots

    path = records.RESULTS / name / "README.md"
    drawn = plots.draw(results, path.parent / "plots")
    path.write_text(render(results, drawn))
    if not results["quick"]:
        (HERE.parent / "README.md").write_text(front_page(records.all_results()))
    return path
