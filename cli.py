"""The command line: parses, calls one function, prints. Data goes to stdout, progress and notes to stderr.

Exit codes: 0 done; 1 a check failed, the data is bad or stdout could not be written (silently where the reader closed
the pipe, as `head` does); 2 wrong usage; 128 + n ended by signal n.
"""

import itertools
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fastbert.console.arguments import completion, names, numbers
from fastbert.console.arguments import speed as one_speed
from fastbert.console.arguments import speeds as some_speeds
from fastbert.console.progress import with_progress
from fastbert.console.streams import (
    STDOUT,
    VisibleFormatter,
    abandon_stdout,
    json_text,
    open_streams,
    print_tables,
    utf8_text,
    visible,
)
from fastbert.console.verifications import c_library_lines, engine_lines, verification_lines
from fastbert.version import __version__, other_fastbert

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: rich would take [...] in a help text, or in what a user named, for markup
    help="Train an early-exit BERT text classifier, export it layer by layer, and run it on an inference engine.",
    epilog="Every command has --help. An unexpected error shows its traceback with --debug.",
)

# Closed sets, written out so that --help imports none of the library; a test compares them with the library's tables.
PRECISIONS = ("fp32", "int8", "int8-reduced", "fp16", "fp32-portable", "int8-qdq")
SCENARIOS = ("single-stream", "offline", "server")
BASELINES = (
    "onnxruntime",
    "onnxruntime-int8",
    "pytorch",
    "pytorch-early-exit",
    "openvino",
    "openvino-bf16",
    "openvino-int8",
    "onnxruntime-cuda",
    "tensorrt",
    "tensorrt-rtx",
    "all",
    "none",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output; the old one stays until the new one is complete.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="the cores usable here")]
Tolerance = Annotated[float, typer.Option(help="Largest logit difference from PyTorch allowed in fp32.")]
MaxLabelFlips = Annotated[
    float, typer.Option(min=0, max=1, help="Largest share of answers that may change in a lossy precision.")
]
Device = Annotated[
    Literal["cpu", "cuda", "tensorrt", "tensorrt-rtx"],
    typer.Option(help="cuda: ONNX Runtime on an NVIDIA GPU; tensorrt: TensorRT; tensorrt-rtx: TensorRT for RTX."),
]
RuntimeCache = Annotated[
    Path | None,
    typer.Option(help="Folder of what TensorRT for RTX compiles for this GPU.", show_default="a folder of this user"),
]
NoRuntimeCache = Annotated[bool, typer.Option("--no-runtime-cache", help="Keep nothing of that: compile every time.")]
Speeds = Annotated[
    Any,
    typer.Option(
        parser=some_speeds,
        metavar="SPEEDS",
        help="Comma-separated, each from 0 (never exit early) to 1, or an operating point's name.",
    ),
]

_MEASURED = "What exits measure; margin, of the two best classes, is for many classes."
_PIPE_WINDOW = 32  # texts read from a pipe before the first answer


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        _print(f"fastbert-deploy {__version__}")
        raise typer.Exit


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="Directory or hub name of an encoder, a classifier or a checkpoint.")],
    output: Annotated[Path, typer.Option(help="Directory of the checkpoint to write.")],
    train: Annotated[
        Path | None, typer.Option(help="Labelled file: .tsv .csv .jsonl .parquet", show_default="only with --unlabeled")
    ] = None,
    dev: Annotated[
        Path | None, typer.Option(help="File that picks the best epoch.", show_default="a tenth of --train")
    ] = None,
    unlabeled: Annotated[
        list[Path] | None, typer.Option(help="More texts to distil on; may be repeated.", show_default="none")
    ] = None,
    phase: Annotated[
        Literal["finetune", "distill", "both"] | None,
        typer.Option(help="What to train.", show_default="both, or finetune with --layers"),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(min=1, help="Keep only the backbone's first layers: a small model.", show_default="all"),
    ] = None,
    stage: Annotated[str | None, typer.Option(hidden=True)] = None,  # the old name of --phase
    kl: Annotated[
        Literal["forward", "reverse"],
        typer.Option(help="forward: KL(teacher || student); reverse: KL(student || teacher)."),
    ] = "forward",
    label_share: Annotated[float, typer.Option(help="Share of cross-entropy on labels when distilling.")] = 0.5,
    epochs: Annotated[float, typer.Option(help="Epochs of fine-tuning.")] = 3,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of fine-tuning.")] = 5e-5,
    distill_epochs: Annotated[float, typer.Option(help="Epochs of distillation.")] = 5,
    distill_learning_rate: Annotated[float, typer.Option(help="Learning rate of distillation.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(help="Rows per step on each device.")] = 32,
    max_length: Annotated[
        int | None, typer.Option(help="Longest text in tokens.", show_default="128, or the checkpoint's")
    ] = None,
    max_train_rows: Annotated[
        int | None, typer.Option(min=2, help="Draw this many training rows at random.", show_default="all")
    ] = None,
    exit_head: Annotated[
        Literal["attention", "bitvoyage", "uer", "mlp"] | None,
        typer.Option(help="The paper's head is attention.", show_default="attention, or the checkpoint's"),
    ] = None,
    exit_size: Annotated[
        int | None, typer.Option(help="Width of an exit head.", show_default="128, or the checkpoint's")
    ] = None,
    uncertainty: Annotated[
        Literal["entropy", "margin"] | None,
        typer.Option(help=_MEASURED, show_default="entropy, or the checkpoint's"),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Directory or hub name.", show_default="the model's own")
    ] = None,
    precision: Annotated[Literal["fp32", "fp16", "bf16"], typer.Option(help="fp16, bf16: mixed precision.")] = "fp32",
    seed: Annotated[int, typer.Option(help="Random seed: initial weights, row order, held-out rows.")] = 42,
    overwrite: Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a stopped run with the same options.")] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a backbone with its last exit, then distil the other exits from it.

    Example: fastbert train bert-base-uncased --train train.tsv --dev dev.tsv --output model
    """
    from fastbert.training.distributed import is_first_process, require_whole_environment

    require_whole_environment()
    _quiet_transformers()
    from fastbert.configuration import exit_head_named
    from fastbert.runtime import UsageError
    from fastbert.training import PhaseOptions, TrainOptions
    from fastbert.training import train as run

    if phase is not None and stage not in (None, phase):
        raise UsageError(f"--stage is the old name of --phase: they are {stage} and {phase}. Leave out --stage.")
    options = TrainOptions(
        model=model,
        output=output,
        train=train,
        dev=dev,
        unlabeled=tuple(unlabeled or ()),
        phase=phase or stage or ("both" if layers is None else "finetune"),
        layers=layers,
        kl=kl,
        label_share=label_share,
        max_length=max_length,
        max_train_rows=max_train_rows,
        batch_size=batch_size,
        finetune=PhaseOptions(epochs, learning_rate),
        distill=PhaseOptions(distill_epochs, distill_learning_rate),
        exit_head=None if exit_head is None and exit_size is None else exit_head_named(exit_head, exit_size),
        uncertainty=uncertainty,
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
    for done in report.phases:
        _print(f"after {done.phase} ({done.steps} steps), on {report.dev_rows} dev rows:")
        if done.exit_accuracy is not None:
            _print("  accuracy by exit   " + "  ".join(f"{100 * value:.1f}" for value in done.exit_accuracy))
        _print("  KL from last exit  " + "  ".join(f"{value:.3f}" for value in done.exit_divergence))


@app.command()
def evaluate(
    target: Annotated[Path, typer.Argument(help="A bundle or a checkpoint.")],
    data: Annotated[Path, typer.Option(help="Labelled file.")],
    speed: Speeds = "0,0.1,0.3,0.5,0.8",
    variant: Annotated[
        str | None, typer.Option(help="Of a bundle, such as int8.", show_default="the bundle's first")
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Accuracy, macro F1, exit layers and FLOPs at each speed.

    Example: fastbert evaluate bundle --data test.tsv --speed 0,0.1,0.5
    """
    _quiet_transformers()
    from fastbert.benchmarks.evaluation import evaluate as run

    results = run(target, data, speed, device=device, variant=variant, threads=threads)
    if as_json:
        _print_json([asdict(result) for result in results])
        return
    from fastbert.benchmarks.report.tables import evaluation_notes, evaluation_tables

    print_tables(*evaluation_tables(results))
    _print(*evaluation_notes(results))


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="Directory or hub name of a FastBERT checkpoint.")],
    output: Annotated[Path, typer.Option(help="Directory of the bundle to write.")],
    precision: Annotated[
        Any,
        typer.Option(
            parser=names(PRECISIONS),
            autocompletion=completion(PRECISIONS),
            metavar="NAMES",
            help=f"Comma-separated, each one variant: {', '.join(PRECISIONS)}.",
        ),
    ] = "fp32",
    layers_per_stage: Annotated[int, typer.Option(min=1, help="Layers per engine; the exit is after the last.")] = 1,
    exits: Annotated[
        Any,
        typer.Option(
            parser=numbers(int),
            metavar="NUMBERS",
            help="Layers with an exit, from 0, such as 2,5,8,11. Instead of --layers-per-stage.",
            show_default="every layer",
        ),
    ] = None,
    default_speed: Annotated[float, typer.Option(help="Speed of calls that name none.")] = 0.5,
    uncertainty: Annotated[
        Literal["entropy", "margin"] | None, typer.Option(help=_MEASURED, show_default="the checkpoint's")
    ] = None,
    verify_data: Annotated[
        Path | None, typer.Option(help="Rows to verify on.", show_default="dev rows kept in the checkpoint")
    ] = None,
    tolerance: Tolerance = 1e-4,
    max_label_flips: MaxLabelFlips = 0.05,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a bundle: one ONNX engine per stage, with its exit, verified against PyTorch on real rows.

    Example: fastbert export model --output bundle
    """
    _quiet_transformers()
    from fastbert.export import Bounds, ExportOptions, export_bundle

    options = ExportOptions(
        precisions=precision,
        layers_per_stage=layers_per_stage,
        exits=exits,
        default_speed=default_speed,
        uncertainty=uncertainty,
        verify_data=verify_data,
        bounds=Bounds(tolerance, max_label_flips),
    )
    report = export_bundle(checkpoint, output, options, overwrite=overwrite)
    if as_json:
        verifications = {found.variant: found.as_dict() for found in report.verifications}
        _print_json({"output": report.output, "bytes": report.bytes, "verification": verifications})
        return
    _print(f"{report.output}: {report.bytes / 1e6:.1f} MB")
    for found in report.verifications:
        _print(*verification_lines(found))


@app.command()
def build(
    bundle: Annotated[Path, typer.Argument(help="A bundle with a variant for a GPU (export --precision fp32,fp16).")],
    variant: Annotated[
        Literal["fp16", "fp32-portable", "int8-qdq"], typer.Option(help="Variant to build from.")
    ] = "fp16",
    engine: Annotated[
        Literal["tensorrt", "tensorrt-rtx"],
        typer.Option(help="tensorrt: for the GPU of this machine; tensorrt-rtx: for every RTX GPU, without one here."),
    ] = "tensorrt",
    compute_capability: Annotated[
        Any,
        typer.Option(
            parser=names(()),
            metavar="NAMES",
            help="GPUs of tensorrt-rtx, comma-separated, such as 8.9,12.0; or current: the GPU here.",
            show_default="8.0, 8.6, 8.9, 12.0 and later",
        ),
    ] = None,
    batch: Annotated[
        Any,
        typer.Option(parser=numbers(int), metavar="NUMBERS", help="Comma-separated largest batches, one profile each."),
    ] = "1,8,32",
    sequence: Annotated[
        Any,
        typer.Option(
            parser=numbers(int),
            metavar="NUMBERS",
            help="Comma-separated lengths that texts are padded to.",
            show_default="32,64,128 and the longest",
        ),
    ] = None,
    level: Annotated[int, typer.Option(min=0, max=5, help="TensorRT's builder optimization level.")] = 3,
    single_row: Annotated[
        bool | None,
        typer.Option(
            help="Also build one engine that runs a single text to its exit, with all weights once more.",
            show_default="for tensorrt-rtx",
        ),
    ] = None,
    tolerance: Tolerance = 1e-4,
    max_label_flips: MaxLabelFlips = 0.05,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Rebuild engines that exist.")] = False,
    as_json: Json = False,
) -> None:
    """Build TensorRT engines into the bundle; a stopped build resumes.

    Example: fastbert build bundle --batch 1,8,32 --sequence 32,64,128
    """
    from fastbert.export import Bounds, BuildOptions
    from fastbert.export import build as run

    options = BuildOptions(
        variant=variant,
        batches=batch,
        sequences=sequence,
        level=level,
        bounds=Bounds(tolerance, max_label_flips),
        engine=engine,
        compute_capabilities=tuple(compute_capability or ()),
        single_row=single_row,
    )
    report = run(bundle, options, overwrite=overwrite)
    for note in report.notes:
        _note(_spelled(note))
    if as_json:
        found = {"passed": None} if report.verification is None else report.verification.as_dict()
        _print_json({**asdict(report), "verification": found})
        return
    _print(f"{report.variant}: {len(report.built_s) + len(report.kept)} engines, {report.bytes / 1e6:.1f} MB")
    if report.low_precision:
        _print(f"  layers in float16 or int8         {min(report.low_precision.values()):.0%} or more of each engine's")
    if report.verification is None:
        _print(f"not verified: {report.variant}")
    else:
        _print(*verification_lines(report.verification))


@app.command()
def verify(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    against: Annotated[
        str | None,
        typer.Option(
            help="A checkpoint to compare with, or onnxruntime to compare TensorRT engines one by one.",
            show_default="the bundle's golden rows",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Rows to compare on, with --against; more rows, with --runtime c.",
            show_default="dev rows kept in the checkpoint",
        ),
    ] = None,
    variant: Annotated[str | None, typer.Option(help="Check only this variant.", show_default="all")] = None,
    runtime: Annotated[
        Literal["python", "c"],
        typer.Option(help="c: compare the C library with Python's runtime, which must give the same answers."),
    ] = "python",
    device: Device = "cpu",
    tolerance: Tolerance = 1e-4,
    max_label_flips: MaxLabelFlips = 0.05,
    as_json: Json = False,
) -> None:
    """Check a bundle's files and run its engines on rows whose answers PyTorch gave.

    Example: fastbert verify bundle --against model --data dev.tsv
    """
    from fastbert.export import Bounds
    from fastbert.export import verify as run

    if runtime == "c":
        why = "--runtime c compares the C library with Python's runtime on the CPU, where their answers must be equal."
        _refuse_options(context, ("against", "device", "tolerance", "max_label_flips"), why)
        _verify_c_library(bundle, data, variant, as_json=as_json)
        return
    if against == "onnxruntime":
        why = "--against onnxruntime compares TensorRT engines on the bundle's golden rows, with its own bounds."
        _refuse_options(context, ("data", "device", "tolerance", "max_label_flips"), why)
        _verify_engines(bundle, variant, as_json=as_json)
        return
    if against is not None:
        _quiet_transformers()
    bounds = Bounds(tolerance, max_label_flips)
    verifications = run(bundle, against=against, data=data, device=device, variant=variant, bounds=bounds)
    failure = f"{bundle} does not answer as PyTorch does: {{}}. Export it again."
    document = {found.variant: found.as_dict() for found in verifications}
    _print_checks(verifications, document, verification_lines, failure, as_json=as_json)


@app.command()
def pack(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    output: Annotated[Path, typer.Option(help="ONNX file to write.")],
    variant: Annotated[
        str | None, typer.Option(help="Such as int8.", show_default="the bundle's first for a CPU")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write one ONNX file, with weights and labels inside, for programs that have only ONNX Runtime.

    Example: fastbert pack bundle --variant int8 --output model.onnx
    """
    from fastbert.export import pack as run

    report = run(bundle, output, variant=variant, overwrite=overwrite)
    if as_json:
        _print_json(asdict(report))
        return
    _print(f"{report.output}: {report.bytes / 1e6:.1f} MB, {report.variant}")
    _print(f"  same answers as {bundle} on {report.rows} rows")


@app.command()
def info(target: Annotated[Path, typer.Argument(help="A bundle or a checkpoint.")], as_json: Json = False) -> None:
    """Show what a bundle or a checkpoint is."""
    from fastbert.console.operating_points import point_lines
    from fastbert.console.variants import variant_lines
    from fastbert.runtime.manifest import MANIFEST, read_manifest

    if (target / MANIFEST).is_file() or not (target / "config.json").is_file():
        manifest = read_manifest(target)
        document = dict(manifest.raw)
        document.setdefault("uncertainty", manifest.uncertainty)
        hidden = {"files", "flops", "schema", "operating_points", "variants", "verification"}
        lines = [] if as_json else [*variant_lines(target, manifest), *point_lines(manifest)]
    else:
        from fastbert.checkpoint import describe_checkpoint

        document = describe_checkpoint(target)
        hidden, lines = set(), []
    if as_json:
        _print_json(document)
        return
    for key, value in document.items():
        if key not in hidden:
            _print(f"{key + ':':<16} {json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value}")
    _print(*lines)


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts.", show_default="--file, or lines of stdin")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="One text per line, or a data file (.tsv .csv .jsonl .parquet).", show_default="none"),
    ] = None,
    speed: Annotated[
        Any,
        typer.Option(
            parser=one_speed,
            metavar="SPEED",
            help="From 0 (never exit early) to 1, or an operating point's name.",
            show_default="the bundle's",
        ),
    ] = None,
    variant: Annotated[str | None, typer.Option(help="Such as int8.", show_default="the bundle's first")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Largest batch, in texts.", show_default="what is fastest")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Batches to run in parallel; --threads is divided among them.", show_default="--threads"
        ),
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
    runtime_cache: RuntimeCache = None,
    no_runtime_cache: NoRuntimeCache = False,
) -> None:
    """Classify texts: one JSON object per line. Memory use does not grow with the input.

    Example: fastbert predict bundle "so good" --speed 0.5
    """
    from fastbert.data import iter_inputs
    from fastbert.runtime import Classifier, UsageError
    from fastbert.runtime.exit_rule import ExitRule
    from fastbert.runtime.hardware import usable_cores

    texts = [utf8_text(text) for text in texts or ()]
    if texts and file is not None:
        raise UsageError("Name texts or --file, not both.")
    if isinstance(speed, float):
        ExitRule(speed)
    if runtime_cache is not None and no_runtime_cache:
        raise UsageError("--runtime-cache and --no-runtime-cache exclude each other. Name one of them.")
    kept = False if no_runtime_cache else runtime_cache
    inputs = iter(texts) if texts else iter_inputs(file)
    many = file is not None or len(texts) > 1
    if device == "cpu":
        cores = threads or usable_cores()
        workers = workers or (cores if file is not None else 1)
        if workers > cores:
            raise UsageError(
                f"--workers {workers} is more than the {cores} threads they would share (--threads; by default the "
                "cores that this process may use). Name fewer workers, or more threads."
            )
        classifier = Classifier.load(
            bundle, variant=variant, threads=cores // workers, batches=many, runtime_cache=kept
        )
    else:
        workers = workers or 1
        classifier = Classifier.load(bundle, device=device, variant=variant, threads=threads, runtime_cache=kept)
    # a pipe's reader waits for its answers; a file's end is known to come
    window = {} if file is not None else {"window": _PIPE_WINDOW}
    given, shown = itertools.tee(inputs)
    predictions = classifier.predict_iter(given, speed=speed, batch_size=batch_size, workers=workers, **window)
    for prediction, text in zip(with_progress(predictions, file), shown, strict=False):
        record = {"text": text, **asdict(prediction), "layers_run": prediction.layers_run}
        sys.stdout.write(json_text(record) + "\n")
        if file is None:
            sys.stdout.flush()


@app.command()
def tune(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    data: Annotated[Path, typer.Option(help="Rows like those of production, new to training and export.")],
    max_drop: Annotated[
        float | None, typer.Option(help="Points of accuracy to lose at most, such as 0.5.", show_default="none")
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(help="Share of answers that must be full depth's, such as 0.99.", show_default="none"),
    ] = None,
    speedup: Annotated[
        float | None, typer.Option(help="How many times fewer layers to run, such as 3.", show_default="none")
    ] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="Largest median latency of a single row here, such as 2.", show_default="none")
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(help="Share of right answers, such as 0.9.", show_default="none")
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(
            help="Guarantee --max-drop or --min-agreement with this probability, such as 0.95.",
            show_default="no guarantee",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Write the speed into the bundle under this name.", show_default="not written")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Other rows to measure on.", show_default="a third of --data")
    ] = None,
    ignore_labels: Annotated[bool, typer.Option("--ignore-labels", help="Treat the rows as unlabelled.")] = False,
    variant: Annotated[str | None, typer.Option(help="Such as int8.", show_default="the bundle's first")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Random seed: which rows decide, and which measure.")] = 42,
    as_json: Json = False,
) -> None:
    """Find the speed for one target: what may be lost, or what must be gained. --speed NAME then uses it.

    Example: fastbert tune bundle --data tune.tsv --min-agreement 0.99 --confidence 0.95 --name balanced
    """
    from fastbert.benchmarks.tuning import TuneOptions
    from fastbert.benchmarks.tuning import tune as run

    options = TuneOptions(
        data=data,
        max_drop=max_drop,
        min_agreement=min_agreement,
        speedup=speedup,
        max_latency_ms=max_latency_ms,
        min_accuracy=min_accuracy,
        confidence=confidence,
        name=name,
        test=test,
        ignore_labels=ignore_labels,
        variant=variant,
        device=device,
        threads=threads,
        seed=seed,
    )
    report = run(bundle, options)
    if as_json:
        _print_json(_with_flags(report.as_dict()))
    else:
        from fastbert.benchmarks.tuning.tables import tune_notes, tune_table

        print_tables(tune_table(report))
        for note in tune_notes(report):
            _print(_spelled(note))
    for warning in report.warnings:
        _note(_spelled(f"Warning: {warning}"))
    if report.kept_problem is not None:
        _note(f"Warning: the results of the exits are not kept: {report.kept_problem}. The next call runs them again.")
    if not report.reached:
        _fail(_spelled(report.shortfall))
        raise typer.Exit(1)


@app.command()
def bench(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    data: Annotated[Path, typer.Option(help="Rows to time on; with labels, accuracy is shown too.")],
    speed: Speeds = "0,0.1,0.3,0.5,0.8",
    scenario: Annotated[
        Any,
        typer.Option(
            parser=names(SCENARIOS),
            autocompletion=completion(SCENARIOS),
            metavar="NAMES",
            help="Comma-separated: single-stream (batch 1), offline (throughput), server (arrivals).",
        ),
    ] = "single-stream",
    variant: Annotated[
        Any,
        typer.Option(
            parser=names(()),
            metavar="NAMES",
            help="Comma-separated variants.",
            show_default="all, or those of the operating points",
        ),
    ] = None,
    precision: Annotated[Any, typer.Option(parser=names(()), hidden=True)] = None,  # the old name of --variant
    baseline: Annotated[
        Any,
        typer.Option(
            parser=names(BASELINES),
            autocompletion=completion(BASELINES),
            metavar="NAMES",
            help=f"Comma-separated: {', '.join(BASELINES)}.",
        ),
    ] = "onnxruntime",
    checkpoint: Annotated[
        Path | None, typer.Option(help="The bundle's checkpoint, for the PyTorch baselines.", show_default="none")
    ] = None,
    rivals: Annotated[
        Path | None, typer.Option(help="Labelled file: train TF-IDF and fastText on it.", show_default="none")
    ] = None,
    rival_bundles: Annotated[
        list[Path] | None,
        typer.Option("--rival", help="Another bundle, timed at full depth; may be repeated.", show_default="none"),
    ] = None,
    device: Device = "cpu",
    cuda_graphs: Annotated[
        bool,
        typer.Option(
            "--cuda-graphs", help="On a GPU, with --threads 1: the chain and the whole model run as CUDA graphs."
        ),
    ] = False,
    threads: Threads = None,
    rate: Annotated[
        Any,
        typer.Option(
            parser=numbers(),
            metavar="NUMBERS",
            help="Comma-separated arrival rates in rows/s.",
            show_default="0.5 to 2 times the whole model's capacity",
        ),
    ] = None,
    percentile: Annotated[
        Any,
        typer.Option(
            parser=numbers(),
            metavar="NUMBERS",
            help="Comma-separated, of 50,90,95,99. An error if there are too few rows for one.",
            show_default="those that the rows allow",
        ),
    ] = None,
    max_rows: Annotated[int, typer.Option(min=1, help="Time at most this many rows, drawn at random.")] = 1000,
    max_seconds: Annotated[float, typer.Option(help="Longest time for each scenario.")] = 300,
    batch_size: Annotated[int, typer.Option(min=1, help="Batch size of the baselines in the scenario offline.")] = 32,
    seed: Annotated[int, typer.Option(help="Random seed: row order and arrivals.")] = 42,
    output: Annotated[
        Path | None,
        typer.Option(help="Directory for report.json and report.html, or a .json file.", show_default="none"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure latency and accuracy at each speed, and baselines on the same rows with equal threads.

    Example: fastbert bench bundle --data test.tsv --checkpoint model --baseline all --output report
    """
    _quiet_transformers()
    from fastbert.benchmarks.bench import run_bench
    from fastbert.benchmarks.options import BenchOptions
    from fastbert.benchmarks.report.tables import bench_tables, check_output, write_report
    from fastbert.runtime import UsageError

    if variant is not None and precision not in (None, variant):
        raise UsageError("--precision is the old name of --variant, and they differ. Leave out --precision.")
    options = BenchOptions(
        bundle=bundle,
        data=data,
        speeds=speed,
        scenarios=scenario,
        variants=variant or precision,
        baselines=[name for name in baseline if name != "none"],
        checkpoint=checkpoint,
        rivals=rivals,
        rival_bundles=tuple(rival_bundles or ()),
        device=device,
        cuda_graphs=cuda_graphs,
        threads=threads,
        rates=rate,
        percentiles=percentile,
        max_rows=max_rows,
        max_seconds=max_seconds,
        batch_size=batch_size,
        seed=seed,
    )
    if output is not None:
        check_output(output)  # before the measurement, not after it
    report = run_bench(options)
    document = _with_flags(report.as_dict())
    written = [] if output is None else write_report(output, document)
    if as_json:
        _print_json(document)
    else:
        print_tables(*bench_tables(document))
        _print(report.verdict.text)
    for warning in report.warnings:
        _note(_spelled(f"Warning: {warning.message}"))
    for path in written:
        _note(f"{path} written")
    if report.interrupted_by:
        raise typer.Exit(130)


@app.command("import")
def import_(
    checkpoint: Annotated[Path, typer.Argument(help="A file of another program, or a Hugging Face classifier.")],
    output: Annotated[Path, typer.Option(help="Directory of the checkpoint to write.")],
    format: Annotated[
        Literal["auto", "bitvoyage", "uer", "huggingface"], typer.Option(help="auto: found from the tensors.")
    ] = "auto",
    config: Annotated[
        Path | None, typer.Option(help="Its op config (bitvoyage) or model config (uer).", show_default="none")
    ] = None,
    bert_config: Annotated[
        Path | None, typer.Option(help="Its BERT config.", show_default="the one that --config names")
    ] = None,
    vocab: Annotated[
        Path | None, typer.Option(help="Its vocab.txt.", show_default="the one that --config names")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Class names by index, comma-separated, or a file of them.", show_default="0,1,..."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Longest text in tokens.", show_default="the checkpoint's")
    ] = None,
    uncertainty: Annotated[Literal["entropy", "margin"], typer.Option(help=_MEASURED)] = "entropy",
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Tokenizer of a Hugging Face classifier: directory or hub name.", show_default="its own"),
    ] = None,
    verify_data: Annotated[
        Path | None, typer.Option(help="Texts to keep, for the export's verification.", show_default="none")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Turn a checkpoint of the original implementations, or a Hugging Face classifier, into a FastBERT checkpoint.

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
        uncertainty=uncertainty,
        tokenizer=tokenizer,
        verify_data=verify_data,
        overwrite=overwrite,
    )
    if as_json:
        _print_json(asdict(report))
        return
    _print(f"{report.output}: {report.format}, {report.layers} layers, labels {', '.join(report.labels)}")
    _print(_spelled(report.summary))


def main() -> None:
    """Run the command line; every error is one paragraph on stderr."""
    debug = "--debug" in sys.argv or bool(os.environ.get("FASTBERT_DEBUG"))
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        open_streams()
        handler = logging.StreamHandler()
        handler.setFormatter(_NoteFormatter("%(message)s"))
        logging.basicConfig(handlers=[handler], level=logging.WARNING)
        logging.getLogger("fastbert").setLevel(logging.INFO)
        try:
            if (problem := other_fastbert()) is not None:
                _fail(problem)
                sys.exit(1)
            with _cleaning_up_when_ended():
                app(args=arguments, prog_name="fastbert")
        finally:
            sys.stdout.flush()  # now, while an error can still be reported
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
        from fastbert.console.failures import describe, exit_code

        _fail(describe(error, _flags(arguments)))
        sys.exit(exit_code(error))


@contextmanager
def _cleaning_up_when_ended() -> Iterator[None]:
    """Let SIGTERM (`docker stop`) and SIGHUP end a command as an error does: it removes half-written files."""

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


class _NoteFormatter(VisibleFormatter):
    """The library's notes, with flags for parameters."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        # a name in backquotes is a parameter of another library's function in its own messages
        return _spelled(text) if record.name.partition(".")[0] == "fastbert" else text


def _spelled(text: str) -> str:
    """Return a text of the library with flags for parameters."""
    if "`" not in text:
        return text
    from fastbert.console.failures import spelled

    return spelled(text, _flags(sys.argv[1:]))


def _with_flags(document: dict[str, Any]) -> dict[str, Any]:
    """Return a report with flags for parameters in its warnings and in the reasons of what was skipped."""

    def spelled(entry: Any) -> Any:
        if isinstance(entry, str):
            return _spelled(entry)
        return {key: _spelled(text) if key in ("message", "reason") else text for key, text in entry.items()}

    listed = {key: [spelled(entry) for entry in document[key]] for key in ("warnings", "skipped") if key in document}
    return document | listed


def _flags(arguments: list[str]) -> dict[str, str]:
    """Return the command line's spelling of the command's parameters: max_length -> --max-length, model -> MODEL."""
    commands: Any = getattr(typer.main.get_command(app), "commands", {})
    command = next((commands[argument] for argument in arguments if argument in commands), None)
    return {
        parameter.name: parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.name.upper()
        for parameter in (command.params if command is not None else ())
    }


def _quiet_transformers() -> None:
    """Keep stderr for our own notes: transformers shows a progress bar for every file that it loads."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # else it reports each attempt to reach the hub
    logging.getLogger("torch").setLevel(logging.ERROR)


def _refuse_options(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Refuse options that a form of ``verify`` does not have: it never ignores one."""
    from fastbert.runtime import UsageError

    sources = {name: context.get_parameter_source(name) for name in names}
    given = [f"`{name}`" for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        raise UsageError(f"{why} Omit {' and '.join(given)}.")


def _verify_c_library(bundle: Path, data: Path | None, variant: str | None, *, as_json: bool) -> None:
    from fastbert.export.verification.c_library import compare_c_library

    comparisons = compare_c_library(bundle, data=data, variant=variant)
    failure = (
        f"{comparisons[0].library} and Python's runtime answer differently: {{}}. Install a library and a package of "
        "the same version; if they are, please report it."
    )
    document = {found.variant: found.as_dict() for found in comparisons}
    _print_checks(comparisons, document, c_library_lines, failure, as_json=as_json)


def _verify_engines(bundle: Path, variant: str | None, *, as_json: bool) -> None:
    from fastbert.export.verification.engines import compare_engines

    comparisons = compare_engines(bundle, variant=variant)
    failure = f"TensorRT and ONNX Runtime disagree: {{}}. Rebuild: fastbert build {bundle} --overwrite"
    _print_checks(comparisons, [found.as_dict() for found in comparisons], engine_lines, failure, as_json=as_json)


def _print_checks(
    checks: Sequence[Any], document: Any, lines: Callable[[Any], list[str]], failure: str, *, as_json: bool
) -> None:
    """Print what was compared; end with 1 if anything differs.

    :param document: the checks as JSON.
    :param lines: a check as lines for people.
    :param failure: with ``{}`` where the problems belong.
    """
    if as_json:
        _print_json(document)
    else:
        _print(*itertools.chain.from_iterable(map(lines, checks)))
    if problems := [problem for check in checks for problem in check.problems]:
        _fail(failure.replace("{}", "; ".join(problems)))
        raise typer.Exit(1)


def _print(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(visible(line, keep="\n") + "\n")


def _print_json(document: Any) -> None:
    sys.stdout.write(json_text(document, indent=2) + "\n")


def _note(text: str) -> None:
    sys.stderr.write(visible(text) + "\n")


def _fail(text: str) -> None:
    sys.stderr.write(f"Error: {visible(text)}\n")


for _command in app.registered_commands:  # typer would cut it after 45 characters
    _command.short_help = (getattr(_command.callback, "__doc__", None) or "").partition("\n")[0]

if __name__ == "__main__":
    main()
