"""Parts of the C library that it hides, by the program that prints their answers: they are Python's."""

import copy
import hashlib
import json
import random
import subprocess

import pytest

from fastbert.runtime import BundleError, hardware
from fastbert.runtime.batching.micro_batches import micro_batches
from fastbert.runtime.manifest import read_manifest

PATHS = ("../x", "a//b", "C:x", "a\\b", "a/.", "/a", "a/")
VALUES = (None, True, 0, -1, 1.5, 1.0, 2**31, 2**64, 1e300, "", "x", *PATHS, [], [1], {}, {"a": 1})
DAMAGED, WHAT_TO_DO = " is damaged: ", ". Export the bundle again, or correct the file if you wrote it yourself."


@pytest.fixture(scope="session")
def probe(cpp_build):
    """A function: arguments of the program -> the lines that it prints."""

    def run(*arguments) -> list[str]:
        command = [cpp_build / "tests" / "fastbert_probe", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    return run


@pytest.fixture
def answers(probe, tmp_path):
    """A function: contents of manifests -> for each, what the C library says, and what Python says."""

    def both(contents: list[bytes]) -> list[tuple[str, str]]:
        paths = []
        for number, content in enumerate(contents):
            (tmp_path / str(number)).mkdir()
            paths.append(tmp_path / str(number) / "manifest.json")
            paths[-1].write_bytes(content)
        return list(zip(probe("manifest", *paths), map(python_answer, paths), strict=True))

    return both


def python_answer(path) -> str:
    try:
        read_manifest(path.parent)
        return "ok"
    except BundleError as error:
        return str(error).partition(DAMAGED)[2].removesuffix(WHAT_TO_DO)


def places(value, *path):
    """Yield the path of every value in a document."""
    yield path
    if isinstance(value, dict | list):
        for place, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, *path, place)


NO_CAPABILITIES = ("9", "8.", ".9", "x.9", ">>8.9", "1234.5")
CAPABILITIES = (..., None, [], "8.9", {}, [8.9], ["8.9"], ["120.0"], ["8.9", ""])


def changed(document, path, value):
    made = copy.deepcopy(document)
    owner = made
    for place in path[:-1]:
        owner = owner[place]
    if value is ...:
        del owner[path[-1]]
    else:
        owner[path[-1]] = value
    return made


@pytest.fixture(scope="module")
def document(family_bundle):
    made = json.loads((family_bundle("bert") / "manifest.json").read_text())
    made["files"] = {name: made["files"][name] for name in [*made["files"]] if "int8" not in name}
    made["variants"]["tensorrt"] = made["variants"].pop("int8") | {
        "engine": "tensorrt",
        "embeddings": made["variants"]["fp32"]["embeddings"],
        "stages": made["variants"]["fp32"]["stages"],
        "chain": None,
        "row": None,
        "compaction": "tokenizer.json",
        "tensorrt": {"source": "fp32", "version": "1", "sm": "1", "profiles": [{"batch": [1, 2], "sequence": 3}]},
    }
    made["variants"]["rtx"] = made["variants"]["tensorrt"] | {
        "engine": "tensorrt-rtx",
        "devices": ["tensorrt-rtx"],
        "tensorrt": {
            "source": "fp32",
            "version": "1",
            "compute_capabilities": ["8.9", ">12.0"],
            "profiles": [{"batch": [1, 2], "sequence": 3}],
        },
    }
    made["operating_points"] = {"balanced": {"speed": 0.5, "variant": "fp32", "variant_sha256": "a" * 64}}
    for name in ("verification", "made_with"):
        made[name] = {}
    return made


def test_every_field_with_wrong_values(answers, document):
    paths = [path for path in places(document) if path not in ((), ("schema",))]
    contents = [json.dumps(changed(document, path, value)).encode() for path in paths for value in (..., *VALUES)]
    found = answers(contents)
    refused = {python for _, python in found}
    assert "ok" in refused
    assert len(refused) > 500
    assert [pair for pair in found if pair[0] != pair[1]] == []


def test_variants_of_both_tensorrts(answers, document):
    changes = [
        *((("rtx", "tensorrt", "compute_capabilities"), value) for value in CAPABILITIES),
        *(
            (("rtx", "tensorrt", "compute_capabilities", 0), each)
            for each in ("9", "8.", ".9", "x.9", ">>8.9", "1234.5")
        ),
        *((("tensorrt", "tensorrt", name), value) for name in ("sm", "source") for value in (..., None, "", "x")),
        *((("rtx", "engine"), value) for value in ("tensorrt", "onnxruntime")),
        *((("tensorrt", "engine"), value) for value in ("tensorrt-rtx", "onnxruntime")),
        (("rtx", "devices"), ["tensorrt-rtx", "tensorrt"]),
        (("rtx", "devices"), ["tensorrt"]),
        (("rtx", "compaction"), None),
        (("rtx", "tensorrt"), ...),
    ]
    contents = [json.dumps(changed(document, ("variants", *path), value)).encode() for path, value in changes]
    found = answers(contents)
    assert [pair for pair in found if pair[0] != pair[1]] == []
    fine = [change for change, (python, _) in zip(changes, found, strict=True) if python == "ok"]
    assert fine == [
        (("rtx", "tensorrt", "compute_capabilities"), ["8.9"]),
        (("rtx", "tensorrt", "compute_capabilities"), ["120.0"]),
        (("tensorrt", "tensorrt", "sm"), "x"),
        (("tensorrt", "tensorrt", "source"), "x"),
        (("tensorrt", "engine"), "onnxruntime"),
    ]


def test_documents_that_are_not_manifests(answers, document):
    plain = json.dumps(document).encode()
    nested = b'{"a": ' + b"[" * 63 + b"]" * 63 + b", " + plain[1:]
    found = answers(
        [
            plain,
            nested,
            nested.replace(b"[[", b"[[[[", 1).replace(b"]]", b"]]]]", 1),
            b"",
            b"\xef\xbb\xbf" + plain,
            plain[:-5] + b"\xff" + plain[-5:],
            plain.replace(b"negative", b"n\xc3"),
            b"[1]",
            b'"text"',
            b"[" * 100000,
            plain.replace(b'"schema"', b'"layers": 3, "schema"'),
            plain.replace(b'"negative"', b'"\\ud800"'),
            plain[:-1],
            plain + b" x",
            plain.replace(b'"layers": 3', b'"layers": 3e0'),
            plain.replace(b'"layers": 3', b'"layers": 0x3'),
        ]
    )
    for number, (library, python) in enumerate(found):
        assert (library == "ok") == (python == "ok"), (number, library, python)
    assert [library for library, _ in found[:2]] == ["ok", "ok"]
    assert found[2][0] == found[2][1] == "it nests more than 64 lists and objects"
    assert [library for library, _ in found[3:9]] == [python for _, python in found[3:9]]
    assert found[10][0] == 'the field "layers" is repeated in its object'


def test_names_that_messages_show(answers, document):
    """Quotes, control characters and characters beyond ASCII, shortened in the middle where they are long."""
    odd = ['a"b\\c\nd\te\x01', "- ü", "é " * 100, "x" * 81, "y" * 80, "\U0001f600" * 50]
    contents = [
        json.dumps(changed(document, path, value), ensure_ascii=False).encode()
        for value in odd
        for path in (("truncation_side",), ("layers",), ("variants", value), ("files", value + "/../"))
    ]
    found = answers(contents)
    assert [pair for pair in found if pair[0] != pair[1]] == []


def test_sha256(probe, tmp_path):
    random_bytes = random.Random(0).randbytes(100_000)
    contents = [b"", b"abc", b"a" * 1_000_000, *(random_bytes[:size] for size in (*range(50, 135), 100_000))]
    paths = []
    for number, content in enumerate(contents):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(content)
    found = probe("sha256", *paths)
    assert found == [hashlib.sha256(content).hexdigest() for content in contents]
    assert found[1].startswith("ba7816bf8f01cfea")  # FIPS 180-4


@pytest.mark.parametrize("seed", range(5))
def test_batches(probe, seed):
    generator = random.Random(seed)
    lengths = [generator.choice([1, 2, 3, 17, 128, 500, 1500]) for _ in range(generator.randint(1, 300))]
    found = [[int(row) for row in line.split()] for line in probe("batches", *lengths)]
    assert found == [batch.tolist() for batch in micro_batches(lengths, batch_size=None)]


V1 = "25 23 0:22 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
TREES = {
    "nothing": {},
    "no quota": {"proc/self/mountinfo": V2, "proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/cpu.max": "max 100000"},
    "quota": {"proc/self/mountinfo": V2, "proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/cpu.max": "50000 100000"},
    "rounded up": {"proc/self/mountinfo": V2, "proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "100001 100000"},
    "of a parent": {
        "proc/self/mountinfo": V2,
        "proc/self/cgroup": "0::/a/b/c",
        "sys/fs/cgroup/a/b/c/cpu.max": "max 100000",
        "sys/fs/cgroup/a/cpu.max": "100000 100000",
    },
    "only the top is visible": {"proc/self/cgroup": "0::/elsewhere", "sys/fs/cgroup/cpu.max": "90000 100000"},
    "version 1": {
        "proc/self/mountinfo": V1,
        "proc/self/cgroup": "4:cpu,cpuacct:/a\n0::/",
        "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "100000",
        "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
    },
    "version 1 without": {
        "proc/self/mountinfo": V1,
        "proc/self/cgroup": "4:cpu,cpuacct:/",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
    },
    "space in a name": {
        "proc/self/mountinfo": "30 23 0:26 /top /cg\\040roup rw - cgroup2 cgroup2 rw",
        "proc/self/cgroup": "0::/top/a",
        "cg roup/a/cpu.max": "100000 100000",
    },
    "leads up": {"proc/self/mountinfo": V2, "proc/self/cgroup": "0::/../a", "sys/fs/cgroup/cpu.max": "100000 100000"},
    "damaged": {
        "proc/self/mountinfo": "x\n\n - \n1 2 3",
        "proc/self/cgroup": "x\n:::\n",
        "sys/fs/cgroup/cpu.max": "x y",
    },
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_usable_cores(probe, tmp_path, monkeypatch, tree):
    for name, content in tree.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    monkeypatch.setattr(hardware, "_ROOT", tmp_path)
    assert probe("cores", tmp_path) == [str(hardware.usable_cores())]


def test_affinity(cpp_build):
    command = ["taskset", "1", cpp_build / "tests" / "fastbert_probe", "cores", "/"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("needs taskset")
    assert done.stdout == "1\n"


@pytest.mark.parametrize("flags", [None, "fpu avx2", "fpu avx2 avx_vnni", "avx512_vnni", "x amx_int8", "avx512_vnni2"])
def test_processors_that_saturate(probe, tmp_path, monkeypatch, flags):
    (tmp_path / "proc").mkdir()
    if flags is not None:
        (tmp_path / "proc/cpuinfo").write_text(
            f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t: avx_vnni\n"
        )
    monkeypatch.setattr(hardware, "_CPUINFO", tmp_path / "proc/cpuinfo")
    assert probe("saturates", tmp_path) == [str(int(hardware.int8_products_saturate()))]
