"""Memory of one prediction by kind and length of its text: ``python -m studies.text_memory BUNDLE``.

The measurement behind the bound that docs/service.md states. Each kind runs in a fresh process, after short predictions
and with its text in memory; the figure is how far resident memory rises above that during the prediction. Linux only.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.runtime import Classifier
from studies.random_bundle import in_child

MEGABYTE = 1_000_000
TEXTS: dict[str, Callable[[], list[str | tuple[str, str]]]] = {
    "words, 100 kB": lambda: ["good film " * 10_000],
    "words, 10 MB": lambda: ["good film " * MEGABYTE],
    "a pair of two, 80 kB each": lambda: [("good film " * 8000, "bad plot! " * 8000)],
    "a pair of two, 10 MB each": lambda: [("good film " * MEGABYTE, "bad plot! " * MEGABYTE)],
    "punctuation, 1 MB": lambda: ["!?" * (MEGABYTE // 2)],
    "a pair of punctuation, 1 MB each": lambda: [("!?" * (MEGABYTE // 2), ".," * (MEGABYTE // 2))],
    "Chinese, 1,000,000 characters": lambda: ["\u597d\u7535\u5f71" * (MEGABYTE // 3)],
    "emoji, 1,000,000 characters": lambda: ["\U0001f600" * MEGABYTE],
    "one word, 10 MB": lambda: ["a" * 10 * MEGABYTE],
    "white space, 10 MB": lambda: [" " * 10 * MEGABYTE],
    "white space, then punctuation, 1 MB": lambda: [" " * 400_000 + "!?" * 300_000],
    "512 texts of 20 kB": lambda: ["good film " * 2000] * 512,
    "256 pairs of 20 kB and 30 kB": lambda: [("good film " * 2000, "bad plot! " * 3000)] * 256,
}


def measure(bundle: str, kind: str) -> str:
    """Predict one kind of text in this process; return JSON: seconds, and megabytes beyond the text."""

    def resident(field: str) -> float:
        lines = Path("/proc/self/status").read_text().split("\n")
        return next(int(line.split()[1]) * 1024 / MEGABYTE for line in lines if line.startswith(field))

    classifier = Classifier.load(bundle, threads=1)
    classifier.predict(["good film " * 400])
    classifier.predict(["good film " * 400] * 8)
    texts = TEXTS[kind]()
    before = resident("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    start = time.perf_counter()
    classifier.predict(texts)
    seconds = time.perf_counter() - start
    return json.dumps({"seconds": round(seconds, 2), "beyond_text_mb": round(resident("VmHWM:") - before)})


def main() -> None:
    """Measure every kind and write the report."""
    parser = argparse.ArgumentParser(prog="python -m studies.text_memory", description=__doc__.split(":")[0])
    parser.add_argument("bundle")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    found = {}
    for kind in TEXTS:
        found[kind] = json.loads(in_child("text_memory", "measure", asked.bundle, kind))
        print(f"{kind:<40}{found[kind]['beyond_text_mb']:>6} MB {found[kind]['seconds']:>8} s", flush=True)
    report = {
        "environment": describe_environment(),
        "max_length": json.loads((Path(asked.bundle) / "manifest.json").read_bytes())["max_length"],
        "texts": found,
    }
    if asked.output:
        asked.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
