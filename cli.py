"""The command line: parses, calls one function, prints. Data goes to stdout, progress and notes to stderr.

Exit codes: 0 done; 1 a check failed, the data is bad or stdout could not be written (quietly where a pipe was closed by
its reader, as `head` does); 2 wrong usage; 128 + n ended by signal n.
"""

import itertools
import json
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fastbert.console import (
    STDOUT,
    VisibleFormatter,
    abandon_stdout,
    json_text,
    open_streams,
    print_tables,
    rich_console,
    utf8_text,
    visible,
)

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: rich takes [default: ...] and what a user named for its markup
    help="Train an early-exit BERT text classifier, export it layer by layer, and run it on an inference engine.",
    epilog="Every command has --help. An unexpected error shows its traceback with --debug.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Overwrite = Annotated[bool, typer.Option(help="Replace the output; the old one stays until the new one is complete.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads. [default: the cores usable here]")]
Tolerance = Annotated[float, typer.Option(help="Largest logit difference to PyTorch allowed in fp32.")]
MaxLabelFlips = Annotated[
    float, typer.Option(min=0, max=1, help="Largest share of answers that may flip in a lossy precision.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda (ONNX Runtime on a GPU) or tensorrt.")]
Speeds = Annotated[str, typer.Option(help="Comma-separated speeds from 0 (never exit early) to 1.")]

_PIPE_WINDOW = 32  # texts read from a pipe before the first answer

# module that is missing -> the extra that brings it
_EXTRAS = {
    "torch": "train",
    "transformers": "train",
    "accelerate": "train",
    "datasets": "data",
    "sklearn": "data",
    "onnx": "export",
    "psutil": "bench",
    "matplotlib": "bench",
    "jinja2": "bench",
    "onnxruntime": "cpu",
    "polygraphy": "build",
}


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="Directory or hub name of an encoder, a classifier or a checkpoint.")],
    output: Annotated[Path, typer.Option(help="Directory of the checkpoint to write.")],
    train: Annotated[Path | None, typer.Option(help="Labelled file: .tsv .csv .jsonl .parquet")] = None,
    dev: Annotated[Path | None, typer.Option(help="File that picks the best epoch. [default: held out]")] = None,
    unlabeled: Annotated[list[Path] | None, typer.Option(help="More texts to distil on; may be repeated.")] = None,
    stage: Annotated[str, typer.Option(help="finetune, distill or both.")] = "both",
    kl: Annotated[
        str, typer.Option(help="forward: KL(teacher || student); reverse: KL(student || teacher).")
    ] = "forward",
    label_share: Annotated[float, typer.Option(help="Share of cross-entropy on labels in stage 2's loss.")] = 0.5,
    epochs: Annotated[float, typer.Option(help="Epochs of stage 1.")] = 3,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of stage 1.")] = 5e-5,
    distill_epochs: Annotated[float, typer.Option(help="Epochs of stage 2.")] = 5,
    distill_learning_rate: Annotated[float, typer.Option(help="Learning rate of stage 2.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(help="Rows in a step, on each device.")] = 32,
    max_length: Annotated[
        int | None, typer.Option(help="Longest text in tokens. [default: 128, or the checkpoint's own]")
    ] = None,
    max_train_rows: Annotated[int | None, typer.Option(min=2, help="Draw this many training rows at random.")] = None,
    exit_head: Annotated[
        str | None,
        typer.Option(
            help="attention (the paper's), authors, seed or mlp. [default: attention, or the checkpoint's own]"
        ),
    ] = None,
    exit_size: Annotated[
        int | None, typer.Option(help="Width of an exit head. [default: 128, or the checkpoint's own]")
    ] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Directory or hub name. [default: the model's own]")] = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16 or bf16 (mixed precision).")] = "fp32",
    seed: Annotated[int, typer.Option()] = 42,
    overwrite: Overwrite = False,
    resume: Annotated[bool, typer.Option(help="Go on with a stopped run of the same options.")] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a backbone with its last exit, then distil the other exits from it.

    Example: fastbert train bert-base-uncased --train train.tsv --dev dev.tsv --output model
    """
    from fastbert.training.distributed import is_first_process, require_whole_environment

    require_whole_environment()
    _quiet_transformers()
    from fastbert.configuration import exit_head_named
    from fastbert.training.run import StageOptions, TrainOptions
    from fastbert.training.run import train as run

    options = TrainOptions(
        model=model,
        output=output,
        train=train,
        dev=dev,
        unlabeled=tuple(unlabeled or ()),
        stage=stage,
        kl=kl,
        label_share=label_share,
        max_length=max_length,
        max_train_rows=max_train_rows,
        batch_size=batch_size,
        finetune=StageOptions(epochs, learning_rate),
        distill=StageOptions(distill_epochs, distill_learning_rate),
        exit_head=None if exit_head is exit_size is None else exit_head_named(exit_head, exit_size),
        tokenizer=tokenizer,
        precision=precision,
        seed=seed,
    )
    report = run(options, overwrite=overwrite, resume=resume)
    if not is_first_process():
        return
    if as_json:
        _print_json(asdict(report))
        return
    rows = f"{report.train_rows} labelled and {report.unlabeled_rows} unlabelled rows"
    _print(f"{report.output}: trained on {rows}; {len(report.labels)} labels: {', '.join(report.labels)}")
    for done in report.stages:
        _print(f"after {done.stage} ({done.steps} steps), on {report.dev_rows} dev rows:")
        if done.exit_accuracy is not None:
            _print("  accuracy by exit   " + "  ".join(f"{100 * value:.1f}" for value in done.exit_accuracy))
        _print("  KL from last exit  " + "  ".join(f"{value:.3f}" for value in done.exit_divergence))


@app.command()
def evaluate(
    target: Annotated[Path, typer.Argument(help="A bundle or a checkpoint.")],
    data: Annotated[Path, typer.Option(help="Labelled file.")],
    speed: Speeds = "0,0.1,0.3,0.5,0.8",
    variant: Annotated[str | None, typer.Option(help="Of a bundle, such as int8. [default: its first]")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Accuracy, macro F1, exit layers and FLOPs at each speed.

    Example: fastbert evaluate bundle --data test.tsv --speed 0,0.1,0.5
    """
    _quiet_transformers()
    from fastbert.benchmarks.evaluation import evaluate as run
    from fastbert.benchmarks.evaluation import parse_speeds

    results = run(target, data, parse_speeds(speed), device=device, variant=variant, threads=threads)
    if as_json:
        _print_json([asdict(result) for result in results])
        return
    from fastbert.benchmarks.report.tables import evaluation_tables

    print_tables(*evaluation_tables(results))


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="Directory or hub name of a FastBERT checkpoint.")],
    output: Annotated[Path, typer.Option(help="Directory of the bundle to write.")],
    precision: Annotated[
        str, typer.Option(help="Comma-separated: fp32, int8, int8-reduced, fp16, int8-qdq. Each is a variant.")
    ] = "fp32",
    layers_per_stage: Annotated[int, typer.Option(help="Layers in one engine, with one exit after the last.")] = 1,
    exits: Annotated[
        str | None, typer.Option(help="Instead: the layers, from 0, that have an exit, such as 2,5,8,11.")
    ] = None,
    default_speed: Annotated[float, typer.Option(help="Speed where the caller names none.")] = 0.5,
    verify_data: Annotated[
        Path | None, typer.Option(help="Rows to verify on. [default: those in the checkpoint]")
    ] = None,
    tolerance: Tolerance = 1e-4,
    max_label_flips: MaxLabelFlips = 0.05,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a bundle: one ONNX engine a layer with its exit, verified against PyTorch on real rows.

    Example: fastbert export model --output bundle
    """
    _quiet_transformers()
    from fastbert.export.bundle import export_bundle
    from fastbert.export.graphs.stages import parse_exits
    from fastbert.export.precisions import parse_precisions
    from fastbert.export.verification.compare import Bounds

    report = export_bundle(
        checkpoint,
        output,
        layers_per_stage=layers_per_stage,
        default_speed=default_speed,
        verify_data=verify_data,
        bounds=Bounds(tolerance, max_label_flips),
        precisions=parse_precisions(precision),
        exits=None if exits is None else parse_exits(exits),
        overwrite=overwrite,
    )
    if as_json:
        verifications = {found.variant: found.as_dict() for found in report.verifications}
        _print_json({"output": report.output, "bytes": report.bytes, "verification": verifications})
        return
    _print(f"{report.output}: {report.bytes / 1e6:.1f} MB")
    for found in report.verifications:
        _print_verification(found)


@app.command()
def build(
    bundle: Annotated[Path, typer.Argument(help="A bundle with a variant for a GPU (export --precision fp32,fp16).")],
    variant: Annotated[str, typer.Option(help="Variant to build from: fp16 or int8-qdq.")] = "fp16",
    batch: Annotated[str, typer.Option(help="Comma-separated largest batches; each is a profile.")] = "1,8,32",
    sequence: Annotated[
        str | None, typer.Option(help="Comma-separated lengths that texts are padded to. [default: 32,64,128, longest]")
    ] = None,
    level: Annotated[int, typer.Option(min=0, max=5, help="TensorRT's builder optimization level.")] = 3,
    max_label_flips: MaxLabelFlips = 0.05,
    overwrite: Annotated[bool, typer.Option(help="Build engines again that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Build TensorRT engines for the GPU of this machine into the bundle; goes on where a stopped build ended.

    Example: fastbert build bundle --batch 1,8,32 --sequence 32,64,128
    """
    from fastbert.export.tensorrt.build import BuildOptions, parse_sizes
    from fastbert.export.tensorrt.build import build as run
    from fastbert.export.verification.compare import Bounds

    options = BuildOptions(
        variant=variant,
        batches=parse_sizes("--batch", batch),
        sequences=None if sequence is None else parse_sizes("--sequence", sequence),
        level=level,
        bounds=Bounds(max_label_flips=max_label_flips),
        overwrite=overwrite,
    )
    report = run(bundle, options)
    for note in report.notes:
        _note(note)
    if as_json:
        _print_json({**asdict(report), "verification": report.verification.as_dict()})
        return
    _print(f"{report.variant}: {len(report.low_precision)} engines, {report.bytes / 1e6:.1f} MB")
    _print(f"  layers in float16 or int8         {min(report.low_precision.values()):.0%} or more of each engine's")
    _print_verification(report.verification)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    against: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint to compare with; or onnxruntime: TensorRT engines one by one. [default: the golden rows]"
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Rows to compare on, with --against.")] = None,
    variant: Annotated[str | None, typer.Option(help="Check only this variant.")] = None,
    device: Device = "cpu",
    tolerance: Tolerance = 1e-4,
    max_label_flips: MaxLabelFlips = 0.05,
    as_json: Json = False,
) -> None:
    """Check a bundle's files and run its engines on rows whose answers PyTorch gave.

    Example: fastbert verify bundle --against model --data dev.tsv
    """
    from fastbert.export.verification.bundle import verify as run
    from fastbert.export.verification.compare import Bounds

    if against == "onnxruntime":
        _verify_engines(bundle, data, variant, as_json=as_json)
        return
    if against is not None:
        _quiet_transformers()
    bounds = Bounds(tolerance, max_label_flips)
    verifications = run(bundle, against=against, data=data, device=device, variant=variant, bounds=bounds)
    if as_json:
        _print_json({found.variant: found.as_dict() for found in verifications})
    else:
        for found in verifications:
            _print_verification(found)
    problems = [problem for found in verifications for problem in found.problems]
    if problems:
        _fail(f"{bundle} does not answer as PyTorch does: {'; '.join(problems)}. Export it again.")
        raise typer.Exit(1)


@app.command()
def info(target: Annotated[Path, typer.Argument(help="A bundle or a checkpoint.")], as_json: Json = False) -> None:
    """Show what a bundle or a checkpoint is."""
    from fastbert.runtime.manifest import MANIFEST, read_manifest

    if (target / MANIFEST).is_file() or not (target / "config.json").is_file():
        document = dict(read_manifest(target).raw)
        hidden = {"files", "flops", "schema"}
    else:
        from fastbert.checkpoint import describe_checkpoint

        document = describe_checkpoint(target)
        hidden = set()
    if as_json:
        _print_json(document)
        return
    for key, value in document.items():
        if key not in hidden:
            _print(f"{key + ':':<16} {json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value}")


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts. [default: --file, or lines of stdin]")] = None,
    file: Annotated[
        Path | None, typer.Option(help="A text a line, or a data file (.tsv .csv .jsonl .parquet).")
    ] = None,
    speed: Annotated[float | None, typer.Option(help="0 (never exit early) to 1. [default: the bundle's]")] = None,
    variant: Annotated[str | None, typer.Option(help="Such as int8. [default: the bundle's first]")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Most texts run together. [default: what is fastest]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Batches run at once, with --threads shared out. [default: --threads]")
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Classify texts; prints one JSON object a line, in bounded memory however long the file is.

    Example: fastbert predict bundle "so good" --speed 0.5
    """
    from fastbert.runtime import Classifier, UsageError
    from fastbert.runtime.exit_rule import ExitRule
    from fastbert.runtime.threads import usable_cores

    texts = [utf8_text(text) for text in texts or ()]
    if texts and file is not None:
        raise UsageError("Name texts or --file, not both.")
    if speed is not None:
        ExitRule(speed)
    inputs = iter(texts) if texts else _lines(file) if file is None or file.suffix in ("", ".txt") else _data_rows(file)
    threads = threads or usable_cores()
    workers = workers or (threads if file is not None and device == "cpu" else 1)
    if workers > threads:
        raise UsageError(
            f"--workers {workers} is more than the {threads} threads they would share (--threads; by default the cores "
            "that this process may use). Name fewer workers, or more threads."
        )
    many = file is not None or len(texts) > 1
    classifier = Classifier.load(bundle, device=device, variant=variant, threads=threads // workers, batches=many)
    # a pipe's reader waits for its answers; a file's end is known to come
    window = {} if file is not None else {"window": _PIPE_WINDOW}
    given, shown = itertools.tee(inputs)
    predictions = classifier.predict_iter(given, speed=speed, batch_size=batch_size, workers=workers, **window)
    for prediction, text in zip(_with_progress(predictions, file), shown, strict=False):
        record = {"text": text, **asdict(prediction), "layers_run": prediction.exit_layer + 1}
        sys.stdout.write(json_text(record) + "\n")
        if file is None:
            sys.stdout.flush()


@app.command()
def bench(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    data: Annotated[Path, typer.Option(help="Rows to time on; with labels, accuracy is shown too.")],
    speed: Speeds = "0,0.1,0.3,0.5,0.8",
    scenario: Annotated[
        str, typer.Option(help="Comma-separated: single-stream (batch 1), offline (throughput), server (arrivals).")
    ] = "single-stream",
    variant: Annotated[
        str | None, typer.Option("--variant", "--precision", help="Comma-separated variants. [default: all]")
    ] = None,
    baseline: Annotated[
        str,
        typer.Option(
            help="Comma-separated: onnxruntime, onnxruntime-int8, pytorch, pytorch-early-exit, openvino, "
            "openvino-bf16, openvino-int8, onnxruntime-cuda, tensorrt; all; or none."
        ),
    ] = "onnxruntime",
    checkpoint: Annotated[Path | None, typer.Option(help="The bundle's checkpoint, for the PyTorch baselines.")] = None,
    device: Device = "cpu",
    cuda_graphs: Annotated[
        bool,
        typer.Option(
            "--cuda-graphs", help="On a GPU, with --threads 1: the chain and the whole model replay CUDA graphs."
        ),
    ] = False,
    threads: Threads = None,
    rate: Annotated[
        str | None,
        typer.Option(help="Comma-separated arrivals in rows/s. [default: 0.5 to 2 times what the whole model holds]"),
    ] = None,
    percentile: Annotated[
        str | None, typer.Option(help="Of 50,90,95,99: too few rows are then an error. [default: what the rows allow]")
    ] = None,
    max_rows: Annotated[int, typer.Option(min=1, help="Time at most this many rows, drawn at random.")] = 1000,
    max_seconds: Annotated[float, typer.Option(help="Time for each scenario.")] = 300,
    batch_size: Annotated[int, typer.Option(min=1, help="Of the baselines, offline.")] = 32,
    seed: Annotated[int, typer.Option(help="Of the rows' order and of the arrivals.")] = 42,
    output: Annotated[
        Path | None, typer.Option(help="Directory for report.json and report.html, or a .json file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The latency report: speeds, accuracy and baselines on the same rows, in one run with equal threads.

    Example: fastbert bench bundle --data test.tsv --checkpoint model --baseline all --output report
    """
    _quiet_transformers()
    from fastbert.benchmarks.bench import run_bench
    from fastbert.benchmarks.evaluation import parse_speeds
    from fastbert.benchmarks.options import BenchOptions, parse_names, parse_numbers
    from fastbert.benchmarks.report.tables import bench_tables, check_output, write_report

    options = BenchOptions(
        bundle=bundle,
        data=data,
        speeds=parse_speeds(speed),
        scenarios=parse_names(scenario) or (),
        variants=parse_names(variant),
        baselines=[name for name in parse_names(baseline) or () if name != "none"],
        checkpoint=checkpoint,
        device=device,
        cuda_graphs=cuda_graphs,
        threads=threads,
        rates=parse_numbers(rate, "rates"),
        percentiles=parse_numbers(percentile, "percentiles"),
        max_rows=max_rows,
        max_seconds=max_seconds,
        batch_size=batch_size,
        seed=seed,
    )
    if output is not None:
        check_output(output)  # said before the measurement, not after it
    report = run_bench(options)
    written = [] if output is None else write_report(output, report.as_dict())
    if as_json:
        _print_json(report.as_dict())
    else:
        print_tables(*bench_tables(report.as_dict()))
        _print(report.verdict.text)
    for warning in report.warnings:
        _note(f"Warning: {warning.message}")
    for path in written:
        _note(f"{path} written")
    if report.interrupted_by:
        raise typer.Exit(130)


@app.command("import")
def import_(
    checkpoint: Annotated[Path, typer.Argument(help="A file of another program, or a Hugging Face classifier.")],
    output: Annotated[Path, typer.Option(help="Directory of the checkpoint to write.")],
    format: Annotated[str, typer.Option(help="auto, bitvoyage, uer or huggingface.")] = "auto",
    config: Annotated[Path | None, typer.Option(help="Its op config (bitvoyage) or model config (uer).")] = None,
    bert_config: Annotated[Path | None, typer.Option(help="Its BERT config. [default: --config names it]")] = None,
    vocab: Annotated[Path | None, typer.Option(help="Its vocab.txt. [default: --config names it]")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Class names by index, comma-separated, or a file of them. [default: 0,1,...]")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="Longest text in tokens. [default: the checkpoint's]")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Of a Hugging Face classifier: directory or hub name. [default: its own]")
    ] = None,
    verify_data: Annotated[Path | None, typer.Option(help="Texts to keep, for the export's verification.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Turn a checkpoint of the original implementations, or a Hugging Face classifier, into one of ours.

    Example: fastbert import saved_model/Epoch_3.bin --config fastbert_cls.json --vocab vocab.txt --output model
    """
    _quiet_transformers()
    from fastbert.importing import import_checkpoint, parse_labels

    report = import_checkpoint(
        checkpoint,
        output=output,
        format=format,
        config=config,
        bert_config=bert_config,
        vocab=vocab,
        labels=None if labels is None else parse_labels(utf8_text(labels)),
        max_length=max_length,
        tokenizer=tokenizer,
        verify_data=verify_data,
        overwrite=overwrite,
    )
    if as_json:
        _print_json(asdict(report))
        return
    _print(f"{report.output}: {report.format}, {report.layers} layers, labels {', '.join(report.labels)}")
    _print(report.summary)


def main() -> None:
    """Run the command line; every error is one paragraph on stderr."""
    debug = "--debug" in sys.argv or bool(os.environ.get("FASTBERT_DEBUG"))
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        open_streams()
        handler = logging.StreamHandler()
        handler.setFormatter(VisibleFormatter("%(message)s"))
        logging.basicConfig(handlers=[handler], level=logging.WARNING)
        logging.getLogger("fastbert").setLevel(logging.INFO)
        try:
            with _cleaning_up_when_ended():
                app(args=arguments, prog_name="fastbert")
        finally:
            sys.stdout.flush()  # now, where an error can still be told
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our stdout went away, as `head` does
        abandon_stdout()
        sys.exit(1)
    except Exception as error:
        if isinstance(error, OSError) and error.filename == STDOUT:
            abandon_stdout()
        if debug:
            raise
        _fail(_describe(error))
        from fastbert.runtime import UsageError

        sys.exit(2 if isinstance(error, UsageError) else 1)


@contextmanager
def _cleaning_up_when_ended() -> Iterator[None]:
    """Let SIGTERM (`docker stop`) and SIGHUP end a command as an error does: nothing half-written stays."""

    def end(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # another one would stop the cleaning up
        sys.exit(128 + number)

    ending = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for number in ending:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ending:
            signal.signal(number, signal.SIG_DFL)


def _describe(error: Exception) -> str:
    from fastbert.runtime import FastBertError, MissingDependencyError

    if isinstance(error, FastBertError):
        return str(error)
    package = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if package in _EXTRAS:
        return str(MissingDependencyError(package, _EXTRAS[package]))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}."
    if isinstance(error, UnicodeEncodeError) and error.encoding == "utf-8":
        return f"{error.object} is not UTF-8. Name it otherwise, or run in a locale of UTF-8."
    return f"Unexpected {type(error).__name__}: {error}. Run again with --debug for the traceback, and report it."


def _lines(file: Path | None) -> Iterator[str]:
    """Yield the lines of a text file, or of stdin; they end at "\\n" only."""
    from fastbert.data.lines import open_data, reading, utf8_lines
    from fastbert.runtime.errors import DataError

    if file is not None:
        with open_data(file) as stream:
            yield from (text for _, text in utf8_lines(stream, file))
        return
    if sys.stdin is None:  # closed by whoever started us
        raise DataError("There is no stdin to read texts from. Name texts, or a --file.")
    with reading("stdin"):
        yield from (text for _, text in utf8_lines(sys.stdin.buffer, "stdin"))


def _data_rows(file: Path) -> Iterator[Any]:
    from fastbert.data import iter_texts

    return (row.text_input for row in iter_texts(file))


def _with_progress(items: Iterator[Any], file: Path | None) -> Iterator[Any]:
    """Show rows done and rows a second on stderr, for a file, where a person looks and sees no answers pass by."""
    if file is None or not sys.stderr.isatty() or sys.stdout.isatty():
        yield from items
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    total = None  # not known: a pipe can be read once, and Parquet has no lines
    if file.is_file() and file.suffix.lower() != ".parquet":
        with file.open("rb") as lines:
            total = sum(1 for _ in lines)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn())
    # left to itself it would print what goes to stdout on its own console, stderr
    with Progress(*columns, console=rich_console(sys.stderr), redirect_stdout=False) as progress:
        task = progress.add_task("", total=total, rate="")
        for item in items:
            yield item
            speed = progress.tasks[0].speed  # None until a second row is there
            progress.update(task, advance=1, rate="" if speed is None else f"{speed:.0f} rows/s")


def _quiet_transformers() -> None:
    """Leave stderr to our own notes: transformers shows a bar for every file that it loads."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # it announces each try to reach the hub
    logging.getLogger("torch").setLevel(logging.ERROR)


def _verify_engines(bundle: Path, data: Path | None, variant: str | None, *, as_json: bool) -> None:
    from fastbert.export.verification.engines import compare_engines
    from fastbert.runtime import UsageError

    if data is not None:
        raise UsageError("--against onnxruntime compares on the bundle's golden rows; leave out --data.")
    comparisons = compare_engines(bundle, variant=variant)
    if as_json:
        _print_json([found.as_dict() for found in comparisons])
    else:
        for found in comparisons:
            figures = "  ".join(f"{name} {value:.1e}" for name, value in found.largest_difference.items())
            _print(f"{'FAILED' if found.problems else 'agrees'}: {found.engine:<12} {figures}")
    problems = [problem for found in comparisons for problem in found.problems]
    if problems:
        _fail(f"TensorRT and ONNX Runtime disagree: {'; '.join(problems)}.")
        raise typer.Exit(1)


def _print_verification(found: Any) -> None:
    _print(f"{'FAILED' if found.problems else 'verified'}: {found.variant} on {found.rows} rows")

    def by_exit(figures: Iterable[Any], form: str) -> str:
        return "  ".join(f"{layer}: {figure:{form}}" for layer, figure in zip(found.exits, figures, strict=True))

    rows = {
        "largest logit difference by exit": by_exit(found.largest_logit_difference, ".1e"),
        "label flips by exit": by_exit(found.label_flips, "d"),
        "answer flips by speed": "  ".join(f"{speed}: {count}" for speed, count in found.answer_flips.items()),
        "exit flips by speed": "  ".join(f"{speed}: {count}" for speed, count in found.exit_flips.items()),
    }
    if found.accuracy is not None and not found.exact:
        rows["accuracy by speed, PyTorch > here"] = "  ".join(
            f"{speed}: {100 * theirs:.1f} > {100 * ours:.1f}" for speed, (theirs, ours) in found.accuracy.items()
        )
    for name, figures in rows.items():
        _print(f"  {name:<34}{figures}")


def _print(text: str) -> None:
    sys.stdout.write(visible(text, keep="\n") + "\n")


def _print_json(document: Any) -> None:
    sys.stdout.write(json_text(document, indent=2) + "\n")


def _note(text: str) -> None:
    sys.stderr.write(visible(text) + "\n")


def _fail(text: str) -> None:
    sys.stderr.write(f"Error: {visible(text)}\n")


for _command in app.registered_commands:  # left to itself, typer cuts it after 45 characters
    _command.short_help = (getattr(_command.callback, "__doc__", None) or "").partition("\n")[0]

if __name__ == "__main__":
    main()
