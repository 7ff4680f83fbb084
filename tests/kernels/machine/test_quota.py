"""CPU quotas of control groups, in made-up folders in the place of the root, and in this machine's own where it may."""

import os
import sys
from pathlib import Path

import child
import pytest

from fastsoftmax.kernels import machine
from fastsoftmax.kernels.machine.quota import quota_cores

V2 = "30 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1_CPU = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
V1_CPUSET = "35 31 0:32 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"
HYBRID_V2 = "41 31 0:38 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw"
DISK = "25 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw,errors=remount-ro"
SCOPE = "user.slice/user-1000.slice/run-r7.scope"


@pytest.fixture
def root(tmp_path):
    """A function that fills a folder: the lines of the two files of /proc, and others by their path."""

    def fill(own, mounts, files):
        lines = {"proc/self/cgroup": own, "proc/self/mountinfo": [DISK, *mounts]}
        texts = {path: "".join(f"{line}\n" for line in found) for path, found in lines.items()} | files
        for path, text in texts.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return tmp_path

    return fill


def v1(folder, quota, period=100_000):
    place = f"sys/fs/cgroup/cpu,cpuacct/{folder}"
    return {f"{place}/cpu.cfs_quota_us": f"{quota}\n", f"{place}/cpu.cfs_period_us": f"{period}\n"}


def v2(folder, text):
    return {f"sys/fs/cgroup/{folder}/cpu.max": text + "\n"}


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("200001 100000", 3),
        ("1000 100000", 1),
        ("25000 50000", 1),
        ("6400000 100000", 64),
        ("max 100000", None),
        ("max", None),
        ("", None),
        ("0 100000", None),
        ("100000 0", None),
        ("many cores", None),
    ],
)
def test_a_quota_is_rounded_up_and_what_is_no_number_sets_none(root, text, cores):
    assert quota_cores(root(["0::/"], [V2], v2("", text))) == cores


@pytest.mark.parametrize(("quota", "period", "cores"), [(200_000, 100_000, 2), (1, 1_000_000, 1), (-1, 100_000, None)])
def test_a_quota_of_version_1(root, quota, period, cores):
    own = ["12:memory:/other", f"4:cpu,cpuacct:/{SCOPE}", "1:name=systemd:/" + SCOPE]
    assert quota_cores(root(own, [V1_MEMORY, V1_CPU], v1(SCOPE, quota, period))) == cores


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("quotas", [(2, 8, 4), (8, 2, 4), (8, 4, 2), (None, 2, None), (2, None, None), (None, None, 2)])
def test_the_smallest_of_the_own_group_and_those_around_it_holds(root, version, quotas):
    parts = SCOPE.split("/")
    files = {}
    for depth, cores in enumerate(quotas, 1):
        folder = "/".join(parts[:depth])
        limit = 100_000 * (cores or 0)
        files |= v1(folder, limit or -1) if version == 1 else v2(folder, f"{limit or 'max'} 100000")
    own, mount = (f"4:cpu,cpuacct:/{SCOPE}", V1_CPU) if version == 1 else (f"0::/{SCOPE}", V2)
    neighbour = v1("user.slice/other", 1000) | v2("user.slice/other", "1000 100000")
    assert quota_cores(root([own], [mount], files | neighbour)) == 2


def test_a_mixed_host_has_the_quota_where_the_cpu_controller_is(root):
    """Each tree has a group of its own for the process; other controllers' trees have no part in it."""
    own = ["3:cpuset:/set", f"4:cpuacct,cpu:/{SCOPE}", f"0::/{SCOPE}"]
    files = v1(SCOPE, 300_000) | {f"sys/fs/cgroup/unified/{SCOPE}/cgroup.procs": "1\n"}
    files |= {f"sys/fs/cgroup/cpuset/set/cpu.cfs_{part}_us": "1000\n" for part in ("quota", "period")}
    assert quota_cores(root(own, [V1_CPUSET, V1_CPU, HYBRID_V2], files)) == 3


@pytest.mark.parametrize(
    ("own", "top", "folder", "cores"),
    [
        ("/", "/", "", 2),  # a container in a namespace of its own
        ("/docker/abc", "/docker/abc", "", 2),  # a container without one, whose group is mounted
        ("/docker/abc/job", "/docker/abc", "job", 2),
        ("/docker/abc", "/", "", 2),  # the group's folder is not there to be seen
        ("/docker/abc", "/docker/other", "", None),  # another container's group
        ("/docker/abc", "/docker/ab", "", None),
        ("/", "/../..", "", 2),  # mounted before the namespace began: a group around the process
        ("/", "/../other", "", None),
        ("/../other", "/", "", None),  # the process is outside of what is mounted
        ("/../other", "/..", "other", 2),
        ("/gone (deleted)", "/", "", 2),
        ("/with:colon", "/", "with:colon", 2),
    ],
)
def test_only_groups_that_the_process_is_in_count(root, own, top, folder, cores):
    mount = f"30 23 0:28 {top} /sys/fs/cgroup rw shared:4 master:1 - cgroup2 cgroup rw"
    assert quota_cores(root([f"0::{own}"], [mount], v2(folder, "200000 100000"))) == cores


def test_a_mount_point_may_be_anywhere(root):
    mount = r"30 23 0:28 / /mnt/control\040groups rw - cgroup2 none rw"
    assert quota_cores(root(["0::/a"], [mount], {"mnt/control groups/a/cpu.max": "500000 100000"})) == 5


@pytest.mark.parametrize("missing", ["proc/self/cgroup", "proc/self/mountinfo", "sys/fs/cgroup/cpu.max"])
@pytest.mark.parametrize("how", ["missing", "a folder", "a link to itself", "garbage"])
def test_what_cannot_be_read_sets_no_quota(root, missing, how):
    folder = root(["0::/"], [V2], v2("", "200000 100000"))
    file = folder / missing
    if how == "garbage":
        file.write_bytes(b"\xff\xfe\x00 :\n - \n")
    else:
        file.unlink()
        if how == "a folder":
            file.mkdir()
        elif how == "a link to itself":
            file.symlink_to(file)
    assert quota_cores(folder) is None


def test_default_threads_follows_the_quota(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "_quota", lambda: 1)
    assert machine.default_threads() == 1


# ------------------------------------------------------------------------- this machine's own groups

NESTED = """
import os, sys
from pathlib import Path
outer = Path(sys.argv[1]) / f"fastsoftmax-test-{os.getpid()}"
inner = outer / "inner"
inner.mkdir(parents=True)
home = (outer.parent / "cgroup.procs")
try:
    if (outer / "cpu.max").exists():
        (outer / "cpu.max").write_text("100000 100000")
    else:
        (outer / "cpu.cfs_quota_us").write_text("100000")
    (inner / "cgroup.procs").write_text(str(os.getpid()))
    from fastsoftmax.kernels.machine import default_threads
    print(default_threads())
finally:
    home.write_text(str(os.getpid()))
    inner.rmdir()
    outer.rmdir()
"""


def test_a_quota_around_the_group_of_a_real_process():
    """Needs the right to make groups: root on a machine, or in a container that may."""
    folders = [Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/cpu,cpuacct"), Path("/sys/fs/cgroup")]
    rights = [folder for folder in folders if (folder / "cgroup.procs").exists() and os.access(folder, os.W_OK)]
    if not sys.platform.startswith("linux") or not rights:
        pytest.skip("no control groups of CPUs that this process may write to")
    done = child.python("-c", NESTED, str(rights[0]), OMP_NUM_THREADS=None)
    if "OSError" in done.stderr or "PermissionError" in done.stderr:
        pytest.skip(f"control groups cannot be made here: {done.stderr.splitlines()[-1]}")
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
