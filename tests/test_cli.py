import io
import json
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import typer
from datasets import Dataset
from support.factories import make_checkpoint, make_rows, write_tsv

import fastbert
from fastbert import cli
from fastbert.benchmarks.baselines import BASELINES
from fastbert.benchmarks.machine import footprint
from fastbert.benchmarks.options import SCENARIOS
from fastbert.configuration import HEADS
from fastbert.export import PRECISIONS, ExportOptions, export_bundle
from fastbert.importing import FORMATS
from fastbert.runtime.engines import DEVICES
from fastbert.training.losses import KL_DIRECTIONS
from fastbert.training.options import PHASES
from fastbert.uncertainty import MEASURES


def test_help_is_quick_and_loads_nothing_heavy():
    script = (
        "import sys; sys.argv = ['fastbert', '--help']\n"
        "from fastbert.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'onnxruntime', 'datasets'} & set(sys.modules)))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "evaluate" in done.stdout
    assert done.stdout.strip().endswith("[]")
    processor_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert processor_seconds < 0.3  # not by the clock, which other work on the machine moves


def _answer_here(command, *, input, **_):
    """Measure a footprint in this process: a fresh one imports PyTorch for seconds."""
    return subprocess.CompletedProcess(command, 0, json.dumps(footprint._answer(json.loads(input))))


def test_from_a_text_file_to_predictions(run_cli, tmp_path, monkeypatch):
    from support.factories import save_backbone

    save_backbone(tmp_path / "backbone")
    train = write_tsv(tmp_path / "train.tsv", make_rows(64, seed=1))
    dev = write_tsv(tmp_path / "dev.tsv", make_rows(32, seed=2))
    model, bundle, report = tmp_path / "model", tmp_path / "bundle", tmp_path / "report.json"
    quick = ["--epochs", 1, "--distill-epochs", 1, "--max-length", 40, "--exit-size", 16, "--learning-rate", 1e-3]

    code, out, _ = run_cli("train", tmp_path / "backbone", "--train", train, "--dev", dev, "--output", model, *quick)
    assert code == 0
    assert "accuracy by exit" in out
    code, out, err = run_cli("train", tmp_path / "backbone", "--train", train, "--output", model)
    assert (code, out) == (1, "")
    assert "--overwrite" in err

    code, out, _ = run_cli("export", model, "--output", bundle, "--json")
    assert code == 0
    assert json.loads(out)["verification"]["fp32"]["passed"] is True

    code, out, _ = run_cli("verify", bundle, "--against", model, "--data", dev)
    assert (code, out.split(":")[0]) == (0, "verified")

    for target in (model, bundle):
        code, out, _ = run_cli("info", target, "--json")
        assert json.loads(out)["labels"] == ["negative", "neutral", "positive"]
        code, out, _ = run_cli("evaluate", target, "--data", dev, "--speed", "0,0.5", "--json")
        assert [result["speed"] for result in json.loads(out)] == [0.0, 0.5]
    code, out, _ = run_cli("evaluate", bundle, "--data", dev)
    assert "x fewer FLOPs" in out

    code, out, _ = run_cli("predict", bundle, "good film", "", "--speed", 0.3)
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["good film", ""]
    code, from_file, _ = run_cli("predict", bundle, "--file", dev, "--batch-size", 5)
    assert len(from_file.splitlines()) == 32
    lines = "".join(f"{row.text}\n" for row in make_rows(32, seed=2))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    code, from_stdin, _ = run_cli("predict", bundle)
    assert [json.loads(line)["label"] for line in from_stdin.splitlines()] == [
        json.loads(line)["label"] for line in from_file.splitlines()
    ]

    processes = SimpleNamespace(run=_answer_here, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(footprint, "subprocess", processes)
    code, out, err = run_cli(
        "bench", bundle, "--data", dev, "--checkpoint", model, "--baseline", "onnxruntime,pytorch", "--threads", 1,
        "--output", report, "--max-seconds", 1,
    )  # fmt: skip
    assert code == 0
    assert "mean layers" in out
    assert "onnxruntime" in out
    assert "too few for p90, p95, p99" in err
    assert "At speed" in out or "No speed" in out
    document = json.loads(report.read_text())
    assert document["schema"] == "fastbert-bench/2"
    assert document["method"]["threads"] == 1
    systems = document["single_stream"]["systems"]
    assert [system["name"] for system in systems][-2:] == ["onnxruntime", "pytorch"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict", "{bundle}", "a", "--speed", "2"], 2, "from 0"),
        (["predict", "{bundle}", "a", "--speed", "nan"], 2, "from 0"),
        (["predict", "{bundle}", "a", "--speed", "fast"], 2, "--speed"),
        (["predict", "{bundle}", "a", "--file", "x.txt"], 2, "not both"),
        (["predict", "{bundle}", "a", "--workers", "3", "--threads", "2"], 2, "more than the 2 threads"),
        (["predict", "{bundle}", "--file", "nowhere.txt"], 1, "nowhere.txt does not exist"),
        (["predict", "nowhere", "a"], 1, "nowhere is not a bundle"),
        (["evaluate", "{bundle}", "--data", "nowhere.tsv"], 1, "nowhere.tsv does not exist"),
        (["evaluate", "{bundle}", "--data", "x.tsv", "--speed", "0,7"], 2, "from 0"),
        (["bench", "{bundle}", "--data", "x.tsv", "--baseline", "tensorflow"], 2, "'tensorflow' is not one of"),
        (["bench", "{bundle}", "--data", "x.tsv", "--baseline", "pytorch"], 2, "--checkpoint"),
        (["bench", "{bundle}", "--data", "x.tsv", "--scenario", "burst"], 2, "'burst' is not one of single-stream,"),
        (["bench", "{bundle}", "--data", "x.tsv", "--precision", "int2"], 2, "'int2'"),
        (["bench", "{bundle}", "--data", "x.tsv", "--rate", "fast"], 2, "'--rate': 'fast' is not a"),
        (["bench", "{bundle}", "--data", "x.tsv", "--device", "tpu"], 2, "'tpu'"),
        (["bench", "{bundle}", "--data", "nowhere.tsv"], 1, "nowhere.tsv does not exist"),
        (["export", "{bundle}", "--output", "out"], 1, "no config.json"),
        (["export", "{checkpoint}", "--output", "out", "--layers-per-stage", "9"], 2, r"outside 1..3"),
        (["export", "{checkpoint}", "--output", "out", "--default-speed", "3"], 2, "from 0"),
        (["export", "{checkpoint}", "--output", "out", "--tolerance", "1e-12"], 1, "No bundle was written"),
        (["train", "{bundle}", "--output", "out"], 2, "--train"),
        (["verify", "{bundle}", "--data", "x.tsv"], 2, "--against"),
        (["info", "nowhere"], 1, "nowhere is not a bundle"),
        (["dance"], 2, "No such command"),
    ],
)  # fmt: skip
def test_errors_are_one_paragraph_with_the_right_code(
    run_cli, bundle, checkpoint_dir, tmp_path, monkeypatch, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    filled = [argument.format(bundle=bundle, checkpoint=checkpoint_dir) for argument in arguments]
    found, out, err = run_cli(*filled)
    assert (found, out) == (code, "")
    assert message in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_failed_verification_exits_1_and_prints_the_figures(run_cli, bundle):
    code, out, err = run_cli("verify", bundle, "--tolerance", 1e-12, "--json")
    assert code == 1
    assert json.loads(out)["fp32"]["passed"] is False
    assert "logits at exit" in err


def test_bad_utf_8_on_stdin_is_named_by_line(run_cli, bundle, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"good\nb\xffd\n")))
    code, _, err = run_cli("predict", bundle)
    assert code == 1
    assert "stdin, line 2: byte 2" in err


@pytest.mark.parametrize("content", ["label\ttext\n\tgood film\nunheard\tbad\n", "label\ttext\n\tgood film\n \tbad\n"])
def test_labels_are_demanded_only_where_they_are_used(run_cli, bundle, checkpoint_dir, tmp_path, content):
    data = tmp_path / "data.tsv"
    data.write_text(content)
    code, out, err = run_cli("predict", bundle, "--file", data)
    assert (code, [json.loads(line)["text"] for line in out.splitlines()]) == (0, ["good film", "bad"]), err
    code, out, err = run_cli("verify", bundle, "--against", checkpoint_dir, "--data", data, "--json")
    assert (code, json.loads(out)["fp32"]["accuracy"]) == (0, None), err
    data.write_text(content.replace("unheard", "positive"))
    code, out, err = run_cli("export", checkpoint_dir, "--output", tmp_path / "b", "--verify-data", data, "--json")
    assert (code, json.loads(out)["verification"]["fp32"]["accuracy"] is None) == (0, "unheard" not in content), err
    code, out, err = run_cli("evaluate", bundle, "--data", data)
    assert (code, "line 2: the label is empty" in err) == (1, True)


@pytest.mark.parametrize("name", ["lines", "lines.txt", "lines.tsv"])
def test_other_encodings_are_named_by_predict_whatever_reads_them(run_cli, bundle, tmp_path, monkeypatch, name):
    content = "text\ngood film\n".encode("utf-16")
    (tmp_path / name).write_bytes(content)
    code, out, err = run_cli("predict", bundle, "--file", tmp_path / name)
    assert (code, out, "iconv -f UTF-16" in err) == (1, "", True)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    code, out, err = run_cli("predict", bundle)
    assert (code, out, "stdin, line 1: the file is UTF-16" in err) == (1, "", True)


@pytest.mark.parametrize("name", ["folder", "folder.txt", "folder.tsv"])
def test_a_directory_to_predict_is_named(run_cli, bundle, tmp_path, name):
    (tmp_path / name).mkdir()
    code, out, err = run_cli("predict", bundle, "--file", tmp_path / name)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"{tmp_path / name}" in err and "irectory" in err


@pytest.mark.parametrize("name", ["rows.txt", "rows.parquet"])
def test_a_bar_on_a_terminal_leaves_the_answers_to_stdout(run_cli, bundle, tmp_path, monkeypatch, name):
    Dataset.from_dict({"text": ["good film", "bad"]}).to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows.txt").write_bytes(b"\xef\xbb\xbfgood film\nbad\n")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take stderr for a terminal
    code, out, err = run_cli("predict", bundle, "--file", tmp_path / name)
    assert code == 0, err
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["good film", "bad"]
    assert ("2/2" if name == "rows.txt" else "2/?") in re.sub("\x1b[^m]*m", "", err)


def test_a_pipe_named_as_a_file_is_read_once_under_a_bar(run_cli, bundle, tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("good film\nbad\n",), daemon=True)
    writer.start()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, err = run_cli("predict", bundle, "--file", pipe)
    assert (code, len(out.splitlines())) == (0, 2), err


def test_a_closed_stdin_is_named(run_cli, bundle, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    code, _, err = run_cli("predict", bundle)
    assert code == 1
    assert "stdin is closed" in err


def test_an_unexpected_error_is_one_line_and_a_traceback_with_debug(run_cli, bundle, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("surprise")

    monkeypatch.setattr("fastbert.runtime.manifest.read_manifest", broken)
    code, _, err = run_cli("info", bundle)
    assert (code, err.count("\n")) == (1, 1)
    assert "surprise" in err
    monkeypatch.setattr(sys, "argv", ["fastbert", "info", str(bundle), "--debug"])
    with pytest.raises(RuntimeError, match="surprise"):
        cli.main()


LABELS = ("[red]", "[/neg]", "é\n\x1b[31m\u202e日")


@pytest.fixture(scope="module")
def odd_bundle(tmp_path_factory):
    checkpoint = make_checkpoint(labels=LABELS)
    path = tmp_path_factory.mktemp("odd") / "b[red]"
    rows = [replace(row, label=None) for row in checkpoint.sample_rows]
    export_bundle(checkpoint, path, ExportOptions(verify_data=rows))
    return path


@pytest.fixture
def odd_data(tmp_path):
    lines = [json.dumps({"text": "good film", "label": label}) for label in LABELS]
    (tmp_path / "[red]data.jsonl").write_text("\n".join(lines * 3))
    return tmp_path / "[red]data.jsonl"


def test_tables_show_odd_labels_as_they_are(run_cli, odd_bundle, odd_data):
    code, out, err = run_cli("evaluate", odd_bundle, "--data", odd_data, "--speed", "0,0.5")
    assert code == 0, err
    for shown in ("[red]", "[/neg]", "é\\n\\x1b[31m\\u202e日"):
        assert f" {shown} " in out
    assert not {"\x1b", "\u202e"} & set(out)
    code, out, err = run_cli("info", odd_bundle)
    assert code == 0
    assert not {"\x1b", "\u202e"} & set(out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "b", "--speed", "[/x]"],
        ["predict", "b", "--[red]"],
        ["[/dance]"],
        ["info", "[/b]\x1b[31m"],
        ["info", "b", "[/extra]"],
        ["predict", "b", "x", "--variant", "[/x]"],
        ["evaluate", "b", "--data", "[/x].tsv", "--speed", "[/x]"],
        ["bench", "b", "--data", "x.tsv", "--baseline", "[/x]"],
        ["train", "[/m]", "--train", "[/x].tsv", "--output", "[/o]", "--phase", "[/x]"],
        ["export", "[/m]", "--output", "[/o]", "--precision", "[/x]"],
        ["predict", "b\udcff", "a"],
        ["predict", "{bundle}", "a\udcff"],
    ],
)
def test_errors_show_what_a_user_named(run_cli, bundle, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli(*(argument.format(bundle=bundle) for argument in arguments))
    assert code in (1, 2)
    assert out == ""
    assert "Unexpected" not in err and "Traceback" not in err and "\x1b" not in err


COMMANDS = typer.main.get_command(cli.app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_whole_and_shows_every_default(run_cli, name):
    code, out, _ = run_cli(name, "--help")
    assert code == 0
    sections = re.split(r"\n  (?=-|[a-z])", out[out.index("\nOptions:") :] + out[out.index("\nArguments:") :])
    shown = {section.split()[0].rstrip("."): " ".join(section.split()) for section in sections[1:]}
    for parameter in COMMANDS[name].params:
        if not getattr(parameter, "hidden", False):
            text = shown[parameter.opts[0]]
            assert " ".join(parameter.help.split()) in text.replace("- ", "-"), text
            assert (
                parameter.is_flag if getattr(parameter, "is_flag", False) else "[default" in text or "required" in text
            )


def test_the_list_of_commands_shows_whole_sentences(run_cli):
    _, out, _ = run_cli("--help")
    assert "Classify texts: one JSON object per line. Memory use does not grow with the input." in " ".join(out.split())


def test_info_says_what_exits_measure(run_cli, bundle, checkpoint_dir, tmp_path):
    document = json.loads((bundle / "manifest.json").read_text())
    assert document.pop("uncertainty") == "entropy"
    (tmp_path / "manifest.json").write_text(json.dumps(document))  # as an earlier version wrote it
    for target in (bundle, tmp_path, checkpoint_dir):
        assert json.loads(run_cli("info", target, "--json")[1])["uncertainty"] == "entropy"
        assert re.search("^uncertainty: +entropy$", run_cli("info", target)[1], re.MULTILINE)


def test_version(run_cli):
    assert run_cli("--version") == (0, f"fastbert-deploy {fastbert.__version__}\n", "")


def test_closed_sets_are_those_of_the_library():
    def choices(command, parameter):
        hint = get_type_hints(getattr(cli, command))[parameter]
        return {choice for part in (hint, *get_args(hint)) if get_origin(part) is Literal for choice in get_args(part)}

    assert choices("train", "phase") == set(PHASES)
    assert choices("train", "kl") == set(KL_DIRECTIONS)
    assert choices("train", "exit_head") == set(HEADS)
    for command in ("train", "export", "import_"):
        assert choices(command, "uncertainty") == set(MEASURES)
    assert choices("import_", "format") == {"auto", *FORMATS}
    assert choices("predict", "device") == set(DEVICES)
    assert choices("build", "variant") == {name for name in PRECISIONS if PRECISIONS[name].compaction is not None}
    assert set(cli.PRECISIONS) == set(PRECISIONS)
    assert set(cli.SCENARIOS) == set(SCENARIOS)
    assert set(cli.BASELINES) == {*BASELINES, "all", "none"}


def test_old_names_of_options_still_work(run_cli, bundle, tmp_path):
    code, _, err = run_cli("train", "m", "--output", tmp_path / "o", "--phase", "both", "--stage", "distill")
    assert (code, "--stage is the old name of --phase" in err) == (2, True)
    code, _, err = run_cli("bench", bundle, "--data", "x.tsv", "--precision", "int2")
    assert (code, "'int2'" in err) == (2, True)
    code, _, err = run_cli("bench", bundle, "--data", "x.tsv", "--precision", "int8", "--variant", "fp32")
    assert (code, "--precision is the old name of --variant" in err) == (2, True)


@pytest.mark.parametrize("option", [["--data", "x.tsv"], ["--device", "cpu"], ["--tolerance", "1e-3"]])
def test_comparing_engines_refuses_options_that_it_does_not_have(run_cli, bundle, option):
    code, _, err = run_cli("verify", bundle, "--against", "onnxruntime", *option)
    assert (code, f"Omit {option[0]}." in err) == (2, True)


def test_an_error_of_the_library_names_flags(run_cli, bundle, tmp_path):
    code, _, err = run_cli("train", "m", "--output", tmp_path / "o", "--train", "t.tsv", "--label-share", 3)
    assert (code, err.startswith("Error: --label-share is 3.0; ")) == (2, True)


def test_warnings_of_the_bench_name_flags_in_its_reports_too(run_cli, bundle, tmp_path, monkeypatch):
    warning = SimpleNamespace(message="it reached its time limit; raise `max_seconds`.")
    skipped = {"name": "pytorch", "reason": "name its `checkpoint`"}
    document = {"warnings": ({"code": "a", "message": warning.message},), "skipped": (skipped,), "data": "`speed`"}
    report = SimpleNamespace(as_dict=lambda: document, warnings=[warning], interrupted_by=None)
    monkeypatch.setattr("fastbert.benchmarks.bench.run_bench", lambda options: report)
    code, out, err = run_cli("bench", bundle, "--data", "x.tsv", "--json", "--output", tmp_path / "report.json")
    assert (code, err.splitlines()[0]) == (0, "Warning: it reached its time limit; raise --max-seconds.")
    assert (
        json.loads(out)
        == json.loads((tmp_path / "report.json").read_text())
        == {
            "warnings": [{"code": "a", "message": "it reached its time limit; raise --max-seconds."}],
            "skipped": [{"name": "pytorch", "reason": "name its --checkpoint"}],
            "data": "`speed`",
        }
    )


def test_only_notes_of_this_library_name_flags(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fastbert", "train"])
    for name, shown in (("fastbert.training", "--tokenizer is new"), ("datasets", "`tokenizer` is new")):
        note = logging.makeLogRecord({"name": name, "msg": "`tokenizer` is new"})
        assert cli._NoteFormatter("%(message)s").format(note) == shown


@pytest.fixture(scope="module")
def shell(bundle, tmp_path_factory):
    """Run the command line in a separate process, under a shell's redirections: -> (exit code, stdout, stderr)."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "many.txt").write_text("good film, not bad\n" * 300)
    write_tsv(folder / "data.tsv", make_rows(8))

    def run(command, **environment):
        script = command.replace("fastbert", f"'{sys.executable}' -m fastbert.cli").replace("BUNDLE", f"'{bundle}'")
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script], cwd=folder, capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )  # fmt: skip
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


@pytest.mark.parametrize("command", ["--help", "info BUNDLE", "info BUNDLE --json", "predict BUNDLE --file many.txt"])
def test_a_full_disk_ends_with_one_line_and_a_closed_pipe_quietly(shell, command):
    assert shell(f"fastbert {command} > /dev/full") == (1, "", "Error: stdout: No space left on device.\n")
    code, _, err = shell(f"fastbert {command} | true")
    assert (code, err) == (1, "")
    code, _, err = shell(f"fastbert {command} >&-")
    assert (code, err.count("\n")) == (1, 1)
    assert "stdout: closed" in err
    assert shell(f"fastbert {command} > /dev/full 2> /dev/full")[0] == 1


def test_a_full_stderr_loses_notes_alone(shell):
    code, out, _ = shell("fastbert predict BUNDLE --file many.txt 2> /dev/full | wc -l")
    assert (code, out.strip()) == (0, "300")
    assert shell("fastbert predict nowhere a 2> /dev/full")[0] == 1


def test_predictions_in_the_c_locale_are_utf_8(shell):
    code, out, err = shell("fastbert predict BUNDLE 'café'", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert code == 0, err
    assert json.loads(out)["text"] == "café"
    code, out, err = shell("fastbert predict BUNDLE 'café 日'", PYTHONIOENCODING="ascii")
    assert code == 0, err
    assert out.isascii()
    assert json.loads(out)["text"] == "café 日"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_as_an_error_does(run_cli, bundle, monkeypatch, number):
    cleaned = []

    def stopped(*_, **__):
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            cleaned.append(True)

    monkeypatch.setattr("fastbert.runtime.manifest.read_manifest", stopped)
    code, _, _ = run_cli("info", bundle)
    assert (code, cleaned) == (128 + number, [True])
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_ignored(run_cli, bundle, monkeypatch):
    """As nohup asks for."""
    monkeypatch.setattr("fastbert.runtime.manifest.read_manifest", lambda _: os.kill(os.getpid(), signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run_cli("info", bundle)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", ["file/x.json", "file", "dir.json", "x/" * 3000])
def test_a_report_that_cannot_be_written_is_said_before_the_measurement(run_cli, bundle, tmp_path, monkeypatch, name):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dir.json").mkdir()
    monkeypatch.setattr("fastbert.benchmarks.bench.run_bench", None)
    code, _, err = run_cli("bench", bundle, "--data", "x.tsv", "--output", tmp_path / name)
    assert code == 2
    assert "Unexpected" not in err
