"""What a rival is: a function of a text."""

from collections.abc import Callable

from fastbert.runtime.tokenization import TextInput

# A text -> class index of the benched bundle, milliseconds of tokenization. For linear models the latter are 0: finding
# words and n-grams is their work.
TextClassifier = Callable[[TextInput], tuple[int, float]]
