"""Did a change make anything slower? Times two revisions of this package against each other, in one run.

    python -m benchmarks.revisions main
    python -m benchmarks.revisions f9582c0 HEAD --cases 500k,60k-f32-F,hess_prod:60k-f64 --backends cython
    python -m benchmarks.revisions --prebuilt ../old . --cases sparse --json sparse.json

Both revisions are unpacked and built in a temporary folder (minutes; --prebuilt takes folders in which ``python
setup.py build_ext --inplace`` has been run, such as a working tree with changes that are not committed). Then each has
a process of its own, with the same data, and in every round both run the same pass, one right after the other; now BASE
begins, now HEAD. Whatever disturbs a shared machine for seconds disturbs both, so each round has a ratio of its own,
HEAD / BASE. Printed are the median times, the median of the ratios, and the quartiles of the ratios.

Where the median ratio is above the limit, the pass is measured again in new processes with three times the rounds, and
counts as slower only if it is above the limit again. Of 80 passes that are as fast as before some are above it once, by
noise or by where in memory their arrays happen to lie.

--cases takes names of cases, shapes and groups as `benchmarks.harness.cases.select` does: 60k-f32-F, 500k (both
floats), main. A pass is loss and gradient, unless "hess_prod:" or "predict:" stands before the case. All passes of both
backends take about half an hour on two cores, which should have nothing else to do.

Exit code: 0 if nothing is slower; 1 if something is, or fails in one revision, or has another answer there; 2 if
nothing could be compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastsoftmax.kernels.machine import default_threads

from .harness import machine, revision_build, timing
from .harness.cases import Case, SparseCase, select
from .harness.records import Json
from .harness.revision_build import RevisionError

WORKER = Path(__file__).parent / "harness" / "revision_worker.py"
OPERATIONS = ("value_and_grad", "hess_prod", "predict")
# What is measured by default: loss and gradient of the report's cases, and other passes over a few of them.
ALL = ("main", "F-order", "500k-u8", "500k-f16", "wide", "16k-classes-f32", "16k-classes-f32-dX", "sparse")
ALL += ("hess_prod:500k-f64", "hess_prod:60k-f32", "hess_prod:sparse-text-f32")
ALL += ("predict:500k-f32", "predict:60k-f64", "predict:sparse-text-f64")
QUICK = ("quick", "quick sparse", "hess_prod:quick-digits-f64", "predict:quick-tall-f32", "hess_prod:quick-sparse-f64")
# A suspect is measured again with so many times the rounds.
AGAIN = 3


@dataclass(frozen=True)
class Pass:
    """One kind of pass over one case by one backend."""

    case: Case
    operation: str
    backend: str

    @property
    def name(self) -> str:
        return self.case.name if self.operation == OPERATIONS[0] else f"{self.operation}:{self.case.name}"


@dataclass(frozen=True)
class Effort:
    """How to measure: rounds, seconds of rest before each turn, threads."""

    rounds: int
    pause: float
    n_threads: int


class Worker:
    """The process that holds one revision; see `harness/revision_worker.py` for what it can be asked."""

    def __init__(self, folder: Path, n_threads: int) -> None:
        self.folder = folder.resolve()
        command = [sys.executable, str(WORKER), str(self.folder), str(n_threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()  # at the end of its questions it ends
        self._process.wait()
        self._process.stdout.close()

    def ask(self, question: str, **details: Any) -> Json:
        """Its answer, {"error": why} if it has none."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps({"ask": question, **details}) + "\n")
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise RevisionError(f"the process of {self.folder} died, exit status {self._process.wait()}")
        return dict(json.loads(line))

    def backends(self) -> list[str]:
        """The backends that load, once it is sure that they are this folder's."""
        found = self.ask("backends")
        if "error" in found:
            raise RevisionError(f"{self.folder} does not run: {found['error']}")
        if not Path(found["package"]).resolve().is_relative_to(self.folder):
            raise RevisionError(f"{self.folder} holds no fastsoftmax: {found['package']} was imported instead")
        return list(found["backends"])


# --------------------------------------------------------------------------------------- what to measure


def select_passes(patterns: Iterable[str], backends: Sequence[str]) -> list[Pass]:
    """The passes that ``--cases`` asks for, those over the same case beside each other.

    Raises
    ------
    ValueError
        For an unknown case or operation; the known ones are listed.
    """
    chosen: dict[Case, list[str]] = {}
    for pattern in patterns:
        operation, _, name = pattern.rpartition(":")
        if operation and operation not in OPERATIONS:
            raise ValueError(f"no operation {operation!r}; known are {', '.join(OPERATIONS)}")
        for case in select([name]):
            operations = chosen.setdefault(case, [])
            if (operation or OPERATIONS[0]) not in operations:
                operations.append(operation or OPERATIONS[0])
    return [Pass(case, op, backend) for case, ops in chosen.items() for op in ops for backend in backends]


def shared_backends(folders: Sequence[Path], wanted: Sequence[str], n_threads: int) -> list[str]:
    """Those of the wanted backends that load in both revisions."""
    shared = list(wanted)
    for folder in folders:
        with Worker(folder, n_threads) as worker:
            there = worker.backends()
        for name in [name for name in shared if name not in there]:
            say(f"{name} is left out: it does not load in {folder}")
            shared.remove(name)
    if not shared:
        raise RevisionError("no backend loads in both revisions")
    return shared


# --------------------------------------------------------------------------------------------- measuring


def measure(folders: Sequence[Path], passes: Sequence[Pass], effort: Effort) -> list[Json]:
    """Records of passes, timed in two new processes; a line of the table is said for each."""
    records = []
    with Worker(folders[0], effort.n_threads) as base, Worker(folders[1], effort.n_threads) as head:
        for case in dict.fromkeys(p.case for p in passes):
            for worker in (base, head):
                answer = worker.ask("load", case=case.name)
                if "error" in answer:
                    raise RevisionError(f"case {case.name}: {answer['error']}")
            found = compare(base, head, [p for p in passes if p.case == case], effort)
            for record in found:
                say(row(record))
            records += found
    return records


def compare(base: Worker, head: Worker, passes: Sequence[Pass], effort: Effort) -> list[Json]:
    """Records of passes over the case that both workers hold."""
    problems: dict[Pass, str] = {}
    for p in passes:
        answers = [worker.ask("start", operation=p.operation, backend=p.backend) for worker in (base, head)]
        problems[p] = difference(p.case, *answers)
    times: dict[Pass, dict[Worker, list[float]]] = {p: {base: [], head: []} for p in passes if not problems[p]}
    for number in range(effort.rounds):
        for p, each in times.items():
            for worker in (base, head) if number % 2 == 0 else (head, base):
                answer = worker.ask("time", operation=p.operation, backend=p.backend, pause=effort.pause)
                if "error" in answer:
                    raise RevisionError(f"{p.name}, {p.backend}, in {worker.folder}: {answer['error']}")
                each[worker].append(answer["ms"])
    records = []
    for p in passes:
        record: Json = {"pass": p.name, "backend": p.backend, "shape": p.case.shape}
        result = {"problem": problems[p]} if problems[p] else statistics(times[p][base], times[p][head])
        records.append(record | result)
    return records


def difference(case: Case, base: Json, head: Json) -> str:
    """What keeps two answers from being compared, or an empty string.

    Each number of an answer is a mean over rows of terms of unit size, with logits of unit variance: `harness.check`
    has the derivation of what rounding may do to one; two may differ by twice that.
    """
    if "error" in base:
        return f"fails in BASE: {base['error']}"
    if "error" in head:
        return f"fails in HEAD: {head['error']}"
    width = case.per_row if isinstance(case, SparseCase) else case.n
    allowed = 2 * 4 * np.finfo(case.compute_dtype).eps * (np.sqrt(case.m) + 2 * np.sqrt(width) + 8)
    for one, other in zip(base["answer"], head["answer"], strict=True):
        if not abs(one - other) <= allowed * max(1.0, abs(one)):  # so that NaN is found
            return f"another answer in HEAD: {other!r}, in BASE {one!r}"
    return ""


def statistics(base: Sequence[float], head: Sequence[float]) -> Json:
    """Medians of both, and median and quartiles of the ratios of each round."""
    ratios = np.divide(head, base)
    low, middle, high = (float(q) for q in np.percentile(ratios, [25, 50, 75]))
    medians = {"base_ms": timing.median(list(base)), "head_ms": timing.median(list(head))}
    return {**medians, "ratio": middle, "quartiles": [low, high], "rounds": len(ratios), "ratios": ratios.tolist()}


def is_slower(record: Json, limit: float) -> bool:
    """Whether HEAD takes more than ``limit`` percent longer."""
    return bool(record.get("ratio", 0.0) > 1.0 + limit / 100.0)


def measure_again(
    folders: Sequence[Path], passes: Sequence[Pass], records: Sequence[Json], effort: Effort, limit: float
) -> list[Json]:
    """New records of the passes that seemed slower; none where there are none."""
    slower = {(r["pass"], r["backend"]) for r in records if is_slower(r, limit)}
    suspects = [p for p in passes if (p.name, p.backend) in slower]
    if not suspects:
        return []
    more = Effort(AGAIN * effort.rounds, effort.pause, effort.n_threads)
    say(f"\nabove the limit of {limit:g} %, measured again in {more.rounds} rounds:\n\n{HEAD_ROW}")
    return measure(folders, suspects, more)


# ---------------------------------------------------------------------------------------------- the table

HEAD_ROW = f"{'pass':28s}{'backend':9s}{'BASE, ms':>10s}{'HEAD, ms':>10s}{'HEAD / BASE':>13s}   quartiles"


def row(record: Json) -> str:
    """A line of the table."""
    name = f"{record['pass']:28s}{record['backend']:9s}"
    if "problem" in record:
        return f"{name}  {record['problem']}"
    low, high = record["quartiles"]
    each = f"{record['base_ms']:10.3f}{record['head_ms']:10.3f}{record['ratio']:13.3f}"
    return f"{name}{each}   {low:.3f} to {high:.3f}"


def summary(records: Sequence[Json], slower: Sequence[Json], limit: float) -> str:
    """What all of it comes to: the mean for each backend, what is slower, and what could not be compared."""
    lines = []
    for backend in dict.fromkeys(r["backend"] for r in records):
        ratios = [r["ratio"] for r in records if r["backend"] == backend and "ratio" in r]
        if ratios:
            mean = float(np.exp(np.mean(np.log(ratios))))
            lines.append(f"{backend}: HEAD / BASE is {mean:.3f} in the geometric mean of {len(ratios)} passes")
    broken = [r for r in records if "problem" in r]
    if broken:
        lines += ["", "not compared:", *(f"  {row(r)}" for r in broken)]
    if slower:
        lines += ["", f"slower by more than {limit:g} %, twice:", *(f"  {row(r)}" for r in slower)]
    else:
        lines += ["", f"nothing is slower by more than {limit:g} %"]
    return "\n".join(lines)


# -------------------------------------------------------------------------------------------- the command


def parser() -> argparse.ArgumentParser:
    def words(text: str) -> list[str]:
        return text.split(",")

    def count(text: str) -> int:
        if int(text) < 1:
            raise argparse.ArgumentTypeError("at least 1 is wanted")
        return int(text)

    out = argparse.ArgumentParser(
        prog="python -m benchmarks.revisions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = out.add_argument
    add("base", nargs="?", help="the revision to compare with: a commit, a branch or a tag")
    add("head", nargs="?", default="HEAD", help="the revision that may be slower; default HEAD, the last commit")
    add("--prebuilt", nargs=2, type=Path, metavar=("BASE", "HEAD"), help="two folders that are built already instead")
    add("--keep", type=Path, metavar="FOLDER", help="build in this new folder and leave it there, for --prebuilt")
    add("--cases", type=words, help=f"comma-separated; default {','.join(ALL)}")
    add("--quick", action="store_true", help="small cases and 5 rounds by default: to see whether everything works")
    add("--backends", type=words, default=["cython", "numba"], help="comma-separated; default cython,numba")
    add("--rounds", type=count, help="rounds of each pass; default 15, or 5 if --quick")
    add("--limit", type=float, default=3.0, help="percent by which HEAD may be slower; default 3")
    add("--threads", type=count, default=default_threads(), help="threads of a pass; default all cores")
    rest = f"seconds of rest before each turn; default {timing.PAUSE:g}, for OpenMP threads that spin 200 ms"
    add("--pause", type=float, default=timing.PAUSE, help=f"{rest} (Intel's, LLVM's); GCC's need {timing.OWN_PAUSE:g}")
    add("--json", type=Path, metavar="FILE", help="write everything there as well, with the ratios of all rounds")
    return out


def built(revisions: Sequence[str], parent: Path, names: Sequence[str] = ("base", "head")) -> list[Path]:
    """The folders of revisions, unpacked and built one after the other."""
    folders = [parent / name for name in names]
    for revision, folder in zip(revisions, folders, strict=True):
        log = folder.with_suffix(".log")
        say(f"building {revision} in {folder}, output in {log}")
        revision_build.unpack(revision, folder)
        revision_build.build(folder, log)
    return folders


def say(line: str) -> None:
    print(line, flush=True)  # also into a pipe: a run takes half an hour


def compare_folders(folders: Sequence[Path], names: Sequence[str], args: argparse.Namespace) -> int:
    """Measure, print and save; the exit code."""
    patterns = args.cases or (QUICK if args.quick else ALL)
    passes = select_passes(patterns, shared_backends(folders, args.backends, args.threads))
    effort = Effort(args.rounds or (5 if args.quick else 15), args.pause, args.threads)
    busy = machine.busy(patience=0.0 if args.quick else machine.PATIENCE)
    if busy:
        say(f"warning: {busy}")
    say(f"\nBASE is {names[0]}, HEAD is {names[1]}; {effort.rounds} rounds, threads: {effort.n_threads}\n\n{HEAD_ROW}")
    records = measure(folders, passes, effort)
    again = measure_again(folders, passes, records, effort, args.limit)
    slower = [r for r in again if is_slower(r, args.limit)]
    say("\n" + summary(records, slower, args.limit))
    if args.json:
        about = {"base": names[0], "head": names[1], "date": machine.today(), "processor": machine.processor()}
        about |= {"threads": effort.n_threads, "busy": busy, "limit": args.limit}
        found = {"passes": records, "again": again, "slower": slower}
        args.json.write_text(json.dumps({**about, **found}, indent=1) + "\n")
    return int(bool(slower) or any("problem" in r for r in records + again))


def main(argv: Sequence[str] | None = None) -> int:
    command = parser()
    args = command.parse_args(argv)
    if bool(args.base) == bool(args.prebuilt):
        command.error("either a revision or --prebuilt with two folders is wanted")
    try:
        select_passes(args.cases or (), ())  # before minutes of building
        if args.prebuilt:
            return compare_folders(args.prebuilt, [str(folder) for folder in args.prebuilt], args)
        revisions = [args.base, args.head]
        names = [f"{name} ({revision_build.commit_of(name)})" for name in revisions]
        with tempfile.TemporaryDirectory() as temporary:
            folders = built(revisions, args.keep or Path(temporary))
            return compare_folders(folders, names, args)
    except (RevisionError, ValueError) as error:
        print(f"{command.prog}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
