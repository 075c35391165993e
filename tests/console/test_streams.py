"""What the terminal and standard streams see. Most run in a new process, since the streams belong to the process."""

import io
import json
import logging
import os
import subprocess
import sys

import pytest
from rich.table import Table

from fastbert.console import streams as console
from fastbert.console.streams import VisibleFormatter, json_text, print_tables, table_cell, utf8_text, visible

ODD = 'é 日本 😀 \udcff "[red]'


def run(script, *, shell="", environment=None, **arguments):
    """Run a script after `open_streams`, under a shell's redirections."""
    code = f"import sys\nfrom fastbert.console.streams import *\n{script}"
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-c", code]
    ours = ("PYTHONIO", "PYTHONUTF8", "LC_", "LANG")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return subprocess.run(command, capture_output=True, env={**kept, **(environment or {})}, **arguments)


C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("environment", "encoding"),
    [
        ({}, "utf-8"),
        ({"LC_ALL": "C"}, "utf-8"),
        (C_LOCALE, "utf-8"),
        ({"PYTHONIOENCODING": ":strict"} | C_LOCALE, "utf-8"),
        ({"PYTHONIOENCODING": "ascii"}, "ascii"),
        ({"PYTHONIOENCODING": "latin-1:strict"}, "latin-1"),
        ({"PYTHONIOENCODING": "utf-16"}, "utf-16"),
        ({"PYTHONIOENCODING": "utf-8-sig"}, "utf-8-sig"),
        ({"PYTHONIOENCODING": "gb18030"}, "gb18030"),
        ({"PYTHONIOENCODING": "cp037"}, "cp037"),
    ],
)
def test_json_and_text_survive_every_encoding(environment, encoding):
    script = f"open_streams(); sys.stdout.write(json_text({ODD!a}) + chr(10) + {ODD!a})"
    done = run(script, environment=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    first, second = done.stdout.decode(encoding).split("\n")
    assert json.loads(first) == ODD
    assert '"[red]' in second
    if encoding.startswith("utf"):
        assert second.startswith("é 日本 😀 \\udcff")


def test_unbuffered_output_is_whole():
    script = "open_streams(); sys.stdout.write('x' * 1_000_000 + chr(10))"
    done = run(script, environment={"PYTHONUNBUFFERED": "1"})
    assert len(done.stdout) == 1_000_001


def test_a_non_blocking_pipe_gets_everything():
    script = (
        "import os; os.set_blocking(1, False); open_streams(); sys.stdout.write('x' * 1_000_000); sys.stdout.flush()"
    )
    done = run(script, shell="| (sleep 0.3; wc -c)")
    assert (done.stdout.strip(), done.stderr) == (b"1000000", b"")


def test_a_full_stdout_is_named():
    done = run("open_streams()\nsys.stdout.write('x')\ntry: sys.stdout.flush()\nexcept OSError as e: abandon_stdout(); "
               "sys.exit(f'{e.filename}: {e.strerror}')", shell="> /dev/full")  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"stdout: No space left on device\n")


@pytest.mark.parametrize("shell", ["2> /dev/full", "2>&-"])
def test_what_stderr_cannot_accept_is_lost_and_the_work_continues(shell):
    done = run("open_streams(); print('note', file=sys.stderr); sys.stderr.flush(); print('done')", shell=shell)
    assert (done.returncode, done.stdout) == (0, b"done\n")


@pytest.mark.parametrize("shell", [">&-", ">&- 2>&-", "<&- >&-"])
def test_a_closed_stdout_is_an_error_and_no_file_takes_its_place(shell, tmp_path):
    script = (
        "try: open_streams()\n"
        "except OSError as error: code = error.filename == 'stdout'\n"
        "sys.exit(10 + (open(sys.executable).fileno() > 2) + 2 * code)"
    )
    assert run(script, shell=shell).returncode == 13


def test_streams_of_a_host_program_stay(capsys):
    before = sys.stdout, sys.stderr
    console.open_streams()
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 [red] :smile: \\n", "plain é 日本 [red] :smile: \\n"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x1b[31mred\x07\x00\x7f\x9b", "\\x1b[31mred\\x07\\x00\\x7f\\x9b"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("zero\u200bwidth\ufeff\u00ad", "zero\\u200bwidth\\ufeff\\xad"),
        ("line\u2028para\u2029next\x85", "line\\u2028para\\u2029next\\x85"),
        ("می\u200cخواهم 👩\u200d👧 a\u00a0b\u3000c", "می\u200cخواهم 👩\u200d👧 a\u00a0b\u3000c"),
        ("שלום عربي", "שלום عربي"),
        ("caf\udcc3\udca9", "café"),  # bytes of a file name that are UTF-8 in a locale that is not
        ("b\udcff", "b\\xff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("", ""),
    ],
)
def test_characters_that_a_terminal_obeys_or_hides_are_escaped(text, shown):
    assert visible(text) == shown


def test_line_ends_are_kept_on_request():
    assert visible("a\n\tb\r", keep="\n") == "a\n\\tb\\r"


def test_log_lines_are_safe_and_may_have_several_lines():
    record = logging.LogRecord("x", logging.INFO, "", 0, "label %s\nnext", ("\x1b[2J",), None)
    assert VisibleFormatter("%(message)s").format(record) == "label \\x1b[2J\nnext"


def test_json_lines_are_lines_for_every_reader():
    text = "".join(map(chr, (*range(0x300), 0x2028, 0x2029, 0x202E, 0x2066, 0xD800, 0xDCFF, 0xFEFF)))
    shown = json_text({"a": text})
    assert json.loads(shown) == {"a": text}
    assert len(shown.splitlines()) == 1
    assert "\x7f" not in shown and "\x9b" not in shown and "\u202e" not in shown


def test_arguments_are_utf_8_in_any_locale():
    assert [utf8_text(text) for text in ("é", "caf\udcc3\udca9", "b\udcff")] == ["é", "café", "b\udcff"]


@pytest.mark.parametrize("label", ["[red]", "[/neg]", "[b]x[/b]", ":smile:", "[link=http://x]", "\\[a]", "[[", "]"])
def test_tables_print_labels_literally(label, capsys):
    table = Table(title=label)
    table.add_column(table_cell(label))
    table.add_row(table_cell(label))
    print_tables(table)
    assert capsys.readouterr().out.count(label) == 3


@pytest.mark.parametrize("isatty", [False, True])
def test_a_wide_table_is_not_truncated(isatty, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    stream.isatty = lambda: isatty
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "40")
    table = Table()
    table.add_column("name", overflow="fold")
    for number in range(60):
        table.add_column(f"speed {number}", no_wrap=True)
    table.add_row("long " * 50, *(f"{number}.1234567" for number in range(60)))
    print_tables(table)
    stream.seek(0)
    shown = stream.read()
    assert "…" not in shown
    assert all(f"{number}.1234567" in shown for number in range(60))
    assert shown.count("long") == 50


def test_escapes_for_an_encoding_keep_a_table_aligned(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    table = Table()
    for name in ("日本", "é"):
        table.add_column(table_cell(name))
    print_tables(table)
    stream.seek(0)
    assert len({len(line) for line in stream.read().splitlines()}) == 1
