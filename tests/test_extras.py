"""What each extra promises: its commands run in an interpreter that can import only what the extra brings."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.doubles.real_tensorrt import real_tensorrt_rtx
from support.factories import make_rows, save_backbone, write_tsv

from fastbert.console.failures import EXTRAS

SCRIPT = """
import json, sys
from importlib.machinery import PathFinder

missing = set()


class Finder(PathFinder):
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in missing else PathFinder.find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Finder

for lacking, command in json.loads(sys.argv[1]):
    missing = set(lacking)
    from fastbert.cli import main
    sys.argv = ["fastbert", *command]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            print(" ".join(command), "ended with", ended.code, file=sys.stderr)
"""


def distributions_of(extras):
    """Return the names of all distributions that ``pip install 'fastbert-deploy[extras]'`` brings."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    ours = {project["name"]: (project["dependencies"], project["optional-dependencies"])}
    waiting, found = [Requirement(f"{project['name']}[{','.join(extras)}]")], set()
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        for extra in ("", *asked.extras):
            if (name, extra) in found:
                continue
            found.add((name, extra))
            if name in ours:
                base, optional = ours[name]
                waiting += map(Requirement, optional[extra] if extra else base)
                continue
            with suppress(PackageNotFoundError):  # not installed here, so nothing of it can be imported
                needed = [Requirement(text) for text in requires(name) or ()]
                waiting += [each for each in needed if each.marker is None or each.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def missing_without(extras):
    """Return the modules that are installed here and that none of these extras brings."""
    brought = distributions_of(extras)
    return [
        module
        for module, owners in packages_distributions().items()
        if not brought & {canonicalize_name(owner) for owner in owners} and module != "fastbert"
    ]


@pytest.fixture
def run_with(tmp_path):
    """Run commands in one fresh interpreter: (extras, command)... -> its stdout and stderr.

    What a command imports stays imported, so the extras of a command must have all that those before it have.
    """

    def run(*steps):
        held = set()
        for extras, _ in steps:
            assert held <= (held := distributions_of(extras))
        words = [[missing_without(extras), [str(word) for word in command]] for extras, command in steps]
        script = [sys.executable, "-c", SCRIPT, json.dumps(words)]
        done = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    return run


@pytest.fixture
def data(tmp_path):
    return write_tsv(tmp_path / "x.tsv", make_rows(24))


def test_cpu_predicts_verifies_tunes_and_shows(run_with, bundle, data, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    tune = ["tune", copy, "--data", data, "--max-drop", 50, "--name", "balanced"]
    predict = ["predict", copy, "--file", data, "--speed", "balanced"]
    commands = (["verify", bundle], tune, ["info", copy], predict)
    out, err = run_with(*((["cpu"], command) for command in commands))
    assert "ended with" not in err, err
    assert len(out.split("layers_run")) == 1 + 24


def test_cpu_names_the_extra_of_other_commands(run_with, bundle, checkpoint_dir, data):
    arguments = {"train": ["m", "--train", data], "export": [checkpoint_dir], "pack": [bundle]}
    _, err = run_with(*((["cpu"], [name, *more, "--output", "out"]) for name, more in arguments.items()))
    train, export, pack, rest = re.split("ended with 1\n", err)
    assert "pip install 'fastbert-deploy[train]'" in train
    assert "pip install 'fastbert-deploy[export]'" in export
    assert "pip install 'fastbert-deploy[export]'" in pack
    assert rest == ""


def test_train_trains_and_evaluates_then_export_exports_verifies_and_packs(run_with, data, tmp_path):
    """In one interpreter, as each import of PyTorch takes seconds; the extra export has what train has."""
    save_backbone(tmp_path / "backbone")
    quick = ["--epochs", 1, "--distill-epochs", 1, "--exit-size", 16]
    _, err = run_with(
        (["cpu", "train"], ["train", "backbone", "--train", data, "--output", "model", *quick]),
        (["cpu", "train"], ["evaluate", "model", "--data", data]),
        (["cpu", "export"], ["export", "model", "--output", "bundle"]),
        (["cpu", "export"], ["verify", "bundle", "--against", "model", "--data", data]),
        (["cpu", "export"], ["pack", "bundle", "--output", "model.onnx"]),
    )
    assert "ended with" not in err, err


def test_bench_measures_a_bundle(run_with, bundle, data):
    bench = ["bench", bundle, "--data", data, "--threads", 1, "--max-seconds", 1, "--speed", 0.5, "--output", "report"]
    extras = ["cpu", "bench"]
    _, err = run_with((extras, bench), (extras, ["evaluate", bundle, "--data", data]))
    assert "ended with" not in err, err


def test_tensorrt_rtx_builds_without_a_gpu_and_shows_it(run_with, bundle_copy):
    real_tensorrt_rtx()
    build = ["build", bundle_copy, "--engine", "tensorrt-rtx", "--batch", 1, "--sequence", 32]
    out, err = run_with((["tensorrt-rtx"], build), (["tensorrt-rtx"], ["info", bundle_copy]))
    assert "ended with" not in err, err
    assert "tensorrt-rtx-fp16: 6 engines" in out


def test_every_extra_that_an_error_names_brings_its_package():
    names = {"sklearn": "scikit-learn", "tensorrt_rtx": "tensorrt-rtx-cu13"}
    for package, extra in EXTRAS.items():
        assert names.get(package, package) in {canonicalize_name(name) for name in distributions_of([extra])}
