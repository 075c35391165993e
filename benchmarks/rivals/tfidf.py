"""TF-IDF features and logistic regression, by scikit-learn."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline

from fastbert.benchmarks.rivals.selection import plain_text, train_best
from fastbert.benchmarks.rivals.text_classifier import TextClassifier
from fastbert.data.rows import Row
from fastbert.runtime.errors import DataError

_WORDS = {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
_CHARACTERS = {"analyzer": "char", "ngram_range": (1, 4), "min_df": 2}
_IN_WORDS = {"analyzer": "char_wb", "ngram_range": (2, 5), "min_df": 2}
# What usually works for languages with and without spaces: name -> features. Ordered by cost.
_FEATURES: dict[str, tuple[dict[str, Any], ...]] = {
    "words 1-2": (_WORDS,),
    "characters 1-4": (_CHARACTERS,),
    "words 1-2, characters 2-5": (_WORDS, _IN_WORDS),
}
_C = 10.0
_log = logging.getLogger(__name__)


def train_tfidf(rows: Sequence[Row], labels: Sequence[str], *, seed: int) -> tuple[dict[str, Any], TextClassifier]:
    """Train on all rows with the features that are best on held-out ones.

    :param labels: of the benched bundle: the answers are indices of these.
    :returns: settings, and the answer to a text.
    :raises DataError: there is nothing to learn from these rows.
    """
    _log.info("tfidf: training on %d rows", len(rows))

    def fit(features: str, chosen: Sequence[Row]) -> Callable[[Sequence[str]], Sequence[str]]:
        parts = [(one["analyzer"], TfidfVectorizer(sublinear_tf=True, **one)) for one in _FEATURES[features]]
        classifier = LogisticRegression(C=_C, max_iter=1000)
        pipeline = Pipeline([("features", FeatureUnion(parts)), ("classifier", classifier)])
        pipeline.fit([plain_text(row.text_input) for row in chosen], [row.label for row in chosen])
        predict: Callable[[Sequence[str]], Sequence[str]] = pipeline.predict
        return predict

    try:
        settings, answer = train_best(tuple(_FEATURES), fit, rows, labels, seed=seed)
    except ValueError as error:  # such as an empty vocabulary: all texts are punctuation
        raise DataError(f"scikit-learn cannot learn from these {len(rows)} rows: {error}") from error
    return {**settings, "C": _C}, answer
