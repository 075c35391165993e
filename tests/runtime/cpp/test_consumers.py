"""Programs outside the repository find an installed library: by find_package, by pkg-config."""

import os
import shutil

import pytest
from support import libfastbert

import fastbert

SOURCE = """
#include <fastbert.h>
#include <stdio.h>
int main(void) {
  puts(fastbert_version());
  return fastbert_abi_version() == FASTBERT_ABI_VERSION ? 0 : 1;
}
"""
PROJECT = """
cmake_minimum_required(VERSION 3.22)
project(consumer LANGUAGES C)
find_package(fastbert 99 QUIET)
if(fastbert_FOUND)
  message(FATAL_ERROR "version 99 was found")
endif()
find_package(fastbert {version} REQUIRED)
add_executable(consumer consumer.c)
target_link_libraries(consumer PRIVATE fastbert::fastbert)
"""


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """An installed library in another place than it was installed in."""
    folder = tmp_path_factory.mktemp("moved") / "prefix"
    shutil.copytree(libfastbert.prefix(), folder, symlinks=True, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return folder


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "consumer.c"
    path.write_text(SOURCE)
    return path


def test_find_package_in_a_project_in_c(moved, source, tmp_path):
    cmake = libfastbert.compiler("cmake")
    (tmp_path / "CMakeLists.txt").write_text(PROJECT.format(version=fastbert.__version__))
    build = tmp_path / "a build"
    libfastbert.run(cmake, "-S", tmp_path, "-B", build, f"-DCMAKE_PREFIX_PATH={moved}")
    libfastbert.run(cmake, "--build", build)
    assert libfastbert.run(build / "consumer").stdout.strip() == fastbert.__version__


def test_pkg_config(moved, source, tmp_path):
    compiler, pkg_config = libfastbert.compiler("cc"), libfastbert.compiler("pkg-config")
    environment = {"PKG_CONFIG_PATH": str(moved / "lib" / "pkgconfig")}

    def ask(*options):
        return libfastbert.run(pkg_config, *options, "fastbert", env=environment).stdout.split()

    assert ask("--modversion") == [fastbert.__version__]
    (folder,) = ask("--variable=libdir")
    assert os.path.samefile(folder, moved / "lib")
    libfastbert.run(compiler, source, *ask("--cflags", "--libs"), "-o", tmp_path / "consumer")
    done = libfastbert.run(tmp_path / "consumer", env={"LD_LIBRARY_PATH": folder})
    assert done.stdout.strip() == fastbert.__version__


def test_the_library_needs_nothing_that_a_system_lacks(moved):
    readelf = libfastbert.compiler("readelf")
    dynamic = libfastbert.run(readelf, "--dynamic", moved / "lib" / "libfastbert.so.1").stdout
    needed = {line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "(NEEDED)" in line}
    allowed = {"libc", "libm", "ld-linux-x86-64", "ld-linux-aarch64"}
    for name in ("libutf8proc", "libstdc++"):  # linked statically where there is a static one
        static = libfastbert.run(libfastbert.compiler("cc"), f"-print-file-name={name}.a").stdout.strip()
        allowed |= set() if os.path.isabs(static) else {name, "libgcc_s"}
    assert {name.partition(".")[0] for name in needed} <= allowed
    assert "(SONAME)             Library soname: [libfastbert.so.1]" in dynamic
    assert "RUNPATH" not in dynamic
