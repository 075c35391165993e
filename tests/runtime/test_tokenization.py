import pytest

from fastbert.runtime.errors import UsageError


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["good", None], r"texts\[1\] is None; each must be a string or a tuple of two"),
        ([("good", 3)], r"texts\[0\] is \('good', 3\)"),
        ([["good", "bad"]], r"texts\[0\] is \['good', 'bad'\]"),
        (["good", "ba\udcff"], r"texts\[1\] holds half a character \(a lone surrogate\) at 2"),
        ([("good", "\ud800")], r"texts\[0\] holds half a character"),
    ],
)
def test_what_is_no_text_is_named_by_its_index(classifier, texts, message):
    with pytest.raises(UsageError, match=message):
        classifier.predict(texts)


def test_any_unicode_is_a_text(classifier):
    texts = ["\x00", "\ufeff", "\u202egood", "👍🏽" * 9, "\u2028", "e\u0301", "\U0010ffff", "\t\r\n", " " * 4000]
    assert len(classifier.predict(texts)) == len(texts)
