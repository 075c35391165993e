"""The documents: commands and Python blocks run, links lead somewhere, options exist, figures are the report's."""

import ast
import inspect
import json
import re
import shlex
import shutil
import tomllib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import typer.main
from support import libfastbert
from support.factories import make_rows, save_backbone, write_tsv

import fastbert
from fastbert import cli
from fastbert.runtime import Classifier

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix() for folder in (".", "docs", "studies") for path in (ROOT / folder).glob("*.md")
)
# Documents whose blocks are run, in order and in one folder; True: the folder has a model and a bundle already.
RUN = {
    "README.md": False,
    "docs/hosts.md": True,
    "docs/python.md": False,
    "docs/service.md": True,
    "docs/training.md": False,
    "docs/tuning.md": True,
}
MARKS = {"gpu", "parse"}  # of a block that is only checked: it needs a GPU, or more than a tiny model
# Added to a command that is run, where it does not say otherwise: tiny models need less, and a bench takes its time.
QUICK = {
    "bench": {"--max-seconds": 1, "--max-rows": 8, "--speed": 0.5, "--threads": 1},
    "train": {"--epochs": 1, "--distill-epochs": 1, "--exit-size": 16},
}
COMMANDS = typer.main.get_command(cli.app).commands
CMAKE = (ROOT / "runtime/cpp/CMakeLists.txt").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
REPORT = json.loads((ROOT / "studies/reports/demo/report.json").read_text(encoding="utf-8"))
# gunicorn; cmake; pkg-config
OPTIONS_OF_OTHERS = {"--preload", "--build", "--install", "--parallel", "--prefix", "--variable"}
# Language of a block that is a whole program -> its compiler, with options. It is compiled, and run beside a bundle.
PROGRAMS = {
    "c": ("cc", "-std=c99", "-pedantic"),
    "cpp": ("c++", "-std=c++17", "-Wpedantic", "-Wconversion", "-Wshadow"),
}


@dataclass(frozen=True)
class Block:
    document: str
    line: int
    language: str
    marks: frozenset[str]
    text: str


def read_blocks(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = []
    for match in re.finditer(r"^```(\S*)([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        language, marks, body = match.groups()
        line = text.count("\n", 0, match.start(3))
        blocks.append(Block(document, line, language, frozenset(marks.split()), body))
    return blocks


def without_code(text):
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def commands(block):
    """Return the commands of a shell block as lists of words."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def check_command(words):
    """Fail unless the command, its options, its extras or its target exist, and those of commands in ``$(...)``."""
    line = " ".join(words)
    for inner in re.findall(r"\$\((.*?)\)", line):
        check_command(inner.split())
    if "$(" in line:
        words = re.sub(r"\$\(.*?\)", "VALUE", line).split()
    if re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    match words:
        case ["fastbert", name, *arguments] | ["accelerate", "launch", "-m", "fastbert.cli", name, *arguments]:
            COMMANDS[name].make_context(name, list(arguments))
        case ["pip", "install", *requirements]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            for requirement in requirements:
                name, _, extras = requirement.rstrip("]").partition("[")
                assert name == project["name"]
                assert set(extras.split(",")) <= {"", *project["optional-dependencies"]}
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        case ["python", "-m", module, *arguments] if module.startswith("studies."):
            check_script(module.replace(".", "/") + ".py", arguments)
        case ["python", "-m", "fastbert.runtime.cpp", *arguments]:
            check_script("runtime/cpp/__main__.py", arguments)
        case ["python", script, *arguments]:
            check_script(script, arguments)
        case ["cd", folder]:
            assert (ROOT / folder).is_dir()
        case ["cmake", *arguments]:
            for source in (after for word, after in pairwise(arguments) if word == "-S"):
                assert (ROOT / source / "CMakeLists.txt").is_file()
            for option in re.findall(r"-D(\w+)=", " ".join(arguments)):
                assert option == "fastbert_DIR" or option in CMAKE, option
        case ["apt-get", "install", *packages]:
            assert set(packages) <= set(re.findall(r"[\w+-]+", (ROOT / ".ci/run").read_text(encoding="utf-8")))
        case [("cc" | "export"), *_]:
            pass  # the programs are compiled, and the tests of the C library use the flags
        case _:
            pytest.fail(f"{shlex.join(words)}: a program that this test does not know")


def check_script(script, arguments):
    text = (ROOT / script).read_text(encoding="utf-8")
    for option in arguments:
        assert not option.startswith("--") or f'"{option}"' in text, option


def check_python(block):
    """Fail unless the block compiles, and what it imports and how it loads a classifier exists."""
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "fastbert":
            assert {alias.name for alias in node.names} <= set(fastbert.__all__)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "load":
            assert {keyword.arg for keyword in node.keywords} <= set(inspect.signature(Classifier.load).parameters)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files that the documents name, small ones."""
    save_backbone(tmp_path / "bert-base-uncased")
    save_backbone(tmp_path / "my-classifier", classifier=3)
    for name, rows in (("train", 64), ("dev", 32), ("tune", 34), ("test", 32)):
        write_tsv(tmp_path / f"{name}.tsv", make_rows(rows, seed=rows))
    (tmp_path / "texts.txt").write_text("".join(f"{row.text}\n" for row in make_rows(40)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", RUN)
def test_the_blocks_of_a_guide_run_in_order(document, checkpoint_dir, bundle, folder, run_cli):
    if RUN[document]:
        (folder / "model").symlink_to(checkpoint_dir)
        shutil.copytree(bundle, folder / "bundle")  # a guide may write into it
    namespace = {}
    for block in read_blocks(document):
        if block.marks:
            continue
        if block.language == "python":
            code = "\n" * block.line + block.text  # a traceback then names the document's line
            exec(compile(code, document, "exec"), namespace)
        for words in commands(block) if block.language == "sh" else ():
            check_command(words)
            if words[0] == "fastbert":
                extra = [word for pair in QUICK.get(words[1], {}).items() if pair[0] not in words for word in pair]
                code, _, err = run_cli(*words[1:], *extra)
                assert code == 0, f"{shlex.join(words)}\n{err}"


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_program_in_a_guide_compiles_and_runs(language, text_bundle, tmp_path):
    (tmp_path / "bundle").symlink_to(text_bundle)
    lib = libfastbert.prefix() / "lib"
    flags = ["-Wall", "-Wextra", "-Werror", f"-I{lib.parent}/include", f"-L{lib}", "-lfastbert", f"-Wl,-rpath,{lib}"]
    compiler, *dialect = PROGRAMS[language]
    blocks = [block for block in read_blocks("docs/embedding.md") if block.language == language]
    assert blocks
    for block in blocks:
        source = tmp_path / f"program.{language}"
        source.write_text(f'#line {block.line + 1} "{block.document}"\n{block.text}')
        libfastbert.run(libfastbert.compiler(compiler), *dialect, source, *flags, "-o", tmp_path / "program")
        assert " after " in libfastbert.run(tmp_path / "program", cwd=tmp_path).stdout


def test_the_messages_in_the_guide_to_c_are_those_of_the_library():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "runtime/cpp/src").rglob("*.cpp")]
    literals = re.sub(r'"\s*\n\s*"', "", "\n".join(sources))  # a message over several lines
    text = (ROOT / "docs/embedding.md").read_text(encoding="utf-8")
    table = text[text.index("| what goes wrong |") :].split("\n\n")[0].splitlines()[2:]
    messages = [re.search(r"\| `(.*?)`", row)[1] for row in table]
    assert len(messages) > 10
    assert [message for message in messages if message not in literals] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_and_python_that_are_not_run_are_at_least_possible(document):
    for block in read_blocks(document):
        assert block.marks <= MARKS or block.language not in ("sh", "python"), f"{document}:{block.line}: {block.marks}"
        if block.language == "python":
            check_python(block)
        for words in commands(block) if block.language == "sh" else ():
            check_command(words)


@pytest.mark.parametrize("document", sorted({*DOCUMENTS} - {"CHANGELOG.md"}))  # that one names removed options
def test_every_option_exists(document):
    parameters = [parameter for command in COMMANDS.values() for parameter in command.params]
    known = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
    for script in (*ROOT.glob("studies/*.py"), *ROOT.glob("demo/*.py"), ROOT / "runtime/cpp/__main__.py"):
        known |= set(re.findall(r'"(--[a-z-]+)"', script.read_text(encoding="utf-8")))
    named = re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", (ROOT / document).read_text(encoding="utf-8"))
    assert set(named) <= known | OPTIONS_OF_OTHERS | {"--help", "--debug", "--version"}


def anchors(path):
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_to_a_file_and_every_anchor_to_a_heading(document):
    source = ROOT / document
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(source.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = source.parent / path if path else source
        assert target.exists(), f"{document}: {link}"
        assert not anchor or anchor in anchors(target), f"{document}: {link}"


def test_the_readme_is_short_and_leads_to_every_guide():
    assert len(README.split()) <= 700
    guides = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")} - {"docs/api.md"}
    assert guides <= set(re.findall(r"\]\(([^)#\s]+)", README))


SYSTEMS = {system["name"]: system for system in REPORT["single_stream"]["systems"]}


def times_faster(name):
    return SYSTEMS["onnxruntime"]["latency"]["mean_ms"] / SYSTEMS[name]["latency"]["mean_ms"]


def test_the_readmes_table_is_the_reports():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in README.splitlines() if line.startswith("| ")]
    table = rows[next(index for index, row in enumerate(rows) if row[-1] == "times faster") + 1 :][:5]
    names = ["onnxruntime", "fp32 speed 0.1", "fp32 speed 0.3", "int8 speed 0.1", "int8 speed 0.3"]
    assert [f"{row[0]} speed {row[1]}" for row in table[1:]] == names[1:]
    for row, system in zip(table, map(SYSTEMS.get, names), strict=True):
        assert row[2:] == [
            f"{100 * system['accuracy']:.1f} %",
            f"{system['mean_layers']:.2f}",
            f"{system['latency']['p50_ms']:.2f}",
            f"{system['latency']['p95_ms']:.2f}",
            f"{times_faster(system['name']):.2f}",
        ]


def test_the_readmes_sentences_are_the_reports():
    text = " ".join(README.replace("\\\n", " ").split())
    fp32, int8, whole = (SYSTEMS[name] for name in ("fp32 speed 0.3", "int8 speed 0.3", "onnxruntime"))
    loss = f"{100 * (whole['accuracy'] - fp32['accuracy']):.1f}"
    assert f"{100 * (whole['accuracy'] - int8['accuracy']):.1f}" == loss  # the sentence has one figure for both
    method, model = REPORT["method"], REPORT["model"]
    for sentence in (
        f"it is {times_faster('fp32 speed 0.3'):.1f} times faster than the whole model in ONNX Runtime at {loss} "
        f"points less accuracy, and {times_faster('int8 speed 0.3'):.1f} times in int8",
        f"MiniLM ({model['layers']} layers × {model['hidden_size']}), {method['rows_drawn']} held-out tweets of "
        f"{method['tokens_mean']:.0f} tokens on average",
        REPORT["environment"]["command"],
    ):
        assert sentence in text
