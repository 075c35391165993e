"""Checkpoints of other programs -> FastBERT checkpoint directories.

One module a format: what its program saves, and what it does that its files do not say. What an imported model needs
and ours does not becomes configuration (`fastbert.configuration.FastBertConfig`) or part of ``tokenizer.json``, so that
training, export and every runtime take it as any other.
"""

from fastbert.importing.files import parse_labels
from fastbert.importing.findings import ImportReport
from fastbert.importing.importer import FORMATS, import_checkpoint

__all__ = ["FORMATS", "ImportReport", "import_checkpoint", "parse_labels"]
