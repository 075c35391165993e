"""The header in C and C++, and what the shared library exports and needs."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

INCLUDE = Path(__file__).parents[3] / "runtime" / "cpp" / "include"
USE = """#include "fastbert.h"
#include <string.h>
int main(void) {
  fastbert_model_options options = FASTBERT_MODEL_OPTIONS_INIT;
  fastbert_model_info info = FASTBERT_MODEL_INFO_INIT;
  fastbert_batch batch = FASTBERT_BATCH_INIT;
  fastbert_answers answers = FASTBERT_ANSWERS_INIT;
  fastbert_encoding encoding = FASTBERT_ENCODING_INIT;
  return !(options.struct_size && info.struct_size && batch.struct_size && answers.struct_size && encoding.struct_size);
}
"""


def declared() -> set[str]:
    return set(re.findall(r"^FASTBERT_API .*?\b(fastbert_\w+)\(", (INCLUDE / "fastbert.h").read_text(), re.MULTILINE))


def output_of(*command) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout


def test_exports_exactly_what_the_header_declares(library_path):
    lines = [line.split() for line in output_of("nm", "-D", "--defined-only", library_path).splitlines()]
    exported = {name.partition("@")[0]: name for _, kind, name in lines if kind != "A"}
    assert exported.keys() == declared()
    assert all(name.endswith("@@FASTBERT_1") for name in exported.values())


def test_does_not_need_onnxruntime(library_path):
    dynamic = output_of("readelf", "-d", library_path)
    assert "SONAME" in dynamic
    assert "[libfastbert.so.1]" in dynamic
    assert "onnxruntime" not in dynamic
    assert "NODELETE" in dynamic  # ONNX Runtime keeps the address of the log function


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_header_is_c99(compiler, tmp_path):
    (tmp_path / "use.c").write_text(USE)
    flags = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wshadow", "-Werror", "-fsyntax-only"]
    output_of(compiler, *flags, f"-I{INCLUDE}", tmp_path / "use.c")


@pytest.mark.parametrize("standard", ["c++17", "c++20"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_header_is_cpp(compiler, standard, tmp_path):
    (tmp_path / "use.cpp").write_text(USE)
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
    output_of(compiler, *flags, "-fsyntax-only", f"-I{INCLUDE}", tmp_path / "use.cpp")


def test_binding_has_every_function_and_field(tmp_path):
    """Sizes and offsets of the structs in Python are those of the header."""
    from fastbert.runtime.cpp import binding

    assert set(binding._FUNCTIONS) == declared()
    structs = {
        "fastbert_model_options": binding.ModelOptions,
        "fastbert_model_info": binding.ModelInfo,
        "fastbert_batch": binding.Batch,
        "fastbert_answers": binding.Answers,
        "fastbert_text": binding.Text,
        "fastbert_encoding": binding.Encoding,
    }
    header = (INCLUDE / "fastbert.h").read_text()
    assert set(re.findall(r"^} (fastbert_\w+);", header, re.MULTILINE)) == set(structs)
    prints = [
        f'printf("{name} {field} %zu\\n", offsetof({name}, {field}));'
        for name, struct in structs.items()
        for field, _ in struct._fields_
    ]
    prints += [f'printf("{name} size %zu\\n", sizeof({name}));' for name in structs]
    (tmp_path / "p.c").write_text('#include <stdio.h>\n#include "fastbert.h"\nint main(void) {' + "".join(prints) + "}")
    output_of("cc", "-std=c99", f"-I{INCLUDE}", tmp_path / "p.c", "-o", tmp_path / "p")
    found = {tuple(line.split()[:2]): int(line.split()[2]) for line in output_of(tmp_path / "p").splitlines()}
    expected = {
        (name, field): getattr(struct, field).offset for name, struct in structs.items() for field, _ in struct._fields_
    }
    assert found == expected | {(name, "size"): ctypes.sizeof(struct) for name, struct in structs.items()}
