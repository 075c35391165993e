"""How a rival answers."""

from collections.abc import Callable

from fastbert.runtime.tokenization import TextInput

# A text -> class index of the benched bundle, milliseconds of tokenization. For linear models the latter are 0: finding
# words and n-grams is their work.
Answer = Callable[[TextInput], tuple[int, float]]
