"""Checkpoints of other programs -> FastBERT checkpoint directories.

Each format has a module, which knows what its program saves and what its code does beyond that. What only an imported
model needs becomes configuration (`fastbert.configuration.FastBertConfig`) or part of ``tokenizer.json``, so that
training, export and every runtime treat it like any other model.
"""

from fastbert.importing.files import parse_labels
from fastbert.importing.findings import ImportReport
from fastbert.importing.importer import FORMATS, import_checkpoint

__all__ = ["FORMATS", "ImportReport", "import_checkpoint", "parse_labels"]
