"""The wheel: with the C library where it can be built, and without it, as pure Python."""

import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import contextmanager

import pytest
from support import libfastbert

import fastbert

pytest.importorskip("setuptools", minversion="77")
RESULTS = {"build", "dist", "fastbert_deploy.egg-info"}  # what setuptools leaves in a checkout by default


@contextmanager
def checkout_kept_clean():
    before = {path.name for path in libfastbert.ROOT.iterdir()}
    yield
    assert ({path.name for path in libfastbert.ROOT.iterdir()} - before) & RESULTS == set()


def make_wheel(folder, check=True, **environment):
    command = [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", str(folder)]
    environment = {**os.environ, **environment}
    with checkout_kept_clean():
        done = subprocess.run(command, cwd=libfastbert.ROOT, env=environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done, list(folder.glob("*.whl"))


def unpack(wheel, folder):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def module(site, *options):
    """Run the module as it is installed in ``site``."""
    environment = {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    return libfastbert.run(sys.executable, "-m", "fastbert.runtime.cpp", *options, env=environment, check=False)


def test_a_wheel_carries_the_library_and_a_program_uses_it(tmp_path):
    libfastbert.prefix()  # skips where it cannot be built, and builds it otherwise
    if shutil.which("cmake") is None:
        pytest.skip("no cmake here")
    compiler = libfastbert.compiler("cc")
    _, (wheel,) = make_wheel(tmp_path, FASTBERT_CPP="1", FASTBERT_CPP_BUILD=str(libfastbert.build_place()))
    assert wheel.name.startswith(f"fastbert_deploy-{fastbert.__version__}-py3-none-")
    assert not wheel.name.endswith("any.whl")
    site = unpack(wheel, tmp_path / "site")
    here = site / "fastbert" / "runtime" / "cpp"
    files = {path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()}
    assert {"include/fastbert.h", "include/fastbert.hpp", "lib/pkgconfig/fastbert.pc"} <= files
    assert not {name for name in files if name.endswith((".cpp", ".txt")) or "onnxruntime" in name}
    flags = module(site, "--cflags", "--libs").stdout.split()
    source = tmp_path / "version.c"
    source.write_text(
        "#include <fastbert.h>\n#include <stdio.h>\nint main(void) { return puts(fastbert_version()) < 0; }\n"
    )
    libfastbert.run(compiler, source, *flags, "-o", tmp_path / "version")
    assert libfastbert.run(tmp_path / "version").stdout.strip() == fastbert.__version__


def test_a_wheel_without_the_library_is_pure_and_says_why(tmp_path):
    _, (wheel,) = make_wheel(tmp_path, FASTBERT_CPP="0")
    assert wheel.name == f"fastbert_deploy-{fastbert.__version__}-py3-none-any.whl"
    site = unpack(wheel, tmp_path / "site")
    assert not list(site.rglob("*.so*"))
    assert not list(site.rglob("*.h"))
    done = module(site, "--library")
    assert (done.returncode, done.stdout) == (1, "")
    assert "FASTBERT_CPP was 0 when it was installed." in done.stderr


def test_what_is_missing_is_named_or_fails_where_the_library_is_demanded(tmp_path):
    (tmp_path / "bin").mkdir()
    done, (wheel,) = make_wheel(tmp_path / "any", PATH=str(tmp_path / "bin"))
    assert "CMake was not found" in done.stderr
    assert wheel.name.endswith("-py3-none-any.whl")
    done, wheels = make_wheel(tmp_path / "must", check=False, FASTBERT_CPP="1", PATH=str(tmp_path / "bin"))
    assert (done.returncode, wheels) == (1, [])
    assert "FASTBERT_CPP is 1, and libfastbert could not be built. CMake was not found" in done.stderr


def test_another_value_of_fastbert_cpp_is_refused(tmp_path):
    done, wheels = make_wheel(tmp_path, check=False, FASTBERT_CPP="yes")
    assert (done.returncode, wheels) == (1, [])
    assert "FASTBERT_CPP is 'yes'; it must be 0 or 1" in done.stderr


def test_an_error_of_cmake_and_one_of_the_compiler_become_one_line():
    setup = libfastbert.setup_script()
    fatal = "print('CMake Error at cmake/x.cmake:8 (message):\\n  utf8proc was\\n  not found.\\nCall Stack: y')"
    error = "print('In file x\\na.cpp:3: error: no y\\nmore')"
    for program, message in ((fatal, "failed: utf8proc was not found.$"), (error, "failed: a.cpp:3: error: no y$")):
        with pytest.raises(setup.NotBuilt, match=message):
            setup.run(setup.NotBuilt, sys.executable, "-c", f"{program}; raise SystemExit(1)")
