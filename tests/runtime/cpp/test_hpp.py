"""The C++ wrapper: compiles without a warning in each dialect, and gives the answers and errors of the C library."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from support import libfastbert

from fastbert.runtime.manifest import MANIFEST

SOURCE = Path(__file__).with_name("wrapper.cpp")
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]


@pytest.mark.parametrize(("compiler", "standard"), [("clang++", "c++17"), ("g++", "c++20")])
def test_it_compiles_without_a_warning(compiler, standard):
    """With g++ and C++17: the program below."""
    prefix = libfastbert.prefix()
    command = [libfastbert.compiler(compiler), f"-std={standard}", *WARNINGS, f"-I{prefix}/include", "-fsyntax-only"]
    libfastbert.run(*command, SOURCE)


def test_an_older_standard_is_refused_in_words():
    command = [libfastbert.compiler("g++"), "-std=c++14", f"-I{libfastbert.prefix()}/include", "-fsyntax-only", SOURCE]
    assert "fastbert.hpp needs C++17" in libfastbert.run(*command, check=False).stderr


@pytest.fixture
def tuned(bundle, tmp_path):
    """The bundle with operating points."""
    shutil.copytree(bundle, tmp_path / "tuned")
    path = tmp_path / "tuned" / MANIFEST
    document = json.loads(path.read_text())
    fp32 = document["variants"]["fp32"]
    lines = [f"{file} {document['files'][file]['sha256']}\n" for file in (fp32["embeddings"], *fp32["stages"])]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    points = {"balanced": (1, "fp32"), "other": (0.5, "int8")}
    document["operating_points"] = {
        name: {"speed": speed, "variant": variant, "variant_sha256": digest}
        for name, (speed, variant) in points.items()
    }
    path.write_text(json.dumps(document))
    return tmp_path / "tuned"


def test_it_answers_and_throws_as_the_c_library(tuned, tmp_path):
    library = libfastbert.prefix() / "lib"
    program = tmp_path / "wrapper"
    flags = [*WARNINGS, f"-I{library.parent}/include", f"-L{library}", "-lfastbert", f"-Wl,-rpath,{library}"]
    libfastbert.run(libfastbert.compiler("g++"), "-std=c++17", SOURCE, *flags, "-o", program)
    assert libfastbert.run(program, tuned).stdout == "ok\n"


def test_another_abi_is_refused(tmp_path):
    other = tmp_path / "other.cpp"
    other.write_text(
        "#include <fastbert.hpp>\n#include <iostream>\n"
        'extern "C" std::uint32_t fastbert_abi_version(void) { return 7; }\n'
        'int main() try { fastbert::Model("x"); } catch (const fastbert::EngineError& e) { std::cout << e.what(); }\n'
    )
    library = libfastbert.prefix() / "lib"
    flags = [f"-I{library.parent}/include", f"-L{library}", "-lfastbert", f"-Wl,-rpath,{library}"]
    libfastbert.run(libfastbert.compiler("g++"), "-std=c++17", other, *flags, "-o", tmp_path / "other")
    printed = libfastbert.run(tmp_path / "other").stdout
    assert "has the ABI version 7; this program was compiled for version 1" in printed
