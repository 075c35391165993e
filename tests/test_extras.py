"""What each extra promises: its commands run in an interpreter that can import only what the extra brings."""

import json
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

missing, commands = map(json.loads, sys.argv[1:])


class Finder(PathFinder):
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in missing else PathFinder.find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
from fastbert.cli import main

for command in commands:
    sys.argv = ["fastbert", *command]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            sys.exit(" ".join(command))
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


@pytest.fixture
def run_with(tmp_path):
    """Run commands in a fresh interpreter that has only these extras: (extras, commands) -> the finished process."""

    def run(extras, *commands):
        brought = distributions_of(extras)
        missing = [
            module
            for module, owners in packages_distributions().items()
            if not brought & {canonicalize_name(owner) for owner in owners} and module != "fastbert"
        ]
        words = [[str(word) for word in command] for command in commands]
        script = [sys.executable, "-c", SCRIPT, json.dumps(missing), json.dumps(words)]
        return subprocess.run(script, capture_output=True, text=True, cwd=tmp_path)

    return run


@pytest.fixture
def data(tmp_path):
    return write_tsv(tmp_path / "x.tsv", make_rows(24))


def test_cpu_predicts_verifies_tunes_and_shows(run_with, bundle, data, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    tune = ["tune", copy, "--data", data, "--max-drop", 50, "--name", "balanced"]
    predict = ["predict", copy, "--file", data, "--speed", "balanced"]
    done = run_with(["cpu"], ["verify", bundle], tune, ["info", copy], predict)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split("layers_run")) == 1 + 24


@pytest.mark.parametrize("name", ["train", "export", "pack"])
def test_cpu_names_the_extra_of_other_commands(run_with, bundle, checkpoint_dir, data, name):
    arguments = {"train": ["m", "--train", data], "export": [checkpoint_dir], "pack": [bundle]}[name]
    done = run_with(["cpu"], [name, *arguments, "--output", "out"])
    assert done.returncode == 1
    assert f"pip install 'fastbert-deploy[{'train' if name == 'train' else 'export'}]'" in done.stderr


def test_train_trains_and_evaluates(run_with, data, tmp_path):
    save_backbone(tmp_path / "backbone")
    quick = ["--epochs", 1, "--distill-epochs", 1, "--exit-size", 16]
    train = ["train", "backbone", "--train", data, "--output", "model", *quick]
    done = run_with(["cpu", "train"], train, ["evaluate", "model", "--data", data])
    assert done.returncode == 0, done.stderr


def test_export_exports_verifies_against_a_checkpoint_and_packs(run_with, checkpoint_dir, data):
    export = ["export", checkpoint_dir, "--output", "bundle"]
    pack = ["pack", "bundle", "--output", "model.onnx"]
    done = run_with(["cpu", "export"], export, ["verify", "bundle", "--against", checkpoint_dir, "--data", data], pack)
    assert done.returncode == 0, done.stderr


def test_bench_measures_a_bundle(run_with, bundle, data):
    bench = ["bench", bundle, "--data", data, "--threads", 1, "--max-seconds", 1, "--speed", 0.5, "--output", "report"]
    done = run_with(["cpu", "bench"], bench, ["evaluate", bundle, "--data", data])
    assert done.returncode == 0, done.stderr


def test_tensorrt_rtx_builds_without_a_gpu_and_shows_it(run_with, bundle_copy):
    real_tensorrt_rtx()
    build = ["build", bundle_copy, "--engine", "tensorrt-rtx", "--batch", 1, "--sequence", 32]
    done = run_with(["tensorrt-rtx"], build, ["info", bundle_copy])
    assert done.returncode == 0, done.stderr
    assert "tensorrt-rtx-fp16: 6 engines" in done.stdout


def test_every_extra_that_an_error_names_brings_its_package():
    names = {"sklearn": "scikit-learn", "tensorrt_rtx": "tensorrt-rtx-cu13"}
    for package, extra in EXTRAS.items():
        assert names.get(package, package) in {canonicalize_name(name) for name in distributions_of([extra])}
