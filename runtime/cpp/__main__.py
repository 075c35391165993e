"""``python -m fastbert.runtime.cpp``: print where libfastbert is, and the flags to compile and link with it."""

import argparse
import sys

from fastbert.runtime.cpp import cflags, cmake_dir, include_dir, library, libs, onnxruntime_library, pkgconfig_dir
from fastbert.runtime.errors import EngineError

# Option -> (what prints it, its help), in the order in which they are printed.
_OPTIONS = {
    "--cflags": (cflags, "flags to compile with"),
    "--libs": (libs, "flags to link with"),
    "--include-dir": (include_dir, "folder of fastbert.h and fastbert.hpp"),
    "--library": (library, "the shared library"),
    "--cmake-dir": (cmake_dir, "folder for cmake -Dfastbert_DIR=..."),
    "--pkgconfig-dir": (pkgconfig_dir, "folder for PKG_CONFIG_PATH"),
    "--onnxruntime": (onnxruntime_library, "the package onnxruntime's shared library, for FASTBERT_ONNXRUNTIME"),
}


def main(arguments: list[str] | None = None) -> int:
    """Print what was asked for, on one line. Return the exit code: 0, or 1 where it is not installed."""
    parser = argparse.ArgumentParser(
        prog="python -m fastbert.runtime.cpp",
        description="Where libfastbert is, for programs in C and C++.",
        epilog="Example: cc classify.c $(python -m fastbert.runtime.cpp --cflags --libs) -o classify",
    )
    for option, (_, text) in _OPTIONS.items():
        parser.add_argument(option, action="append_const", dest="asked", const=option, help=text)
    asked = parser.parse_args(arguments).asked
    if not asked:
        parser.error(f"name what to print: {', '.join(_OPTIONS)}")
    try:
        parts = [str(function()) for option, (function, _) in _OPTIONS.items() if option in asked]
    except EngineError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    sys.stdout.write(" ".join(parts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
