"""The size of micro-batches, and whether cores serve best as threads or as workers: ``python -m studies.batches``.

The measurement behind `fastbert.runtime.batching.micro_batches.BATCH_TOKENS` and behind the workers of
``fastbert predict --file``.
"""

import argparse
import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.data import read_texts
from fastbert.runtime import Classifier
from fastbert.runtime.batching.micro_batches import micro_batches

_PASSES = 3
_TOKENS = (256, 512, 1024, 2048, 4096)


def compare_batches(
    bundle: Path, data: Path, *, variant: str, cores: int, speed: float, rows: int
) -> list[dict[str, Any]]:
    """Return rows/s for every size, with ``cores`` as threads, as workers, and with one core: medians over passes.

    All settings take turns, pass by pass.
    """
    texts = [row.text_input for row in read_texts(data)][:rows]
    classifiers = {
        threads: Classifier.load(bundle, variant=variant, threads=threads, batches=True)
        for threads in sorted({1, cores})
    }
    shares = sorted({(1, 1), (1, cores), (cores, 1)})
    seconds: dict[tuple[int, int, int], list[float]] = {}
    for _ in range(_PASSES):
        for tokens in _TOKENS:
            with patch("fastbert.runtime.classifier.micro_batches", partial(micro_batches, tokens=tokens)):
                for threads, workers in shares:
                    began = time.perf_counter()
                    classifiers[threads].predict(texts, speed=speed, workers=workers)
                    seconds.setdefault((tokens, threads, workers), []).append(time.perf_counter() - began)
    return [
        {"tokens": tokens, "threads": threads, "workers": workers, "rows_per_s": len(texts) / statistics.median(values)}
        for (tokens, threads, workers), values in seconds.items()
    ]


def main() -> None:
    """Print the comparison as JSON."""
    parser = argparse.ArgumentParser(prog="python -m studies.batches", description=__doc__.split(":")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--speed", type=float, default=0.3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rows", type=int, default=800)
    arguments = parser.parse_args()
    document: dict[str, Any] = {"environment": describe_environment(), "speed": arguments.speed}
    for variant in ("fp32", "int8"):
        document[variant] = compare_batches(
            arguments.bundle,
            arguments.data,
            variant=variant,
            cores=arguments.cores,
            speed=arguments.speed,
            rows=arguments.rows,
        )
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
