import os
import platform
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbert.runtime import hardware

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 31 0:30 {group} {folder} rw,relatime - cgroup cgroup rw,{controllers}"
CPU = V1.format(group="/", folder="/sys/fs/cgroup/cpu,cpuacct", controllers="cpu,cpuacct")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Write files into a tree that replaces /, on a machine of eight cores."""
    monkeypatch.setattr(hardware, "_ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def write(files, *, mounts=None, groups=None):
        files = {f"sys/fs/cgroup/{name}": content for name, content in files.items()}
        if mounts is not None:
            files["proc/self/mountinfo"] = "\n".join(["22 1 8:1 / / rw - ext4 /dev/sda1 rw", *mounts, ""])
        if groups is not None:
            files["proc/self/cgroup"] = "\n".join([*groups, ""])
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("?", 8), ("300000 100000\n", 3), ("1 100000", 1),
        ("0 0", 8), ("100000 0", 8), ("-1 100000", 8), ("100000 -1", 8), ("0 100000", 1), ("", 8), ("\n", 8),
        ("200000", 8), ("max", 8), ("200000 100000 1", 8), ("1.5 1", 8), ("200000 max", 8), ("9" * 5000 + " 1", 8),
        ("9" * 400 + " 1", 8), ("1 " + "9" * 400, 1), ("9900000 100000", 8), (b"\xff\xfe \x00", 8), ("nan inf", 8),
    ],
)  # fmt: skip
@pytest.mark.parametrize("described", [True, False])
def test_affinity_is_limited_by_the_containers_quota(tree, quota, expected, described):
    known = {"mounts": [V2], "groups": ["0::/"]} if described else {}  # without /proc, the usual place
    tree({"cpu.max": quota}, **known)
    assert hardware.usable_cores() == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        ("-1", "100000", 8), ("200000", "100000", 2), ("150000\n", "100000\n", 2), ("10000", "100000", 1),
        ("0", "0", 8), ("200000", "0", 8), ("max", "100000", 8), ("200000", None, 8), (None, "100000", 8), ("", "", 8),
    ],
)  # fmt: skip
@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct", "cpuacct,cpu", "my cpu"])
def test_quotas_of_cgroup_v1(tree, quota, period, expected, folder):
    files = {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": period}
    escaped = folder.replace(" ", r"\040")
    mount = V1.format(group="/", folder=f"/sys/fs/cgroup/{escaped}", controllers="cpuacct,cpu")
    tree(
        {f"{folder}/{name}": content for name, content in files.items() if content is not None},
        mounts=[V1.format(group="/", folder="/sys/fs/cgroup/cpuset", controllers="cpuset"), mount],
        groups=["9:name=systemd:/x", "4:cpuset:/", "2:cpu,cpuacct:/"],
    )
    assert hardware.usable_cores() == expected


@pytest.mark.parametrize(
    ("limits", "group", "expected"),
    [
        ({"a/b/c": 2}, "/a/b/c", 2),
        ({"a/b": 3, "a": 5}, "/a/b/c", 3),  # the group itself has no quota
        ({"a/b/c": 7, "a/b": 2, "a": 4}, "/a/b/c", 2),
        ({"a": 1}, "/a/b/c", 1),
        ({"a": 1}, "/b", 8),  # the quota of another group
        ({"": 2}, "/a/b/c", 2),
        ({"": 2, "a": 1}, "/x", 2),  # an unknown path: the top
        ({"": 2, "a": 1}, "/", 2),
        ({"": 2}, "/../other", 2),  # outside the container's view
        ({"": 2, "a": 1}, "/../a", 2),
        ({"": 2}, "relative", 2),
        ({"": 2}, "", 2),
        ({"a b:c": 3}, "/a b:c", 3),
        ({"a": 3}, "/a (deleted)", 8),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_the_smallest_quota_of_a_group_and_its_parents_counts(tree, limits, group, expected, version):
    (folder := os.path.join(hardware._ROOT, "sys/fs/cgroup", *["cpu,cpuacct"] * (version == 1), "a/b/c"))
    os.makedirs(folder)
    if version == 2:
        files = {f"{path}/cpu.max": f"{100_000 * cores} 100000" for path, cores in limits.items()}
        tree(files, mounts=[V2], groups=[f"0::{group}"])
    else:
        files = {f"cpu,cpuacct/{path}/cpu.cfs_quota_us": str(100_000 * cores) for path, cores in limits.items()}
        files |= {f"cpu,cpuacct/{path}/cpu.cfs_period_us": "100000" for path in limits}
        tree(files, mounts=[CPU], groups=["5:memory:/m", f"4:cpu,cpuacct:{group}"])
    assert hardware.usable_cores() == expected


def test_a_container_that_sees_only_its_own_group(tree):
    group = "/docker/0123"
    mount = V1.format(group=group, folder="/sys/fs/cgroup/cpu,cpuacct", controllers="cpu,cpuacct")
    files = {"cpu.cfs_quota_us": "200000", "cpu.cfs_period_us": "100000"}
    files = {f"cpu,cpuacct/{path}{name}": content for path in ("", "in/") for name, content in files.items()}
    files["cpu,cpuacct/in/cpu.cfs_quota_us"] = "100000"
    for path, expected in ((group, 2), (f"{group}/in", 1), (f"{group}/gone", 2), ("/", 2), ("/docker/4567", 2)):
        tree(files, mounts=[mount], groups=[f"4:cpu,cpuacct:{path}", "0::/"])
        assert hardware.usable_cores() == expected


def test_the_mount_that_contains_the_group_is_used(tree):
    other = V2.replace("/ /sys/fs/cgroup", "/docker/other /sys/fs/cgroup/other")
    files = {"other/cpu.max": "100000 100000", "docker/own/cpu.max": "300000 100000"}
    tree(files, mounts=[other, V2], groups=["0::/docker/own"])
    assert hardware.usable_cores() == 3


def test_both_cgroup_versions_at_once(tree):
    mounts = [CPU, V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")]
    files = {"cpu,cpuacct/a/cpu.cfs_quota_us": "300000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"}
    tree(files | {"unified/b/cgroup.procs": ""}, mounts=mounts, groups=["4:cpu,cpuacct:/a", "0::/b"])
    assert hardware.usable_cores() == 3
    tree({"unified/b/cpu.max": "200000 100000"})
    assert hardware.usable_cores() == 2


def test_a_changed_quota_is_seen(tree, monkeypatch):
    tree({"a/cpu.max": "200000 100000"}, mounts=[V2], groups=["0::/a"])
    assert hardware.usable_cores() == 2
    tree({"a/cpu.max": "400000 100000"})
    assert hardware.usable_cores() == 4
    tree({"b/cpu.max": "600000 100000"}, groups=["0::/b"])
    assert hardware.usable_cores() == 6
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert hardware.usable_cores() == 1


def test_an_unreadable_quota_is_ignored(tree, monkeypatch):
    tree({"a/cpu.max/x": "", "cpu.max": "200000 100000"}, mounts=[V2], groups=["0::/a"])
    assert hardware.usable_cores() == 2  # cpu.max of the group is a directory

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    for name in ("is_dir", "read_bytes"):
        monkeypatch.setattr(hardware.Path, name, refuse)
        assert hardware.usable_cores() == (2 if name == "is_dir" else 8)
    monkeypatch.setattr(os, "sched_getaffinity", refuse)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert hardware.usable_cores() == 1


lines = st.lists(
    st.sampled_from([V2.encode(), CPU.encode(), b"0::/a", b"4:cpu:/a", b"", b"::", b"0::/a\0b", b"0::/" + b"a" * 5000])
    | st.binary(max_size=30)
    | st.binary(max_size=30).map(lambda text: V2.encode().replace(b"/sys/fs/cgroup", text))
    | st.sampled_from([rb"\000", rb"\777", rb"\040", b"\\", rb"\08", b"//"]).map(
        lambda end: V2.encode().replace(b"/ ", end)
    ),
    max_size=4,
)


@given(lines, lines, st.binary(max_size=20))
def test_no_content_of_a_file_makes_it_fail(tmp_path_factory, mounts, groups, limit):
    root = tmp_path_factory.mktemp("root")
    (root / "proc" / "self").mkdir(parents=True)
    (root / "sys" / "fs" / "cgroup" / "a").mkdir(parents=True)
    (root / "proc" / "self" / "mountinfo").write_bytes(b"\n".join(mounts))
    (root / "proc" / "self" / "cgroup").write_bytes(b"\n".join(groups))
    (root / "sys" / "fs" / "cgroup" / "a" / "cpu.max").write_bytes(limit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "_ROOT", root)
        assert hardware.usable_cores() >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity mask")
def test_the_affinity_mask_of_this_process():
    script = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from fastbert.runtime.hardware import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("machine", "flags", "saturate"),
    [
        ("x86_64", "fpu avx2 avx512f", True),
        ("AMD64", "fpu avx2 avx_vnni", False),
        ("x86_64", "fpu avx512f avx512_vnni", False),
        ("x86_64", "fpu amx_int8", False),
        ("x86_64", None, True),
        ("aarch64", None, False),
    ],
)
def test_products_saturate_on_x86_without_vnni(tmp_path, monkeypatch, machine, flags, saturate):
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(
            f"processor\t: 0\nmodel name\t: One\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: amx_int8\n"
        )
    monkeypatch.setattr(hardware, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert hardware.int8_products_saturate() == saturate
