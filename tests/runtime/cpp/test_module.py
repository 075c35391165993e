"""``python -m fastbert.runtime.cpp``."""

import shlex
import sys

import pytest

from fastbert.runtime import cpp
from fastbert.runtime.cpp.__main__ import main
from fastbert.runtime.errors import EngineError, MissingDependencyError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package as it is installed with the library, in a folder of the test."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / cpp._FILE).touch()
    monkeypatch.setattr(cpp, "_HERE", tmp_path)
    monkeypatch.setattr(cpp, "_LIB", tmp_path / "lib")
    monkeypatch.delenv("FASTBERT_LIBRARY", raising=False)
    return tmp_path


@pytest.fixture
def pure_package(package):
    (package / "lib" / cpp._FILE).unlink()
    return package


@pytest.mark.parametrize(
    ("option", "printed"),
    [
        ("--cflags", "-I{here}/include"),
        ("--libs", "-L{here}/lib -lfastbert -Wl,-rpath,{here}/lib"),
        ("--include-dir", "{here}/include"),
        ("--library", "{here}/lib/{file}"),
        ("--cmake-dir", "{here}/lib/cmake/fastbert"),
        ("--pkgconfig-dir", "{here}/lib/pkgconfig"),
    ],
)
def test_each_option_prints_its_place(package, capsys, option, printed):
    assert main([option]) == 0
    assert capsys.readouterr().out == printed.format(here=package, file=cpp._FILE) + "\n"


def test_flags_are_on_one_line_to_compile_before_to_link(package, capsys):
    assert main(["--libs", "--cflags"]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert [word[:2] for word in words] == ["-I", "-L", "-l", "-W"]


def test_nothing_asked_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert "--cflags, --libs" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--cflags", "--libs", "--include-dir", "--library", "--cmake-dir"])
def test_an_installation_without_the_library_says_why_and_what_to_do(pure_package, capsys, option):
    (pure_package / "not_built.txt").write_text("CMake was not found when it was installed.\n")
    assert main([option]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "CMake was not found when it was installed. Install CMake" in err
    assert "FASTBERT_CPP=1 pip install" in err


def test_a_library_elsewhere_is_named_by_the_environment(pure_package, monkeypatch):
    other = pure_package / "other.so"
    other.touch()
    monkeypatch.setenv("FASTBERT_LIBRARY", str(other))
    assert cpp.library() == other
    monkeypatch.setenv("FASTBERT_LIBRARY", str(pure_package / "nowhere.so"))
    with pytest.raises(EngineError, match=r"nowhere\.so, which is not a file"):
        cpp.library()


def test_the_library_of_onnxruntime_is_found_and_its_absence_is_said(monkeypatch, tmp_path, capsys):
    assert main(["--onnxruntime"]) == 0
    assert "libonnxruntime." in capsys.readouterr().out
    (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineError, match="no shared library for other languages in .*capi"):
        cpp.onnxruntime_library()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match="onnxruntime"):
        cpp.onnxruntime_library()
