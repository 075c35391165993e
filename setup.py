"""Adds to pyproject.toml what setuptools has no tables for: ``cli.py`` as ``fastbert.cli``, and the C library.

``libfastbert`` becomes part of a wheel where CMake, a C++ compiler, nlohmann-json and utf8proc are present; where not,
the wheel is pure Python, and ``fastbert/runtime/cpp/not_built.txt`` says why. In the environment:

- ``FASTBERT_CPP``: 0: never; 1: fail where it cannot be built.
- ``CMAKE_ARGS``: more options for CMake.
- ``FASTBERT_CPP_BUILD``: a folder that CMake builds in and that is kept, so that the next build takes less time.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info

SOURCE = Path(__file__).resolve().parent / "runtime" / "cpp"
# All that matter, since a kept build folder remembers those of before.
OPTIONS = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_INSTALL_LIBDIR=lib",
    "-DFASTBERT_TEXT=ON",
    "-DFASTBERT_UTF8PROC=AUTO",
    "-DFASTBERT_STATIC_RUNTIME=AUTO",
    "-DFASTBERT_SANITIZE=",
]


class NotBuilt(Exception):
    """Why there is no library: something that it needs is missing."""


class BuildFailed(NotBuilt):
    """What it needs is there, and it does not compile."""


@cache
def temporary(name: str) -> Path:
    """Return a folder of this process outside the checkout, which keeps no old files and stays clean."""
    folder = tempfile.TemporaryDirectory(prefix=f"fastbert-{name}-")
    temporary.folders = [*getattr(temporary, "folders", ()), folder]  # removed when the process ends
    return Path(folder.name)


@cache
def library() -> tuple[Path | None, str]:
    """Return the folder of the library as it is installed, or None and the reason."""
    wanted = os.environ.get("FASTBERT_CPP", "")
    if wanted not in ("", "0", "1"):
        sys.exit(f"FASTBERT_CPP is {wanted!r}; it must be 0 or 1, or not be set.")
    try:
        if wanted == "0":
            raise NotBuilt("FASTBERT_CPP was 0 when it was installed.")
        return build_library(), ""
    except NotBuilt as error:
        if wanted == "1":
            sys.exit(f"FASTBERT_CPP is 1, and libfastbert could not be built. {error}")
        sys.stderr.write(f"libfastbert is not part of this wheel. {error}\n")
        return None, str(error)


def build_library(*options: str) -> Path:
    cmake = shutil.which("cmake")
    if cmake is None:
        raise NotBuilt("CMake was not found when it was installed.")
    folder = Path(os.environ.get("FASTBERT_CPP_BUILD") or temporary("cmake")).resolve()
    prefix = temporary("library") / "cpp"
    made_before = folder / "CMakeCache.txt"
    if made_before.is_file() and f"CMAKE_HOME_DIRECTORY:INTERNAL={SOURCE}\n" not in made_before.read_text():
        made_before.unlink()  # of another checkout, whose folder CMake would refuse
    jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = shlex.split(os.environ.get("CMAKE_ARGS", ""))
    run(NotBuilt, cmake, "-S", SOURCE, "-B", folder, *OPTIONS, *options, *given)
    run(BuildFailed, cmake, "--build", folder, "--config", "Release", "--parallel", str(jobs))
    run(BuildFailed, cmake, "--install", folder, "--config", "Release", "--prefix", prefix, "--strip")
    replace_links(prefix / "lib")
    return prefix


def run(failure: type[NotBuilt], *command: str | Path) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    sys.stderr.write(done.stdout)
    if done.returncode:
        message = re.search(r"^CMake Error.*?:\s*\n(.*?)(?:\n\n\n|\nCall Stack|\Z)", done.stdout, re.M | re.S)
        error = re.search(r"^.*\berror: .*$", done.stdout, re.M)
        found = message[1] if message else error[0] if error else done.stdout[-500:]
        raise failure(f"When it was installed, CMake failed: {' '.join(found.split())}")


def replace_links(folder: Path) -> None:
    """A wheel has no symbolic links: ``libfastbert.so``, which a linker reads, becomes a text that names the file."""
    for link in [path for path in folder.iterdir() if path.is_symlink()]:
        target = link.resolve()
        link.unlink()
        if sys.platform == "darwin":  # its linker reads no such text
            shutil.copy2(target, link)
        else:
            link.write_text(f"INPUT({target.name})\n")


class WithLibrary(Distribution):
    def has_ext_modules(self) -> bool:
        # only where a wheel is made: commands that ask for its metadata must not compile
        return "bdist_wheel" in getattr(self, "commands", ()) and library()[0] is not None


class Build(build):
    def initialize_options(self) -> None:
        super().initialize_options()
        self.build_base = str(temporary("build"))


class EggInfo(egg_info):
    def initialize_options(self) -> None:
        super().initialize_options()
        if "sdist" not in getattr(self.distribution, "commands", ()):  # which packs this folder
            self.egg_base = str(temporary("metadata"))


class BuildPy(build_py):
    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        modules = super().find_package_modules(package, package_dir)
        return [*modules, ("fastbert", "cli", "cli.py")] if package == "fastbert" else modules

    def run(self) -> None:
        super().run()
        if self.editable_mode or "bdist_wheel" not in getattr(self.distribution, "commands", ()):
            return
        built, reason = library()
        target = Path(self.build_lib) / "fastbert" / "runtime" / "cpp"
        if built is None:
            (target / "not_built.txt").write_text(f"{reason}\n", encoding="utf-8")
        else:
            shutil.copytree(built, target, dirs_exist_ok=True)


class BdistWheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        tag = super().get_tag()
        return tag if self.root_is_pure else ("py3", "none", tag[2])  # no part of the library is Python's


if __name__ == "__main__":  # the tests import it
    setup(
        distclass=WithLibrary,
        cmdclass={"build": Build, "egg_info": EggInfo, "build_py": BuildPy, "bdist_wheel": BdistWheel},
    )
