"""The CPU quota of the control groups that this process is in, on Linux.

A quota may be set on the process's own group or on any group around it, and the smallest one holds: ``systemd-run
--scope -p CPUQuota=200%`` sets it on a scope far below the root, a container on the group that it sees as its root.

    version 2   one tree for all controllers          cpu.max: "200000 100000", or "max 100000" where there is no quota
    version 1   a tree of its own for `cpu`, perhaps  cpu.cfs_quota_us: 200000, or -1 where there is none,
                joined with `cpuacct`                 cpu.cfs_period_us: 100000

Many systems have both kinds at once, with the CPU controller in one of them. /proc/self/cgroup names the process's
group in each tree, and /proc/self/mountinfo says which part of a tree is mounted where.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def quota_cores(root: Path = Path("/")) -> int | None:
    """Cores that the smallest CPU quota amounts to, rounded up, or None where there is no quota.

    ``root`` is the folder that has ``proc`` and ``sys`` in it. What is missing, or may not be read, sets no quota.
    """
    found = [cores for group in _groups(root) if (cores := _cores(group)) is not None]
    return min(found, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of the groups that this process is in, as far as they can be seen, each with those around it."""
    own = _own_groups(root)
    for tree, top, mount_point in _mounts(root):
        if tree not in own:
            continue
        folder = root / mount_point.lstrip("/")
        below = _path_below(own[tree], top)
        if below is not None:
            yield from (folder / part for part in (below, *below.parents))


def _own_groups(root: Path) -> dict[str, PurePosixPath]:
    """This process's group in the tree of version 2 ("cgroup2") and in that of version 1's CPU controller ("cgroup").
    Lines are "number:controllers:path", without a controller for version 2; the path may hold colons."""
    groups = {}
    for line in _lines(root / "proc/self/cgroup", r"\d+:(.*?):(.*)"):
        controllers, path = line.groups()
        if not controllers:
            groups["cgroup2"] = PurePosixPath(path)
        elif "cpu" in controllers.split(","):
            groups["cgroup"] = PurePosixPath(path)
    return groups


def _mounts(root: Path) -> Iterator[tuple[str, PurePosixPath, str]]:
    """Kind of the tree, group that is mounted, and mount point, of each mount of a tree that may have quotas."""
    line_format = r"\S+ \S+ \S+ (\S+) (\S+) .* - (\S+) \S* (\S+)"
    for line in _lines(root / "proc/self/mountinfo", line_format):
        top, mount_point, kind, options = line.groups()
        if kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(",")):
            yield kind, PurePosixPath(_unescaped(top)), _unescaped(mount_point)


def _path_below(group: PurePosixPath, top: PurePosixPath) -> PurePosixPath | None:
    """The path from a mount point to a group, where the mount shows the group ``top`` and what is in it. None where
    the mount shows another part of the tree.

    In a namespace paths begin at its root group, and each ".." is one above it, whose name is not known.
    """
    above, own_above = top.parts.count(".."), group.parts.count("..")
    if above > own_above:  # the mounted group is around this process if it lies straight above the root
        return PurePosixPath() if above == len(top.parts) - 1 else None
    if above < own_above or not group.is_relative_to(top):
        return None
    return group.relative_to(top)


def _cores(group: Path) -> int | None:
    """Cores that a group's own quota amounts to, at least one; None where it has none."""
    try:
        if (both := group / "cpu.max").exists():
            quota, period = map(int, both.read_text().split())
        else:
            quota, period = (int((group / f"cpu.cfs_{part}_us").read_text()) for part in ("quota", "period"))
    except (OSError, ValueError):  # no such file, not to be read, or "max"
        return None
    return max(1, -(-quota // period)) if quota > 0 and period > 0 else None


def _lines(file: Path, line_format: str) -> Iterator[re.Match[str]]:
    """The lines of a file that are of a format; none where it cannot be read."""
    try:
        lines = os.fsdecode(file.read_bytes()).split("\n")
    except OSError:
        return iter(())
    return filter(None, (re.fullmatch(line_format, line) for line in lines))


def _unescaped(path: str) -> str:
    """A path of mountinfo, which writes spaces and the like as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)
