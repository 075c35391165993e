"""Data files: rows of texts and labels, read without PyTorch or pandas."""

from fastbert.data.reading import iter_inputs, iter_texts, label_names, read_rows, read_texts, sample, with_labels
from fastbert.data.rows import Row

__all__ = ["Row", "iter_inputs", "iter_texts", "label_names", "read_rows", "read_texts", "sample", "with_labels"]
