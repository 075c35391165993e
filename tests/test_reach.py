"""Every installed module is reached from a command line or from a public name; what is not belongs in studies/."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = {"fastbert": "fastbert", "export": "fastbert.export", "runtime": "fastbert.runtime"}
FOLDERS |= {"benchmarks": "fastbert.benchmarks"}


def modules():
    """Return the source file of every installed module by its name."""
    found = {"fastbert.cli": ROOT / "cli.py"}
    for folder, package in FOLDERS.items():
        for file in (ROOT / folder).rglob("*.py"):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = file
    return found


def named_by(file, known):
    """Return the modules that a file imports, also within functions, or names in strings, such as tables of modules."""
    found = set()
    package = None
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w.]+", node.value):
            found.add(node.value)
        elif isinstance(node, ast.JoinedStr):  # f"{_HERE}.pytorch"
            ending = node.values[-1]
            if isinstance(ending, ast.Constant) and re.fullmatch(r"\.\w+", str(ending.value)):
                package = next(name for name, path in known.items() if path == file)
                found.add(f"{package}{ending.value}")
    return {name for name in found if name in known}


def test_every_module_is_reached():
    known = modules()
    reached, waiting = set(), ["fastbert.cli", "fastbert", *(name for name in known if name.endswith(".__main__"))]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            parents = [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]
            waiting += [*parents, *named_by(known[name], known)]
    assert set(known) - reached == set()


def test_no_folder_and_no_module_grows_too_large():
    for folder in FOLDERS:
        for directory in [ROOT / folder, *(path for path in (ROOT / folder).rglob("*") if path.is_dir())]:
            files = [path for path in directory.iterdir() if path.is_file() and path.suffix != ".pyc"]
            named = {
                path.stem if path.suffix in (".cpp", ".h") else path.name for path in files
            }  # a header with its source
            assert len(named) <= 14, directory
    for name, file in modules().items():
        lines = file.read_text().count("\n")
        assert lines <= 350 or name == "fastbert.cli", f"{name} has {lines} lines"  # a list of options and their help
