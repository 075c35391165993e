"""What measuring the margin instead of the entropy costs a single row: ``python -m studies.uncertainty_cost [--json]``.

Bundles of the same random weights measure one and the other. Every exit is evaluated (speed 0), with one thread.
Systems take turns in one process; a second copy of the entropy's bundle shows what is noise. The order of loading
matters too (docs/performance.md#order-of-loading), so each comparison is made in both orders.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.timing import alternating_medians
from fastbert.runtime import Classifier
from fastbert.uncertainty import MEASURES

# layers, hidden size, classes, tokens, timed runs in each order
SHAPES = ((6, 384, 3, 25, 400), (6, 384, 77, 25, 400), (12, 768, 2, 64, 60))


def write_bundles(layers: int, hidden: int, classes: int, folder: Path) -> dict[str, Path]:
    """Write a bundle for each measure, of the same random weights; return measure -> bundle."""
    from tokenizers import Tokenizer, models
    from transformers import BertConfig, PreTrainedTokenizerFast

    from fastbert.checkpoint import Checkpoint
    from fastbert.configuration import FastBertConfig
    from fastbert.data.labels import label_maps
    from fastbert.data.rows import Row
    from fastbert.export import ExportOptions, export_bundle
    from fastbert.modeling import FastBertForSequenceClassification

    backbone = BertConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=4 * hidden
    )
    config = FastBertConfig(backbone, distilled=True, **label_maps([str(number) for number in range(classes)]))
    words = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "a": 2}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    checkpoint = Checkpoint(FastBertForSequenceClassification(config), tokenizer)
    for measure in MEASURES:
        export_bundle(checkpoint, folder / measure, ExportOptions(verify_data=[Row("a")], uncertainty=measure))
    return {measure: folder / measure for measure in MEASURES}


def compare(bundles: Mapping[str, Path], order: Sequence[str], tokens: int, runs: int) -> dict[str, float]:
    """Return the median milliseconds of each system.

    :param order: systems as they are loaded: a measure, which may be followed by a blank and a remark.
    """
    loaded = {name: Classifier.load(bundles[name.split()[0]], threads=1) for name in order}
    ids = np.random.default_rng(0).integers(3, 1000, (1, tokens))
    return alternating_medians(
        {name: partial(classifier.run, ids, speed=0.0) for name, classifier in loaded.items()}, runs, rest=False
    )


def compare_in_both_orders(bundles: Mapping[str, Path], tokens: int, runs: int) -> dict[str, float]:
    """Return each system's median time / the entropy's: the mean over both orders of loading."""
    names = [*MEASURES, "entropy again"]
    found = [compare(bundles, order, tokens, runs) for order in (names, names[::-1])]
    return {name: statistics.mean(medians[name] / medians["entropy"] for medians in found) for name in names} | {
        "entropy, ms": statistics.mean(medians["entropy"] for medians in found)
    }


def main() -> None:
    """Print the comparison for MiniLM's and BERT-base's shapes."""
    parser = argparse.ArgumentParser(prog="python -m studies.uncertainty_cost", description=__doc__.split(":")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    document: dict[str, Any] = {"environment": describe_environment(), "threads": 1, "batch": 1}
    for layers, hidden, classes, tokens, runs in SHAPES:
        name = f"{layers} x {hidden}, {classes} classes, {tokens} tokens"
        with tempfile.TemporaryDirectory(prefix="fastbert-study-") as folder:
            bundles = write_bundles(layers, hidden, classes, Path(folder))
            document[name] = compare_in_both_orders(bundles, tokens, runs)
        if not arguments.json:
            for system, figure in document[name].items():
                sys.stdout.write(f"{name}  {system:<14} {figure:.4f}\n")
                sys.stdout.flush()
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
